# SPDX-License-Identifier: BSD-3-Clause
"""What models of several members have in common, and a member without nets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import tensorflow.compat.v1 as tf

from deepmd_tf.config import AnyModelConfig, ModelConfig
from deepmd_tf.descriptors import (
    LAYOUTS,
    Contraction,
    Features,
    TableOptions,
    build_layout,
    environments_of_member,
)
from deepmd_tf.environment import ModelInputs
from deepmd_tf.fitting import FittingOutput
from deepmd_tf.model.atomic import AtomicOutputs
from deepmd_tf.model.base import Model
from deepmd_tf.model.energy import Adjoints, EnergyModel, ModelOutputs, named_outputs
from deepmd_tf.model.pair_terms import PairTerm, TableTensors, pair_energy
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.pair_table import Coefficients

C = TypeVar("C", bound="CompositeModel")


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

    def without_tables(self) -> PairTableModel:
        """Itself: it has no embedding nets."""
        return self

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


class CompositeModel(Model):
    """Base of models of several members.

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
    """

    def __init__(
        self,
        config: AnyModelConfig,
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
    def type_embeddings(self) -> list[str]:
        # members may share one
        return list(dict.fromkeys(name for net in self.nets for name in net.type_embeddings))

    def without_tables(self: C) -> C:
        other = super().without_tables()
        other.members = [member.without_tables() for member in self.members]
        return other

    def of_members(self, contractions: Sequence[Contraction]) -> list[list[Contraction]]:
        """The contractions of each member, of those of all."""
        rest = iter(contractions)
        return [
            list(
                itertools.islice(
                    rest,
                    len(member.descriptor.environments()) if isinstance(member, EnergyModel) else 1,
                )
            )
            for member in self.members
        ]
