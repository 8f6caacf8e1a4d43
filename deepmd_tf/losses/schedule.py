# SPDX-License-Identifier: BSD-3-Clause
"""How the weight of a loss term changes during training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Prefactor:
    """A weight that goes from ``start`` to ``limit`` as the learning rate falls.

    With c(t) = lr(t) / start_lr the weight is limit + (start − limit)·c(t).

    Attributes
    ----------
    start
        Weight at the full learning rate.
    limit
        Weight at a vanishing learning rate.
    """

    start: float
    limit: float

    @classmethod
    def of(cls, config: Any, term: str) -> Prefactor:
        """The prefactor of a term, ``start_pref_<term>`` and ``limit_pref_<term>`` of a ``loss``
        section; None counts as 0.
        """
        start, limit = (getattr(config, f"{when}_pref_{term}") for when in ("start", "limit"))
        return cls(start or 0.0, limit or 0.0)

    @property
    def active(self) -> bool:
        """Whether the term exists at all."""
        return self.start != 0.0 or self.limit != 0.0

    def __call__(self, lr: float | np.float32, start_lr: float) -> float | np.float32:
        """Weight at learning rate ``lr``.

        The arithmetic is float32, in the order in which TensorFlow evaluates the expression above
        when it has folded the constants: a graph of DeePMD-kit has the same bits.
        """
        f32 = np.float32
        slope = f32(self.start - self.limit) * (f32(1.0) / f32(start_lr))
        return f32(self.limit) + f32(lr) * slope


class Constant(Prefactor):
    """A weight that does not change, in all its digits."""

    def __init__(self, weight: float) -> None:
        super().__init__(weight, weight)

    def __call__(self, lr: float | np.float32, start_lr: float) -> float:
        return self.limit
