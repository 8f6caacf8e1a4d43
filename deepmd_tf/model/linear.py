# SPDX-License-Identifier: BSD-3-Clause
r"""A weighted sum of energy models,

.. math:: E_i = \sum_m w_m E_i^{(m)},

each with its own environments, nets and energy bias, or a table of pair potentials (model
``linear_ener`` of DeePMD-kit).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.config import LinearEnerConfig, ModelConfig
from deepmd_tf.descriptors import (
    LAYOUTS,
    Contraction,
    Features,
    TableOptions,
    build_layout,
    environments_of_member,
)
from deepmd_tf.environment import ModelInputs, PullBack
from deepmd_tf.fitting import FittingOutput
from deepmd_tf.model.atomic import AtomicOutputs, Statistics
from deepmd_tf.model.base import Model
from deepmd_tf.model.energy import Adjoints, EnergyModel, ModelOutputs, named_outputs
from deepmd_tf.model.pair_terms import PairTerm, TableTensors, pair_energy
from deepmd_tf.nn.parameters import ModelParameters, Parameters

Coefficients = tuple[np.ndarray, np.ndarray]
"""Of a table of pair potentials (:meth:`deepmd_tf.pair_table.PairTable.coefficients`)."""

T = TypeVar("T")


@dataclass(frozen=True)
class SumOutputs(ModelOutputs):
    """Tensors of a sum of models.

    Attributes
    ----------
    parts
        Those of the models.
    """

    parts: tuple[ModelOutputs, ...] = ()


class PairTableModel:
    """E_i = ½ Σ_j φ(r_ij) of a table of pair potentials, as one of several models.

    In every dialect its neighbours are in sections by type: the operation of DeePMD-kit takes the
    type of a neighbour from its section.

    Parameters
    ----------
    member
        Its place in the model.
    ntypes
        Number of atom types.
    table
        Coefficients of the table.
    """

    def __init__(self, member: Any, ntypes: int, table: Coefficients) -> None:
        self.scope: str = member.scope
        self.config = member.config
        (self.spec,) = environments_of_member(member, ntypes)
        self._table = table

    def describe(self) -> str:
        """Kind, cutoff and neighbours, for a line of text."""
        sel = " ".join(map(str, self.spec.selection.counts))
        return f"pairtab, rcut {self.config.rcut:g} Å, sel {sel}"

    def table(self, parameters: Parameters) -> TableTensors:
        """The table in the graph."""
        return TableTensors.get(parameters, *self._table)

    def build(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str,
        built: Sequence[Contraction],
    ) -> ModelOutputs:
        """Build the graph of energies, forces and virials; arguments as those of
        :meth:`EnergyModel.build <deepmd_tf.model.energy.EnergyModel.build>`."""
        shape = (self.spec.ntypes, self.spec.row_width)
        avg, std = tf.zeros(shape, inputs.dtype), tf.ones(shape, inputs.dtype)
        layout = build_layout(dialect, inputs, self.spec, avg, std, TableOptions(), built=built)
        term, ones = self._term(layout, parameters)
        atoms = self._atoms(layout, term)
        empty = tf.zeros([tf.shape(inputs.coord)[0], inputs.n_loc, 0], inputs.dtype)
        adjoints = Adjoints(tf.reshape(empty, [-1, 0]))
        pull_back = term.pull_back(ones)
        return named_outputs(self.scope, atoms, adjoints, pull_back, empty, inputs)

    def build_atoms_at(
        self, contractions: Sequence[Contraction], inputs: ModelInputs, parameters: Parameters
    ) -> AtomicOutputs:
        """See :meth:`Model.build_atoms_at <deepmd_tf.model.base.Model.build_atoms_at>`."""
        (layout,) = contractions
        placed = layout.at(inputs)
        return self._atoms(placed, self._term(placed, parameters)[0])

    def _term(self, layout: Contraction, parameters: Parameters) -> tuple[PairTerm, tf.Tensor]:
        """The energies of atoms, and the derivative of their sum by them."""
        environment = layout.environment
        inputs = environment.inputs
        ones = tf.ones([tf.shape(inputs.coord)[0], inputs.n_loc], inputs.dtype)
        return pair_energy(environment, self.table(parameters), ones), ones

    def _atoms(self, layout: Contraction, term: PairTerm) -> AtomicOutputs:
        return AtomicOutputs(FittingOutput(term.values, {}), Features([]), [layout])


class LinearEnergyModel(Model):
    """The weighted sum.

    Parameters
    ----------
    config
        The ``model`` section, with ``sel`` resolved to numbers and frozen members read.
    pair_tables
        Coefficients of the tables of pair potentials, by the scope of the member.
    original_sel, min_nbor_dist, **options
        As those of :class:`~deepmd_tf.model.atomic.AtomicModel`.

    Attributes
    ----------
    members
        The models, in the order of the section.
    factors
        What their energies are multiplied by.
    """

    config: LinearEnerConfig

    def __init__(
        self,
        config: LinearEnerConfig,
        *,
        pair_tables: Mapping[str, Coefficients],
        original_sel: Mapping[str, tuple[int, ...]] | None = None,
        min_nbor_dist: float | None = None,
        use_table: bool = True,
        **options: Any,
    ) -> None:
        self.config = config
        self.ntypes = config.known_ntypes
        self.original_sel = original_sel
        self.min_nbor_dist = min_nbor_dist
        self.use_table = use_table
        self.factors = config.factors
        self.members: list[EnergyModel | PairTableModel] = [
            EnergyModel(
                member.config,
                original_sel=original_sel,
                min_nbor_dist=min_nbor_dist,
                use_table=use_table,
                pair_table=pair_tables.get(member.scope),
                scope=member.scope,
                **options,
            )
            if isinstance(member.config, ModelConfig)
            else PairTableModel(member, self.ntypes, pair_tables[member.scope])
            for member in config.members()
        ]

    @property
    def nets(self) -> list[EnergyModel]:
        """The members with nets."""
        return [member for member in self.members if isinstance(member, EnergyModel)]

    @property
    def dialects(self) -> Sequence[str]:
        return tuple(d for d in LAYOUTS if all(d in member.dialects for member in self.nets))

    @property
    def dim_descriptor(self) -> int:
        return sum(member.dim_descriptor for member in self.nets)

    @property
    def type_embeddings(self) -> list[str]:
        return [name for member in self.nets for name in member.type_embeddings]

    @property
    def has_second_order(self) -> bool:
        return all(member.has_second_order for member in self.nets)

    def describe(self) -> str:
        parts = (
            f"{factor:g} × ({member.describe()})"
            for factor, member in zip(self.factors, self.members, strict=True)
        )
        return " + ".join(parts)

    def without_tables(self) -> LinearEnergyModel:
        other = copy.copy(self)
        other.use_table = False
        other.members = [
            member.without_tables() if isinstance(member, EnergyModel) else member
            for member in self.members
        ]
        return other

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
        tensors = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
        return SumOutputs(**tensors, parts=tuple(parts))

    def build_atoms_at(
        self, contractions: Sequence[Contraction], inputs: ModelInputs, parameters: Parameters
    ) -> AtomicOutputs:
        rest = iter(contractions)
        return self._summed(
            [
                member.build_atoms_at(
                    self._taken(rest, member), inputs, ModelParameters.of(parameters, member.scope)
                )
                for member in self.members
            ]
        )

    @staticmethod
    def _taken(rest: Iterator[T], member: EnergyModel | PairTableModel) -> list[T]:
        if isinstance(member, PairTableModel):
            return [next(rest)]
        return list(itertools.islice(rest, len(member.descriptor.environments())))

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
