# SPDX-License-Identifier: BSD-3-Clause
"""Which element each atom of a system is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from deepmd_tf.data.batch import VIRTUAL
from deepmd_tf.data.formats.source import MIXED_TYPE_STEM, TYPE_FILE, TYPE_MAP_FILE, Source
from deepmd_tf.elements import virtual_types
from deepmd_tf.errors import DataError

BYTE_ORDER_MARK = "\ufeff"
"""What editors of Windows write at the beginning of a text."""
_NUMBER = re.compile(r"[-+0-9.eE]+")
_OTHER_ELEMENTS = "use a type map that has them all, or leave the system out"


def read_types(source: Source, type_map: Sequence[str]) -> tuple[np.ndarray, list[str] | None]:
    """Types of the atoms in the order of ``type.raw``, int32, and the names of the types.

    Parameters
    ----------
    source
        The system.
    type_map
        Names of the model's types, maybe none. If the system has names as well, the result refers
        to `type_map`; otherwise numbers are taken as they are.

    Raises
    ------
    DataError
        If a type is not a number, has no name, or its name is not in `type_map`.
    """
    types = _type_numbers(source)
    where = source.where(TYPE_FILE)
    if not source.exists(TYPE_MAP_FILE):
        if type_map:
            _check_range(where, types, len(type_map), f"the type map {list(type_map)}")
        return types, None
    names = _words(source, TYPE_MAP_FILE)
    # files do not name virtual atoms: they are behind the others, in the order of the model
    names += type_map[len(type_map) - virtual_types(type_map) :]
    _check_range(where, types, len(names), f"{TYPE_MAP_FILE} {names}")
    if not type_map:
        return types, names
    used = [names[t] for t in np.unique(types)]
    unknown = [name for name in used if name not in type_map]
    if unknown:
        raise DataError(
            f"{source.where(TYPE_MAP_FILE)}: the elements {unknown} of this system are not in the "
            f"type map {list(type_map)}; {_OTHER_ELEMENTS}"
        )
    translation = [type_map.index(name) if name in type_map else -1 for name in names]
    return np.array(translation, dtype=np.int32)[types], list(type_map)


def numbers_of_atoms(counts: Sequence[int] | np.ndarray, type_map: Sequence[str]) -> str:
    """Numbers of atoms of each type in words, as "1 O, 2 H"; types without names have numbers."""
    names = [type_map[t] if type_map else f"of type {t}" for t in range(len(counts))]
    return ", ".join(f"{n} {name}" for n, name in zip(counts, names, strict=True))


@dataclasses.dataclass(frozen=True)
class FrameTypes:
    """How a system names the atoms of each of its frames (``set.*/real_atom_types.npy``).

    Attributes
    ----------
    natoms
        Numbers of a frame, virtual atoms included.
    names
        Names that the numbers in the files stand for.
    type_map
        Names of the model's types.
    sort
        Whether atoms are ordered by type, otherwise they stay in the order of the files.
    """

    natoms: int
    names: list[str]
    type_map: list[str]
    sort: bool

    def read(self, source: Source, set_name: str, nframes: int) -> np.ndarray:
        """Types of the atoms of a set, int32 [nframes, natoms]; -1 is a virtual atom.

        Raises
        ------
        DataError
            If the shape is another one, a number is no type, its name is not in the type map of
            the model, or a frame has no atom that is not virtual.
        """
        stored = source.find(set_name, (MIXED_TYPE_STEM,))
        assert stored is not None  # or the system would not be a mixed one
        if stored.shape != (nframes, self.natoms) and nframes * self.natoms != np.prod(
            stored.shape
        ):
            raise DataError(
                f"{stored.where}: shape {stored.shape}, expected {(nframes, self.natoms)}: the "
                f"frames of coord.npy and the atoms of {TYPE_FILE}"
            )
        given = stored.read().reshape(nframes, self.natoms)
        with np.errstate(invalid="ignore"):
            types = given.astype(np.int32)
        names = ", ".join(f"{i} {name}" for i, name in enumerate(self.names))
        wrong = (types != given) | (types < VIRTUAL) | (types >= len(self.names))
        if wrong.any():
            frame, atom = (int(i) for i in np.argwhere(wrong)[0])
            raise DataError(
                f"{stored.where}: atom {atom} of frame {frame} (counted from 0) has the type "
                f"{given[frame, atom]:g}, expected {names}, or -1 for no atom"
            )
        empty = np.all(types == VIRTUAL, axis=1)
        if empty.any():
            raise DataError(
                f"{stored.where}: frame {int(np.argmax(empty))} (counted from 0) has virtual atoms "
                "(-1) only; expected at least one atom"
            )
        known = [self.type_map.index(n) if n in self.type_map else None for n in self.names]
        unknown = np.isin(types, [t for t, place in enumerate(known) if place is None])
        if unknown.any():
            frame, atom = (int(i) for i in np.argwhere(unknown)[0])
            raise DataError(
                f"{stored.where}: atom {atom} of frame {frame} (counted from 0) is "
                f"{self.names[types[frame, atom]]}, which is not in the type map "
                f"{self.type_map}; {_OTHER_ELEMENTS}"
            )
        # the last entry is that of index -1
        places = np.array([*(VIRTUAL if t is None else t for t in known), VIRTUAL], np.int32)
        return places[types]

    def order(self, types: np.ndarray) -> np.ndarray:
        """Atom k of each frame is to be atom ``order[k]`` of the files, virtual ones last."""
        virtual = types == VIRTUAL
        key = np.where(virtual, np.iinfo(types.dtype).max, types) if self.sort else virtual
        return np.argsort(key, axis=1, kind="stable")


def read_frame_types(source: Source, type_map: Sequence[str], sort: bool) -> FrameTypes | None:
    """How to read the types of each frame; None if all frames have those of ``type.raw``.

    The first set decides.

    Parameters
    ----------
    source, type_map
        As for :func:`read_types`.
    sort
        See :class:`FrameTypes`.

    Raises
    ------
    DataError
        If some sets have types of frames and others do not, or the types have no names.
    """
    there = [source.find(name, (MIXED_TYPE_STEM,)) is not None for name in source.sets]
    if len(set(there)) > 1:
        other = source.sets[there.index(not there[0])]
        where = source.where(other, MIXED_TYPE_STEM)
        raise DataError(
            f"{where}: not found, but {source.sets[0]} has types of frames; all sets of a system "
            "have them or none"
            if there[0]
            else f"{where}: found, but {source.sets[0]} has no types of frames; all sets of a "
            "system have them or none"
        )
    if not there[0]:
        return None
    names = _words(source, TYPE_MAP_FILE) if source.exists(TYPE_MAP_FILE) else list(type_map)
    if not names:
        raise DataError(
            f"{source.where(TYPE_MAP_FILE)}: not found, but {source.sets[0]} has types of frames, "
            "which need names; add it, or set model/type_map"
        )
    return FrameTypes(len(_type_numbers(source)), names, list(type_map) or names, sort)


def _words(source: Source, name: str) -> list[str]:
    text = source.text(name).removeprefix(BYTE_ORDER_MARK)
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]


def _type_numbers(source: Source) -> np.ndarray:
    words = _words(source, TYPE_FILE)
    where = source.where(TYPE_FILE)
    if not words:
        raise DataError(f"{where}: is empty; expected one type number per atom")
    types = np.empty(len(words), dtype=np.int32)
    for atom, word in enumerate(words):
        try:
            # Integers are often written as 0.000e+00, the default of numpy.savetxt.
            value = float(word) if _NUMBER.fullmatch(word) else -1.0
            types[atom] = int(value)
        except (ValueError, OverflowError):
            value = None
        if value is None or value != types[atom] or value < 0:
            raise DataError(
                f"{where}: atom {atom} (counted from 0) has the type {word!r}, "
                "expected a number 0, 1, 2, ..."
            )
    return types


def _check_range(where: str, types: np.ndarray, ntypes: int, names: str) -> None:
    atom = int(np.argmax(types))
    if types[atom] >= ntypes:
        raise DataError(
            f"{where}: atom {atom} (counted from 0) has the type {types[atom]}, but {names} "
            f"has only {ntypes} entries (types 0 to {ntypes - 1})"
        )
