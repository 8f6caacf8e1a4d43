# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of a set that have no meaning, whatever the data are used for.

Every function looks at consecutive frames of one file, as they are stored, and gives what it finds.
Frames and atoms are counted from 0; ``origin(frame, atom)`` says which ones a user knows as these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from deepmd_tf import units
from deepmd_tf.data.checks.findings import Finding
from deepmd_tf.data.formats.source import NOPBC_FILE
from deepmd_tf.fields import FRAGMENTS, MASK, Field

Origin = Callable[[int, int], tuple[int, int]]

SMALLEST_VOLUME = 1e-6
"""A cell is singular if it has less than this part of the volume of a brick with the same edges."""
MOST_COPIES = 100_000_000
SYMMETRY_TOLERANCE = 1e-3
"""Two elements of a Hessian that should be equal may differ by this part of the largest one."""


def not_finite(
    where: str, field: Field, raw: np.ndarray, dtype: np.dtype, origin: Origin
) -> Iterator[Finding]:
    """Numbers that are not finite, in the files or in the precision ``dtype``."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(raw.sum(dtype=dtype)):  # then all of them are
            return
        bad = ~np.isfinite(raw.astype(dtype, copy=False))
    if bad.any():
        place, count = _first(bad, field, raw, origin), int(bad.sum())
        expected = f"expected a finite {np.dtype(dtype)} number"
        yield Finding("not finite", where, place, expected, count, "such")


def too_small(where: str, field: Field, raw: np.ndarray, origin: Origin) -> Iterator[Finding]:
    """Numbers below the smallest that has a meaning."""
    if field.numbers.minimum is None:
        return
    bad = raw < field.numbers.minimum
    if bad.any():
        place, count = _first(bad, field, raw, origin), int(bad.sum())
        yield Finding(
            "too small",
            where,
            place,
            f"expected a number ≥ {field.numbers.minimum:g}",
            count,
            "such",
        )


def not_a_mask(where: str, field: Field, raw: np.ndarray, origin: Origin) -> Iterator[Finding]:
    """Numbers of a mask other than 0 and 1."""
    bad = (raw != 0) & (raw != 1)
    if field == MASK and bad.any():
        place, count = _first(bad, field, raw, origin), int(bad.sum())
        expected = "it is the mask of atoms; expected 1, or 0 for an atom that is not there"
        yield Finding("mask", where, place, expected, count, "such")


def no_fragments(where: str, field: Field, raw: np.ndarray, origin: Origin) -> Iterator[Finding]:
    """Numbers of fragments that are none, and frames without any."""
    if field != FRAGMENTS:
        return
    bad = (raw != np.floor(raw)) | (raw < -1)
    if bad.any():
        place, count = _first(bad, field, raw, origin), int(bad.sum())
        expected = (
            "it is the number of a fragment; expected a whole number, or -1 for an atom that "
        )
        yield Finding("fragment", where, place, f"{expected}takes no part", count, "such")
    empty = (raw < 0).all(axis=1)
    if empty.any():
        frame = origin(int(empty.argmax()), 0)[0]
        yield Finding(
            "no fragment",
            where,
            f"frame {frame} (counted from 0) has no atom in a fragment",
            "expected those of the quantum region in the fragment of the smallest number",
            int(empty.sum()),
            "such",
        )


def _first(bad: np.ndarray, field: Field, raw: np.ndarray, origin: Origin) -> str:
    """Where the first bad number is, and what."""
    frame, column = (int(i) for i in np.argwhere(bad)[0])
    atom, component = divmod(column, field.dof) if field.kind == "atom" else (0, 0)
    known_frame, known_atom = origin(frame, atom)
    place = f"frame {known_frame}"
    if field.kind == "atom":
        place += f", atom {known_atom}"
        if field.dof > 1:
            place += f", component {component}"
    elif raw.shape[1] > 1:
        place += f", element {column}"
    return f"{place} (counted from 0) is {raw[frame, column]}"


def not_symmetric(where: str, matrices: np.ndarray, origin: Origin) -> Iterator[Finding]:
    """Hessians [nframes, 3n, 3n] that are not; a triangle alone is a mistake of its own."""
    for frame, stored in enumerate(matrices):
        # differences of integers or of few bits may not be what they seem
        matrix = stored.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told elsewhere
            difference = np.abs(matrix - matrix.T)
        worst = difference.max()
        limit = SYMMETRY_TOLERANCE * np.abs(matrix).max()
        if not worst > limit:
            continue
        place = f"frame {origin(frame, 0)[0]} (counted from 0)"
        for part, rest in (("upper", np.tril(matrix, -1)), ("lower", np.triu(matrix, 1))):
            if not rest.any():
                yield Finding(
                    "triangle",
                    where,
                    f"{place} holds only the {part} triangle of its Hessian",
                    "expected the full symmetric matrix; write H + H.T - diag(H) in its place",
                )
                break
        else:
            row, column = (int(i) for i in np.unravel_index(difference.argmax(), matrix.shape))
            yield Finding(
                "not symmetric",
                where,
                f"{place} is not symmetric: H[{row}, {column}] = {matrix[row, column]:g}, but "
                f"H[{column}, {row}] = {matrix[column, row]:g} {units.HESSIAN}; their difference, "
                f"{worst:g}, is the largest",
                f"expected at most {limit:g} = {SYMMETRY_TOLERANCE:g} of the largest element. If "
                "this is noise of finite differences, write (H + H.T) / 2",
            )


def lopsided(where: str, field: Field, raw: np.ndarray, origin: Origin) -> Iterator[Finding]:
    """Tensors [nframes, n * 9] that are not symmetric, as those of models are: a doubt."""
    tensors = raw.reshape(len(raw), -1, 3, 3).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told elsewhere
        difference = np.abs(tensors - tensors.swapaxes(2, 3)).max(axis=(2, 3))
        bad = difference > SYMMETRY_TOLERANCE * np.abs(tensors).max()
    if bad.any():
        frame, atom = (int(i) for i in np.argwhere(bad)[0])
        known_frame, known_atom = origin(frame, atom if field.kind == "atom" else 0)
        place = f"frame {known_frame}"
        place += f", atom {known_atom}" if field.kind == "atom" else ""
        yield Finding(
            "lopsided",
            where,
            f"{place} (counted from 0) is not symmetric: {tensors[frame, atom].tolist()}",
            "a model gives symmetric tensors, and learns the symmetric part; write (A + A.T) / 2",
            int(bad.sum()),
            "such",
            doubt=True,
        )


def bad_cells(where: str, boxes: np.ndarray, origin: Origin) -> Iterator[Finding]:
    """Cells [nframes, 9] that are zero, or have no volume."""
    cells = boxes.reshape(-1, 3, 3).astype(np.float64)
    zero = ~cells.any(axis=(1, 2))
    if zero.any():
        frame = origin(int(zero.argmax()), 0)[0]
        yield Finding(
            "zero cell",
            where,
            f"the cell of frame {frame} (counted from 0) has no volume: it is "
            "zero, but the system is periodic",
            f"expected a cell, or an empty file {NOPBC_FILE} in a system without periodicity",
            int(zero.sum()),
            "such",
        )
    with np.errstate(all="ignore"):
        edges = np.linalg.norm(cells, axis=2)
        flat = np.abs(np.linalg.det(cells)) <= SMALLEST_VOLUME * edges.prod(axis=1)
    flat &= ~zero
    if flat.any():
        frame = int(flat.argmax())
        yield Finding(
            "singular cell",
            where,
            f"the cell of frame {origin(frame, 0)[0]} (counted from 0) has no volume: "
            f"{cells[frame].tolist()}",
            "expected three independent lattice vectors as rows",
            int(flat.sum()),
            "such",
        )


def left_handed(where: str, boxes: np.ndarray, origin: Origin) -> Iterator[Finding]:
    """Cells [nframes, 9] whose vectors are in the order of a left hand: a doubt.

    Energies and forces do not depend on it, but many programs refuse such cells, and most often
    they come from a mistake.
    """
    with np.errstate(all="ignore"):
        left = np.linalg.det(boxes.reshape(-1, 3, 3).astype(np.float64)) < 0
    if left.any():
        frame = origin(int(left.argmax()), 0)[0]
        yield Finding(
            "left-handed cell",
            where,
            f"the lattice vectors of frame {frame} (counted from 0) form a left-handed system",
            "expected a right-handed one, a · (b × c) > 0; results are right in either case, but "
            "other programs refuse such cells",
            int(left.sum()),
            "such",
            doubt=True,
        )


def bad_copies(where: str, copies: np.ndarray, origin: Origin) -> Iterator[Finding]:
    """``numb_copy`` [nframes] of a whole set that are no counts, or count nothing or too much."""
    # sums of integers or of few bits may not be what they seem
    copies = copies.astype(np.float64)
    bad = (copies < 0) | (copies != np.floor(copies))
    if bad.any():
        frame = int(bad.argmax())
        yield Finding(
            "copies",
            where,
            f"frame {origin(frame, 0)[0]} (counted from 0) is to be used {copies[frame]:g} times",
            "expected 0, 1, 2, ...",
            int(bad.sum()),
        )
    elif not 0 < copies.sum() <= MOST_COPIES:
        yield Finding(
            "copies",
            where,
            f"the counts sum to {copies.sum():g}",
            f"expected 1 to {MOST_COPIES} frames",
        )
