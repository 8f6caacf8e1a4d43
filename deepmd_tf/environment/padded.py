# SPDX-License-Identifier: BSD-3-Clause
"""The layout of stock models: every centre has ``sel`` slots per neighbour type, filled or
empty."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.environment.base import Environment
from deepmd_tf.nn.embedding import EmbeddingNets


class PaddedEnvironment(Environment):
    """An environment that is a matrix ``rows`` [n_frames * n_loc, 4 Σ sel]."""

    rows: tf.Tensor

    def moment(self, nets: EmbeddingNets) -> tf.Tensor:
        rows = tf.cast(self.rows, nets.dtype)
        width = 4 * self.cutoff.n_slots
        if nets.one_sided:
            # All nets share the centres; excluded sections are rows of zeros.
            rows *= self._section_mask(nets)
            moment = self._sum_sections(nets, rows, list(range(nets.ntypes)))
        else:
            rows = tf.reshape(rows, [-1, self.inputs.n_loc, width])
            parts = [
                tf.reshape(
                    self._sum_sections(nets, tf.reshape(part, [-1, width]), list(net_of)),
                    [tf.shape(part)[0], -1, 4, nets.width],
                )
                for part, net_of in zip(self.inputs.split_types(rows), nets.net_of, strict=True)
            ]
            moment = tf.reshape(self.inputs.join_types(parts), [-1, 4, nets.width])
        return moment / self.cutoff.normalization

    def _sum_sections(self, nets: EmbeddingNets, rows: tf.Tensor, net_of: list[int]) -> tf.Tensor:
        """Σ over neighbour types: [n, 4, M1] from rows [n, 4 Σ sel]."""
        n = tf.shape(rows)[0]
        total = tf.zeros([n, 4, nets.width], nets.dtype)
        start = 0
        for net, sel in zip(net_of, self.cutoff.sel, strict=True):
            section = tf.reshape(rows[:, 4 * start : 4 * (start + sel)], [n, sel, 4])
            start += sel
            if net < 0 or sel == 0:
                continue
            total += self._section_moment(nets, net, section)
        return total

    def _section_moment(self, nets: EmbeddingNets, net: int, section: tf.Tensor) -> tf.Tensor:
        """Σ over the slots of ``section`` [n, sel, 4] with net ``net``: [n, 4, M1]."""
        g = nets.apply(net, tf.reshape(section[:, :, 0], [-1, 1]))
        # -1 in place of the slots cannot be resolved where there are no centres of the type
        g = tf.reshape(g, [-1, section.shape[1], nets.width])
        return tf.matmul(section, g, transpose_a=True)

    def _section_mask(self, nets: EmbeddingNets) -> tf.Tensor:
        """[n_centers, 4 Σ sel], 0 in sections that the centre's type does not see; 1 when there are
        none.
        """
        if not nets.excluded:
            return tf.ones([], nets.dtype)
        seen = np.repeat(nets.net_of >= 0, 4 * np.array(self.cutoff.sel), axis=1)
        center = tf.clip_by_value(self.inputs.local_type, 0, nets.ntypes - 1)
        return tf.gather(tf.constant(seen, nets.dtype), center)
