# SPDX-License-Identifier: BSD-3-Clause
"""Warnings of dropped neighbours and of atoms too close for the embedding table."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from deepmd_tf.environment import NeighborLimit
from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.observer import Observer, Training

log = logging.getLogger(__name__)


class DiagnosticsLog(Observer):
    """Warns when it gets worse, and counts what training steps have left out.

    Parameters
    ----------
    type_map
        Names of the types; None: numbers.
    limits
        How many neighbours are kept, for each of the counts.
    """

    def __init__(self, type_map: Sequence[str] | None, limits: Sequence[NeighborLimit]) -> None:
        self._limits = list(limits)
        self._names = [limit.label(type_map or ()) for limit in limits]
        self._sel = np.array([limit.most for limit in limits])
        self._worst = self._sel.astype(np.int64)
        self._outside = 0
        self._steps = 0
        self._count = 0

    def updated(self, training: Training, diagnostics: Diagnostics, seconds: float) -> None:
        """Check the batch of a step, and count."""
        self._check(f"step {training.step}", diagnostics, "their embedding is extrapolated")
        self._steps += bool(diagnostics.dropped.any())
        self._count += int(diagnostics.dropped.sum())

    def evaluated(self, training: Training, diagnostics: Diagnostics, validation: bool) -> None:
        """Check other batches."""
        where = f"step {training.step}{', validation' if validation else ''}"
        self._check(where, diagnostics, "such batches are evaluated without it, which is slower")

    def ended(self, training: Training) -> None:
        """Log what was counted, if anything."""
        if self._count:
            log.warning(
                "in %d steps %d neighbours were beyond sel and left out; sel is %s, at least %s "
                "is needed",
                self._steps,
                self._count,
                self._sel.tolist(),
                self._worst.tolist(),
            )

    def _check(self, where: str, found: Diagnostics, consequence: str) -> None:
        if found.dropped.any():
            self._dropped(where, found)
        if found.outside > self._outside:
            self._outside = int(found.outside)
            log.warning(
                "%s: %d pairs are closer than the embedding table reaches; %s",
                where,
                self._outside,
                consequence,
            )

    def _dropped(self, where: str, found: Diagnostics) -> None:
        for t in np.flatnonzero((found.dropped > 0) & (found.max_found > self._worst)):
            limit = self._limits[t]
            log.warning(
                "%s: %d neighbours%s are beyond sel and were left out; %s is %d, at least %d is "
                "needed",
                where,
                found.dropped[t],
                "" if limit.type is None else f" of type {self._names[t]}",
                limit.key,
                self._sel[t],
                found.max_found[t],
            )
        self._worst = np.maximum(self._worst, found.max_found)
