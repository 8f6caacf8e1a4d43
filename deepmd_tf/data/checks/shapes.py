# SPDX-License-Identifier: BSD-3-Clause
"""Shapes of the arrays of a set: whether they hold the numbers of its frames, and in which order.

The numbers of an array are those of frame after frame, atom after atom, component after component
(axes of lengths nframes, natoms, dof). A shape in which some of these axes are merged, such as
(nframes natoms, dof), or in which a component has axes of its own, says the same. Any other shape
of as many numbers, such as (natoms dof, nframes), says that they stand in another order.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator

from deepmd_tf.data.checks.findings import Finding
from deepmd_tf.data.formats.source import TYPE_FILE, StoredArray
from deepmd_tf.errors import DataError
from deepmd_tf.fields import COORD, Field


def count_frames(coord: StoredArray, natoms: int) -> int:
    """Frames of the coordinates; an array of rank 1 is one frame.

    Raises
    ------
    DataError
        If a frame has not three numbers for each atom, or there is none.
    """
    per_frame = coord.shape if len(coord.shape) < 2 else coord.shape[1:]
    nframes = 1 if len(coord.shape) < 2 else coord.shape[0]
    if math.prod(per_frame) != 3 * natoms:
        raise DataError(
            f"{coord.where}: {math.prod(per_frame)} numbers per frame (shape {coord.shape}), "
            f"expected {3 * natoms} = 3 x {natoms} atoms of {TYPE_FILE}"
        )
    if nframes == 0:
        raise DataError(f"{coord.where}: holds no frame (shape {coord.shape})")
    return nframes


def wrong_shape(
    stored: StoredArray, field: Field, natoms: int, nframes: int, some: int | None = None
) -> Iterator[Finding]:
    """What is wrong with a shape; a doubt where frames are no axis, but their order is clear.

    With ``some`` the file may be of as many atoms, those that have the item, in place of all.
    """
    shape, width = stored.shape, field.stored_width(natoms)
    if some is not None and math.prod(shape) == nframes * field.stored_width(some):
        natoms, width = some, field.stored_width(some)
    if math.prod(shape) != nframes * width or width == 0:
        yield _wrong_size(stored, field, natoms, nframes, some)
        return
    usual = f"({nframes},)" if width == 1 else f"({nframes}, {width})"
    if not _in_order(shape, field, natoms, nframes):
        if field.kind == "atom":
            usual += f" or ({nframes}, {natoms}, {field.dof})"
        yield Finding(
            "shape",
            stored.where,
            f"the shape {shape} has as many numbers as {nframes} frames need, but not frame after "
            "frame and atom after atom",
            f"expected the shape {usual}; transpose the array, or write it anew",
        )
    elif nframes > 1 and width > 1 and shape[0] != nframes:
        yield Finding(
            "another shape",
            stored.where,
            f"has the shape {shape} in place of {usual}",
            "its numbers are taken one frame after the other",
            doubt=True,
        )


def _in_order(shape: tuple[int, ...], field: Field, natoms: int, nframes: int) -> bool:
    """Whether every axis of ``shape`` ends where one of the usual axes ends, or within a
    component."""
    axes = {
        "frame": (nframes,),
        "atom": (nframes, natoms),
        "hessian": (nframes, natoms, 3, natoms, 3),
    }[field.kind]
    ends = set(itertools.accumulate(axes, operator.mul, initial=1))
    component = max(ends)
    return all(
        end in ends or end % component == 0 for end in itertools.accumulate(shape, operator.mul)
    )


def _wrong_size(
    stored: StoredArray, field: Field, natoms: int, nframes: int, some: int | None = None
) -> Finding:
    shape, width = stored.shape, field.stored_width(natoms)
    expected, explained = f"expected {width}", field.explain_width(natoms)
    if not explained.startswith(str(width)):
        expected += f" = {explained}"
    if some and some != natoms:
        kinds = ", ".join(map(str, field.types or ()))
        expected += f", or {field.stored_width(some)} of the {some} atoms of the types {kinds}"
    packed = 3 * natoms * (3 * natoms + 1) // 2
    if field.kind == "hessian" and shape[:1] == (nframes,) and math.prod(shape[1:]) == packed:
        found = f"{packed} numbers per frame (shape {shape}) are one triangle of a symmetric matrix"
        expected += "; write the full matrix, both triangles, row by row"
    elif shape and shape[0] == nframes:
        found = f"{math.prod(shape[1:])} numbers per frame (shape {shape})"
    else:
        found = f"{shape[0] if shape else 1} frames (shape {shape})"
        numbers = f"{width} number{'s' * (width > 1)}"
        expected = f"expected {nframes} as in {COORD.name}.npy, each with {numbers}"
    return Finding("shape", stored.where, found, expected)
