# SPDX-License-Identifier: BSD-3-Clause
"""One system: frames of the same atoms, or of atoms that each frame names for itself."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from deepmd_tf.data.batch import FREE_MESH, PERIODIC_MESH, VIRTUAL, Batch, natoms_vector, resize
from deepmd_tf.data.checks.findings import Finding, Findings
from deepmd_tf.data.formats.opening import open_source
from deepmd_tf.data.formats.source import MIXED_TYPE_STEM, NOPBC_FILE
from deepmd_tf.data.memory import Memory
from deepmd_tf.data.order import FrameOrder
from deepmd_tf.data.sets import Chunk, FrameSet, dtype_of
from deepmd_tf.data.types import read_frame_types, read_types
from deepmd_tf.elements import virtual_types
from deepmd_tf.errors import DataError
from deepmd_tf.fields import APARAM, BOX, COORD, MASK, NUMB_COPY, Field

_ALWAYS = {COORD.name, BOX.name, NUMB_COPY.name}
_FOUND, _MISSING = np.float32(1.0), np.float32(0.0)


class _FixedTypes:
    """Types of the atoms where all frames have the same, as batches have them; the last ``virtual``
    of the model's types are of atoms that stand for spins."""

    def __init__(self, types: np.ndarray, virtual: int) -> None:
        self.types = types
        self.virtual = virtual
        self.natoms_vector = np.zeros(0, dtype=np.int32)
        self._rows = np.zeros((0, len(types)), dtype=np.int32)

    def count(self, ntypes: int) -> None:
        self.natoms_vector = natoms_vector(self.types[None], ntypes)
        self.natoms_vector.flags.writeable = False

    def rows(self, nframes: int) -> np.ndarray:
        """int32 [nframes, natoms], made anew only for more frames than before."""
        if len(self._rows) < nframes:
            self._rows = np.tile(self.types, (nframes, 1))
            self._rows.flags.writeable = False
        return self._rows[:nframes]


class _Cache:
    """Arrays of sets: in memory as far as there is room, otherwise read when they are needed."""

    def __init__(self, sets: Sequence[FrameSet], memory: Memory) -> None:
        self._sets = sets
        self._memory = memory
        self._loaded: dict[int, dict[str, np.ndarray]] = {}

    def arrays(self, index: int, frames: np.ndarray) -> dict[str, np.ndarray]:
        one = self._sets[index]
        if index not in self._loaded and self._memory.take(one.nbytes):
            self._loaded[index] = one.load()
        if index not in self._loaded:
            return one.load(frames)
        return {name: values[frames] for name, values in self._loaded[index].items()}


