# SPDX-License-Identifier: BSD-3-Clause
"""StoredFrames on their way from one format to another."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from deepmd_tf.data.checks.shapes import count_frames
from deepmd_tf.data.expand import expand_systems
from deepmd_tf.data.formats.composition import order_between, system_name
from deepmd_tf.data.formats.opening import open_source
from deepmd_tf.data.formats.source import MIXED_TYPE_STEM
from deepmd_tf.data.system import DataSystem
from deepmd_tf.data.types import read_types
from deepmd_tf.errors import DataError
from deepmd_tf.fields import BOX, COORD, FIELDS, NUMB_COPY, OF_SELECTED, Field

_NEEDED = (COORD.name, BOX.name, NUMB_COPY.name)


@dataclasses.dataclass(frozen=True)
class StoredFrames:
    """StoredFrames with the same atoms, in the same order, and the same items.

    Attributes
    ----------
    species
        Name of the type of each atom.
    coord
        [nframes, natoms, 3] in Å.
    box
        [nframes, 3, 3] in Å, lattice vectors as rows, or None without periodicity.
    items
        Other items by name, [nframes, width], in the units of :mod:`deepmd_tf.fields`.
    """

    species: tuple[str, ...]
    coord: np.ndarray
    box: np.ndarray | None
    items: dict[str, np.ndarray]

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.coord)

    @property
    def name(self) -> str:
        """Of the system that they belong to."""
        return system_name(self.species, self.box is not None)

    def reordered(self, species: Sequence[str]) -> StoredFrames:
        """The same frames with atoms in the order of `species`."""
        order = order_between(self.species, species)
        return self if order is None else self.taken(order)

    def taken(self, atoms: np.ndarray) -> StoredFrames:
        """These atoms only, in this order."""
        natoms = len(self.species)
        items = {k: _taken(v, FIELDS[k], natoms, atoms) for k, v in self.items.items()}
        species = tuple(self.species[atom] for atom in atoms)
        return StoredFrames(species, self.coord[:, atoms], self.box, items)


def read_frames(path: str, type_map: Sequence[str] | None = None) -> Iterator[StoredFrames]:
    """All frames of whatever training can read, with all items that this package knows.

    Parameters
    ----------
    path
        As for :func:`~deepmd_tf.data.expand_systems`.
    type_map
        Names of the types, for systems that have none themselves.

    Raises
    ------
    DataError
        If something cannot be read, or types have no names.
    """
    for system in expand_systems(path):
        yield from _of_system(system, type_map)


def unknown_items(path: str) -> list[str]:
    """Names of the arrays in the systems of `path` that :func:`read_frames` does not give."""
    known = {stem for field in FIELDS.values() for stem in field.stems} | {MIXED_TYPE_STEM}
    found: set[str] = set()
    for system in expand_systems(path):
        source = open_source(system)
        for set_name in source.sets:
            found.update(source.stems(set_name))
    return sorted(found - known)


def _of_system(path: str, type_map: Sequence[str] | None) -> Iterator[StoredFrames]:
    source = open_source(path)
    types, names = read_types(source, ())
    fields = []
    for field in FIELDS.values():
        found = ((s, stored) for s in source.sets if (stored := source.find(s, field.stems)))
        set_name, first = next(found, ("", None))
        if first is not None and field.name not in _NEEDED:
            place = source.find(set_name, COORD.stems)
            # without coordinates the system is refused below
            nframes = 1 if place is None else count_frames(place, len(types))
            fields.append(_as_stored(field, math.prod(first.shape) // nframes, types))
    given = None if names else type_map
    system = DataSystem(path, given, fields=fields, sort_atoms=False)
    names = system.type_map or list(type_map or ())
    if not names:
        raise DataError(f"{path}: its types have no names; give them with --type-map")
    for batch in system.batches():
        arrays = batch.arrays
        items = {
            field.name: arrays[field.name].reshape(batch.nframes, -1)
            for field in fields
            if arrays[field.find_key]
        }
        copies = source.find(batch.set_name, NUMB_COPY.stems)
        if copies is not None:
            items[NUMB_COPY.name] = np.asarray(copies.read()).reshape(-1, 1)[batch.frames]
        coord = arrays["coord"].reshape(batch.nframes, -1, 3)
        box = arrays["box"].reshape(-1, 3, 3) if system.pbc else None
        rows, which = np.unique(arrays["type"], axis=0, return_inverse=True)
        for number, row in enumerate(rows):
            chosen = which.ravel() == number
            species = tuple(names[t] for t in row)  # of atoms that are not there: any
            frames = StoredFrames(
                species,
                coord[chosen],
                None if box is None else box[chosen],
                {name: values[chosen] for name, values in items.items()},
            )
            yield frames if (row >= 0).all() else frames.taken(np.flatnonzero(row >= 0))


def _as_stored(field: Field, width: int, types: np.ndarray) -> Field:
    """The item with as many components, or of atoms of as many types, as ``width`` numbers in a
    frame make.
    """
    natoms = len(types)
    if field.any_dof:
        return field.with_dof(width if field.kind == "frame" else max(1, width // natoms))
    if field in OF_SELECTED and width < field.stored_width(natoms):
        counts = dict(zip(*(a.tolist() for a in np.unique(types, return_counts=True)), strict=True))
        subsets = (c for n in range(1, len(counts)) for c in itertools.combinations(counts, n))
        fits = [c for c in subsets if field.dof * sum(counts[t] for t in c) == width]
        if len(fits) == 1:
            field = field.of_types(fits[0])
    return dataclasses.replace(field, repeat=1)


def _taken(values: np.ndarray, field: Field, natoms: int, atoms: np.ndarray) -> np.ndarray:
    nframes = len(values)
    if field.kind == "atom":
        return values.reshape(nframes, natoms, -1)[:, atoms].reshape(nframes, -1)
    if field.kind == "hessian":
        six = values.reshape(nframes, natoms, 3, natoms, 3)
        return six[:, atoms][:, :, :, atoms].reshape(nframes, -1)
    return values
