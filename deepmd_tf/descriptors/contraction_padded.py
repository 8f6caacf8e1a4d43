# SPDX-License-Identifier: BSD-3-Clause
"""Sums over padded rows: every centre has the same slots, filled or empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.descriptors.contraction import Contraction, Term
from deepmd_tf.nn.angular import AngularNets
from deepmd_tf.nn.embedding import EmbeddingNets

Section = Callable[[int, tf.Tensor], tf.Tensor]
"""(number of a net, slots [n, count, components]) → their sum for each centre, [n, …]."""


class PaddedContraction(Contraction):
    """Sums of the stock and the reference dialect."""

    def moment(self, nets: EmbeddingNets, divisor: int) -> tf.Tensor:
        rows = tf.cast(self.environment.rows, nets.dtype)
        shape = [self.environment.spec.components, nets.width]

        def section_moment(net: int, section: tf.Tensor) -> tf.Tensor:
            return self._section_moment(nets, net, section)

        if nets.one_sided:
            # All nets share the centres; excluded sections are rows of zeros.
            rows *= self._section_mask(nets)
            sections = list(range(nets.n_sections))
            moment = self._sum_sections(nets, rows, sections, section_moment, shape)
        else:
            moment = self._sum_by_type(nets, rows, section_moment, shape)
        return moment / divisor

    def total(self, nets: EmbeddingNets) -> tf.Tensor:
        def section_total(net: int, section: tf.Tensor) -> tf.Tensor:
            return self._section_total(nets, net, section)

        rows = tf.cast(self.environment.rows, nets.dtype)
        if nets.one_sided and not nets.excluded:
            sections = list(range(nets.n_sections))
            return self._sum_sections(nets, rows, sections, section_total, [nets.width])
        return self._sum_by_type(nets, rows, section_total, [nets.width])

    def sum(self, nets: EmbeddingNets, term: Term, width: int) -> tf.Tensor:
        def section_sum(net: int, section: tf.Tensor) -> tf.Tensor:
            count, components = section.shape.as_list()[1:]
            added = term(net, tf.reshape(section, [-1, components]))
            return tf.reduce_sum(tf.reshape(added, [-1, count, width]), axis=1)

        rows = tf.cast(self.environment.rows, nets.dtype)
        return self._sum_by_type(nets, rows, section_sum, [width])

    def angles(self, nets: AngularNets) -> tf.Tensor:
        spec = self.environment.spec
        counts, components = spec.selection.counts, spec.components
        rows = tf.cast(self.environment.rows, nets.dtype)
        parts = tf.split(rows, [components * count for count in counts], axis=1)
        vectors = [
            tf.reshape(part, [-1, count, components])[:, :, 1:]
            for part, count in zip(parts, counts, strict=True)
        ]
        total = tf.zeros([tf.shape(rows)[0], nets.width], nets.dtype)
        for net, (i, j) in enumerate(nets.pairs):
            n_pairs = counts[i] * counts[j]
            if n_pairs:
                products = tf.matmul(vectors[i], vectors[j], transpose_b=True)
                total += self._angles_of(nets, net, products) / n_pairs
        return total

    def _angles_of(self, nets: AngularNets, net: int, products: tf.Tensor) -> tf.Tensor:
        """Σ e G(e) over ``products`` [n, count, count] of each centre: [n, M1]."""
        n_pairs = products.shape[1] * products.shape[2]
        g = nets.apply(net, tf.reshape(products, [-1, 1]))
        g = tf.reshape(g, [-1, n_pairs, nets.width])
        return tf.matmul(tf.reshape(products, [-1, 1, n_pairs]), g)[:, 0]

    def _sum_by_type(
        self, nets: EmbeddingNets, rows: tf.Tensor, section: Section, shape: list[int]
    ) -> tf.Tensor:
        """[n_centers, *shape], nets chosen by the type of the centre."""
        width = self.environment.spec.row_width
        rows = tf.reshape(rows, [-1, self.inputs.n_loc, width])
        parts = []
        for part, net_of in zip(self.inputs.split_types(rows), nets.net_of, strict=True):
            flat = tf.reshape(part, [-1, width])
            total = self._sum_sections(nets, flat, list(net_of), section, shape)
            parts.append(tf.reshape(total, [tf.shape(part)[0], -1, *shape]))
        return tf.reshape(self.inputs.join_types(parts), [-1, *shape])

    def _sum_sections(
        self,
        nets: EmbeddingNets,
        rows: tf.Tensor,
        net_of: Sequence[int],
        section: Section,
        shape: list[int],
    ) -> tf.Tensor:
        """Σ over the sections of rows [n, components · slots]: [n, *shape]."""
        spec, n = self.environment.spec, tf.shape(rows)[0]
        components = spec.components
        total = tf.zeros([n, *shape], nets.dtype)
        start = 0
        for net, count in zip(net_of, spec.selection.counts, strict=True):
            if count == 0:
                continue
            part = rows[:, components * start : components * (start + count)]
            slots = tf.reshape(part, [n, count, components])
            start += count
            if net < 0:
                continue
            total += section(net, slots)
        return total

    def _section_moment(self, nets: EmbeddingNets, net: int, section: tf.Tensor) -> tf.Tensor:
        """Σ R ⊗ G(s) over the slots of ``section`` [n, count, components]: [n, components, M1]."""
        g = nets.apply(net, tf.reshape(section[:, :, 0], [-1, 1]))
        # -1 in place of the slots cannot be resolved where there are no centres of the type
        g = tf.reshape(g, [-1, section.shape[1], nets.width])
        return tf.matmul(section, g, transpose_a=True)

    def _section_total(self, nets: EmbeddingNets, net: int, section: tf.Tensor) -> tf.Tensor:
        """Σ G(s) over the slots of ``section`` [n, count, components]: [n, M1]."""
        g = nets.apply(net, tf.reshape(section[:, :, 0], [-1, 1]))
        return tf.reduce_sum(tf.reshape(g, [-1, section.shape[1], nets.width]), axis=1)

    def _section_mask(self, nets: EmbeddingNets) -> tf.Tensor:
        """[n_centers, components · slots], 0 in sections that the centre's type does not see; 1
        when there are none.
        """
        if not nets.excluded:
            return tf.ones([], nets.dtype)
        spec = self.environment.spec
        widths = spec.components * np.array(spec.selection.counts)
        seen = np.repeat(nets.net_of >= 0, widths, axis=1)
        center = tf.clip_by_value(self.inputs.local_type, 0, nets.ntypes - 1)
        return tf.gather(tf.constant(seen, nets.dtype), center)
