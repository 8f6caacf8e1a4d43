# SPDX-License-Identifier: BSD-3-Clause
"""Sums over the neighbours of all types together, whose functions depend on both types of a pair.

Excluded pairs of types add nothing, or, where the nets are ``shifted``, what DeePMD-kit has there:
a row of four times the mean of s, whose function is that of a pair at the cutoff.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.descriptors.contraction import Term
from deepmd_tf.descriptors.contraction_compressed import CompressedContraction
from deepmd_tf.descriptors.contraction_flat import FlatContraction
from deepmd_tf.descriptors.contraction_padded import PaddedContraction
from deepmd_tf.environment import ANGULAR
from deepmd_tf.errors import InputError
from deepmd_tf.nn.attention import AttentionLayers
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.embedding_layers import constant_layers, static_value
from deepmd_tf.nn.mixed_embedding import MixedEmbeddingNets
from deepmd_tf.nn.spline import FixedTable, SplineGrid, check_size, spline_coefficients
from deepmd_tf.nn.table import EmbeddingTable
from deepmd_tf.ops import stock_mixed

log = logging.getLogger(__name__)

MOST_TABLES = 400
"""Pairs of types whose functions are tabulated; with more of them the nets are evaluated."""


class MixedFlatContraction(FlatContraction):
    """Sums of the native dialect."""

    def _tabulated(self, nets: EmbeddingNets) -> EmbeddingTable | FixedTable | None:
        return super()._tabulated(nets) if len(nets.used) <= MOST_TABLES else None

    def attended_moment(
        self, nets: MixedEmbeddingNets, attention: AttentionLayers, divisor: int
    ) -> tf.Tensor:
        """As :meth:`moment`, of G after layers of attention."""
        splits, net_of = self.environment.pairs.splits, self._net_of_section(nets)
        rows = tf.cast(self.environment.rows, nets.dtype)
        net_of_pair = tf.repeat(net_of, splits[1:] - splits[:-1])
        each = tf.range(tf.shape(rows)[0] + 1)
        g = self._totals(nets, rows, each, net_of_pair, sections=1)
        self._count_outside(nets, rows[:, 0], net_of)
        weights = None
        if nets.smooth:
            center = tf.gather(tf.reshape(self.inputs.type, [-1]), self.environment.pairs.center)
            weights = nets.switch(rows[:, :1], center)[:, 0]
        if nets.excluded:
            seen = tf.cast(net_of_pair >= 0, nets.dtype)
            weights = seen if weights is None else weights * seen
        slots = self.environment.spec.selection.n_slots
        g = attention.of_pairs(g, weights, rows, splits, sections=nets.ntypes, slots=slots)
        if nets.excluded:
            rows *= seen[:, None]
        moment = ops.contract(rows, g, splits, ntypes=nets.ntypes) / divisor
        return moment + self._dead_moment(nets, self._at_zero(nets), divisor, attention.alone)

    def _columns(
        self,
        nets: EmbeddingNets,
        term: Term,
        width: int,
        rows: tf.Tensor,
        splits: tf.Tensor,
        net_of_section: tf.Tensor,
    ) -> tf.Tensor:
        """By one pass for all pairs, whatever their types."""
        net_of_row = tf.repeat(net_of_section, splits[1:] - splits[:-1])
        types = np.array([(c or 0, t) for c, t in (nets.keys[net] for net in nets.used)], np.int32)
        of_row = tf.gather(tf.constant(types), tf.maximum(net_of_row, 0))
        columns = _mixed(nets).apply_rows(rows[:, :1], of_row[:, 0], of_row[:, 1])
        return columns * tf.cast(net_of_row >= 0, nets.dtype)[:, None]

    def _at_zero(self, nets: EmbeddingNets) -> tf.Tensor:
        """G of an empty slot by centre type: [ntypes, M1]."""
        empty = tf.cast(self.environment.empty_row(), nets.dtype)[:, :1]
        center = tf.range(nets.ntypes)
        return _mixed(nets).apply_rows(empty, center, tf.fill([nets.ntypes], nets.ntypes))

    def _empty_terms(self, nets: EmbeddingNets, at_zero: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        n_empty = self.environment.empty_count(nets.dtype)
        if self.environment.spec.selection.by_type:
            n_empty = self._empty_seen(nets, n_empty)
        center = tf.one_hot(self.inputs.local_type, nets.ntypes, dtype=nets.dtype)
        return center * n_empty, at_zero[:, None, :]

    def _empty_seen(self, nets: EmbeddingNets, n_empty: tf.Tensor) -> tf.Tensor:
        """[n_centers, 1] from [n_centers, ntypes]: empty slots of the sections that a centre
        sees.
        """
        if nets.excluded:
            seen = tf.constant(nets.net_of >= 0, nets.dtype)
            center = tf.clip_by_value(self.inputs.local_type, 0, nets.ntypes - 1)
            n_empty *= tf.gather(seen, center)
        return tf.reduce_sum(n_empty, axis=1, keepdims=True)

    def _empty_moment(self, nets: EmbeddingNets, at_zero: tf.Tensor, divisor: int) -> tf.Tensor:
        return self._dead_moment(_mixed(nets), at_zero, divisor, tf.identity)

    def _dead_moment(
        self,
        nets: MixedEmbeddingNets,
        at_zero: tf.Tensor,
        divisor: int,
        after: Callable[[tf.Tensor], tf.Tensor],
    ) -> tf.Tensor:
        """What empty slots and excluded neighbours add; ``after`` is applied to their G."""
        weight, g = self._empty_terms(nets, after(at_zero))
        row = tf.cast(self.environment.empty_row() / divisor, nets.dtype)
        term = tf.reshape(row[:, :, None] * g, [nets.ntypes, ANGULAR * nets.width])
        moment = ops.matmul(weight, term)
        if nets.shifted:
            weight, row, g = self._excluded_terms(nets)
            moment += ops.matmul(weight, tf.tile(after(g) * row / divisor, [1, ANGULAR]))
        return tf.reshape(moment, [-1, ANGULAR, nets.width])

    def _excluded_terms(self, nets: MixedEmbeddingNets) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Numbers of excluded neighbours of each centre, [n_centers, n], one component of the row
        of one, [n, 1], and its G, [n, M1], for each of n excluded pairs of types.
        """
        pairs = np.array(sorted(nets.excluded), np.int32)
        splits = self.environment.pairs.splits
        count = tf.reshape(splits[1:] - splits[:-1], [-1, nets.ntypes])
        count = tf.cast(tf.gather(count, pairs[:, 1], axis=1), nets.dtype)
        center = tf.one_hot(self.inputs.local_type, nets.ntypes, dtype=nets.dtype)
        mean = tf.cast(tf.gather(self.environment.avg[:, :1], pairs[:, 0]), nets.dtype)
        centers, neighbors = (tf.constant(side) for side in pairs.T)
        g = nets.apply_rows(mean, centers, neighbors, tf.zeros_like(mean))
        return tf.gather(center, pairs[:, 0], axis=1) * count, mean, g


