# SPDX-License-Identifier: BSD-3-Clause
"""Which frames have the same atoms, though maybe in another order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def system_name(species: Sequence[str], periodic: bool) -> str:
    """Name of the system of these atoms: ``H4O2``, or ``H4O2-free`` without periodicity."""
    counts = sorted(Counter(species).items())
    if all(symbol.isalpha() for symbol, _ in counts):
        name = "".join(f"{symbol}{count}" for symbol, count in counts)
    else:
        name = "-".join(f"{symbol}:{count}" for symbol, count in counts)
    return name if periodic else f"{name}-free"


def order_between(species: Sequence[str], wanted: Sequence[str]) -> np.ndarray | None:
    """For atoms of the same composition, ``order`` with ``species[order[k]] = wanted[k]``.

    Atoms of a kind keep their order. None if nothing has to move.
    """
    if list(species) == list(wanted):
        return None
    order = np.empty(len(species), dtype=np.int64)
    order[_sorted(wanted)] = _sorted(species)
    return order


def _sorted(species: Sequence[str]) -> np.ndarray:
    return np.argsort(np.array(species), kind="stable")
