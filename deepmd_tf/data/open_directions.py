# SPDX-License-Identifier: BSD-3-Clause
"""Surfaces and wires: cells whose open directions are closed by vacuum that no cutoff crosses."""

from __future__ import annotations

import numpy as np

FAR = 50.0
"""Å: vacuum where the cutoff is not known, in data; larger than the cutoff of any model in use, and
small enough for single precision."""
MARGIN = 1.0
"""Å beyond the cutoff, so that rounding lets no image come closer than it."""


def closed(
    cells: np.ndarray,
    pbc: np.ndarray,
    coords: np.ndarray,
    reach: float = FAR,
    real: np.ndarray | None = None,
) -> np.ndarray:
    """Cells that are periodic in all directions, in which atoms do not see each other across the
    open ones: L = extent of the atoms + reach + 1 Å there, perpendicular to the periodic vectors.

    What the cells have in open directions has no meaning and is not read; it may be zero.

    Parameters
    ----------
    cells
        [n_frames, 3, 3], rows are lattice vectors, Å.
    pbc
        bool [3]; at least one true.
    coords
        [n_frames, n_atoms, 3], Å.
    reach
        Cutoff of the model, Å.
    real
        bool [n_frames, n_atoms]: False for what is no atom; None: all are atoms.

    Returns
    -------
    np.ndarray
        [n_frames, 3, 3], Å. A cell without area, or length, in the periodic directions gives one
        without volume.
    """
    result = np.array(cells, dtype=np.float64)
    if np.all(pbc):
        return result
    for direction, axis in _perpendicular(result, np.asarray(pbc, dtype=bool)):
        along = np.einsum("fac,fc->fa", coords, axis)
        low = np.where(True if real is None else real, along, np.inf).min(axis=1, initial=np.inf)
        high = np.where(True if real is None else real, along, -np.inf).max(axis=1, initial=-np.inf)
        extent = np.where(high >= low, high - low, 0.0)
        result[:, direction] = (extent + reach + MARGIN)[:, None] * axis
    return result


def projector(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """P, [3, 3]: takes a vector to its part along the periodic directions of one cell."""
    vectors = cell[np.asarray(pbc, dtype=bool)]
    orthonormal = np.linalg.svd(vectors, full_matrices=False)[2]
    return orthonormal.T @ orthonormal


def _perpendicular(cells: np.ndarray, pbc: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Open directions and unit vectors [n_frames, 3] there; the cell is right-handed with them."""
    if pbc.sum() == 2:
        k = int(np.flatnonzero(~pbc)[0])
        return [(k, _unit(np.cross(cells[:, (k + 1) % 3], cells[:, (k + 2) % 3])))]
    p = int(np.flatnonzero(pbc)[0])
    along = _unit(cells[:, p])
    # Of the three coordinate axes the one that is farthest from the wire, so that a wire along an
    # axis has a cell along the axes.
    order = (p + 1 + np.arange(3)) % 3
    farthest = order[np.abs(along[:, order]).argmin(axis=1)]
    first = np.eye(3)[farthest]
    first = _unit(first - np.sum(first * along, axis=1, keepdims=True) * along)
    return [((p + 1) % 3, first), ((p + 2) % 3, np.cross(along, first))]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; of zeros where there is none, also for nearly parallel vectors."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > 0, vectors / length, 0.0)