class _MixedSlots(PaddedContraction):
    """Slots of padded rows, with the types of their neighbours."""

    def _slots(self, nets: MixedEmbeddingNets) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Rows [n_centers, slots, 4] with excluded ones as they count, types of the centres and of
        the neighbours, int32 [n_centers, slots].
        """
        spec, types = self.environment.spec, self.environment.neighbor_types
        n_slots = spec.selection.n_slots
        rows = tf.cast(self.environment.rows, nets.dtype)
        rows = tf.reshape(rows, [-1, n_slots, ANGULAR])
        center = tf.clip_by_value(self.inputs.local_type, 0, nets.ntypes - 1)
        centers = tf.broadcast_to(center[:, None], tf.shape(types))
        if nets.excluded:
            seen = self.seen(nets, centers, self._sections(types))[..., None]
            mean = 0.0
            if nets.shifted:
                mean = tf.cast(tf.gather(self.environment.avg[:, :1], center), nets.dtype)[:, None]
            rows = rows * seen + mean * (1.0 - seen)
        return rows, centers, types

    def _sections(self, types: tf.Tensor) -> tf.Tensor:
        """Types by which pairs are excluded: of slots for one type that type, filled or empty."""
        selection = self.environment.spec.selection
        if not selection.by_type:
            return types
        of_slot = np.repeat(np.arange(len(selection.counts), dtype=np.int32), selection.counts)
        return tf.broadcast_to(tf.constant(of_slot), tf.shape(types))

    def seen(self, nets: MixedEmbeddingNets, centers: tf.Tensor, types: tf.Tensor) -> tf.Tensor:
        """1 in slots that the centre sees or that are empty, 0 where it does not: [n_centers,
        slots].
        """
        known = np.ones((nets.ntypes, nets.ntypes + 1))
        for pair in nets.excluded:
            known[pair] = 0.0
        place = centers * (nets.ntypes + 1) + types
        return tf.gather(tf.constant(known.ravel(), nets.dtype), place)

    def _switch(
        self, nets: MixedEmbeddingNets, s: tf.Tensor, centers: tf.Tensor, types: tf.Tensor
    ) -> tf.Tensor:
        """w of each slot, [n_centers · slots, 1], of smooth nets."""
        switched = nets.switch(s, tf.reshape(centers, [-1]))
        if nets.excluded:
            switched *= tf.reshape(self.seen(nets, centers, types), [-1, 1])
        return switched


class MixedPaddedContraction(_MixedSlots):
    """Sums of the stock and the reference dialect."""

    def moment(self, nets: EmbeddingNets, divisor: int) -> tf.Tensor:
        mixed = _mixed(nets)
        rows, centers, types = self._slots(mixed)
        g = self.values(mixed, rows, centers, types)
        return tf.matmul(rows, g, transpose_a=True) / divisor

    def attended_moment(
        self, nets: MixedEmbeddingNets, attention: AttentionLayers, divisor: int
    ) -> tf.Tensor:
        """As :meth:`moment`, of G after layers of attention."""
        rows, centers, types = self._slots(nets)
        g = self.values(nets, rows, centers, types)
        if nets.smooth:
            s = tf.reshape(rows[:, :, 0], [-1, 1])
            weights = tf.reshape(self._switch(nets, s, centers, types), tf.shape(types))
        else:
            weights = tf.cast(types < nets.ntypes, nets.dtype)
            if nets.excluded:
                weights *= self.seen(nets, centers, types)
        g = attention.of_slots(g, weights, rows)
        return tf.matmul(rows, g, transpose_a=True) / divisor

    def values(
        self, nets: MixedEmbeddingNets, rows: tf.Tensor, centers: tf.Tensor, types: tf.Tensor
    ) -> tf.Tensor:
        """G of each slot, [n_centers, slots, M1]."""
        s = tf.reshape(rows[:, :, 0], [-1, 1])
        switched = self._switch(nets, s, centers, types) if nets.smooth else None
        flat, of_neighbors = (tf.reshape(part, [-1]) for part in (centers, types))
        g = nets.apply_rows(s, flat, of_neighbors, switched)
        return tf.reshape(g, [-1, rows.shape[1], nets.width])


class MixedCompressedContraction(_MixedSlots, CompressedContraction):
    """Sums of a compressed model: the net of s is a table, that of the types a constant."""

    def attended_moment(
        self, nets: MixedEmbeddingNets, attention: AttentionLayers, divisor: int
    ) -> tf.Tensor:
        """There is none."""
        raise InputError(
            "a model with layers of attention (attn_layer) does not exist in the compressed "
            "dialect of graphs; train it with attn_layer 0"
        )

    def moment(self, nets: EmbeddingNets, divisor: int) -> tf.Tensor:
        mixed = _mixed(nets)
        if not mixed.stripped:
            raise InputError(
                "a model whose embedding net takes distance and types together (tebd_input_mode "
                '"concat") does not exist in the compressed dialect of graphs: its net is no '
                'function of one number; train it with tebd_input_mode "strip", or with the '
                "descriptor se_atten_v2"
            )
        rows, centers, types = self._slots(mixed)
        s = tf.reshape(rows[:, :, 0], [-1, 1])
        place = tf.reshape(centers * (nets.ntypes + 1) + types, [-1])
        factors = tf.gather(mixed.factors, place)
        if mixed.smooth:
            factors *= self._switch(mixed, s, centers, types)
        moment = stock_mixed.tabulate_fusion_se_atten(
            *self._table(mixed),
            s,
            rows,
            factors,
            last_layer_size=nets.width,
            is_sorted=not nets.excluded and not self.environment.spec.selection.by_type,
        )
        return moment / divisor

    def _table(self, nets: MixedEmbeddingNets) -> tuple[tf.Tensor, tf.Tensor]:
        """The table of the net of s, over the range of all centres, and where its rows are."""
        environment, options, dtype = self.environment, self._splines, nets.dtype.as_numpy_dtype
        avg, std = (
            np.asarray(static_value(values))[:, 0] for values in (environment.avg, environment.std)
        )
        largest_s = environment.spec.cutoff.inverse_distance(options.smallest_distance)
        lower, upper = -avg / std, (largest_s - avg) / std
        log.info("training data with lower boundary: %s", lower)
        log.info("training data with upper boundary: %s", upper)
        grid = SplineGrid.make(np.floor(lower.min()), np.ceil(upper.max()), options, dtype)
        check_size([grid], nets.width, dtype)
        layers = constant_layers(nets.layers)
        if layers is None:
            raise ValueError("the weights of a compressed model are constants")
        table = spline_coefficients(nets.activation, layers, grid.nodes)
        info = grid.info(options.check_frequency)
        return (
            tf.constant(table, nets.dtype, name=names.embedding_table(None, None, nets.scope)),
            tf.constant(info, nets.dtype, name=names.embedding_table_info(None, None, nets.scope)),
        )


def _mixed(nets: EmbeddingNets) -> MixedEmbeddingNets:
    return cast(MixedEmbeddingNets, nets)
