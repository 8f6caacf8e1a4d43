# SPDX-License-Identifier: BSD-3-Clause
"""Atomic energies from descriptors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.config import FittingEner
from deepmd_tf.environment import ModelInputs
from deepmd_tf.nn.activations import TENSORFLOW, Jet, get_activation, tanh_jet
from deepmd_tf.nn.parameters import Normal, Parameters, Value
from deepmd_tf.nn.precision import network_dtype

SEEDS_PER_LAYER = 3
"""Seeds of matrix, bias and timestep of a layer."""


@dataclass(frozen=True)
class Layer:
    """A layer in the graph: z = x W + b. A hidden one hands on φ(z) δ (+ x), the last one z.

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
class Passed:
    """A net in the graph, and what its hidden layers gave for the atoms of a type.

    Attributes
    ----------
    layers
        All layers.
    jets
        For each hidden layer, what makes φ(z), φ'(z) and φ''(z), [n, n_out].
    """

    layers: Sequence[Layer]
    jets: Sequence[Callable[[], Jet]]


class EnergyFitting:
    r"""One net per atom type, :math:`E_i = N_{t(i)}(D_i, f, a_i) + b_{t(i)}`, in eV.

    f are the parameters of the frame and a those of the atom, where the model has them, each as
    (value − mean) / standard deviation of the training data. Layers are
    :math:`h = \varphi(x W + b)`; a layer as wide as the one before it adds its input,
    :math:`x + h\,\delta`, with a trained timestep δ (``resnet_dt``) or 1. The last layer is linear,
    of width 1. For types with ``atom_ener`` the net's value at a zero descriptor and the same
    parameters is subtracted, so that an isolated atom has exactly the bias. Virtual atoms (type -1)
    have energy zero.

    Parameters
    ----------
    config
        The ``fitting_net`` section.
    ntypes
        Number of atom types.
    """

    def __init__(self, config: FittingEner, ntypes: int) -> None:
        self.config = config
        self.ntypes = ntypes
        self.dtype = network_dtype(config.precision)
        self.activation = get_activation(config.activation_function)
        self._passed: list[Passed] = []
        self._matmul = tf.matmul

    def build(
        self,
        descriptors: Sequence[tf.Tensor],
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None = None,
        native: bool = False,
    ) -> tf.Tensor:
        """Atomic energies.

        Parameters
        ----------
        descriptors
            Of the atoms of each type, as :meth:`ModelInputs.split_types` cuts them: [n_frames, n,
            dim], static in the last axis.
        inputs
            Inputs of the graph.
        parameters
            Source of the weights.
        first
            First values of bias, means and inverse standard deviations by node name, when they are
            new variables; by default 0, 0 and 1.
        native
            Whether the graph may use operations that only this package has.

        Returns
        -------
            [n_frames, n_loc], eV, in the type of the interface.
        """
        statistics = _Statistics(parameters, inputs.dtype, first or {})
        known_of = self._split(inputs, *self._normalised(inputs, statistics))
        seed, self._matmul = self.config.seed, ops.matmul if native else tf.matmul
        nets, rows, vacuums = [], [], {}
        for atom_type, (descriptor, known) in enumerate(zip(descriptors, known_of, strict=True)):
            part = tf.cast(descriptor, self.dtype)
            rows.append(_join(part, known))
            net, seed = self._net(rows[-1].shape.as_list()[-1], atom_type, parameters, seed)
            nets.append(net)
            if self._has_atom_ener(atom_type):
                # One row for all atoms that have the same parameters: it is the same for all.
                shape = tf.shape(known[-1])[:2] if known else [1, 1]
                zero = tf.zeros([shape[0], shape[1], part.shape.as_list()[-1]], self.dtype)
                vacuums[atom_type] = (shape, _join(zero, known))
                seed = None if seed is None else seed + SEEDS_PER_LAYER * len(net)
        behind = [rows for _, rows in vacuums.values()]
        values, passed = self._apply([*nets, *(nets[t] for t in vacuums)], [*rows, *behind], native)
        self._passed = passed[: self.ntypes]
        energies = [
            tf.reshape(value, [tf.shape(descriptor)[0], -1])
            for value, descriptor in zip(values, descriptors, strict=False)
        ]
        for (atom_type, (shape, _)), value in zip(
            vacuums.items(), values[self.ntypes :], strict=True
        ):
            energies[atom_type] -= tf.reshape(value, shape)
        energy = tf.cast(inputs.join_types(energies), inputs.dtype)
        bias = statistics.get(names.BIAS_ATOM_E, self.ntypes, 0.0)
        return self._add_bias(energy, inputs, bias)

    def curvature(
        self, tangents: Sequence[tf.Tensor], atoms: tuple[tf.Tensor, tf.Tensor] | None = None
    ) -> tf.Tensor:
        r"""Second derivative of the energy by the descriptors, along given directions.

        A net is curved in its activation functions only. With the forward derivatives
        :math:`\dot z_l` of the pre-activations along the directions a, b, and the adjoints
        λ = ∂E/∂h,

        .. math::

            \ddot E_{ab} = \sum_i \sum_l
                \dot z_{la}^T \operatorname{diag}(λ_l φ''(z_l)) \, \dot z_{lb},

        which costs one pass through the layers for all directions.

        Parameters
        ----------
        tangents
            Of the atoms of each type, [n_frames, n_directions, n, dim]: derivative of the
            descriptors along each direction; zero for virtual atoms.
        atoms
            Place of the first of these atoms among all of each type in the only frame of the graph,
            and their numbers, int32 [ntypes]; None: all atoms of all frames.

        Returns
        -------
            [n_frames, n_directions, n_directions], in the type of the net.
        """
        products = []
        for atom_type, (passed, part) in enumerate(zip(self._passed, tangents, strict=True)):
            shape = tf.shape(part)
            x = tf.cast(part, self.dtype)
            for layer, slope, weight in self._bends(passed):
                n_in, n_out = x.shape.as_list()[-1], slope.shape.as_list()[-1]
                matrix = layer.matrix
                if matrix.shape.as_list()[0] != n_in:
                    # parameters behind the descriptor do not depend on the direction
                    matrix = matrix[:n_in]
                z = self._matmul(tf.reshape(x, [-1, n_in]), matrix)
                if atoms is not None:
                    begin, count = (numbers[atom_type] for numbers in atoms)
                    slope, weight = (t[begin : begin + count] for t in (slope, weight))
                flat = tf.reshape(z, [shape[0], shape[1], shape[2] * n_out])
                weight = tf.reshape(weight, [shape[0], 1, shape[2] * n_out])
                products.append(tf.matmul(flat * weight, flat, transpose_b=True))
                h = flat * tf.reshape(slope, [shape[0], 1, shape[2] * n_out])
                h = tf.reshape(h, [shape[0], shape[1], shape[2], n_out])
                x = h + x if layer.skip else h
        return functools.reduce(tf.add, products)

    def _bends(self, passed: Passed) -> list[tuple[Layer, tf.Tensor, tf.Tensor]]:
        """Each hidden layer with φ'(z) δ and λ φ''(z) for the atoms of a type, [n, n_out]."""
        found = []
        adjoint = tf.transpose(passed.layers[-1].matrix)
        for layer, jet in zip(reversed(passed.layers[:-1]), reversed(passed.jets), strict=True):
            _, slope, bend = jet()
            if layer.timestep is not None:
                slope, bend = slope * layer.timestep, bend * layer.timestep
            found.append((layer, slope, adjoint * bend))
            if layer is not passed.layers[0]:
                below = self._matmul(adjoint * slope, tf.transpose(layer.matrix))
                adjoint = below + adjoint if layer.skip else below
        return found[::-1]

    def _normalised(
        self, inputs: ModelInputs, statistics: _Statistics
    ) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """Parameters of the frame [n_frames, 1, dim] (mixed frames: [n_frames, n_loc, dim]) and of
        the atoms [n_frames, n_loc, dim] as the net sees them; None where it has none.
        """
        fparam = aparam = None
        if dim := self.config.numb_fparam:
            mean = statistics.get(names.FPARAM_AVG, dim, 0.0)
            inverse = statistics.get(names.FPARAM_ISTD, dim, 1.0)
            fparam = tf.cast((inputs.fparam - mean) * inverse, self.dtype)[:, None, :]
            if inputs.mixed:
                fparam = tf.repeat(fparam, inputs.n_loc, axis=1)
        if dim := self.config.net_aparam:
            mean = statistics.get(names.APARAM_AVG, dim, 0.0)
            inverse = statistics.get(names.APARAM_ISTD, dim, 1.0)
            aparam = tf.cast((inputs.aparam - mean) * inverse, self.dtype)
        return fparam, aparam

    def _split(
        self, inputs: ModelInputs, fparam: tf.Tensor | None, aparam: tf.Tensor | None
    ) -> list[list[tf.Tensor]]:
        """Those parameters that there are, for the atoms of each type."""
        given = []
        if fparam is not None:
            given.append(inputs.split_types(fparam) if inputs.mixed else [fparam] * self.ntypes)
        if aparam is not None:
            given.append(inputs.split_types(aparam))
        return [[values[t] for values in given] for t in range(self.ntypes)]

    def _has_atom_ener(self, atom_type: int) -> bool:
        atom_ener = self.config.atom_ener
        return atom_type < len(atom_ener) and atom_ener[atom_type] is not None

    def _net(
        self, n_in: int, atom_type: int, parameters: Parameters, seed: int | None
    ) -> tuple[list[Layer], int | None]:
        """The net of one type on rows of ``n_in`` numbers, and the seed behind it."""
        config = self.config
        shared = list(config.layer_name or [None] * (len(config.neuron) + 1))
        layers = []
        for level, n_out in enumerate([*config.neuron, 1]):
            final = level == len(config.neuron)
            layer = (None if final else level, atom_type, shared[level])

            def get(name, shape, mean, stddev, offset, level=level, layer=layer, seed=seed):
                init = Normal(mean, stddev, None if seed is None else seed + offset)
                trainable = self._trainable(level)
                return parameters.get(name(*layer), shape, self.dtype, init, trainable)

            matrix = get(names.fitting_matrix, (n_in, n_out), 0.0, 1 / np.sqrt(n_in + n_out), 0)
            bias = get(names.fitting_bias, (n_out,), 0.0, 1.0, 1)
            skip, timestep = not final and level > 0 and n_in == n_out, None
            if skip and config.resnet_dt:
                timestep = get(names.fitting_idt, (n_out,), 0.1, 0.001, 2)
            layers.append(Layer(matrix, bias, timestep, skip))
            n_in, seed = n_out, None if seed is None else seed + SEEDS_PER_LAYER
        return layers, seed

    def _apply(
        self, nets: Sequence[Sequence[Layer]], rows: Sequence[tf.Tensor], native: bool
    ) -> tuple[list[tf.Tensor], list[Passed]]:
        """Each net on its rows [n, n_in]: [n] values, and what its layers gave."""
        hidden = len(self.config.neuron)
        if not native or self.activation.name != "tanh" or ops.has_gpu():
            pairs = [self._pass(net, x) for net, x in zip(nets, rows, strict=True)]
            return [value for value, _ in pairs], [passed for _, passed in pairs]
        layers = [layer for net in nets for layer in net]
        values, h = ops.fitting_nets(
            rows,
            [layer.matrix for layer in layers],
            [layer.bias for layer in layers],
            [layer.timestep for layer in layers if layer.timestep is not None],
        )
        passed = []
        for number, net in enumerate(nets):
            own = h[number * hidden : (number + 1) * hidden]
            passed.append(Passed(net, [functools.partial(tanh_jet, value) for value in own]))
        return values, passed

    def _pass(self, net: Sequence[Layer], x: tf.Tensor) -> tuple[tf.Tensor, Passed]:
        jets = []
        for layer in net:
            z = tf.nn.bias_add(self._matmul(x, layer.matrix), layer.bias)
            if layer is net[-1]:
                break
            jets.append(functools.partial(self.activation.jet, TENSORFLOW, z))
            h = self.activation(z)
            h = h if layer.timestep is None else h * layer.timestep
            x = h + x if layer.skip else h
        return z, Passed(net, jets)

    def _trainable(self, level: int) -> bool:
        trainable = self.config.trainable
        return trainable if isinstance(trainable, bool) else trainable[level]

    def _add_bias(self, energy: tf.Tensor, inputs: ModelInputs, per_type: tf.Tensor) -> tf.Tensor:
        center = inputs.local_type
        bias = tf.gather(per_type, tf.clip_by_value(center, 0, self.ntypes - 1))
        real = tf.cast(center >= 0, inputs.dtype)
        shape = tf.shape(energy)
        return (energy + tf.reshape(bias, shape)) * tf.reshape(real, shape)


@dataclass(frozen=True)
class _Statistics:
    """Vectors that are measured before training and kept: parameters that are not trained."""

    parameters: Parameters
    dtype: tf.DType
    first: Mapping[str, np.ndarray]

    def get(self, name: str, dim: int, default: float) -> tf.Tensor:
        """[dim]."""
        init = Value(np.asarray(self.first.get(name, default)))
        return self.parameters.get(name, (dim,), self.dtype, init, trainable=False)


def _join(values: tf.Tensor, others: Sequence[tf.Tensor]) -> tf.Tensor:
    """``values`` [n_frames, n, dim] beside ``others``, each [n_frames, n or 1, ...]: [n_frames * n,
    sum of the last axes].
    """
    shape = tf.shape(values)[:2]
    parts = [values]
    for other in others:
        dim = other.shape.as_list()[-1]
        parts.append(tf.broadcast_to(other, tf.concat([shape, [dim]], axis=0)))
    joined = tf.concat(parts, axis=-1) if others else values
    return tf.reshape(joined, [-1, joined.shape.as_list()[-1]])
