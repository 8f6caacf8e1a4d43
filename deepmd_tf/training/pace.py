# SPDX-License-Identifier: BSD-3-Clause
"""Names a rank for which the others wait."""

from __future__ import annotations

import logging

import numpy as np

from deepmd_tf.parallel import Ranks

log = logging.getLogger(__name__)

WINDOW = 100
"""Steps between two looks."""
SECONDS = 10.0
"""A shorter time tells nothing."""
SLOW = 1.5
"""A rank is slow that computes so many times as long as the middle one."""


class Pace:
    """Times of the ranks.

    Parameters
    ----------
    ranks
        All of them.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._steps = 0
        self._own = self._seconds = 0.0
        self._named: set[int] = set()

    def step_took(self, seconds: float, waited: float) -> None:
        """A step took so long, of which this rank has waited a part for the others."""
        if self._ranks.size == 1:
            return
        self._steps += 1
        self._seconds += seconds
        self._own += seconds - waited
        if self._steps % WINDOW:
            return
        found = self._ranks.rows(np.array([self._own, self._seconds]))
        if found[0, 1] < SECONDS:
            return
        self._tell(found[:, 0] / self._steps)
        self._steps, self._own, self._seconds = 0, 0.0, 0.0

    def _tell(self, times: np.ndarray) -> None:
        middle = float(np.sort(times)[(len(times) - 1) // 2])
        for rank in np.flatnonzero(times > SLOW * middle):
            if int(rank) not in self._named:
                self._named.add(int(rank))
                log.warning(
                    "%s takes %.3g s for its part of a step, the middle one %.3g s: the others "
                    "wait for it",
                    self._ranks.name(int(rank)),
                    times[rank],
                    middle,
                )
