# SPDX-License-Identifier: BSD-3-Clause
"""Neighbours of the training data: ``sel``, the smallest distance, and what a checkpoint keeps of
them."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deepmd_tf.config import Config
from deepmd_tf.config.descriptors import Part
from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.data.identity import fingerprint, geometry
from deepmd_tf.environment.masked import ALL_ATOMS
from deepmd_tf.errors import CheckpointError, InputError
from deepmd_tf.model.spin import most_of_real_types
from deepmd_tf.model.statistics import (
    NeighborStatistics,
    as_one_type,
    neighbor_statistics_within,
    resolve_sel,
    sel_warnings,
    without_masked,
)
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.progress import track
from deepmd_tf.training.faults import NamedFaults
from deepmd_tf.training.statistics_cache import StatisticsCache

log = logging.getLogger(__name__)

ATOMS_AT_ONCE = 20_000
"""Atoms in one evaluation of the neighbour statistics: bounds memory, and lets the bar move."""
USUAL_CUTOFF = 6.0
"""Å; for larger cutoffs that number is reduced, as the third power."""
NEIGHBORS = "neighbor statistics"


@dataclasses.dataclass(frozen=True)
class DataStatistics:
    """Neighbour statistics that the model is built with; saved in checkpoints and restored.

    Attributes
    ----------
    sel
        Neighbours of each type to keep, by the scope of the descriptor.
    min_nbor_dist
        Smallest distance, Å; None when it was not measured or no two atoms are neighbours.
    expected_pairs
        Estimate of the neighbour pairs in a batch, of all descriptors together; None when it was
        not measured.
    """

    sel: dict[str, list[int]]
    min_nbor_dist: float | None = None
    expected_pairs: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For the state of a checkpoint; :meth:`from_dict` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataStatistics:
        """From the state of a checkpoint; older ones have the list of the only descriptor."""
        sel = values["sel"]
        return cls(**{**values, "sel": sel if isinstance(sel, dict) else {"": list(sel)}})


def measure_neighbors(
    config: Config, data: DataSystems, cache: StatisticsCache | None = None
) -> DataStatistics:
    """Count neighbours, choose an automatic ``sel``, and warn where a given one is too small.

    With a mask or fragments only the smallest distance is measured: other atoms are seen there.
    """
    parts = config.model.parts()
    if config.model.masked or config.model.fragmented:
        return _nearest(config, data, cache)
    found: dict[tuple[bool, float], NeighborStatistics] = {}
    for together in (False, True):
        asked = (p.config.largest_rcut for p in parts if p.config.one_selection == together)
        rcuts = list(dict.fromkeys(asked))
        if rcuts:
            counted = _counted(data, rcuts, together, cache)
            found |= {(together, r): one for r, one in zip(rcuts, counted, strict=True)}
    of_parts = [
        (part, found[part.config.one_selection, part.config.largest_rcut]) for part in parts
    ]
    smallest = min(one.min_distance for one in found.values())
    neighbors = sum(int(one.max_neighbors.sum()) for _, one in of_parts)
    return DataStatistics(
        sel={
            part.scope: _resolved_sel(part, one, config.model.virtual_types)
            for part, one in of_parts
        },
        min_nbor_dist=smallest if math.isfinite(smallest) else None,
        expected_pairs=float(_atoms_at_once(data) * neighbors),
    )


def _nearest(config: Config, data: DataSystems, cache: StatisticsCache | None) -> DataStatistics:
    """Of a model with a mask or fragments: the smallest distance, in whole frames."""
    sel = {part.scope: list(part.config.counts) for part in config.model.parts()}
    slots = sum(map(sum, sel.values()))
    if config.model.masked:
        (found,) = count_neighbors_within(data, [ALL_ATOMS.rcut], masked=True)
        centers = max(data.batch_sizes) * slots
    else:
        (found,) = _counted(data, [config.model.largest_rcut], True, cache)
        centers = _atoms_at_once(data)
    nearest = found.min_distance if math.isfinite(found.min_distance) else None
    return DataStatistics(sel, nearest, float(centers * slots))


def _atoms_at_once(data: DataSystems) -> int:
    """Atoms of the largest batch."""
    return max(n * system.natoms for n, system in zip(data.batch_sizes, data.systems, strict=True))


def _counted(
    data: DataSystems, rcuts: Sequence[float], together: bool, cache: StatisticsCache | None
) -> list[NeighborStatistics]:
    """Neighbours within each of ``rcuts``, of each type or of all ``together``, from the cache
    where it has them.
    """
    systems = list(map(geometry, data.systems)) if cache else []
    within = rcuts[0] if len(rcuts) == 1 else rcuts
    ntypes = 1 if together else data.ntypes
    key = fingerprint(within, ntypes, systems, interface_dtype().name)
    what = f"{NEIGHBORS} of all types together" if together else NEIGHBORS
    known = None if cache is None else cache.record(what, key)
    if cache is None or known is None:
        log.info("Calculate neighbor statistics... (add --skip-neighbor-stat to skip this step)")
        found = count_neighbors_within(data, rcuts, one_type=together)
        if cache:
            most = [one.max_neighbors.tolist() for one in found]
            smallest = min(one.min_distance for one in found)
            cache.keep(
                what, key, {"smallest": smallest, "most": most if len(most) > 1 else most[0]}
            )
        return found
    rows = np.reshape(known["most"], (len(rcuts), -1))
    found = [NeighborStatistics(float(known["smallest"]), most) for most in rows]
    log.info("the %s of these data are those of %s", NEIGHBORS, cache.file.path)
    for one, rcut in zip(found, rcuts, strict=True):
        _log_neighbors(one, rcut)
    return found


def _resolved_sel(part: Part, found: NeighborStatistics, virtual: int) -> list[int]:
    """``sel`` of a descriptor as numbers; warns where the given ones are too small. The last
    ``virtual`` types are of virtual atoms.
    """
    descriptor, rcut = part.config, part.config.largest_rcut
    if isinstance(descriptor.sel, str) and not any(found.max_neighbors):
        raise InputError(
            f'model.{part.path}sel is "{descriptor.sel}", but no two atoms of the '
            f"training data are closer than rcut, {rcut:g} Å, so that there are no "
            "neighbours to count; see whether coordinates and cell are in Å, and if such data are "
            f"meant, give numbers, such as {[4] * len(found.max_neighbors)}"
        )
    most = most_of_real_types(found.max_neighbors, virtual)
    sel = resolve_sel(descriptor.sel, most)
    path = part.path.removeprefix("descriptor.")  # of a model by itself
    for warning in sel_warnings(sel, most, path, not descriptor.one_selection):
        log.warning(warning)
    return sel


def count_neighbors(
    data: DataSystems, rcut: float, *, one_type: bool = False
) -> NeighborStatistics:
    """Count neighbours closer than ``rcut`` (Å) in all frames, and say what was found.

    Parameters
    ----------
    data
        All frames of which are read.
    rcut
        Cutoff radius, Å.
    one_type
        Whether all atoms count as of one type.

    Raises
    ------
    DataError
        If a frame has two atoms in the same place.
    """
    return count_neighbors_within(data, [rcut], one_type=one_type)[0]


def count_neighbors_within(
    data: DataSystems, rcuts: Sequence[float], *, one_type: bool = False, masked: bool = False
) -> list[NeighborStatistics]:
    """The same for several cutoffs, in one pass over the data; ``masked`` says that atomic
    parameters are the mask of atoms, and frames have no periodic images.
    """
    at_once = int(ATOMS_AT_ONCE * min(1.0, (USUAL_CUTOFF / max(rcuts)) ** 3))
    total = sum(
        math.ceil(size / max(1, at_once // system.natoms))
        for system in data.systems
        for size in system.set_sizes
    )
    prepare: Callable[[Batch], Batch] = without_masked if masked else lambda batch: batch
    if one_type:
        prepare = as_one_type
    with NamedFaults(data) as faults:
        batches = faults.watch(track(_all_frames(data, at_once), "neighbour statistics", total))
        found = neighbor_statistics_within(
            map(prepare, batches),
            ntypes=1 if one_type else data.ntypes,
            rcuts=rcuts,
        )
    for one, rcut in zip(found, rcuts, strict=True):
        _log_neighbors(one, rcut)
    return found


def _log_neighbors(found: NeighborStatistics, rcut: float) -> None:
    log.info(
        "Neighbor statistics: training data with minimal neighbor distance: %f", found.min_distance
    )
    log.info(
        "Neighbor statistics: training data with maximum neighbor size: %s (cutoff radius: %f)",
        found.max_neighbors,
        rcut,
    )
    if math.isinf(found.min_distance):
        log.warning("no two atoms are closer than the cutoff radius, %g Å", rcut)


def without_neighbors(config: Config) -> DataStatistics:
    """``sel`` of the input script, without reading the data.

    Raises
    ------
    InputError
        If ``sel`` is automatic.
    """
    found = {}
    for part in config.model.parts():
        sel = part.config.sel
        if isinstance(sel, str):
            raise InputError(
                f'model.{part.path}sel is "{sel}", which needs the neighbour '
                "statistics; leave out --skip-neighbor-stat, or give numbers"
            )
        found[part.scope] = list(sel)
    return DataStatistics(sel=found)


def saved_statistics(state: Mapping[str, Any], config: Config, data: DataSystems) -> DataStatistics:
    """The statistics saved with a checkpoint.

    Raises
    ------
    CheckpointError
        If the state is damaged.
    InputError
        If the input script has another ``sel``, or the data another number of types.
    """
    try:
        setup = DataStatistics.from_dict(state["setup"])
    except (KeyError, TypeError):
        raise CheckpointError(
            "the state of the checkpoint (.state.json) is damaged; restart from another one"
        ) from None
    parts = config.model.parts()
    if [part.scope for part in parts] != list(setup.sel):
        raise InputError(
            f"the model has {len(parts)} descriptors, but the checkpoint was trained with "
            f"{len(setup.sel)}; a restart needs the same ones"
        )
    for part in parts:
        sel, trained = part.config.sel, setup.sel[part.scope]
        if not isinstance(sel, str) and list(sel) != trained:
            raise InputError(
                f"model.{part.path}sel is {list(sel)}, but the checkpoint was trained "
                f"with {trained}; a restart needs the same numbers"
            )
        types = data.ntypes - config.model.virtual_types
        if types != len(trained) and not part.config.one_selection:
            raise InputError(
                f"the input script and the training data have {types} types of atoms, but "
                f"the checkpoint has {len(trained)}; a restart needs the same types"
            )
    return setup


def _all_frames(data: DataSystems, max_atoms: int) -> Iterator[Batch]:
    for index, system in enumerate(data.systems):
        yield from system.batches(max_atoms=max_atoms, system=index)
