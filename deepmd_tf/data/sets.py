# SPDX-License-Identifier: BSD-3-Clause
"""One set of a system: its files checked against each other, its numbers read and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from deepmd_tf import units
from deepmd_tf.data.source import MIXED_TYPE_STEM, NOPBC_FILE, TYPE_FILE, Source, StoredArray
from deepmd_tf.errors import DataError
from deepmd_tf.fields import APARAM, BOX, COORD, FPARAM, NUMB_COPY, Field

_SMALLEST_VOLUME = 1e-6
"""A cell is singular if it has less than this part of the volume of a brick with the same edges."""
_MOST_COPIES = 100_000_000
SYMMETRY_TOLERANCE = 1e-3
"""Two elements of a Hessian that should be equal may differ by this part of the largest one."""


class FrameSet:
    """Frames of one ``set.*``: opening it reads headers, :meth:`load` reads numbers.

    Parameters
    ----------
    source, name
        Where it is.
    fields
        Items to load; those without a file are left out unless they are required.
    natoms
        Number of atoms of the system.
    order
        Atom k of the result is atom ``order[k]`` of the files; None keeps their order.
    dtype
        Precision of what is neither an integer nor of high precision.

    Raises
    ------
    DataError
        If a required file is missing or a shape is not what ``type.raw`` and ``coord.npy`` imply.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        fields: Sequence[Field],
        natoms: int,
        order: np.ndarray | None,
        dtype: np.dtype,
    ) -> None:
        self.name = name
        self._natoms = natoms
        self._order = order
        self._dtype = dtype
        self._fields = {field.name: field for field in (*fields, NUMB_COPY)}
        if source.find(name, (MIXED_TYPE_STEM,)):
            raise DataError(
                f"{source.where(name, MIXED_TYPE_STEM)}: frames of mixed types cannot be read yet; "
                "split the frames into one system per composition"
            )
        self._stored: dict[str, StoredArray] = {}
        for field in self._fields.values():
            stored = source.find(name, field.stems)
            if stored is not None:
                self._stored[field.name] = stored
            elif field.required:
                raise DataError(_missing(source, name, field))
        self.nframes = _count_frames(self._stored[COORD.name], natoms)
        for key, stored in self._stored.items():
            _check_shape(stored, self._fields[key], natoms, self.nframes)

    def has(self, key: str) -> bool:
        """Whether there is a file for the item `key`."""
        return key in self._stored

    def load(self) -> dict[str, np.ndarray]:
        """The items that have a file, by name: [nframes, width], copied into memory.

        Raises
        ------
        DataError
            If a number is not finite or too small, a cell is singular, a Hessian is not symmetric,
            or ``numb_copy`` (returned as [nframes]) is not a count.
        """
        arrays = {key: self._prepare(self._fields[key]) for key in self._stored}
        if BOX.name in arrays:
            _check_cells(self._stored[BOX.name].where, arrays[BOX.name])
        if NUMB_COPY.name in arrays:
            arrays[NUMB_COPY.name] = _copies(self._stored[NUMB_COPY.name].where, arrays)
        return arrays

    def _prepare(self, field: Field) -> np.ndarray:
        stored = self._stored[field.name]
        raw = stored.read().reshape(self.nframes, field.stored_width(self._natoms))
        with np.errstate(over="ignore"):
            values = np.array(raw, dtype=dtype_of(field, self._dtype))
        _check_finite(stored.where, field, raw, values)
        _check_minimum(stored.where, field, raw)
        if field.kind == "hessian":
            _check_symmetric(stored.where, values.reshape(self.nframes, 3 * self._natoms, -1))
        if self._order is not None:
            values = _permute(values, field, self._natoms, self._order)
        return values if field.repeat == 1 else np.repeat(values, field.repeat, axis=1)


def dtype_of(field: Field, interface: np.dtype) -> np.dtype:
    """Type of the array of `field` in a batch when everything else is of type `interface`."""
    if field.high_precision or field.integer:
        return np.dtype(np.float64)
    return interface


def _missing(source: Source, set_name: str, field: Field) -> str:
    text = f"{source.where(set_name, field.name)}: not found, but it is needed ({field.doc})"
    if field.name == BOX.name:
        text += f" A system without periodicity has an empty file {source.where(NOPBC_FILE)}."
    if field.name in (FPARAM.name, APARAM.name):
        text += f" The model has numb_{field.name} {field.dof}."
    return text


def _count_frames(coord: StoredArray, natoms: int) -> int:
    """Frames of `coord`; an array of rank 1 is one frame."""
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


