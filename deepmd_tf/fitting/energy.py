# SPDX-License-Identifier: BSD-3-Clause
"""Atomic energies from descriptors."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import FittingEner
from deepmd_tf.environment import ModelInputs
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.parameters import Normal, Parameters, Value
from deepmd_tf.nn.precision import network_dtype

SEEDS_PER_LAYER = 3
"""Seeds of matrix, bias and timestep of a layer."""


class EnergyFitting:
    r"""One net per atom type, :math:`E_i = N_{t(i)}(D_i) + b_{t(i)}`, in eV.

    Layers are :math:`h = \varphi(x W + b)`; a layer as wide as the one before it adds its input,
    :math:`x + h\,\delta`, with a trained timestep δ (``resnet_dt``) or 1. The last layer is linear,
    of width 1. For types with ``atom_ener`` the net's value at a zero descriptor is subtracted, so
    that an isolated atom has exactly the bias. Virtual atoms (type -1) have energy zero.

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

    def build(
        self,
        descriptor: tf.Tensor,
        inputs: ModelInputs,
        parameters: Parameters,
        bias: np.ndarray | None = None,
    ) -> tf.Tensor:
        """Atomic energies.

        Parameters
        ----------
        descriptor
            [n_frames * n_loc, dim], static in its last axis; atoms of a frame sorted by type.
        inputs
            Inputs of the graph.
        parameters
            Source of the weights.
        bias
            [ntypes], eV, first value of the bias when it is a new variable; zeros by default.

        Returns
        -------
            [n_frames, n_loc], eV, in the type of the interface.
        """
        dim = descriptor.shape.as_list()[-1]
        descriptor = tf.reshape(tf.cast(descriptor, self.dtype), [-1, inputs.n_loc, dim])
        n_frames = tf.shape(descriptor)[0]
        seed = self.config.seed
        energies = []
        for atom_type, part in enumerate(inputs.split_types(descriptor)):
            rows = tf.reshape(part, [-1, dim])
            energy, seed_after = self._net(rows, atom_type, parameters, seed)
            if self._has_atom_ener(atom_type):
                # One row is enough: the value at zero is the same for all atoms of the type.
                vacuum, seed_after = self._net(
                    tf.zeros([1, dim], self.dtype), atom_type, parameters, seed_after
                )
                energy -= vacuum
            seed = seed_after
            energies.append(tf.reshape(energy, [n_frames, -1]))
        energy = tf.cast(tf.concat(energies, axis=1), inputs.dtype)
        return self._add_bias(energy, inputs, parameters, bias)

    def _has_atom_ener(self, atom_type: int) -> bool:
        atom_ener = self.config.atom_ener
        return atom_type < len(atom_ener) and atom_ener[atom_type] is not None

    def _net(
        self, x: tf.Tensor, atom_type: int, parameters: Parameters, seed: int | None
    ) -> tuple[tf.Tensor, int | None]:
        """The net of one type on rows [n, dim]: [n, 1], and the seed behind its layers."""
        config = self.config
        shared = list(config.layer_name or [None] * (len(config.neuron) + 1))
        widths = [x.shape.as_list()[-1], *config.neuron, 1]
        for level, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
            final = level == len(config.neuron)
            layer = (None if final else level, atom_type, shared[level])

            def get(name, shape, mean, stddev, offset, level=level, layer=layer, seed=seed):
                init = Normal(mean, stddev, None if seed is None else seed + offset)
                trainable = self._trainable(level)
                return parameters.get(name(*layer), shape, self.dtype, init, trainable)

            matrix = get(names.fitting_matrix, (n_in, n_out), 0.0, 1 / np.sqrt(n_in + n_out), 0)
            bias = get(names.fitting_bias, (n_out,), 0.0, 1.0, 1)
            h = tf.nn.bias_add(tf.matmul(x, matrix), bias)
            if not final:
                h = self.activation(h)
                if level > 0 and n_in == n_out:
                    if config.resnet_dt:
                        h *= get(names.fitting_idt, (n_out,), 0.1, 0.001, 2)
                    h += x
            x = h
            seed = None if seed is None else seed + SEEDS_PER_LAYER
        return x, seed

    def _trainable(self, level: int) -> bool:
        trainable = self.config.trainable
        return trainable if isinstance(trainable, bool) else trainable[level]

    def _add_bias(
        self,
        energy: tf.Tensor,
        inputs: ModelInputs,
        parameters: Parameters,
        bias: np.ndarray | None,
    ) -> tf.Tensor:
        init = Value(np.zeros(self.ntypes) if bias is None else np.asarray(bias))
        per_type = parameters.get(
            names.BIAS_ATOM_E, (self.ntypes,), inputs.dtype, init, trainable=False
        )
        center = inputs.local_type
        bias = tf.gather(per_type, tf.clip_by_value(center, 0, self.ntypes - 1))
        real = tf.cast(center >= 0, inputs.dtype)
        shape = tf.shape(energy)
        return (energy + tf.reshape(bias, shape)) * tf.reshape(real, shape)
