# SPDX-License-Identifier: BSD-3-Clause
"""One set of a system: its files checked against each other, its numbers read and checked."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deepmd_tf.data.checks import (
    Origin,
    bad_cells,
    bad_copies,
    left_handed,
    not_finite,
    not_symmetric,
    too_small,
)
from deepmd_tf.data.findings import Finding, Findings
from deepmd_tf.data.source import MIXED_TYPE_STEM, NOPBC_FILE, TYPE_FILE, Source, StoredArray
from deepmd_tf.errors import DataError
from deepmd_tf.fields import APARAM, BOX, COORD, FPARAM, NUMB_COPY, Field

CHUNK_BYTES = 16 << 20
"""Of the files, that are looked at together: bounds memory."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Consecutive frames of a set as they are in the files.

    Attributes
    ----------
    first
        Number of the first frame.
    arrays
        Items that have a file, by name: [nframes, stored width], atoms in the order of the files,
        in the precision of the files.
    where
        ``where(name)`` is the place of an item, for messages.
    origin
        ``origin(frame, atom)`` says which ones a user knows as these, counted from 0.
    """

    first: int
    arrays: dict[str, np.ndarray]
    where: Callable[[str], str]
    origin: Origin

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.arrays[COORD.name])


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
    FindingsError
        If required files are missing or shapes are not what ``type.raw`` and ``coord.npy`` imply.
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
        findings = Findings()
        for field in self._fields.values():
            with findings.collect():
                stored = source.find(name, field.stems)
                if stored is not None:
                    self._stored[field.name] = stored
                elif field.required:
                    findings.add(_missing(source, name, field))
        if COORD.name in self._stored:
            with findings.collect():
                self.nframes = _count_frames(self._stored[COORD.name], natoms)
                for key, stored in self._stored.items():
                    findings.add(*_wrong_shape(stored, self._fields[key], natoms, self.nframes))
        findings.raise_errors()
        self._checked = False
        self._origin = functools.partial(source.origin, name)

    def has(self, key: str) -> bool:
        """Whether there is a file for the item `key`."""
        return key in self._stored

    def where(self, key: str) -> str:
        """The place of an item that has a file, for messages."""
        return self._stored[key].where

    @property
    def nbytes(self) -> int:
        """Memory that :meth:`load` takes for the whole set."""
        return sum(
            field.width(self._natoms) * dtype_of(field, self._dtype).itemsize * self.nframes
            for field in map(self._fields.__getitem__, self._stored)
        )

    def chunks(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
        """All frames, some at a time."""
        raw = {key: self._raw(key) for key in self._stored}
        per_frame = sum(array.shape[1] * array.itemsize for array in raw.values())
        step = max(1, max_bytes // per_frame)
        for first in range(0, self.nframes, step):
            part = {key: array[first : first + step] for key, array in raw.items()}
            yield Chunk(first, part, self.where, functools.partial(self._place, first))

    def check(self, chunk: Chunk) -> Iterator[Finding]:
        """What is wrong with these numbers, whatever they are used for.

        A number that is not finite or too small, a singular cell, a Hessian that is not symmetric,
        a ``numb_copy`` that is not a count.
        """
        origin = chunk.origin
        for key, raw in chunk.arrays.items():
            field, where = self._fields[key], self.where(key)
            yield from not_finite(where, field, raw, dtype_of(field, self._dtype), origin)
            yield from too_small(where, field, raw, origin)
            if field.kind == "hessian":
                matrices = raw.reshape(len(raw), 3 * self._natoms, -1)
                yield from not_symmetric(where, matrices, origin)
        if BOX.name in chunk.arrays:
            boxes = chunk.arrays[BOX.name]
            yield from bad_cells(self.where(BOX.name), boxes, origin)
            yield from left_handed(self.where(BOX.name), boxes, origin)
        if NUMB_COPY.name in chunk.arrays and chunk.first == 0:
            yield from self._check_copies()

    def trust(self) -> None:
        """Do not check numbers any more when they are loaded."""
        self._checked = True

    def load(self, frames: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The items that have a file, by name: [nframes, width], copied into memory.

        Parameters
        ----------
        frames
            Which frames; None is all of them.

        Raises
        ------
        FindingsError
            If :meth:`check` finds something, the first time.
        """
        if not self._checked:
            findings = Findings()
            for chunk in self.chunks():
                findings.add(*self.check(chunk))
            findings.raise_errors()
            self._checked = True
        return {key: self._prepare(key, frames) for key in self._stored if key != NUMB_COPY.name}

    def copies(self) -> np.ndarray | int:
        """How often each frame is used, int64 [nframes], or 1.

        Raises
        ------
        FindingsError
            If these are no counts.
        """
        if not self.has(NUMB_COPY.name):
            return 1
        findings = Findings()
        findings.add(*self._check_copies())
        findings.raise_errors()
        return self._raw(NUMB_COPY.name).ravel().astype(np.int64)

    def _check_copies(self) -> Iterator[Finding]:
        copies = self._raw(NUMB_COPY.name).ravel()
        yield from bad_copies(self.where(NUMB_COPY.name), copies, self._origin)

    def _place(self, first: int, frame: int, atom: int) -> tuple[int, int]:
        return self._origin(first + frame, atom)

    def _raw(self, key: str) -> np.ndarray:
        return (
            self._stored[key]
            .read()
            .reshape(self.nframes, self._fields[key].stored_width(self._natoms))
        )

    def _prepare(self, key: str, frames: np.ndarray | None) -> np.ndarray:
        field, raw = self._fields[key], self._raw(key)
        with np.errstate(over="ignore"):
            values = np.array(raw if frames is None else raw[frames], dtype_of(field, self._dtype))
        if self._order is not None:
            values = _permute(values, field, self._natoms, self._order)
        return values if field.repeat == 1 else np.repeat(values, field.repeat, axis=1)


def dtype_of(field: Field, interface: np.dtype) -> np.dtype:
    """Type of the array of `field` in a batch when everything else is of type `interface`."""
    if field.high_precision or field.integer:
        return np.dtype(np.float64)
    return interface


def _missing(source: Source, set_name: str, field: Field) -> Finding:
    needed = f"but it is needed ({field.doc})"
    if field.name == BOX.name:
        needed += f" A system without periodicity has an empty file {source.where(NOPBC_FILE)}."
    if field.name in (FPARAM.name, APARAM.name):
        needed += f" The model has numb_{field.name} {field.dof}."
    return Finding(f"no {field.name}", source.where(set_name, field.name), "not found", needed)


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


def _wrong_shape(stored: StoredArray, field: Field, natoms: int, nframes: int) -> Iterator[Finding]:
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
        found = f"{packed} numbers per frame (shape {shape}) are one triangle of a symmetric matrix"
        expected += "; write the full matrix, both triangles, row by row"
    elif shape and shape[0] == nframes:
        found = f"{math.prod(shape[1:])} numbers per frame (shape {shape})"
    else:
        found = f"{shape[0] if shape else 1} frames (shape {shape})"
        expected = f"expected {nframes} as in {COORD.name}.npy, each with {width} numbers"
    yield Finding("shape", stored.where, found, expected)


def _permute(values: np.ndarray, field: Field, natoms: int, order: np.ndarray) -> np.ndarray:
    nframes = len(values)
    if field.kind == "atom":
        return values.reshape(nframes, natoms, -1)[:, order].reshape(nframes, -1)
    if field.kind == "hessian":
        rows = (3 * order[:, None] + np.arange(3)).reshape(-1)
        square = values.reshape(nframes, 3 * natoms, 3 * natoms)
        return square[:, rows[:, None], rows].reshape(nframes, -1)
    return values
