# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets of three bodies: functions of one number, the product of the vectors of two
neighbours."""

from __future__ import annotations

import functools

import numpy as np

from deepmd_tf import names
from deepmd_tf.nn.embedding import EmbeddingNets


class AngularNets(EmbeddingNets):
    """A net for each pair of types of two neighbours of an atom, in either order.

    The types of the atoms whose neighbours they are do not matter. Parameters are those of
    :class:`~deepmd_tf.nn.embedding.EmbeddingNets`; ``one_sided`` is True.
    """

    @functools.cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Types I ≤ J of each net."""
        return [(i, j) for i in range(self.ntypes) for j in range(i, self.ntypes)]

    @functools.cached_property
    def keys(self) -> list[tuple[int | None, names.Neighbor]]:
        return [(None, pair) for pair in self.pairs]

    @functools.cached_property
    def net_of(self) -> np.ndarray:
        """int32 [ntypes, ntypes]: index of the net for the types of two neighbours."""
        index = np.empty((self.ntypes, self.ntypes), dtype=np.int32)
        for net, (i, j) in enumerate(self.pairs):
            index[i, j] = index[j, i] = net
        return index


def largest_product(avg: np.ndarray, std: np.ndarray, largest_s: float) -> float:
    """Bound of the scalar products of two neighbours with s = w(r)/r up to ``largest_s``, 1/Å.

    ``avg``, ``std`` [ntypes, 4 or more] are the averages of the rows; of their components 1 to 3.
    """
    avg, std = (np.asarray(values, np.float64)[:, 1:4] for values in (avg, std))
    # an empty slot is a neighbour, too
    longest = (largest_s + np.linalg.norm(avg, axis=1)) / std.min(axis=1)
    return float((longest**2).max())
