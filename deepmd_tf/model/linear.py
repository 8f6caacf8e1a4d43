# SPDX-License-Identifier: BSD-3-Clause
r"""A weighted sum of energy models,

.. math:: E_i = \sum_m w_m E_i^{(m)},

each with its own environments, nets and energy bias, or a table of pair potentials (model
``linear_ener`` of DeePMD-kit).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf.config import LinearEnerConfig
from deepmd_tf.descriptors import Contraction, Features
from deepmd_tf.environment import ModelInputs, PullBack
from deepmd_tf.fitting import FittingOutput
from deepmd_tf.model.atomic import AtomicOutputs, Statistics
from deepmd_tf.model.composite import CompositeModel, PairTableModel
from deepmd_tf.model.energy import Adjoints, ModelOutputs, named_outputs
from deepmd_tf.nn.parameters import ModelParameters, Parameters


@dataclass(frozen=True)
class SumOutputs(ModelOutputs):
    """Tensors of a sum of models.

    Attributes
    ----------
    parts
        Those of the models.
    """

    parts: tuple[ModelOutputs, ...] = ()


class LinearEnergyModel(CompositeModel):
    """The weighted sum.

    Parameters
    ----------
    config, **options
        As those of :class:`~deepmd_tf.model.composite.CompositeModel`.

    Attributes
    ----------
    factors
        What the energies of the members are multiplied by.
    """

    config: LinearEnerConfig

    def __init__(self, config: LinearEnerConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.factors = config.factors

    @property
    def dim_descriptor(self) -> int:
        return sum(member.dim_descriptor for member in self.nets)

    @property
    def has_second_order(self) -> bool:
        return all(member.has_second_order for member in self.nets)

    def describe(self) -> str:
        parts = (
            f"{factor:g} × ({member.describe()})"
            for factor, member in zip(self.factors, self.members, strict=True)
        )
        return " + ".join(parts)

    def build(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str = "native",
        statistics: Mapping[str, Statistics] | None = None,
    ) -> SumOutputs:
        """Build the graph of energies, forces and virials; arguments as those of
        :meth:`Model.build <deepmd_tf.model.base.Model.build>`.

        Members whose cutoffs and numbers of neighbours agree share one list.
        """
        parts: list[ModelOutputs] = []
        told = False
        for member in self.members:
            own = ModelParameters.of(parameters, member.scope)
            built = [c for part in parts for c in part.atoms.contractions]
            if isinstance(member, PairTableModel):
                parts.append(member.build(inputs, own, dialect, built))
                continue
            first = None if statistics is None else statistics.get(member.scope)
            parts.append(member.build(inputs, own, dialect, first, built, tells_close=not told))
            told = True
        atoms = self._summed([part.atoms for part in parts])
        pull_back = PullBack(
            self._sum([part.force for part in parts]),
            self._sum([part.virial for part in parts]),
            self._sum([part.atom_virial for part in parts]),
        )
        adjoints = Adjoints(
            tf.concat(
                self._weighted([tf.cast(part.adjoints.descriptor, inputs.dtype) for part in parts]),
                axis=-1,
            ),
            tuple(
                tf.constant(factor, moment.dtype) * moment
                for factor, part in zip(self.factors, parts, strict=True)
                for moment in part.adjoints.moments
            ),
        )
        descriptor = tf.concat([part.descriptor for part in parts], axis=-1)
        whole = named_outputs("", atoms, adjoints, pull_back, descriptor, inputs)
        return SumOutputs(**vars(whole), parts=tuple(parts))

    def build_atoms_at(
        self, contractions: Sequence[Contraction], inputs: ModelInputs, parameters: Parameters
    ) -> AtomicOutputs:
        return self._summed(
            [
                member.build_atoms_at(own, inputs, ModelParameters.of(parameters, member.scope))
                for member, own in zip(self.members, self.of_members(contractions), strict=True)
            ]
        )

    def _summed(self, parts: Sequence[AtomicOutputs]) -> AtomicOutputs:
        values = self._sum([part.values for part in parts])
        features = [part.features for part in parts if part.features.by_type]
        dtype = values.dtype
        by_type = [
            tf.concat([tf.cast(found, dtype) for found in of_type], axis=-1)
            for of_type in zip(*(found.by_type for found in features), strict=True)
        ]
        contractions = [contraction for part in parts for contraction in part.contractions]
        return AtomicOutputs(FittingOutput(values, {}), Features(by_type), contractions)

    def _sum(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        return functools.reduce(tf.add, self._weighted(values))

    def _weighted(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        pairs = zip(self.factors, values, strict=True)
        return [tf.constant(factor, value.dtype) * value for factor, value in pairs]
