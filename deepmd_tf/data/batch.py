# SPDX-License-Identifier: BSD-3-Clause
"""A batch: frames that are fed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deepmd_tf.fields import FIELDS

PERIODIC_MESH = np.zeros(6, dtype=np.int32)
"""Tells the neighbour list to use the box and to make the images itself."""
FREE_MESH = np.zeros(0, dtype=np.int32)
"""Tells the neighbour list that there is no box."""
PERIODIC_MESH.flags.writeable = False
FREE_MESH.flags.writeable = False
VIRTUAL = -1
"""Type of an atom that is not there: it fills up frames of fewer atoms."""


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Frames of one system, or of several.

    Frames with fewer atoms than the largest are padded with virtual atoms at the end.

    Attributes
    ----------
    arrays
        ``coord`` [nf, 3 nat], ``box`` [nf, 9] (zeros without periodicity), ``type`` int32
        [nf, nat] (-1: virtual), and of every requested item ``<name>`` [nf, width] (``energy`` is
        [nf]) and ``find_<name>``, float32: 1 if a set has it, 0 if the array holds the default.
        Virtual atoms have zeros. Units: :mod:`deepmd_tf.units`.
    natoms
        int32 [2 + ntypes]: atoms, atoms, then atoms of each type; zeros for those where frames have
        different atoms.
    mesh
        int32 [6] if the frames are periodic, [0] if not.
    system
        Index of the system in its :class:`~deepmd_tf.data.DataSystems`; -1: of several.
    set_name
        The set that the frames come from.
    frames
        Their indices in the files of that set.
    merged
        In a batch of several systems, what it was made of.
    """

    arrays: dict[str, np.ndarray]
    natoms: np.ndarray
    mesh: np.ndarray
    system: int
    set_name: str
    frames: np.ndarray
    merged: tuple[Batch, ...] = ()

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @property
    def periodic(self) -> bool:
        """Whether the frames have a box."""
        return self.mesh.size > 0

    @property
    def parts(self) -> tuple[Batch, ...]:
        """The frames in their order, by the system and set that they come from."""
        return self.merged or (self,)

    @property
    def sizes(self) -> np.ndarray:
        """int64 [nf], atoms of each frame, virtual ones not counted."""
        return np.sum(self.arrays["type"] >= 0, axis=1)

    @property
    def counts(self) -> np.ndarray:
        """int64 [nf, ntypes], atoms of each type in each frame."""
        types = self.arrays["type"]
        return np.stack([np.sum(types == t, axis=1) for t in range(len(self.natoms) - 2)], axis=1)

    def found(self, name: str) -> np.ndarray:
        """bool [nf], whether the frame has the item `name`."""
        flags = [np.full(part.nframes, bool(part.arrays[f"find_{name}"])) for part in self.parts]
        return np.concatenate(flags)

    def locate(self, frame: int) -> tuple[Batch, int]:
        """The part of a frame, and which it is there."""
        for part in self.parts:
            if frame < part.nframes:
                return part, frame
            frame -= part.nframes
        raise IndexError(frame)

    def cut(self, begin: int, end: int) -> Batch:
        """The frames from ``begin`` to ``end``, maybe none; they are as wide as before."""
        merged, first = [], 0
        for part in self.merged:
            inside = max(begin - first, 0), min(end - first, part.nframes)
            if inside[0] < inside[1]:
                merged.append(part.cut(*inside))
            first += part.nframes
        arrays = {n: a if np.ndim(a) == 0 else a[begin:end] for n, a in self.arrays.items()}
        frames = self.frames[begin:end]
        return dataclasses.replace(self, arrays=arrays, frames=frames, merged=tuple(merged))

    def origin(self) -> dict[str, Any]:
        """Arguments of :meth:`DataSystems.pick <deepmd_tf.data.DataSystems.pick>` that give this
        batch again, in types of JSON."""
        if self.merged:
            return {"parts": [part.origin() for part in self.merged]}
        frames = [int(frame) for frame in self.frames]
        return {"system": self.system, "set_name": self.set_name, "frames": frames}

    def uniform(
        self, results: Mapping[str, np.ndarray] | None = None
    ) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
        """Runs of successive frames with the same atoms, without virtual ones.

        Parameters
        ----------
        results
            Further arrays of these frames, under the names of the items that they are like, which
            are cut in the same way.
        """
        if self.merged:
            raise ValueError("frames of several systems: take their parts")
        results = dict(results or {})
        types = self.arrays["type"]
        changes = np.flatnonzero(np.any(types[1:] != types[:-1], axis=1)) + 1
        if not len(changes) and np.all(types[:1] >= 0):
            yield self, results
            return
        for begin, end in zip([0, *changes], [*changes, self.nframes], strict=True):
            run = slice(int(begin), int(end))
            width = int(np.sum(types[begin] >= 0))
            arrays = {name: self._cut(name, a, run, width) for name, a in self.arrays.items()}
            part = dataclasses.replace(
                self,
                arrays=arrays,
                natoms=natoms_vector(arrays["type"], len(self.natoms) - 2),
                frames=self.frames[run],
            )
            yield part, {name: self._cut(name, a, run, width) for name, a in results.items()}

    def _cut(self, name: str, values: np.ndarray, run: slice, width: int) -> np.ndarray:
        return values if np.ndim(values) == 0 else resize(name, values[run], self.natoms[0], width)


