# SPDX-License-Identifier: BSD-3-Clause
"""Sums over flat pair lists: empty slots are one term per centre and section."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.descriptors.angles_flat import count_outside, sum_by_nets, sum_by_table
from deepmd_tf.descriptors.contraction import Contraction, Term
from deepmd_tf.environment import ANGULAR
from deepmd_tf.environment.native import NativeEnvironment
from deepmd_tf.nn.angle_table import AngleTable
from deepmd_tf.nn.angular import AngularNets
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.spline import FixedTable
from deepmd_tf.nn.table import EmbeddingTable

AnyTable = TypeVar("AnyTable", EmbeddingTable, AngleTable)


class FlatContraction(Contraction):
    """Sums of the native dialect; embedding nets on a table, unless ``options`` say otherwise."""

    environment: NativeEnvironment

    def moment(self, nets: EmbeddingNets, divisor: int) -> tf.Tensor:
        splits = self.environment.pairs.splits
        net_of_section = self._net_of_section(nets)
        rows = tf.cast(self.environment.rows, nets.dtype)
        empty = self._empty_moment(nets, self._at_zero(nets), divisor)
        moment = self._sum(
            nets, rows, splits, net_of_section, divisor, sections=nets.n_sections, start=empty
        )
        self._count_outside(nets, rows[:, 0], net_of_section)
        return moment

    def total(self, nets: EmbeddingNets) -> tf.Tensor:
        splits, net_of = self.environment.pairs.splits, self._net_of_section(nets)
        rows = tf.cast(self.environment.rows, nets.dtype)
        total = self._totals(nets, rows, splits, net_of, sections=nets.n_sections)
        self._count_outside(nets, rows[:, 0], net_of)
        weight, g = self._empty_terms(nets, self._at_zero(nets))
        return total + ops.matmul(weight, tf.reshape(g, [-1, nets.width]))

    def _totals(
        self,
        nets: EmbeddingNets,
        rows: tf.Tensor,
        splits: tf.Tensor,
        net_of_section: tf.Tensor,
        *,
        sections: int,
    ) -> tf.Tensor:
        """Σ G(s) over the rows [n, components] of ``sections`` sections: [n_sections / sections,
        M1].
        """
        s = rows[:, 0]
        # Of a moment of rows (1, 0, 0, 0) the first component.
        unit = tf.one_hot(tf.zeros_like(s, tf.int32), ANGULAR, dtype=nets.dtype)
        table = self._tabulated(nets)
        if table is None:
            g = self._values(nets, rows, splits, net_of_section)
            return ops.contract(unit, g, splits, ntypes=sections)[:, 0]
        moment = ops.moment(
            table.table,
            table.interval,
            s,
            unit,
            splits,
            net_of_section,
            ntypes=sections,
            octaves=table.octaves.count,
            per_octave=table.octaves.intervals if table.octaves.count else 0,
        )
        return moment[:, 0]

    def _count_outside(self, nets: EmbeddingNets, s: tf.Tensor, net_of_section: tf.Tensor) -> None:
        """Add the diagnostics of the table, if there is one."""
        if isinstance(self.table, EmbeddingTable):
            self.diagnostics["outside"] = ops.moment_outside(
                self.table.interval,
                s,
                self.environment.pairs.splits,
                net_of_section,
                ntypes=nets.n_sections,
            )

    def pair_moments(
        self,
        nets: EmbeddingNets,
        displacement: tf.Tensor,
        pairs: slice,
        times: int,
        divisor: int,
    ) -> tf.Tensor:
        """Contribution of each of ``pairs`` to :meth:`moment`: [n_pairs * times, components, M1].

        ``displacement`` [n_pairs * times, 3], Å, has ``times`` consecutive displacements for each
        pair.
        """
        rows, splits, net_of = self._terms(nets, displacement, pairs, times)
        return self._sum(nets, rows, splits, net_of, divisor, sections=1)

    def pair_totals(
        self, nets: EmbeddingNets, displacement: tf.Tensor, pairs: slice, times: int
    ) -> tf.Tensor:
        """Contribution of each of ``pairs`` to :meth:`total`: [n_pairs * times, M1]; arguments as
        those of :meth:`pair_moments`.
        """
        rows, splits, net_of = self._terms(nets, displacement, pairs, times)
        return self._totals(nets, rows, splits, net_of, sections=1)

    def _terms(
        self, nets: EmbeddingNets, displacement: tf.Tensor, pairs: slice, times: int
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Rows at displacements of pairs, as sections of one row each: rows, splits, nets."""
        splits = self.environment.pairs.splits
        net_of_pair = tf.repeat(self._net_of_section(nets), splits[1:] - splits[:-1])[pairs]
        center = tf.repeat(self.environment.pairs.center[pairs], times)
        rows = tf.cast(self.environment.rows_at(displacement, center), nets.dtype)
        return rows, tf.range(tf.shape(rows)[0] + 1), tf.repeat(net_of_pair, times)

    def sum(self, nets: EmbeddingNets, term: Term, width: int) -> tf.Tensor:
        splits = self.environment.pairs.splits
        rows = tf.cast(self.environment.rows, nets.dtype)
        columns = self._columns(nets, term, width, rows, splits, self._net_of_section(nets))
        centers = tf.shape(self.inputs.local_type)[0]
        total = tf.math.unsorted_segment_sum(columns, self._local(nets), centers)
        empty = tf.cast(self.environment.empty_row(), nets.dtype)
        at_zero = tf.stack([term(net, empty) for net in nets.used])
        weight, g = self._empty_terms(nets, at_zero)
        return total + ops.matmul(weight, tf.reshape(g, [-1, width]))

    def angles(self, nets: AngularNets) -> tf.Tensor:
        table = self._angle_table(nets)
        if table is None:
            return sum_by_nets(self.environment, nets)
        self.diagnostics["outside"] = count_outside(self.environment, table)
        return sum_by_table(self.environment, table)

    def _angle_table(self, nets: AngularNets) -> AngleTable | None:
        """The table, made when it is first asked for; None: the nets are evaluated."""
        reach = self.options.smallest_distance
        if reach is None or not nets.activation.smooth:
            return None
        if self.table is None:
            environment, spec = self.environment, self.environment.spec
            table = AngleTable(
                nets,
                environment.avg,
                environment.std,
                spec.cutoff.inverse_distance(reach),
                spec.selection.counts,
                all_distances=self.options.all_distances,
            )
            table.build()
            self.table = self._if_accurate(table)
        return self.table

    def squares(self, moment: tf.Tensor, n_axis: int) -> list[tf.Tensor]:
        if self.inputs.mixed:
            return super().squares(moment, n_axis)
        counts = self.inputs.natoms[2:]
        parts = ops.descriptor(moment, counts, n_axis=n_axis)
        n_frames, dim = tf.shape(self.inputs.coord)[0], moment.shape.as_list()[-1] * n_axis
        return [tf.reshape(part, [n_frames, counts[t], dim]) for t, part in enumerate(parts)]

    def _squares(self, moment: tf.Tensor, n_axis: int) -> tf.Tensor:
        return ops.descriptor(moment, n_axis=n_axis)

    def _local(self, nets: EmbeddingNets) -> tf.Tensor:
        """int32 [n_pairs], the centre of each pair among the local atoms of all frames."""
        splits = self.environment.pairs.splits
        sections = tf.range(tf.size(splits) - 1) // nets.n_sections
        return tf.repeat(sections, splits[1:] - splits[:-1])

    def _net_of_section(self, nets: EmbeddingNets) -> tf.Tensor:
        """int32 [n_centers * n_sections]: net of each section of the pair list, counted among those
        that are used, -1 for none.
        """
        # A last row for virtual atoms, which have no net.
        table = tf.concat([tf.constant(nets.place_of), tf.fill([1, nets.n_sections], -1)], axis=0)
        center = self.inputs.local_type
        center = tf.where_v2(center < 0, nets.ntypes, center)
        return tf.reshape(tf.gather(table, center), [-1])

    def _tabulated(self, nets: EmbeddingNets) -> EmbeddingTable | FixedTable | None:
        """The table, made when it is first asked for; None: the nets are evaluated."""
        if nets.splines:
            self.table = self.table or FixedTable(nets.splines, nets.dtype)
            return self.table
        reach = self.options.smallest_distance
        if reach is None or not nets.activation.smooth:
            return None
        if self.table is None:
            environment = self.environment
            largest_s = environment.spec.cutoff.inverse_distance(reach)
            table = EmbeddingTable(
                nets,
                environment.avg,
                environment.std,
                largest_s,
                all_distances=self.options.all_distances,
            )
            table.build()
            self.table = self._if_accurate(table)
        return self.table

    def _if_accurate(self, table: AnyTable) -> AnyTable | None:
        """The table, unless no number of nodes represents the constant weights."""
        if table.report is not None and not table.report.accurate:
            self.options = dataclasses.replace(self.options, smallest_distance=None)
            return None
        return table

    def _sum(
        self,
        nets: EmbeddingNets,
        rows: tf.Tensor,
        splits: tf.Tensor,
        net_of_section: tf.Tensor,
        divisor: int,
        *,
        sections: int,
        start: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Σ R ⊗ G(s) over the rows [n, components] of ``sections`` sections, divided, plus
        ``start``: [n_sections / sections, components, M1].
        """
        table = self._tabulated(nets)
        if table is None:
            g = self._values(nets, rows, splits, net_of_section)
            moment = ops.contract(rows, g, splits, ntypes=sections)
            moment /= divisor
            return moment if start is None else start + moment
        return ops.moment_of_rows(
            table.table,
            table.interval,
            rows,
            splits,
            net_of_section,
            start,
            ntypes=sections,
            divisor=divisor,
            octaves=table.octaves.count,
            per_octave=table.octaves.intervals if table.octaves.count else 0,
        )

    def _values(
        self, nets: EmbeddingNets, rows: tf.Tensor, splits: tf.Tensor, net_of_section: tf.Tensor
    ) -> tf.Tensor:
        """G(s) of each of ``rows`` by the nets themselves: [n, M1]; zero without a net."""
        if not nets.at_once:
            return self._columns(nets, nets.apply, nets.width, rows[:, :1], splits, net_of_section)
        n_nets = len(nets.used)
        net_of_row = tf.repeat(net_of_section, splits[1:] - splits[:-1])
        part = tf.where_v2(net_of_row < 0, n_nets, net_of_row)
        places = tf.dynamic_partition(tf.range(tf.size(part)), part, n_nets + 1)[:-1]
        counts = tf.math.bincount(part, minlength=n_nets + 1, maxlength=n_nets + 1)[:-1]
        order = tf.concat(places, axis=0)[:, None]
        g = nets.apply_sorted(tf.gather_nd(rows[:, 0], order), counts)
        return tf.scatter_nd(order, g, [tf.size(part), nets.width])

    def _columns(
        self,
        nets: EmbeddingNets,
        term: Term,
        width: int,
        rows: tf.Tensor,
        splits: tf.Tensor,
        net_of_section: tf.Tensor,
    ) -> tf.Tensor:
        """The term of each row by the nets themselves: [n, width]."""
        n_nets = len(nets.used)
        net_of_row = tf.repeat(net_of_section, splits[1:] - splits[:-1])
        # Rows without a net form a last part, whose columns are zero.
        part = tf.where_v2(net_of_row < 0, n_nets, net_of_row)
        parts = tf.dynamic_partition(rows, part, n_nets + 1)
        where = tf.dynamic_partition(tf.range(tf.size(part)), part, n_nets + 1)
        columns = [term(net, part) for net, part in zip(nets.used, parts, strict=False)]
        columns.append(tf.zeros([tf.size(where[-1]), width], nets.dtype))
        return tf.dynamic_stitch(where, columns)

    def _at_zero(self, nets: EmbeddingNets) -> tf.Tensor:
        """G at the s of an empty slot, by used net and centre type: [n_used, ntypes, M1]."""
        table = self._tabulated(nets)
        if isinstance(table, EmbeddingTable):
            return table.at_zero
        empty = tf.cast(self.environment.empty_row(), nets.dtype)[:, :1]
        if nets.at_once:
            return nets.apply_each(empty[:, 0])
        return tf.stack([nets.apply(net, empty) for net in nets.used])

    def _empty_moment(self, nets: EmbeddingNets, at_zero: tf.Tensor, divisor: int) -> tf.Tensor:
        """Sum over the empty slots, n_empty R_empty ⊗ G(s_empty), divided: [n_centers, components,
        M1].

        ``at_zero`` [n_used, ntypes, M1] is G(s_empty) of each net and centre type.
        """
        weight, g = self._empty_terms(nets, at_zero)
        row = tf.cast(self.environment.empty_row() / divisor, nets.dtype)
        components = self.environment.spec.components
        term = row[:, None, :, None] * g[:, :, None, :]
        term = tf.reshape(term, [nets.ntypes * nets.n_sections, components * nets.width])
        return tf.reshape(ops.matmul(weight, term), [-1, components, nets.width])

    def _empty_terms(self, nets: EmbeddingNets, at_zero: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Numbers of empty slots of each centre, [n_centers, ntypes * n_sections], zero but for its
        own type, and the term of one, [ntypes, n_sections, width].

        ``at_zero`` [n_used, ntypes, width] is the term by net and centre type.
        """
        ntypes, sections, width = nets.ntypes, nets.n_sections, at_zero.shape.as_list()[-1]
        n_empty = self.environment.empty_count(nets.dtype)
        center = tf.one_hot(self.inputs.local_type, ntypes, dtype=nets.dtype)
        weight = tf.reshape(center[:, :, None] * n_empty[:, None, :], [-1, ntypes * sections])
        net_of = nets.place_of
        # There are no empty slots for nets at rest, so any net stands for them. A zero in its place
        # would be one operation more, and gradients would be added in another order.
        net_of = np.where((net_of < 0) & (nets.net_of >= 0), 0, net_of)
        if (net_of < 0).any():  # a last net, which is zero
            at_zero = tf.concat([at_zero, tf.zeros([1, ntypes, width], nets.dtype)], axis=0)
            net_of = np.where(net_of < 0, len(nets.used), net_of)
        center_type = np.broadcast_to(np.arange(ntypes)[:, None], net_of.shape)
        # [centre type, section, width]
        g = tf.gather_nd(at_zero, np.stack([net_of, center_type], axis=-1).astype(np.int32))
        return weight, g
