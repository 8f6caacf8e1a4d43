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
from deepmd_tf.fitting.extra_inputs import MeasuredVectors, join_columns
from deepmd_tf.fitting.nets import FittingNets
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.type_embedding import TypeEmbedding


class EnergyFitting:
    r"""One net per atom type, :math:`E_i = N_{t(i)}(D_i, f, a_i) + b_{t(i)}`, in eV; with a type
    embedding te one net for all, :math:`E_i = N(D_i, te(t(i)), f, a_i) + b_{t(i)}`.

    f are the parameters of the frame and a those of the atom, where the model has them, each as
    (value − mean) / standard deviation of the training data
    (:class:`~deepmd_tf.fitting.nets.FittingNets`). For types with ``atom_ener`` the net's
    value at a zero descriptor and the same parameters is subtracted, so that an isolated atom has
    exactly the bias; with a type embedding that is so for all types as soon as one has
    ``atom_ener``, as in DeePMD-kit. Virtual atoms (type -1) have energy zero.

    Parameters
    ----------
    config
        The ``fitting_net`` section.
    ntypes
        Number of atom types.
    types
        Their embedding, if the model has one.
    """

    config_class = FittingEner

    def __init__(
        self, config: FittingEner, ntypes: int, types: TypeEmbedding | None = None
    ) -> None:
        self.config = config
        self.ntypes = ntypes
        self.types = types
        twins = filter(self._has_atom_ener, range(ntypes)) if types is None else ()
        self.nets = FittingNets(config, ntypes, types, 1, twins=tuple(twins))

    def weight_count(self, dim_descriptor: int) -> int:
        """See :meth:`Fitting.weight_count <deepmd_tf.fitting.base.Fitting.weight_count>`."""
        return self.nets.weight_count(dim_descriptor)

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
        statistics = MeasuredVectors(parameters, inputs.dtype, first or {})
        rows = self.nets.rows(descriptors, inputs, parameters, statistics, native)
        nets = self.nets.build(rows, parameters, native)
        shapes, in_vacuum = {}, []
        for atom_type, net in nets.items():
            if self._has_atom_ener(atom_type):
                # One row for all atoms that have the same parameters: it is the same for all.
                part, columns = rows[atom_type].descriptor, rows[atom_type].columns
                shapes[atom_type] = shape = tf.shape(columns[-1])[:2] if columns else [1, 1]
                zero = tf.zeros([shape[0], shape[1], part.shape.as_list()[-1]], part.dtype)
                in_vacuum.append((net, join_columns(zero, columns)))
        by_type, alone = self.nets.apply(nets, rows, native, in_vacuum)
        energies = [
            tf.reshape(by_type[atom_type].output, [tf.shape(descriptor)[0], -1])
            if atom_type in nets
            else tf.zeros(tf.shape(descriptor)[:2], self.nets.dtype)
            for atom_type, descriptor in enumerate(descriptors)
        ]
        for (atom_type, shape), one in zip(shapes.items(), alone, strict=True):
            energies[atom_type] -= tf.reshape(one.output, shape)
        energy = tf.cast(inputs.join_types(energies), inputs.dtype)
        bias = statistics.get(names.BIAS_ATOM_E, self.ntypes, 0.0)
        return FittingOutput(self._add_bias(energy, inputs, bias), by_type)

    def _has_atom_ener(self, atom_type: int) -> bool:
        atom_ener = self.config.atom_ener
        if self.types is not None:
            return bool(atom_ener)
        return atom_type < len(atom_ener) and atom_ener[atom_type] is not None

    def _add_bias(self, energy: tf.Tensor, inputs: ModelInputs, per_type: tf.Tensor) -> tf.Tensor:
        center = inputs.local_type
        bias = tf.gather(per_type, tf.clip_by_value(center, 0, self.ntypes - 1))
        real = tf.cast(center >= 0, inputs.dtype)
        shape = tf.shape(energy)
        return (energy + tf.reshape(bias, shape)) * tf.reshape(real, shape)