def _check_shape(stored: StoredArray, field: Field, natoms: int, nframes: int) -> None:
    shape, size = stored.shape, math.prod(stored.shape)
    width = field.stored_width(natoms)
    by_frame = bool(shape) and shape[0] == nframes and math.prod(shape[1:]) == width
    one_frame = nframes == 1 and size == width
    one_number = width == 1 and size == nframes == max(shape, default=1)
    if by_frame or one_frame or one_number:
        return
    expected = f"expected {width} = {field.explain_width(natoms)}"
    packed = 3 * natoms * (3 * natoms + 1) // 2
    if field.kind == "hessian" and shape[:1] == (nframes,) and math.prod(shape[1:]) == packed:
        raise DataError(
            f"{stored.where}: {packed} numbers per frame (shape {shape}) are one triangle of a "
            f"symmetric matrix, {expected}; write the full matrix, both triangles, row by row"
        )
    if shape and shape[0] == nframes:
        found = f"{math.prod(shape[1:])} numbers per frame"
    else:
        found = f"{shape[0] if shape else 1} frames"
        expected = f"expected {nframes} as in {COORD.name}.npy, each with {width} numbers"
    raise DataError(f"{stored.where}: {found} (shape {shape}), {expected}")


def _check_finite(where: str, field: Field, raw: np.ndarray, values: np.ndarray) -> None:
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    raise DataError(
        f"{where}: {_first(bad, field, raw)}, "
        f"expected a finite {values.dtype} number ({int(bad.sum())} such in the file)"
    )


def _check_minimum(where: str, field: Field, raw: np.ndarray) -> None:
    if field.minimum is None:
        return
    bad = raw < field.minimum
    if bad.any():
        raise DataError(
            f"{where}: {_first(bad, field, raw)}, expected a number ≥ {field.minimum:g} "
            f"({int(bad.sum())} such in the file)"
        )


def _first(bad: np.ndarray, field: Field, raw: np.ndarray) -> str:
    """Where the first bad number is, and what."""
    frame, column = (int(i) for i in np.argwhere(bad)[0])
    place = f"frame {frame}"
    if field.kind == "atom":
        atom, component = divmod(column, field.dof)
        place += f", atom {atom}"
        if field.dof > 1:
            place += f", component {component}"
    elif raw.shape[1] > 1:
        place += f", element {column}"
    return f"{place} (counted from 0) is {raw[frame, column]}"


def _check_symmetric(where: str, matrices: np.ndarray) -> None:
    """Of each frame; a triangle alone is a mistake of its own."""
    for frame, matrix in enumerate(matrices):
        difference = np.abs(matrix - matrix.T)
        worst = difference.max()
        limit = SYMMETRY_TOLERANCE * np.abs(matrix).max()
        if worst <= limit:
            continue
        place = f"{where}: frame {frame} (counted from 0)"
        for part, found in (("upper", np.tril(matrix, -1)), ("lower", np.triu(matrix, 1))):
            if not found.any():
                raise DataError(
                    f"{place} holds only the {part} triangle of its Hessian, expected the full "
                    "symmetric matrix; write H + H.T - diag(H) in its place"
                )
        row, column = (int(i) for i in np.unravel_index(difference.argmax(), matrix.shape))
        raise DataError(
            f"{place} is not symmetric: H[{row}, {column}] = {matrix[row, column]:g}, but "
            f"H[{column}, {row}] = {matrix[column, row]:g} {units.HESSIAN}; their difference, "
            f"{worst:g}, is the largest, expected at most {limit:g} = {SYMMETRY_TOLERANCE:g} of "
            "the largest element. If this is noise of finite differences, write (H + H.T) / 2"
        )


def _check_cells(where: str, boxes: np.ndarray) -> None:
    cells = boxes.reshape(-1, 3, 3).astype(np.float64)
    edges = np.linalg.norm(cells, axis=2)
    singular = np.abs(np.linalg.det(cells)) <= _SMALLEST_VOLUME * edges.prod(axis=1)
    if singular.any():
        frame = int(np.argmax(singular))
        raise DataError(
            f"{where}: the cell of frame {frame} (counted from 0) has no volume: "
            f"{cells[frame].tolist()}; expected three independent lattice vectors as rows"
        )


def _copies(where: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    given = arrays[NUMB_COPY.name].reshape(-1)
    bad = (given < 0) | (given != np.floor(given))
    if bad.any():
        frame = int(np.argmax(bad))
        raise DataError(
            f"{where}: frame {frame} (counted from 0) is to be used {given[frame]:g} times, "
            "expected 0, 1, 2, ..."
        )
    if not 0 < given.sum() <= _MOST_COPIES:
        raise DataError(
            f"{where}: the counts sum to {given.sum():g}, expected 1 to {_MOST_COPIES} frames"
        )
    return given.astype(np.int64)


def _permute(values: np.ndarray, field: Field, natoms: int, order: np.ndarray) -> np.ndarray:
    nframes = len(values)
    if field.kind == "atom":
        return values.reshape(nframes, natoms, -1)[:, order].reshape(nframes, -1)
    if field.kind == "hessian":
        rows = (3 * order[:, None] + np.arange(3)).reshape(-1)
        square = values.reshape(nframes, 3 * natoms, 3 * natoms)
        return square[:, rows[:, None], rows].reshape(nframes, -1)
    return values