class DataSystem:
    """The frames of one directory with ``type.raw`` and ``set.*/*.npy``.

    Opening it checks shapes and types from the headers of all files. The numbers of a set are
    checked and sorted when the set is first needed, and stay in memory as far as there is room.

    Parameters
    ----------
    path
        The directory.
    type_map
        Names of the model's types. If the system names its elements too (``type_map.raw``), its
        types are translated by name; otherwise they are used as they are.
    fields
        Items to load besides coordinates and box.
    sort_atoms
        Whether atoms are ordered by (type, place in the file), as training needs it; otherwise they
        stay in the order of the files.
    dtype
        Interface precision, float64 or float32. Energies are float64 in any case.
    ntypes
        Number of types that :attr:`Batch.natoms` counts, by default :attr:`ntypes_needed`.
    memory
        Bounds what stays in memory, by default :data:`~deepmd_tf.data.memory.DEFAULT_BYTES` of this
        system alone; frames of further sets are read whenever they are needed.

    Attributes
    ----------
    path : str
        Directory as given.
    pbc : bool
        Whether the system is periodic (it has no file ``nopbc``).
    natoms : int
        Number of atoms; of the mixed type: of the largest frame that there could be.
    type_map : list of str or None
        Names of the types.

    Raises
    ------
    DataError
        If something is missing, does not fit, or is not understood; the message names the file,
        what was found and what was expected.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        type_map: Sequence[str] | None = None,
        *,
        fields: Sequence[Field] = (),
        sort_atoms: bool = True,
        dtype: Any = np.float64,
        ntypes: int | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self._source = source = open_source(path)
        self.pbc = not source.exists(NOPBC_FILE)
        frame_types = read_frame_types(source, list(type_map or ()), sort_atoms)
        self.type_map: list[str] | None
        if frame_types is not None:
            self.natoms, self.type_map = frame_types.natoms, frame_types.type_map
            self._fixed, order, file_types = None, np.arange(self.natoms), None
        else:
            file_types, self.type_map = read_types(source, list(type_map or ()))
            self.natoms = len(file_types)
            order = np.argsort(file_types, kind="stable") if sort_atoms else np.arange(self.natoms)
            self._fixed = _FixedTypes(file_types[order], virtual_types(type_map or ()))
        self._atom_order = order

        labels = {field.name: field for field in fields if field.name not in _ALWAYS}
        read = (COORD, *([BOX.require()] if self.pbc else []), *labels.values())
        moved = None if np.array_equal(order, np.arange(self.natoms)) else order
        self._sets: list[FrameSet] = []
        findings = Findings()
        for name in source.sets:
            with findings.collect():
                one = FrameSet(
                    source,
                    name,
                    read,
                    self.natoms,
                    moved,
                    np.dtype(dtype),
                    frame_types,
                    file_types,
                )
                self._sets.append(one)
        findings.raise_errors()
        self.count_types(ntypes or self.ntypes_needed)
        self._layout = [
            (field, dtype_of(field, np.dtype(dtype))) for field in (COORD, BOX, *labels.values())
        ]
        self._cache = _Cache(self._sets, memory or Memory())
        self._order = FrameOrder(self.set_sizes, self._copies)

    @property
    def mixed(self) -> bool:
        """Whether each frame has types of its own (mixed type, ``real_atom_types.npy``)."""
        return self._fixed is None

    @property
    def masked(self) -> bool:
        """Whether the atomic parameter, which was asked for, is the mask of atoms."""
        return any(field == MASK for field, _ in self._layout)

    @property
    def where(self) -> Callable[..., str]:
        """For messages, ``where(set_name, item)`` says where an item of a set is.

        See :meth:`deepmd_tf.data.formats.source.Source.where`.
        """
        return self._source.where

    @functools.cached_property
    def set_names(self) -> list[str]:
        """Name of each set."""
        return [one.name for one in self._sets]

    @functools.cached_property
    def set_sizes(self) -> list[int]:
        """Number of frames of each set."""
        return [one.nframes for one in self._sets]

    @property
    def nframes(self) -> int:
        """Number of frames of all sets."""
        return sum(self.set_sizes)

    @property
    def ntypes_needed(self) -> int:
        """Number of names in :attr:`type_map`, or without one the largest type + 1."""
        return len(self.type_map) if self.type_map else int(self.types.max()) + 1

    @property
    def virtual_types(self) -> int:
        """How many of the model's types, the last ones, are of virtual atoms that stand for spins;
        0 where each frame has types of its own.
        """
        return 0 if self._fixed is None else self._fixed.virtual

    @property
    def real_types(self) -> int | None:
        """Number of types, without those of virtual atoms; None where there are no such types."""
        return self._ntypes - self.virtual_types if self.virtual_types else None

    @property
    def types(self) -> np.ndarray:
        """int32 [natoms], type of each atom, in the order of the batches.

        Raises
        ------
        DataError
            If each frame has types of its own.
        """
        if self._fixed is None:
            raise DataError(
                f"{self.path}: its frames have types of their own ({MIXED_TYPE_STEM}.npy), which "
                "cannot be used here; split it into one system per composition"
            )
        return self._fixed.types

    @property
    def occurring(self) -> set[int]:
        """Types of which there are atoms, in whatever frame."""
        arrays = [one.types for one in self._sets] if self._fixed is None else [self._fixed.types]
        found = {int(t) for array in arrays if array is not None for t in np.unique(array)}
        return found - {VIRTUAL}

    def n_batches(self, batch_size: int) -> int:
        """Batches in one pass: the full ones, and one for each set smaller than a batch."""
        return sum(max(1, size // batch_size) for size in self.set_sizes)

    def has(self, name: str) -> list[bool]:
        """For each set, whether it has the file of the requested item `name`."""
        return [one.has(name) for one in self._sets]

    def offers(self, field: Field) -> bool:
        """Whether a set has the file of an item, be it requested or not."""
        return any(set(field.stems) & set(self._source.stems(name)) for name in self.set_names)

    def count_types(self, ntypes: int) -> None:
        """Let :attr:`Batch.natoms` count `ntypes` types.

        Raises
        ------
        DataError
            If the system has more types.
        """
        largest = (
            max(int(one.types.max()) for one in self._sets if one.types is not None)
            if self.mixed
            else self.types.max()
        )
        if largest >= ntypes:
            raise DataError(
                f"{self.path}: has atoms of type {largest}, but the model has only {ntypes} "
                f"types (0 to {ntypes - 1})"
            )
        self._ntypes = ntypes
        if self._fixed is not None:
            self._fixed.count(ntypes)

    def check(self) -> None:
        """Read every set and check every number in it.

        Raises
        ------
        FindingsError
            If numbers are not finite, cells singular, or ``numb_copy`` not counts; the message
            names files, frames and atoms, counted from 0.
        """
        findings = Findings()
        for _, _, found in self.chunks():
            findings.add(*found)
        findings.raise_errors()
        self.trust()

    def chunks(self) -> Iterator[tuple[int, Chunk, list[Finding]]]:
        """All frames, some at a time: index of the set, frames, and what is wrong with them."""
        for index, one in enumerate(self._sets):
            for chunk in one.chunks():
                yield index, chunk, list(one.check(chunk))

    def types_of(self, chunk: Chunk) -> np.ndarray:
        """Types of the atoms of these frames, in the order of the files: int32 [nframes, natoms].

        Those of virtual atoms are negative.
        """
        if chunk.types is not None:
            return chunk.types
        types = np.empty_like(self.types)
        types[self._atom_order] = self.types
        return np.broadcast_to(types, (chunk.nframes, self.natoms))

    def present(self, chunk: Chunk) -> np.ndarray:
        """Whether atoms of these frames are there, neither virtual nor masked, in the order of the
        files: bool [nframes, natoms].
        """
        there = self.types_of(chunk) >= 0
        return there & (chunk.arrays[APARAM.name] != 0) if self.masked else there

    @functools.cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each item, by its name, and of ``type``: the same wherever the files are."""
        first = "free" if self._fixed is None else self.types.tobytes().hex()
        known = f"{self.pbc} {self.type_map} {self._atom_order.tolist()} {first}"
        types = hashlib.sha256(known.encode())
        for one in self._sets:
            types.update(b"" if one.types is None else np.ascontiguousarray(one.types).data)
        digests = {"type": types.hexdigest()}
        for name in (*(field.name for field, _ in self._layout), NUMB_COPY.name):
            hasher = hashlib.sha256()
            for one in self._sets:
                one.hash(hasher, name)
            digests[name] = hasher.hexdigest()
        return digests

    def trust(self) -> None:
        """Do not check any number again: :meth:`chunks` found nothing in these files."""
        for one in self._sets:
            one.trust()

    def get_batch(self, batch_size: int, rng: np.random.RandomState, system: int = 0) -> Batch:
        """The next frames in the random order of :class:`~deepmd_tf.data.order.FrameOrder`."""
        index, frames = self._order.take(batch_size, rng)
        return self._batch(index, frames, system)

    def pick(self, set_name: str, frames: Sequence[int], system: int = 0) -> Batch:
        """These frames of a set, counted from 0.

        Raises
        ------
        DataError
            If there is no such set.
        """
        if set_name not in self.set_names:
            raise DataError(f"{self.path}: has no {set_name}")
        return self._batch(self.set_names.index(set_name), np.asarray(frames), system)

    def origin(self, batch: Batch, frame: int) -> tuple[int, list[int]]:
        """For messages, a frame of a batch and its atoms as a user counts them, from 0."""
        number = int(batch.frames[frame])
        atoms = self.file_atoms(batch.set_name, number)
        found = [self._source.origin(batch.set_name, number, int(atom)) for atom in atoms]
        return found[0][0], [atom for _, atom in found]

    def file_atoms(self, set_name: str, frame: int) -> np.ndarray:
        """Atom k of a frame in a batch is atom ``file_atoms[k]`` of the files, int64 [natoms].

        Of the mixed type the batch may have fewer: virtual atoms come last.
        """
        order = self._sets[self.set_names.index(set_name)].order(frame)
        return np.arange(self.natoms) if order is None else order

    def get_state(self) -> dict[str, Any]:
        """Where :meth:`get_batch` is, in types of JSON (the generator not included)."""
        return {"path": self.path, "order": self._order.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Resume :meth:`get_batch` from the state of :meth:`get_state`.

        Raises
        ------
        DataError
            If the state belongs to other data.
        """
        try:
            self._order.set_state(state["order"])
        except (DataError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: {error}") from error

    def batches(
        self,
        *,
        max_atoms: int = 1_000_000,
        limit: int = 0,
        rng: np.random.RandomState | None = None,
        system: int = 0,
    ) -> Iterator[Batch]:
        """All frames once, set by set, in batches of at most `max_atoms` atoms.

        Parameters
        ----------
        max_atoms
            Bound on the atoms of a batch; a batch has at least one frame.
        limit
            Stop after this many frames; 0 means all.
        rng
            If given, frames (each ``numb_copy`` times) are shuffled before `limit` takes the first.
        system
            Value of :attr:`Batch.system`.
        """
        size = max(1, max_atoms // self.natoms)
        for index, frames in self._choose(limit, rng):
            for begin in range(0, len(frames), size):
                yield self._batch(index, frames[begin : begin + size], system)

    def _choose(
        self, limit: int, rng: np.random.RandomState | None
    ) -> Iterator[tuple[int, np.ndarray]]:
        chosen = np.arange(self.nframes)
        if rng is not None:
            copies = [
                np.broadcast_to(self._copies(index), size)
                for index, size in enumerate(self.set_sizes)
            ]
            chosen = np.repeat(chosen, np.concatenate(copies))
            rng.shuffle(chosen)
        if limit > 0:
            chosen = chosen[:limit]
        end = 0
        for index, size in enumerate(self.set_sizes):
            begin, end = end, end + size
            frames = chosen[(chosen >= begin) & (chosen < end)] - begin
            if len(frames):
                yield index, frames

    def _batch(self, index: int, frames: np.ndarray, system: int) -> Batch:
        loaded, fixed = self._cache.arrays(index, frames), self._fixed
        nframes = len(frames)
        types = loaded["type"] if fixed is None else fixed.rows(nframes)
        width = int(np.max(np.sum(types >= 0, axis=1))) if fixed is None else self.natoms
        arrays: dict[str, np.ndarray] = {}
        for field, dtype in self._layout:
            values = loaded.get(field.name)
            if values is None:
                size = (nframes, field.width(width))
                fill = np.broadcast_to(np.asarray(field.default, dtype), size)
                # whole matrices of nothing are not worth their memory
                arrays[field.name] = fill if field.kind == "hessian" else fill.copy()
            else:
                arrays[field.name] = resize(field.name, values, self.natoms, width)
            if field.name not in _ALWAYS:
                arrays[field.find_key] = _MISSING if values is None else _FOUND
        if "energy" in arrays:
            arrays["energy"] = arrays["energy"].reshape(nframes)
        arrays["type"] = types = types[:, :width]
        natoms = natoms_vector(types, self._ntypes) if fixed is None else fixed.natoms_vector
        mesh = PERIODIC_MESH if self.pbc else FREE_MESH
        return Batch(arrays, natoms, mesh, system, self.set_names[index], frames)

    def _copies(self, index: int) -> np.ndarray | int:
        return self._sets[index].copies()
