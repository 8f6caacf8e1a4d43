# SPDX-License-Identifier: BSD-3-Clause
"""Densities of states of atoms from descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.config import FittingDos
from deepmd_tf.environment import ModelInputs
from deepmd_tf.fitting.base import FittingOutput
from deepmd_tf.fitting.extra_inputs import MeasuredVectors
from deepmd_tf.fitting.nets import FittingNets
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.type_embedding import TypeEmbedding


class DosFitting:
    r"""Densities of states, :math:`g_i = N_{t(i)}(D_i, f, a_i)`, on a grid of ``numb_dos``
    energies; states/eV, or what the labels have.

    The nets are :class:`~deepmd_tf.fitting.nets.FittingNets`. Virtual atoms (type -1) have zeros.

    Parameters
    ----------
    config
        The ``fitting_net`` section.
    ntypes
        Number of atom types.
    types
        Their embedding, if the model has one.
    """

    config_class = FittingDos

    def __init__(self, config: FittingDos, ntypes: int, types: TypeEmbedding | None = None) -> None:
        self.config = config
        self.ntypes = ntypes
        self.types = types
        self.nets = FittingNets(config, ntypes, types, config.numb_dos)

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
        """Densities of states of atoms [n_frames, n_loc, numb_dos], in the type of the interface;
        see :meth:`Fitting.build <deepmd_tf.fitting.base.Fitting.build>`.
        """
        measured = MeasuredVectors(parameters, inputs.dtype, first or {})
        by_type = self.nets.passes(descriptors, inputs, parameters, measured, native)
        found = []
        for atom_type, descriptor in enumerate(descriptors):
            shape = tf.concat([tf.shape(descriptor)[:2], [self.config.numb_dos]], axis=0)
            found.append(
                tf.reshape(by_type[atom_type].output, shape)
                if atom_type in by_type
                else tf.zeros(shape, self.nets.dtype)
            )
        values = tf.cast(inputs.join_types(found), inputs.dtype)
        return FittingOutput(inputs.without_virtual(values), by_type)
