# SPDX-License-Identifier: BSD-3-Clause
"""A single structure from whatever a user has: a file that ASE reads, or a frame of a system."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from deepmd_tf.data import DataSystem
from deepmd_tf.data.formats.opening import EXTXYZ_SUFFIXES
from deepmd_tf.data.formats.source import require_regular_file
from deepmd_tf.data.formats.xyz_cell import not_read, other_cell
from deepmd_tf.errors import DataError, InputError, optional_package

with optional_package("ase"):
    from ase import Atoms
    from ase.data import atomic_numbers
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

log = logging.getLogger(__name__)

ISOTOPES = {"D": ("H", 2.01410177811), "T": ("H", 3.01604928199)}
"""Names of isotopes: element and mass, u (AME2016)."""
_FRAME = re.compile(r"(?P<path>.+)@(?P<frame>-?\d+)")


def read_structure(where: str, type_map: Sequence[str], symbols: Sequence[str] = ()) -> Atoms:
    """One structure.

    Parameters
    ----------
    where
        A file in any format of ASE or a folder with ``type.raw`` and sets, then maybe ``@`` and
        the number of a frame, counted from 0, or from the end if negative; by default the last.
    type_map
        Names of the model's types, for folders.
    symbols
        Chemical symbols of the types; empty: their names.

    Raises
    ------
    InputError, DataError
        When there is no such structure, it cannot be read, it has no atoms, or a type is no
        element.
    """
    found = _FRAME.fullmatch(where)
    if found and not Path(where).exists():
        path, frame = Path(found["path"]), int(found["frame"])
    else:
        path, frame = Path(where), -1
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder; expected a structure, FILE or FILE@FRAME"
        )
    if path.is_dir():
        atoms = _of_system(path, frame, list(type_map), list(symbols or type_map))
    else:
        atoms = _of_file(path, frame)
    if not len(atoms):
        raise InputError(f"{where}: the structure has no atoms")
    if not np.isfinite(atoms.cell.array).all():
        raise InputError(f"{where}: the cell is not finite")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise InputError(f"{where}: the position of atom {bad[0]} is not finite")
    return atoms


def _of_file(path: Path, frame: int) -> Atoms:
    require_regular_file(path, "a structure")
    try:
        atoms = cast(Atoms, read(path, index=frame, do_not_split_by_at_sign=True))
    except (IndexError, StopIteration):
        raise InputError(f"{path}: has no frame {frame} (frames are counted from 0)") from None
    except UnknownFileTypeError as error:
        raise InputError(
            f"{path}: ASE does not know this format ({error}); name the file as its format wants "
            "it, for example .xyz, .extxyz, .cif or POSCAR"
        ) from None
    except Exception as error:  # readers of ASE raise anything
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise InputError(f"{path}: ASE cannot read it ({reason})") from error
    cell = other_cell(atoms.info) if path.suffix.lower() in EXTXYZ_SUFFIXES else None
    if cell is not None and not atoms.pbc.any():
        raise InputError(f"{path}: {not_read(cell)}")
    return atoms


def _of_system(path: Path, frame: int, type_map: list[str], symbols: list[str]) -> Atoms:
    system = DataSystem(path, type_map=type_map, sort_atoms=False)
    number = frame if frame >= 0 else system.nframes + frame
    if not 0 <= number < system.nframes:
        raise DataError(f"{path}: has no frame {frame}; it has {system.nframes}, counted from 0")
    ends = np.cumsum(system.set_sizes)
    index = int(np.searchsorted(ends, number, side="right"))
    number -= int(ends[index]) - system.set_sizes[index]
    arrays = system.pick(system.set_names[index], [number]).arrays
    names = symbols or list(system.type_map or ())
    if not names:
        raise InputError(f"{path}: neither the system nor the model names the elements")
    chosen = [names[t] for t in arrays["type"][0]]
    unknown = sorted(set(chosen) - set(atomic_numbers))
    if unknown:
        raise InputError(
            f"{path}: {', '.join(unknown)} is no chemical symbol, so its mass is not known; say "
            f"which element the type is, for example --types O={unknown[0]}"
        )
    cell = arrays["box"][0].reshape(3, 3) if system.pbc else None
    return Atoms(chosen, arrays["coord"][0].reshape(-1, 3), cell=cell, pbc=system.pbc)


def types_of_elements(
    words: Sequence[str], type_map: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    """Number of the type of each element, and the element of each type.

    Parameters
    ----------
    words
        ``ELEMENT=TYPE``; without one, the type of an element is the one of its name.
    type_map
        Names of the types.

    Raises
    ------
    InputError
        When one is not understood.
    """
    symbols = list(type_map)
    for word in words:
        element, _, name = word.partition("=")
        if element not in atomic_numbers or name not in type_map:
            raise InputError(
                f'--types "{word}": expected ELEMENT=TYPE, for example O=OW; types of the model: '
                f"{', '.join(type_map) or 'it has no names'}"
            )
        symbols[list(type_map).index(name)] = element
    return {name: number for number, name in enumerate(symbols)}, symbols


def set_masses(atoms: Atoms, masses: Sequence[str]) -> None:
    """Give atoms other masses than the file or, if it has none, ASE's table of the elements does.

    Parameters
    ----------
    atoms
        Changed in place.
    masses
        ``WHAT=MASS``: a chemical symbol or the number of an atom, counted from 0; u, or "D" or "T".
        Later ones win.

    Raises
    ------
    InputError
        When one is not understood or belongs to no atom.
    """
    result = atoms.get_masses()
    symbols = np.array(atoms.get_chemical_symbols())
    for word in masses:
        what, _, value = word.partition("=")
        which = _matching(what, symbols, word)
        if value in ISOTOPES:
            element, mass = ISOTOPES[value]
            others = sorted(set(symbols[which]) - {element})
            if others:
                raise InputError(f'--masses "{word}": {value} is an isotope of H, not {others[0]}')
        else:
            try:
                mass = float(value)
            except ValueError:
                mass = -1.0
            if not (np.isfinite(mass) and mass > 0):
                raise InputError(
                    f'--masses "{word}": expected ELEMENT=MASS or ATOM=MASS with a positive mass '
                    "in u, D or T, for example H=2.014 or 3=D"
                )
        result[which] = mass
    atoms.set_masses(result)


def _matching(what: str, symbols: np.ndarray, word: str) -> np.ndarray:
    if what.isdigit():
        if int(what) >= len(symbols):
            raise InputError(f'--masses "{word}": there are {len(symbols)} atoms, counted from 0')
        return np.array([int(what)])
    which = np.flatnonzero(symbols == what)
    if not len(which):
        raise InputError(
            f'--masses "{word}": no atom is {what or "named"}; elements: '
            f"{', '.join(dict.fromkeys(symbols.tolist()))}"
        )
    return which


def parse_numbers(words: Sequence[str], count: int, what: str) -> list[int]:
    """Numbers from words as ``3`` or ``0:12`` or ``0:12:2``, in order, each once.

    Parameters
    ----------
    words
        Numbers and ranges of Python, counted from 0; a negative number counts from the end.
    count
        How many there are to choose from.
    what
        Of what, for messages, e.g. "--atoms".

    Raises
    ------
    InputError
        When one is not understood or does not exist.
    """
    found: dict[int, None] = {}
    for word in words:
        try:
            parts = word.split(":")
            if len(parts) == 1:
                chosen: Sequence[int] = [range(count)[int(word)]]
            elif len(parts) <= 3:
                chosen = range(count)[slice(*(int(part) if part else None for part in parts))]
            else:
                raise ValueError(word)
        except IndexError:
            raise InputError(f"{what} {word}: there are {count}, counted from 0") from None
        except (ValueError, TypeError):
            raise InputError(
                f'{what} "{word}": expected numbers counted from 0, or ranges as 0:12'
            ) from None
        if not len(chosen):
            raise InputError(f"{what} {word}: selects none of {count}")
        found.update(dict.fromkeys(chosen))
    return list(found)
