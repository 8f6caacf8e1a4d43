# SPDX-License-Identifier: BSD-3-Clause
"""Atoms that are closer to each other than atoms can be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from deepmd_tf.data.checks.findings import Finding
from deepmd_tf.data.sets import Chunk
from deepmd_tf.data.system import DataSystem
from deepmd_tf.fields import BOX, COORD

SMALLEST_DISTANCE = 0.1
"""Å, far less than any bond."""
THINNEST_CELL = 2 * SMALLEST_DISTANCE
"""Å between opposite faces of a cell."""
_SAME_PLACE = 1e-5
_EDGE = 0.8
"""Å, of a bin: most hold one atom, and few atoms are near a face."""
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64
)


def too_close(system: DataSystem, chunk: Chunk) -> Iterator[Finding]:
    """Frames with two atoms, periodic images included, closer than 0.1 Å, and cells so thin.

    Frames with numbers that are not finite and cells without volume are left to other checks.
    """
    nframes = chunk.nframes
    coord = chunk.arrays[COORD.name].reshape(nframes, -1, 3).astype(np.float64)
    good = np.isfinite(coord).all(axis=(1, 2))
    cells = None
    periodic = system.pbc and not system.masked  # models with a mask see no images
    if periodic:
        cells = chunk.arrays[BOX.name].reshape(nframes, 3, 3).astype(np.float64)
        good &= np.isfinite(cells).all(axis=(1, 2))
        height = np.zeros(nframes)
        height[good] = _heights(cells[good]).min(axis=1)
        thin = good & (height > 0) & (height <= THINNEST_CELL)
        if thin.any():
            frame = int(thin.argmax())
            yield Finding(
                "thin cell",
                chunk.where(BOX.name),
                f"the cell of frame {chunk.origin(frame, 0)[0]} (counted from 0) has opposite "
                f"faces {height[frame]:.3g} Å apart",
                f"expected more than {THINNEST_CELL:g} Å; are its lattice vectors in Å?",
                int(thin.sum()),
                "such",
            )
        good &= height > THINNEST_CELL
        cells = cells[good]
    present = system.present(chunk)[good]
    frames, i, j, distance = close_pairs(coord[good], cells, SMALLEST_DISTANCE, present)
    if not len(frames):
        return
    frame = int(np.flatnonzero(good)[frames[0]])
    known_frame, first = chunk.origin(frame, int(i[0]))
    _, second = chunk.origin(frame, int(j[0]))
    first, second = min(first, second), max(first, second)
    apart = "at the same place" if distance[0] < _SAME_PLACE else f"{distance[0]:.3g} Å apart"
    yield Finding(
        "close atoms",
        chunk.where(COORD.name),
        f"frame {known_frame} has atoms {first} and {second} (counted from 0) {apart}"
        + (", periodic images included" if periodic else ""),
        f"expected at least {SMALLEST_DISTANCE:g} Å; correct or remove the frame",
        len(np.unique(frames)),
        "such frames",
    )


def _heights(cells: np.ndarray) -> np.ndarray:
    """Distances of opposite faces [nframes, 3]; zeros where the cell has no volume."""
    normal = np.cross(cells[:, [1, 2, 0]], cells[:, [2, 0, 1]])
    volume = np.abs(np.einsum("fk,fk->f", cells[:, 0], normal[:, 0]))
    area = np.linalg.norm(normal, axis=2)
    return np.divide(volume[:, None], area, out=np.zeros_like(area), where=area > 0)


def close_pairs(
    coord: np.ndarray, cells: np.ndarray | None, limit: float, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """At least one pair of atoms closer than ``limit`` from every frame that has such pairs.

    Linear in the number of atoms: every atom is put into its bin, and into those bins below it
    whose face it is near. Atoms closer than that then share a bin.

    Parameters
    ----------
    coord
        [nframes, natoms, 3], Å, finite.
    cells
        [nframes, 3, 3], Å, opposite faces more than 2 ``limit`` apart, or None without
        periodicity.
    limit
        Å.
    present
        bool [nframes, natoms]: which atoms there are.

    Returns
    -------
    frames, i, j
        int64 [n], frames ascending.
    distance
        [n], Å.
    """
    nframes, natoms = coord.shape[:2]
    fractional = None
    if cells is not None:
        fractional = coord @ np.linalg.inv(cells)
        fractional -= np.floor(fractional)
    found, bits = _binned(coord, fractional, cells, limit, present)
    group, atom = found >> bits, (found & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)

    results = [np.zeros(0, np.int64)] * 3 + [np.zeros(0)]
    hit = np.zeros(nframes, dtype=bool)
    left = np.arange(len(group) - 1) if len(group) else np.zeros(0, np.int64)
    for apart in itertools.count(1):
        left = left[left + apart < len(group)]
        left = left[group[left] == group[left + apart]]
        left = left[~hit[atom[left] // natoms]]  # one pair of a frame is enough
        if not len(left):
            break
        frame, i = np.divmod(atom[left], natoms)
        other, j = np.divmod(atom[left + apart], natoms)
        if fractional is None or cells is None:
            x = coord[frame, j] - coord[frame, i]
        else:
            x = fractional[frame, j] - fractional[frame, i]
            x = np.einsum("pk,pkl->pl", x - np.round(x), cells[frame])
        distance = np.linalg.norm(x, axis=1)
        close = (distance < limit) & (frame == other) & (i != j)
        hit[frame[close]] = True
        new = (frame[close], i[close], j[close], distance[close])
        results = [np.concatenate(pair) for pair in zip(results, new, strict=True)]
    order = np.argsort(results[0], kind="stable")
    frame, i, j, distance = (result[order] for result in results)
    return frame, i, j, distance


def _binned(
    coord: np.ndarray,
    fractional: np.ndarray | None,
    cells: np.ndarray | None,
    limit: float,
    present: np.ndarray,
) -> tuple[np.ndarray, np.uint64]:
    """Sorted uint64 whose lower bits are the numbers of atoms, and upper bits keys of their bins.

    The second result is the number of lower bits. Bins of several frames have different keys.
    """
    nframes, natoms = coord.shape[:2]
    if cells is None:
        place, margin, bins = coord / _EDGE, np.full((nframes, 1, 3), limit / _EDGE), None
    else:
        heights = _heights(cells)[:, None, :]
        bins = np.maximum(1.0, np.floor(heights / _EDGE))
        place, margin = fractional * bins, limit / heights * bins
    corner = np.floor(place)
    near = place - corner < margin * (1 + 1e-9) + 1e-9
    corner = np.clip(corner, -(2.0**52), 2.0**52)

    number = np.arange(nframes * natoms, dtype=np.uint64).reshape(nframes, natoms)
    frame_key = np.arange(nframes, dtype=np.uint64)[:, None] * _FACTORS[3]
    bits = np.uint64(max(1, (nframes * natoms - 1).bit_length()))
    keys = []
    for step in itertools.product((0, 1), repeat=3):
        taken = present.copy()
        key = np.broadcast_to(frame_key, present.shape).copy()
        for axis, down in enumerate(step):
            index = corner[..., axis] - down
            if down:
                taken &= near[..., axis]
                if bins is not None:
                    index = np.where(index < 0, bins[..., axis] - 1, index)
            key += index.astype(np.int64).view(np.uint64) * _FACTORS[axis]
        key = key[taken]
        # the upper bits of a product are the well-mixed ones
        key = (key ^ (key >> np.uint64(29))) * _FACTORS[0]
        keys.append((key >> bits << bits) | number[taken])
    return np.sort(np.concatenate(keys)), bits
