# SPDX-License-Identifier: BSD-3-Clause
"""Cell and periodicity of a frame of extended XYZ, whatever the spelling of their keys."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepmd_tf.data.formats.xyz_comment import numbers_of

LATTICE, PROPERTIES, PBC = "Lattice", "Properties", "pbc"
_SPELLINGS = {name.lower(): name for name in (LATTICE, PROPERTIES, PBC)}
_CELL = "cell"
_OTHER_CELLS = frozenset(
    (
        *("box", "cell_parameters", "cell_vectors", "celldm", "cellpar", "lattice_parameters"),
        *("lattice", "lattice_vectors", "unit_cell", "unitcell"),
    )
)
"""Keys in small letters that may hold a cell; of the others nobody has agreed on a form."""
_TRUTH = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}


def spelled(keys: Mapping[str, str]) -> dict[str, str]:
    """The same, with Lattice, Properties and pbc in that spelling.

    Raises
    ------
    ValueError
        If one of them is there in two spellings.
    """
    found: dict[str, str] = {}
    for key, value in keys.items():
        name = _SPELLINGS.get(key.lower(), key)
        if name in found:
            raise ValueError(f"the key {name!r} is given twice, in different spellings")
        found[name] = value
    return found


def is_extended(line: str) -> bool:
    """Whether the second line of a frame is meant for programs, though it may be damaged."""
    return any(f"{name}=" in line.lower() for name in (*_SPELLINGS, _CELL))


def other_cell(keys: Mapping[str, object]) -> str | None:
    """A key that holds numbers and may be a cell, but is not Lattice; words are remarks."""
    names = (key for key in keys if key.lower() in (_CELL, *_OTHER_CELLS))
    return next((name for name in names if any(c.isdigit() for c in str(keys[name]))), None)


def cell_of(keys: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray] | None:
    """[3, 3], rows are cell vectors in angstrom, and periodicity along each of them, [3].

    None for a frame that is not periodic.

    Nine numbers of ``cell`` count as those of ``Lattice``, if that is missing.

    Parameters
    ----------
    keys
        As :func:`spelled` gives them.

    Raises
    ------
    ValueError
        If they are not understood.
    """
    periodic = _periodic(keys[PBC]) if PBC in keys else None
    if periodic is not None and not periodic.any():
        return None
    name = LATTICE if LATTICE in keys else other_cell(keys)
    if name is None:
        if periodic is not None:
            raise ValueError(f"is periodic ({PBC}), but has no {LATTICE}")
        return None
    if name != LATTICE and name.lower() != _CELL:
        raise ValueError(not_read(name))
    try:
        values = numbers_of(keys[name])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if values.size != 9:
        raise ValueError(f"{name} has {values.size} numbers, expected 9")
    return values.reshape(3, 3), np.full(3, True) if periodic is None else periodic


def not_read(key: str) -> str:
    """What to say of a key that :func:`other_cell` found."""
    return (
        f"has no {LATTICE}, but {key!r}, which may be a cell and is not read; write the cell "
        f'vectors as {LATTICE}="ax ay az bx by bz cx cy cz", or say {PBC}="F F F"'
    )


def _periodic(words: str) -> np.ndarray:
    flags = words.replace("[", " ").replace("]", " ").replace(",", " ").split()
    truth = [_TRUTH.get(flag.lower()) for flag in flags]
    if len(flags) not in (1, 3) or None in truth:
        raise ValueError(f'{PBC}="{words}" is not understood; expected three of T and F')
    return np.broadcast_to(np.array(truth, dtype=bool), 3)
