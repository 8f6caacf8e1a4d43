# SPDX-License-Identifier: BSD-3-Clause
"""Neighbours in data sets, from which ``sel`` is chosen."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from deepmd_tf.data import DataSystems, expand_systems, make_random
from deepmd_tf.errors import InputError
from deepmd_tf.model.statistics import NeighborStatistics, resolve_sel
from deepmd_tf.training.neighbor_counts import count_neighbors

log = logging.getLogger(__name__)


def neighbor_stat(
    system: str | Sequence[str] = ".",
    *,
    rcut: float,
    type_map: Sequence[str] | None = None,
    one_type: bool = False,
) -> NeighborStatistics:
    """Smallest distance, and largest numbers of neighbours of an atom, over all frames.

    A neighbour is another atom, or a periodic image of any atom, closer than ``rcut``.

    Parameters
    ----------
    system
        Directory, or several; each stands for all systems at or below it.
    rcut
        Cutoff radius, Å.
    type_map
        Names of the types, in the order in which they are counted; by default those of the data,
        which then must agree with each other.
    one_type
        Whether neighbours of all types are counted together.

    Returns
    -------
    NeighborStatistics
        The smallest distance is infinite when no two atoms are closer than ``rcut``.

    Raises
    ------
    InputError
        If ``rcut`` is not a positive number, or a name is given twice.
    DataError
        If a system cannot be read, or a frame has two atoms in the same place.
    """
    return named_neighbors(system, rcut, type_map, one_type=one_type)[0]


def named_neighbors(
    system: str | Sequence[str],
    rcut: float,
    type_map: Sequence[str] | None = None,
    *,
    one_type: bool = False,
) -> tuple[NeighborStatistics, list[str]]:
    """As :func:`neighbor_stat`; also what is counted, in words."""
    if not (math.isfinite(rcut) and rcut > 0):
        raise InputError(f"rcut is {rcut:g}; expected a distance in Å, larger than 0")
    if type_map is not None and len(set(type_map)) < len(type_map):
        raise InputError(f"the type map {list(type_map)} has a name more than once")
    data = DataSystems(expand_systems(system), 1, make_random(None), type_map=type_map)
    if type_map is None:
        log.info("type_map: %s", data.type_map or [])
    found = count_neighbors(data, rcut, one_type=one_type)
    log.info("min_nbor_dist: %f", found.min_distance)
    log.info("max_nbor_size: %s", found.max_neighbors)
    names = ["all"] if one_type else type_map or data.type_map or range(len(found.max_neighbors))
    return found, [str(name) for name in names]


def describe(found: NeighborStatistics, names: Sequence[str], rcut: float) -> list[tuple[str, str]]:
    """What :func:`named_neighbors` returns in words, with the ``sel`` that "auto" takes."""
    most = found.max_neighbors.tolist()
    named = [f"{name} {n}" for name, n in zip(names, most, strict=True)]
    pairs = [
        ("smallest distance", f"{found.min_distance:.4f} Å"),
        (f"most neighbours within {rcut:g} Å", ", ".join(named)),
    ]
    if any(most):
        pairs.append(('sel, as "auto" takes it', str(resolve_sel("auto", found.max_neighbors))))
    return pairs
