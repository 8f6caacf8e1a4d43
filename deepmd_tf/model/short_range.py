# SPDX-License-Identifier: BSD-3-Clause
r"""A tabulated pair potential in place of the nets where atoms are close:

.. math::

    E_i = λ_i (T_i + b_{t(i)}) + (1 - λ_i) N_i, \qquad T_i = \frac{1}{2} \sum_j φ(r_{ij}),

with the energy N of the nets, the energy bias b (if ``srtab_add_bias``) and a switch λ by the
smooth smallest distance of an atom (:class:`~deepmd_tf.model.pair_terms.SoftMin`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import ModelConfig
from deepmd_tf.environment import Environment, PullBack
from deepmd_tf.model.pair_terms import (
    PairTerm,
    SoftMin,
    TableTensors,
    pair_energy,
    soft_min_switch,
)
from deepmd_tf.nn.first_values import Value
from deepmd_tf.nn.parameters import Parameters


@dataclass(frozen=True)
class Blend:
    """The two energies of each atom in the graph, and their mixture.

    Attributes
    ----------
    environment
        Whose neighbours are looked at.
    switch, table
        λ and T.
    pairs, nets
        [n_frames, n_loc], eV: T + b and N.
    values
        [n_frames, n_loc], eV: the mixture.
    """

    environment: Environment
    switch: PairTerm
    table: PairTerm
    pairs: tf.Tensor
    nets: tf.Tensor
    values: tf.Tensor

    def pull_back(self) -> PullBack:
        """Force and virial at fixed N."""
        parts = (
            self.switch.pull_back(self.pairs - self.nets),
            self.table.pull_back(self.switch.values),
        )
        return PullBack.sum(parts)


class ShortRange:
    """The short-range potential of a model.

    Parameters
    ----------
    config
        The ``model`` section, with ``use_srtab``.
    info, data
        The table, as :meth:`deepmd_tf.pair_table.PairTable.coefficients` gives it.
    """

    def __init__(self, config: ModelConfig, info: np.ndarray, data: np.ndarray) -> None:
        self.soft_min = SoftMin(*config.switch_to_table)
        self.ntypes = config.known_ntypes
        self.add_bias = config.srtab_add_bias
        self.info = info
        self.data = data

    def table(self, parameters: Parameters) -> TableTensors:
        """The table in the graph."""
        return TableTensors.get(parameters, self.info, self.data)

    def build(
        self, environments: Sequence[Environment], parameters: Parameters, nets: tf.Tensor
    ) -> Blend:
        """Mix the energies ``nets`` [n_frames, n_loc] with those of the table.

        Neighbours are those of the environment with the largest cutoff, the first of several.
        """
        environment = max(environments, key=lambda each: each.spec.cutoff.rcut)
        switch = soft_min_switch(environment, self.soft_min)
        table = pair_energy(environment, self.table(parameters), switch.values)
        pairs = table.values
        if self.add_bias:
            pairs += self._bias(environment, parameters, tf.shape(nets))
        values = switch.values * pairs + (1.0 - switch.values) * nets
        return Blend(environment, switch, table, pairs, nets, values)

    def _bias(
        self, environment: Environment, parameters: Parameters, shape: tf.Tensor
    ) -> tf.Tensor:
        dtype, center = environment.inputs.dtype, environment.inputs.local_type
        zeros = Value(np.zeros(self.ntypes))
        bias = parameters.get(names.BIAS_ATOM_E, (self.ntypes,), dtype, zeros)
        bias = tf.gather(bias, tf.clip_by_value(center, 0, self.ntypes - 1))
        return tf.reshape(tf.cast(center >= 0, dtype) * bias, shape)
