# SPDX-License-Identifier: BSD-3-Clause
"""Sums over pairs of neighbours in a flat list of pairs."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.environment.native import NativeEnvironment
from deepmd_tf.nn.angle_table import AngleTable
from deepmd_tf.nn.angular import AngularNets


class EmptyRows(NamedTuple):
    """The empty slots of each centre.

    Attributes
    ----------
    row
        [n_centers, 4], the row of one; zero for virtual atoms.
    count
        [n_centers, n_sections], how many there are of each type.
    """

    row: tf.Tensor
    count: tf.Tensor

    @classmethod
    def of(cls, environment: NativeEnvironment, dtype: tf.DType) -> EmptyRows:
        center = tf.one_hot(environment.inputs.local_type, environment.spec.ntypes, dtype=dtype)
        row = tf.matmul(center, tf.cast(environment.empty_row(), dtype))
        return cls(row, environment.empty_count(dtype))


def sum_by_table(environment: NativeEnvironment, table: AngleTable) -> tf.Tensor:
    """Σ e G(e) / (sel sel) over all pairs of slots: [n_centers, M1]."""
    nets = table.nets
    empty = EmptyRows.of(environment, nets.dtype)
    slots = ops.AngleSlots(
        environment.pairs.splits,
        empty.row,
        tf.reshape(empty.count, [-1]),
        tf.constant(nets.place_of.ravel()),
    )
    rows = tf.cast(environment.rows, nets.dtype)
    return ops.angle_sums(table.table, rows, slots, table.grid, ntypes=nets.ntypes)


def count_outside(environment: NativeEnvironment, table: AngleTable) -> tf.Tensor:
    """Number (int64 scalar) of neighbours whose products may be beyond the table."""
    rows = tf.cast(environment.rows, table.nets.dtype)[:, 1:]
    # a NaN counts
    inside = tf.reduce_sum(rows * rows, axis=1) <= table.largest
    return tf.reduce_sum(tf.cast(tf.logical_not(inside), tf.int64))


def sum_by_nets(environment: NativeEnvironment, nets: AngularNets) -> tf.Tensor:
    """Σ e G(e) / (sel sel) by the nets themselves: [n_centers, M1].

    Every pair of neighbours is in memory; empty slots are one neighbour for each type, with their
    number as a weight.
    """
    counts, sections = environment.spec.selection.counts, nets.ntypes
    rows = tf.cast(environment.rows, nets.dtype)
    splits = environment.pairs.splits
    empty = EmptyRows.of(environment, nets.dtype)
    n_sections = tf.size(splits) - 1
    section = tf.concat(
        [tf.repeat(tf.range(n_sections), splits[1:] - splits[:-1]), tf.range(n_sections)], axis=0
    )
    order = tf.argsort(section, stable=True)
    section = tf.gather(section, order)
    rows = tf.concat([rows, tf.repeat(empty.row, sections, axis=0)], axis=0)
    vectors = tf.gather(rows[:, 1:], order)
    filled = tf.ones([tf.shape(environment.rows)[0]], nets.dtype)
    weights = tf.gather(tf.concat([filled, tf.reshape(empty.count, [-1])], axis=0), order)
    # Each centre has the slots from `first` on, and each of them is paired with all of these.
    ends = splits[::sections] + sections * tf.range(n_sections // sections + 1)
    center = section // sections
    length = tf.gather(ends[1:] - ends[:-1], center)
    j = tf.repeat(tf.range(tf.size(length)), length)
    k = tf.range(tf.size(j)) - tf.gather(tf.cumsum(length, exclusive=True), j)
    k += tf.gather(tf.gather(ends, center), j)
    types = [tf.gather(section % sections, one) for one in (j, k)]
    part = tf.gather(tf.constant(nets.place_of.ravel()), sections * types[0] + types[1])
    n_nets = len(nets.used)
    part = tf.where_v2((types[0] > types[1]) | (part < 0), n_nets, part)
    total = tf.zeros([tf.size(ends) - 1, nets.width], nets.dtype)
    pairs = zip(
        tf.dynamic_partition(j, part, n_nets + 1),
        tf.dynamic_partition(k, part, n_nets + 1),
        strict=True,
    )
    for net, (one, other) in zip(nets.used, pairs, strict=False):
        first, second = nets.pairs[net]
        e = tf.reduce_sum(tf.gather(vectors, one) * tf.gather(vectors, other), axis=1)
        weight = tf.gather(weights, one) * tf.gather(weights, other)
        g = nets.apply(net, e[:, None]) * (weight * e)[:, None]
        added = tf.math.unsorted_segment_sum(g, tf.gather(center, one), tf.shape(total)[0])
        if n_slots := counts[first] * counts[second]:
            total += added / n_slots
    return total