def natoms_vector(types: np.ndarray, ntypes: int) -> np.ndarray:
    """:attr:`Batch.natoms` of frames with these types [nf, nat]."""
    natoms = types.shape[1]
    same = np.all(types == types[:1]) and np.all(types[:1] >= 0)
    counts = np.bincount(types[0], minlength=ntypes) if same else np.zeros(ntypes)
    return np.array([natoms, natoms, *counts], dtype=np.int32)


def resize(name: str, values: np.ndarray, natoms: int, width: int) -> np.ndarray:
    """The item `name` of frames of `natoms` atoms, for frames of `width` atoms.

    Later atoms are cut off, or virtual ones are filled in, with zeros.

    Parameters
    ----------
    name
        An item of :data:`~deepmd_tf.fields.FIELDS`, or ``type``.
    values
        [nf, ...]; axes of atoms are in a common axis with what belongs to an atom, or not.
    """
    kind = "atom" if name == "type" else FIELDS[name].kind
    if width == natoms or kind == "frame":
        return values
    if kind == "hessian":
        grid = values.reshape(len(values), natoms, 3, natoms, 3)
    else:
        grid = values.reshape(len(values), natoms, -1)
    for axis in range(1, grid.ndim, 2):
        if width < natoms:
            grid = np.take(grid, range(width), axis=axis)
        else:
            more = [(0, 0)] * grid.ndim
            more[axis] = (0, width - natoms)
            grid = np.pad(grid, more, constant_values=VIRTUAL if name == "type" else 0)
    if values.ndim == 2:
        return grid.reshape(len(values), -1)
    return grid.reshape(len(values), 3 * width, 3 * width) if kind == "hessian" else grid


def merge(parts: Sequence[Batch]) -> Batch:
    """One batch of the frames of several, which are all periodic or all free.

    ``find_<name>`` is 1 where any of them has the item; :meth:`Batch.found` tells which.
    """
    if len(parts) == 1:
        return parts[0]
    width = max(int(part.natoms[0]) for part in parts)
    first = parts[0]
    arrays: dict[str, np.ndarray] = {}
    for name, values in first.arrays.items():
        given = [part.arrays[name] for part in parts]
        if np.ndim(values) == 0:
            arrays[name] = max(given)
        else:
            arrays[name] = np.concatenate(
                [
                    resize(name, values, part.natoms[0], width)
                    for values, part in zip(given, parts, strict=True)
                ]
            )
    nframes = len(arrays["type"])
    natoms = natoms_vector(arrays["type"], len(first.natoms) - 2)
    return Batch(arrays, natoms, first.mesh, -1, "", np.arange(nframes), tuple(parts))
