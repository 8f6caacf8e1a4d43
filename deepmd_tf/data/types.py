# SPDX-License-Identifier: BSD-3-Clause
"""Which element each atom of a system is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepmd_tf.data.source import TYPE_FILE, TYPE_MAP_FILE, Source
from deepmd_tf.errors import DataError


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
            _check_range(where, types, len(type_map), f"the type_map {list(type_map)} of the model")
        return types, None
    names = _words(source, TYPE_MAP_FILE)
    _check_range(where, types, len(names), f"{TYPE_MAP_FILE} {names}")
    if not type_map:
        return types, names
    used = [names[t] for t in np.unique(types)]
    unknown = [name for name in used if name not in type_map]
    if unknown:
        raise DataError(
            f"{source.where(TYPE_MAP_FILE)}: the elements {unknown} of this system are not in the "
            f"type_map of the model {list(type_map)}"
        )
    translation = [type_map.index(name) if name in type_map else -1 for name in names]
    return np.array(translation, dtype=np.int32)[types], list(type_map)


def _words(source: Source, name: str) -> list[str]:
    return [
        word for line in source.text(name).splitlines() for word in line.partition("#")[0].split()
    ]


def _type_numbers(source: Source) -> np.ndarray:
    words = _words(source, TYPE_FILE)
    where = source.where(TYPE_FILE)
    if not words:
        raise DataError(f"{where}: is empty; expected one type number per atom")
    types = np.empty(len(words), dtype=np.int32)
    for atom, word in enumerate(words):
        try:
            # Integers are often written as 0.000e+00, the default of numpy.savetxt.
            value = float(word)
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
