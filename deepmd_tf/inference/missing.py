# SPDX-License-Identifier: BSD-3-Clause
"""Neighbours beyond ``sel``: how many, and what is done about them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from deepmd_tf import environment_variables
from deepmd_tf.environment import NeighborLimit
from deepmd_tf.errors import InputError

VARIABLE = environment_variables.MISSING_NEIGHBORS
RULES = ("warn", "error", "ignore")


def missing_rule(given: str | None = None) -> str:
    """Handling of neighbours beyond ``sel``.

    Parameters
    ----------
    given
        One of :data:`RULES`; None: what the environment variable :data:`VARIABLE` says, "warn" when
        it is not set.

    Raises
    ------
    InputError
        When it is none of them.
    """
    if given is None:
        rule, source = os.environ.get(VARIABLE) or RULES[0], f"environment variable {VARIABLE}"
    else:
        rule, source = given, "on_missing_neighbors"
    if rule not in RULES:
        raise InputError(f'{source} is "{rule}"; expected one of {", ".join(RULES)}')
    return rule


class MissingNeighbors:
    """Counts of neighbours that a model leaves out.

    Parameters
    ----------
    limits
        How many an atom sees, for each of the counts.
    names
        Names of the types; empty: their indices.
    """

    def __init__(self, limits: Sequence[NeighborLimit], names: Sequence[str]) -> None:
        self._sel = np.array([limit.most for limit in limits])
        self._names = [limit.label(names) for limit in limits]
        self._most = self._sel.astype(np.int64)

    def found(self, dropped: np.ndarray, most: np.ndarray) -> bool:
        """Take note of counts; whether more neighbours are missing than ever before.

        Parameters
        ----------
        dropped
            Neighbours beyond each limit.
        most
            Largest number of neighbours around one atom.
        """
        most = np.where(dropped > 0, most, 0)
        worse = bool((most > self._most).any())
        self._most = np.maximum(self._most, most)
        return worse

    @property
    def most(self) -> np.ndarray:
        """Largest numbers of neighbours that were found, ``sel`` where none was beyond it."""
        return self._most

    def join(self, most: np.ndarray) -> None:
        """Take note of :attr:`most` of others with this model."""
        self._most = np.maximum(self._most, most)

    def describe(self, most: np.ndarray | None = None) -> str:
        """Largest numbers of neighbours, by default all that were found, and ``sel``: "O: 5, sel is
        3"."""
        most = self._most if most is None else most
        return "; ".join(
            f"{self._names[t]}: {most[t]}, sel is {self._sel[t]}"
            for t in np.flatnonzero(most > self._sel)
        )
