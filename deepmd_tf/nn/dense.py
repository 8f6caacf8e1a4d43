# SPDX-License-Identifier: BSD-3-Clause
"""Dense nets with skip connections, one for each atom type: the nets of every fitting."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.nn.activations import TENSORFLOW, Activation, Jet, tanh_jet
from deepmd_tf.nn.first_values import Normal
from deepmd_tf.nn.parameters import Parameters, count_weights

SEEDS_PER_LAYER = 3
"""Seeds of matrix, bias and timestep of a layer."""


@dataclass(frozen=True)
class DenseLayer:
    """A layer in the graph, z = x W + b. A hidden layer returns φ(z) δ (+ x), the last one z.

    Attributes
    ----------
    matrix, bias
        W [n_in, n_out] and b [n_out].
    timestep
        δ [n_out], or None for 1.
    skip
        Whether x is added.
    """

    matrix: tf.Tensor
    bias: tf.Tensor
    timestep: tf.Tensor | None = None
    skip: bool = False


@dataclass(frozen=True)
class ForwardPass:
    """A net in the graph applied to rows, with the intermediate values of its layers.

    Attributes
    ----------
    layers
        All layers.
    output
        Values of the last layer, [n, n_out]; from the fused operation, where n_out = 1, [n].
    jets
        For each hidden layer a function that gives φ(z), φ'(z) and φ''(z), [n, width].
    matmul
        The matrix product of the dialect.
    """

    layers: Sequence[DenseLayer]
    output: tf.Tensor
    jets: Sequence[Callable[[], Jet]]
    matmul: Callable[..., tf.Tensor]

    def second_derivatives(
        self, cotangent: tf.Tensor | None = None
    ) -> list[tuple[DenseLayer, tf.Tensor, tf.Tensor]]:
        """Each hidden layer with φ'(z) δ and λ φ''(z) δ, [n, width].

        Parameters
        ----------
        cotangent
            [n, n_out], of the output; λ is its derivative by what the layer returns. None: 1.
        """
        found = []
        last = self.layers[-1].matrix
        adjoint = tf.transpose(last)
        if cotangent is not None:
            adjoint = self.matmul(cotangent, adjoint)
        for layer, jet in zip(reversed(self.layers[:-1]), reversed(self.jets), strict=True):
            _, slope, bend = jet()
            if layer.timestep is not None:
                slope, bend = slope * layer.timestep, bend * layer.timestep
            found.append((layer, slope, adjoint * bend))
            if layer is not self.layers[0]:
                below = self.matmul(adjoint * slope, tf.transpose(layer.matrix))
                adjoint = below + adjoint if layer.skip else below
        return found[::-1]

    def curvature(
        self,
        tangents: tf.Tensor,
        rows: slice | None = None,
        cotangent: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        r"""Second derivative of the sum of the outputs along given directions, layer by layer.

        A net is curved in its activation functions only. With the forward derivatives
        :math:`\dot z_l` of the pre-activations along the directions a, b, and the adjoints λ,

        .. math::

            \ddot y_{ab} = \sum_l \sum_i
                \dot z_{la}^T \operatorname{diag}(λ_l φ''(z_l)) \, \dot z_{lb},

        which costs one pass through the layers for all directions.

        Parameters
        ----------
        tangents
            [n_frames, n_directions, n, dim]: derivative along each direction of the first ``dim``
            columns of the rows; the other columns do not change.
        rows
            Which rows of the net ``tangents`` belong to, in order; None: all.
        cotangent
            As for :meth:`second_derivatives`.

        Returns
        -------
            [n_frames, n_directions, n_directions] for each hidden layer; their sum is the second
            derivative.
        """
        products = []
        shape = tf.shape(tangents)
        x = tf.cast(tangents, self.layers[0].matrix.dtype)
        for layer, slope, weight in self.second_derivatives(cotangent):
            n_in, n_out = x.shape.as_list()[-1], slope.shape.as_list()[-1]
            matrix = layer.matrix
            if matrix.shape.as_list()[0] != n_in:
                matrix = matrix[:n_in]
            z = self.matmul(tf.reshape(x, [-1, n_in]), matrix)
            if rows is not None:
                slope, weight = slope[rows], weight[rows]
            flat = tf.reshape(z, [shape[0], shape[1], shape[2] * n_out])
            weight = tf.reshape(weight, [shape[0], 1, shape[2] * n_out])
            products.append(tf.matmul(flat * weight, flat, transpose_b=True))
            h = flat * tf.reshape(slope, [shape[0], 1, shape[2] * n_out])
            h = tf.reshape(h, [shape[0], shape[1], shape[2], n_out])
            x = h + x if layer.skip else h
        return products


class DenseNets:
    r"""Nets of the same shape, one for each atom type.

    A hidden layer is :math:`h = \varphi(x W + b)`; one as wide as the layer before it adds its
    input, :math:`x + h\,\delta`, with a trained timestep δ (``resnet_dt``) or 1. The last layer is
    linear.

    Parameters
    ----------
    neuron
        Widths of the hidden layers; none make a linear function.
    n_out
        Width of the last layer.
    activation
        φ.
    dtype
        Type of weights and values.
    resnet_dt
        Whether layers with a skip connection have a timestep.
    trainable
        Whether training changes the layers, for all or one for each.
    layer_name
        Name for each layer, or None; layers of the same name share their weights.
    """

    def __init__(
        self,
        neuron: Sequence[int],
        n_out: int,
        activation: Activation,
        dtype: tf.DType,
        *,
        resnet_dt: bool = True,
        trainable: bool | Sequence[bool] = True,
        layer_name: Sequence[str | None] | None = None,
    ) -> None:
        self.widths = (*neuron, n_out)
        self.activation = activation
        self.dtype = dtype
        self.resnet_dt = resnet_dt
        n_layers = len(self.widths)
        self.trainable = [trainable] * n_layers if isinstance(trainable, bool) else trainable
        self.layer_name = layer_name or [None] * n_layers

    def seeds(self, first: int | None) -> Iterator[int | None]:
        """The seed of each net, one net after the other; None: weights are drawn anew."""
        if first is None:
            return itertools.repeat(None)
        return itertools.count(first, SEEDS_PER_LAYER * len(self.widths))

    def weight_count(self, n_in: int) -> int:
        """Numbers in one net, with a timestep in every layer if there are any."""
        return count_weights((n_in, *self.widths), timesteps=self.resnet_dt)

    def build(
        self, n_in: int, atom_type: int | None, parameters: Parameters, seed: int | None
    ) -> list[DenseLayer]:
        """The layers of one net, for rows of ``n_in`` numbers; of no type where it is for all."""
        layers = []
        for level, n_out in enumerate(self.widths):
            final = level == len(self.widths) - 1
            scope = (None if final else level, atom_type, self.layer_name[level])

            def get(name, shape, mean, stddev, offset, level=level, scope=scope):
                offset += SEEDS_PER_LAYER * level
                init = Normal(mean, stddev, None if seed is None else seed + offset)
                return parameters.get(name(*scope), shape, self.dtype, init, self.trainable[level])

            matrix = get(names.fitting_matrix, (n_in, n_out), 0.0, 1 / np.sqrt(n_in + n_out), 0)
            bias = get(names.fitting_bias, (n_out,), 0.0, 1.0, 1)
            skip, timestep = not final and level > 0 and n_in == n_out, None
            if skip and self.resnet_dt:
                timestep = get(names.fitting_idt, (n_out,), 0.1, 0.001, 2)
            layers.append(DenseLayer(matrix, bias, timestep, skip))
            n_in = n_out
        return layers

    def apply(
        self, nets: Sequence[Sequence[DenseLayer]], rows: Sequence[tf.Tensor], native: bool
    ) -> list[ForwardPass]:
        """Each of ``nets`` on its rows [n, n_in].

        With ``native`` nets of hidden layers of tanh and of one output are one fused operation,
        and matrix products are those of this package; otherwise all operations are TensorFlow's.
        """
        tanh = self.activation.name == "tanh" and len(self.widths) > 1
        if native and self.widths[-1] == 1 and tanh:
            return self._apply_fused(nets, rows)
        matmul = ops.matmul if native else tf.matmul
        return [self._apply(net, x, matmul) for net, x in zip(nets, rows, strict=True)]

    def _apply_fused(
        self, nets: Sequence[Sequence[DenseLayer]], rows: Sequence[tf.Tensor]
    ) -> list[ForwardPass]:
        layers = [layer for net in nets for layer in net]
        outputs, hidden = ops.fitting_nets(
            rows,
            [layer.matrix for layer in layers],
            [layer.bias for layer in layers],
            [layer.timestep for layer in layers if layer.timestep is not None],
        )
        jets = [functools.partial(tanh_jet, h) for h in hidden]
        n_hidden = len(self.widths) - 1
        return [
            ForwardPass(net, output, jets[k * n_hidden : (k + 1) * n_hidden], ops.matmul)
            for k, (net, output) in enumerate(zip(nets, outputs, strict=True))
        ]

    def _apply(
        self, net: Sequence[DenseLayer], x: tf.Tensor, matmul: Callable[..., tf.Tensor]
    ) -> ForwardPass:
        jets = []
        for layer in net:
            z = tf.nn.bias_add(matmul(x, layer.matrix), layer.bias)
            if layer is net[-1]:
                break
            jets.append(functools.partial(self.activation.jet, TENSORFLOW, z))
            h = self.activation(z)
            h = h if layer.timestep is None else h * layer.timestep
            x = h + x if layer.skip else h
        return ForwardPass(net, z, jets, matmul)
