# SPDX-License-Identifier: BSD-3-Clause
"""Counts of points whose range is not known beforehand, in a fixed amount of memory."""

from __future__ import annotations

import math

import numpy as np


class GrowingHistogram:
    """Counts on a grid of cubes that double in width when a point falls outside.

    Cell k covers [k w, (k + 1) w) in each direction, with w a power of two, so that cells of one
    width are halves of those of the next and no count has to be divided.

    Parameters
    ----------
    dimensions
        Numbers of a point.
    bins
        Cells in each direction.
    """

    def __init__(self, dimensions: int, bins: int) -> None:
        self.bins = bins
        self.width = 0.0
        self._counts = np.zeros((bins,) * dimensions, dtype=np.int64)
        self._first = 0

    def add(self, points: np.ndarray) -> None:
        """Count points [n, dimensions]; those that are not finite are left out."""
        points = np.asarray(points, dtype=np.float64)
        points = points[np.isfinite(points).all(axis=1)]
        if not len(points):
            return
        low, high = float(points.min()), float(points.max())
        if not self.width:
            # half of the cells, so that there is room
            span = max(high - low, 2.0**-40 * max(abs(low), abs(high)), 2.0**-100)
            self.width = 2.0 ** math.ceil(math.log2(2.0 * span / self.bins))
            self._first = math.floor((low + high) / 2 / self.width) - self.bins // 2
        self._make_room(math.floor(low / self.width), math.floor(high / self.width))
        index = np.floor(points / self.width).astype(np.int64) - self._first
        np.add.at(self._counts, tuple(index.T), 1)

    @property
    def count(self) -> int:
        """Points counted."""
        return int(self._counts.sum())

    def occupied(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres [n, dimensions] and counts [n] of the cells that hold a point."""
        index = np.argwhere(self._counts)
        return (index + self._first + 0.5) * self.width, self._counts[tuple(index.T)]

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts of all cells, and the index of each cell of :meth:`occupied` in them."""
        return self._counts, np.argwhere(self._counts)

    def _make_room(self, low: int, high: int) -> None:
        """Let the grid hold the cells ``low`` to ``high``, numbered with the present width."""
        last = self._first + self.bins - 1
        if low >= self._first and high <= last:
            return
        index = np.argwhere(self._counts)
        counts = self._counts[tuple(index.T)]
        index += self._first
        if len(index):
            low, high = min(low, int(index.min())), max(high, int(index.max()))
        doublings = 0
        while (high >> doublings) - (low >> doublings) >= 3 * self.bins // 4:
            doublings += 1
        self.width *= 2.0**doublings
        low, high = low >> doublings, high >> doublings
        self._first = (low + high) // 2 - self.bins // 2
        self._counts = np.zeros_like(self._counts)
        index = (index >> min(doublings, 63)) - self._first
        np.add.at(self._counts, tuple(index.T), counts)
