# SPDX-License-Identifier: BSD-3-Clause
"""Atomic energies from descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import FittingEner
from deepmd_tf.environment import ModelInputs
from deepmd_tf.fitting.base import FittingOutput
from deepmd_tf.fitting.extra_inputs import MeasuredVectors, join_columns, normalised_parameters
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.dense import DenseNets
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.precision import network_dtype


class EnergyFitting:
    r"""One net per atom type, :math:`E_i = N_{t(i)}(D_i, f, a_i) + b_{t(i)}`, in eV.

    f are the parameters of the frame and a those of the atom, where the model has them, each as
    (value − mean) / standard deviation of the training data. The nets are
    :class:`~deepmd_tf.nn.dense.DenseNets` of one output. For types with ``atom_ener`` the net's
    value at a zero descriptor and the same parameters is subtracted, so that an isolated atom has
    exactly the bias. Virtual atoms (type -1) have energy zero.

    Parameters
    ----------
    config
        The ``fitting_net`` section.
    ntypes
        Number of atom types.
    """

    config_class = FittingEner

    def __init__(self, config: FittingEner, ntypes: int) -> None:
        self.config = config
        self.ntypes = ntypes
        self.nets = DenseNets(
            config.neuron,
            1,
            get_activation(config.activation_function),
            network_dtype(config.precision),
            resnet_dt=config.resnet_dt,
            trainable=config.trainable,
            layer_name=config.layer_name,
        )

    def weight_count(self, dim_descriptor: int) -> int:
        """See :meth:`Fitting.weight_count <deepmd_tf.fitting.base.Fitting.weight_count>`."""
        n_in = dim_descriptor + self.config.numb_fparam + self.config.net_aparam
        return self.ntypes * self.nets.weight_count(n_in)

    def build(
        self,
        descriptors: Sequence[tf.Tensor],
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None = None,
        native: bool = False,
    ) -> FittingOutput:
        """Atomic energies [n_frames, n_loc], eV, in the type of the interface.

        Parameters
        ----------
        descriptors, inputs, parameters, native
            See :meth:`Fitting.build <deepmd_tf.fitting.base.Fitting.build>`.
        first
            First values of bias, means and inverse standard deviations; by default 0, 0 and 1.
        """
        config, dtype = self.config, self.nets.dtype
        statistics = MeasuredVectors(parameters, inputs.dtype, first or {})
        extra = normalised_parameters(
            inputs,
            statistics,
            dtype,
            dim_fparam=config.numb_fparam,
            dim_aparam=config.net_aparam,
        )
        seeds = self.nets.seeds(config.seed)
        nets, rows, vacuum_shapes, vacuum_rows = {}, [], {}, []
        for atom_type, (descriptor, columns) in enumerate(zip(descriptors, extra, strict=True)):
            n_in = sum(values.shape.as_list()[-1] for values in (descriptor, *columns))
            source = parameters.of_net(atom_type)
            net = self.nets.build(n_in, atom_type, source, next(seeds))
            if self._has_atom_ener(atom_type):
                next(seeds)  # as stock programs, which build the net once more
            if source is not parameters:
                continue  # at rest: there are no such atoms
            part = tf.cast(descriptor, dtype)
            nets[atom_type] = net
            rows.append(join_columns(part, columns))
            if self._has_atom_ener(atom_type):
                # One row for all atoms that have the same parameters: it is the same for all.
                shape = tf.shape(columns[-1])[:2] if columns else [1, 1]
                zero = tf.zeros([shape[0], shape[1], part.shape.as_list()[-1]], dtype)
                vacuum_shapes[atom_type] = shape
                vacuum_rows.append(join_columns(zero, columns))
        in_vacuum = [nets[atom_type] for atom_type in vacuum_shapes]
        passes = self.nets.apply([*nets.values(), *in_vacuum], [*rows, *vacuum_rows], native)
        by_type = dict(zip(nets, passes, strict=False))
        energies = [
            tf.reshape(by_type[atom_type].output, [tf.shape(descriptor)[0], -1])
            if atom_type in nets
            else tf.zeros(tf.shape(descriptor)[:2], dtype)
            for atom_type, descriptor in enumerate(descriptors)
        ]
        vacuum_passes = passes[len(nets) :]
        for (atom_type, shape), alone in zip(vacuum_shapes.items(), vacuum_passes, strict=True):
            energies[atom_type] -= tf.reshape(alone.output, shape)
        energy = tf.cast(inputs.join_types(energies), inputs.dtype)
        bias = statistics.get(names.BIAS_ATOM_E, self.ntypes, 0.0)
        return FittingOutput(self._add_bias(energy, inputs, bias), by_type)

    def _has_atom_ener(self, atom_type: int) -> bool:
        atom_ener = self.config.atom_ener
        return atom_type < len(atom_ener) and atom_ener[atom_type] is not None

    def _add_bias(self, energy: tf.Tensor, inputs: ModelInputs, per_type: tf.Tensor) -> tf.Tensor:
        center = inputs.local_type
        bias = tf.gather(per_type, tf.clip_by_value(center, 0, self.ntypes - 1))
        real = tf.cast(center >= 0, inputs.dtype)
        shape = tf.shape(energy)
        return (energy + tf.reshape(bias, shape)) * tf.reshape(real, shape)
