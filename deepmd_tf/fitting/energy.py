# SPDX-License-Identifier: BSD-3-Clause
"""Atomic energies from descriptors."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import FittingEner
from deepmd_tf.environment import ModelInputs
from deepmd_tf.nn.activations import TENSORFLOW, get_activation
from deepmd_tf.nn.parameters import Normal, Parameters, Value
from deepmd_tf.nn.precision import network_dtype

MatMul = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Product of two matrices."""
SEEDS_PER_LAYER = 3
"""Seeds of matrix, bias and timestep of a layer."""


@dataclass(frozen=True)
class HiddenLayer:
    """A hidden layer in the graph: z = x W + b, h = φ(z), and h·δ (+ x) goes on.

    Attributes
    ----------
    matrix
        W [n_in, n_out].
    z, h
        [n, n_out].
    timestep
        δ [n_out], or None for 1.
    skip
        Whether x is added.
    """

    matrix: tf.Tensor
    z: tf.Tensor
    h: tf.Tensor
    timestep: tf.Tensor | None
    skip: bool


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
        self._matmul: MatMul = tf.matmul
        self.layers: list[list[HiddenLayer]] = []
        """Hidden layers of the net of each type, once :meth:`build` was called."""

    def build(
        self,
        descriptors: Sequence[tf.Tensor],
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None = None,
        matmul: MatMul = tf.matmul,
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
        matmul
            Product of two matrices, as the environment has it.

        Returns
        -------
            [n_frames, n_loc], eV, in the type of the interface.
        """
        statistics = _Statistics(parameters, inputs.dtype, first or {})
        known_of = self._split(inputs, *self._normalised(inputs, statistics))
        seed, self._matmul = self.config.seed, matmul
        energies, self.layers = [], []
        for atom_type, descriptor in enumerate(descriptors):
            part, known = tf.cast(descriptor, self.dtype), known_of[atom_type]
            energy, layers, seed = self._net(_join(part, known), atom_type, parameters, seed)
            self.layers.append(layers)
            energy = tf.reshape(energy, [tf.shape(part)[0], -1])
            if self._has_atom_ener(atom_type):
                # One row for all atoms that have the same parameters: it is the same for all.
                rows = tf.shape(known[-1])[:2] if known else [1, 1]
                zero = tf.zeros([rows[0], rows[1], part.shape.as_list()[-1]], self.dtype)
                vacuum, _, seed = self._net(_join(zero, known), atom_type, parameters, seed)
                energy -= tf.reshape(vacuum, rows)
            energies.append(energy)
        energy = tf.cast(inputs.join_types(energies), inputs.dtype)
        bias = statistics.get(names.BIAS_ATOM_E, self.ntypes, 0.0)
        return self._add_bias(energy, inputs, bias)

    def curvature(
        self,
        adjoints: Sequence[tf.Tensor],
        tangents: Sequence[tf.Tensor],
        atoms: tuple[tf.Tensor, tf.Tensor] | None = None,
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
        adjoints
            λ of each hidden layer in the order of :attr:`layers`.
        tangents
            Of the atoms of each type, [n_frames, n_directions, n, dim]: derivative of the
            descriptors along each direction.
        atoms
            Place of the first of these atoms among all of each type in the only frame of the graph,
            and their numbers, int32 [ntypes]; None: all atoms of all frames.

        Returns
        -------
            [n_frames, n_directions, n_directions], in the type of the net.
        """
        adjoints, products = iter(adjoints), []
        for atom_type, (layers, part) in enumerate(zip(self.layers, tangents, strict=True)):
            shape = tf.shape(part)
            x = tf.cast(part, self.dtype)
            for layer in layers:
                n_in, n_out = x.shape.as_list()[-1], layer.z.shape.as_list()[-1]
                matrix = layer.matrix
                if matrix.shape.as_list()[0] != n_in:
                    # parameters behind the descriptor do not depend on the direction
                    matrix = matrix[:n_in]
                z = self._matmul(tf.reshape(x, [-1, n_in]), matrix)
                primal, adjoint = layer.z, next(adjoints)
                if atoms is not None:
                    begin, count = (numbers[atom_type] for numbers in atoms)
                    primal, adjoint = (t[begin : begin + count] for t in (primal, adjoint))
                _, slope, bend = self.activation.jet(TENSORFLOW, primal)
                flat = tf.reshape(z, [shape[0], shape[1], shape[2] * n_out])
                weight = tf.reshape(adjoint * bend, [shape[0], 1, shape[2] * n_out])
                products.append(tf.matmul(flat * weight, flat, transpose_b=True))
                slope = slope if layer.timestep is None else slope * layer.timestep
                h = flat * tf.reshape(slope, [shape[0], 1, shape[2] * n_out])
                h = tf.reshape(h, [shape[0], shape[1], shape[2], n_out])
                x = h + x if layer.skip else h
        return functools.reduce(tf.add, products)

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
        self, x: tf.Tensor, atom_type: int, parameters: Parameters, seed: int | None
    ) -> tuple[tf.Tensor, list[HiddenLayer], int | None]:
        """The net of one type on rows [n, dim]: [n, 1], its hidden layers, and the seed behind
        them.
        """
        config = self.config
        shared = list(config.layer_name or [None] * (len(config.neuron) + 1))
        widths = [x.shape.as_list()[-1], *config.neuron, 1]
        layers = []
        for level, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
            final = level == len(config.neuron)
            layer = (None if final else level, atom_type, shared[level])

            def get(name, shape, mean, stddev, offset, level=level, layer=layer, seed=seed):
                init = Normal(mean, stddev, None if seed is None else seed + offset)
                trainable = self._trainable(level)
                return parameters.get(name(*layer), shape, self.dtype, init, trainable)

            matrix = get(names.fitting_matrix, (n_in, n_out), 0.0, 1 / np.sqrt(n_in + n_out), 0)
            bias = get(names.fitting_bias, (n_out,), 0.0, 1.0, 1)
            z = tf.nn.bias_add(self._matmul(x, matrix), bias)
            if final:
                x = z
            else:
                h = self.activation(z)
                skip, timestep = level > 0 and n_in == n_out, None
                if skip and config.resnet_dt:
                    timestep = get(names.fitting_idt, (n_out,), 0.1, 0.001, 2)
                layers.append(HiddenLayer(matrix, z, h, timestep, skip))
                h = h if timestep is None else h * timestep
                x = h + x if skip else h
            seed = None if seed is None else seed + SEEDS_PER_LAYER
        return x, layers, seed

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
