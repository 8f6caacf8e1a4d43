# SPDX-License-Identifier: BSD-3-Clause
"""One set of a system: its files checked against each other, its numbers read and checked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepmd_tf.data.checks.findings import Finding, Findings
from deepmd_tf.data.checks.shapes import count_frames, wrong_shape
from deepmd_tf.data.checks.values import (
    Origin,
    bad_cells,
    bad_copies,
    left_handed,
    lopsided,
    no_fragments,
    not_a_mask,
    not_finite,
    not_symmetric,
    too_small,
)
from deepmd_tf.data.formats.source import NOPBC_FILE, Source, StoredArray
from deepmd_tf.data.types import FrameTypes
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
        in the precision of the files; zeros for virtual atoms.
    where
        ``where(name)`` is the place of an item, for messages.
    origin
        ``origin(frame, atom)`` says which ones a user knows as these, counted from 0.
    types
        Where each frame has types of its own, int32 [nframes, natoms]; -1 is a virtual atom.
    """

    first: int
    arrays: dict[str, np.ndarray]
    where: Callable[[str], str]
    origin: Origin
    types: np.ndarray | None = None

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.arrays[COORD.name])


class FileAtoms(NamedTuple):
    """Atoms of the files: their number, the ``order`` in which they are wanted (None: theirs), and
    their types, if all frames have the same.
    """

    number: int
    order: np.ndarray | None
    types: np.ndarray | None


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
    frame_types
        Where each frame has types of its own: how they are read and atoms ordered.
    file_types
        Where all frames have the same types, these: int32 [natoms], atoms in the order of the
        files.

    Attributes
    ----------
    types : int32 [nframes, natoms] or None
        Types of the atoms of each frame in the order of the files, if frames have their own.

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
        frame_types: FrameTypes | None = None,
        file_types: np.ndarray | None = None,
    ) -> None:
        self.name = name
        self._atoms = FileAtoms(natoms, order, file_types)
        self.types: np.ndarray | None = None
        self._frame_types = frame_types
        self._dtype = dtype
        self._fields = {field.name: field for field in (*fields, NUMB_COPY)}
        self._stored: dict[str, StoredArray] = {}
        self._reshaped: list[Finding] = []
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
                self.nframes = count_frames(self._stored[COORD.name], natoms)
                for key, stored in self._stored.items():
                    field, chosen = self._fields[key], self._chosen(key)
                    some = None if chosen is None else int(chosen.sum())
                    findings.add(*wrong_shape(stored, field, natoms, self.nframes, some))
                if frame_types is not None:
                    self.types = frame_types.read(source, name, self.nframes)
        findings.raise_errors()
        self._reshaped = findings.doubts
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
            field.width(self._atoms.number) * dtype_of(field, self._dtype).itemsize * self.nframes
            for field in map(self._fields.__getitem__, self._stored)
        )

    def chunks(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
        """All frames, some at a time."""
        raw = {key: self._raw(key) for key in self._stored}
        per_frame = sum(array.shape[1] * array.itemsize for array in raw.values())
        step = max(1, max_bytes // per_frame)
        for first in range(0, self.nframes, step):
            part = slice(first, first + step)
            types = None if self.types is None else self.types[part]
            arrays = {
                key: _without_virtual(self._of_all(key, array[part]), self._fields[key], types)
                for key, array in raw.items()
            }
            yield Chunk(first, arrays, self.where, functools.partial(self._place, first), types)

    def hash(self, hasher: Any, key: str) -> None:
        """Feed `hasher` with everything that is stored of an item, or nothing without a file."""
        if key not in self._stored:
            hasher.update(f"{self.name} none".encode())
            return
        raw = self._raw(key)
        hasher.update(f"{self.name} {raw.dtype.str} {raw.shape}".encode())
        step = max(1, CHUNK_BYTES // (raw.shape[1] * raw.itemsize))
        for first in range(0, self.nframes, step):
            hasher.update(np.ascontiguousarray(raw[first : first + step]).data.cast("B"))

    def check(self, chunk: Chunk) -> Iterator[Finding]:
        """The defect of these numbers, whatever their use; None if there is none.

        A number that is not finite or too small, a singular cell, a Hessian that is not symmetric,
        a ``numb_copy`` that is not a count. Before the first frame also which files have another
        shape than the usual one, a doubt.
        """
        if chunk.first == 0:
            yield from self._reshaped
        origin = chunk.origin
        for key, raw in chunk.arrays.items():
            field, where = self._fields[key], self.where(key)
            yield from not_finite(where, field, raw, dtype_of(field, self._dtype), origin)
            yield from too_small(where, field, raw, origin)
            yield from not_a_mask(where, field, raw, origin)
            yield from no_fragments(where, field, raw, origin)
            if field.kind == "hessian":
                matrices = raw.reshape(len(raw), 3 * self._atoms.number, -1)
                yield from not_symmetric(where, matrices, origin)
            if field.numbers.symmetric:
                yield from lopsided(where, field, raw, origin)
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

        Where each frame has types of its own also ``type``, int32 [nframes, natoms]. Whatever the
        files say of virtual atoms, they have zeros.

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
        types = self.types if self.types is None or frames is None else self.types[frames]
        orders = None if types is None else self._orders(types)
        arrays = {
            key: self._prepare(key, frames, types, self._atoms.order if orders is None else orders)
            for key in self._stored
            if key != NUMB_COPY.name
        }
        if types is not None and orders is not None:
            arrays["type"] = np.take_along_axis(types, orders, 1)
        return arrays

    def _orders(self, types: np.ndarray) -> np.ndarray:
        assert self._frame_types is not None
        return self._frame_types.order(types)

    def order(self, frame: int) -> np.ndarray | None:
        """Atom k of a frame in :meth:`load` is atom ``order[k]`` of the files; None: atom k."""
        if self.types is None:
            return self._atoms.order
        return self._orders(self.types[frame : frame + 1])[0]

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
        return self._stored[key].read().reshape(self.nframes, -1)

    def _chosen(self, key: str) -> np.ndarray | None:
        """bool [natoms], which atoms have the item; None: all."""
        types = self._fields[key].types
        if types is None or self._atoms.types is None:
            return None
        return np.isin(self._atoms.types, types)

    def _of_all(self, key: str, values: np.ndarray) -> np.ndarray:
        """Values [nframes, ...] of an item with zeros for the atoms that do not have it, whether
        the file has something for them or leaves them out.
        """
        chosen = self._chosen(key)
        if chosen is None:
            return values
        nframes, dof = len(values), self._fields[key].dof
        whole = values.shape[1] == dof * self._atoms.number
        found = np.zeros((nframes, self._atoms.number, dof), values.dtype)
        values = values.reshape(nframes, -1, dof)
        found[:, chosen] = values[:, chosen] if whole else values
        return found.reshape(nframes, -1)

    def _prepare(
        self,
        key: str,
        frames: np.ndarray | None,
        types: np.ndarray | None,
        order: np.ndarray | None,
    ) -> np.ndarray:
        field, raw = self._fields[key], self._raw(key)
        raw = self._of_all(key, raw if frames is None else raw[frames])
        raw = _without_virtual(raw, field, types)
        with np.errstate(over="ignore"):
            values = np.array(raw, dtype_of(field, self._dtype))
        if order is not None:
            values = _permute(values, field, self._atoms.number, order)
        return values if field.repeat == 1 else np.repeat(values, field.repeat, axis=1)


def dtype_of(field: Field, interface: np.dtype) -> np.dtype:
    """Type of the array of `field` in a batch when everything else is of type `interface`."""
    if field.numbers.high_precision or field.numbers.integer:
        return np.dtype(np.float64)
    return interface


def _missing(source: Source, set_name: str, field: Field) -> Finding:
    needed = f"but it is needed ({field.doc})"
    if field.name == BOX.name:
        needed += f" A system without periodicity has an empty file {source.where(NOPBC_FILE)}."
    if field.name in (FPARAM.name, APARAM.name):
        needed += f" The model has numb_{field.name} {field.dof}."
    return Finding(f"no {field.name}", source.where(set_name, field.name), "not found", needed)


def _without_virtual(values: np.ndarray, field: Field, types: np.ndarray | None) -> np.ndarray:
    """The same with zeros for atoms that are not there."""
    if types is None or field.kind == "frame" or np.all(types >= 0):
        return values
    there = types >= 0
    nframes, natoms = there.shape
    if field.kind == "hessian":
        axes = np.repeat(there, 3, axis=1)
        there, shape = axes[:, :, None] & axes[:, None, :], (nframes, 3 * natoms, 3 * natoms)
    else:
        there, shape = there[:, :, None], (nframes, natoms, field.dof)
    return np.where(there, values.reshape(shape), 0).reshape(values.shape)


def _permute(values: np.ndarray, field: Field, natoms: int, order: np.ndarray) -> np.ndarray:
    """Atoms in another order, [natoms] or [nframes, natoms]."""
    nframes = len(values)
    frame = np.arange(nframes)[:, None]
    if field.kind == "atom":
        atoms = values.reshape(nframes, natoms, -1)
        moved = atoms[:, order] if order.ndim == 1 else atoms[frame, order]
        return moved.reshape(nframes, -1)
    if field.kind == "hessian":
        rows = (3 * order[..., None] + np.arange(3)).reshape(*order.shape[:-1], -1)
        square = values.reshape(nframes, 3 * natoms, 3 * natoms)
        if order.ndim == 1:
            return square[:, rows[:, None], rows].reshape(nframes, -1)
        moved = square[frame[..., None], rows[:, :, None], rows[:, None, :]]
        return moved.reshape(nframes, -1)
    return values
