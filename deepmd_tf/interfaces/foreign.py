# SPDX-License-Identifier: BSD-3-Clause
"""StoredFrames of files that ASE or dpdata read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from deepmd_tf.data.formats.frames import StoredFrames
from deepmd_tf.data.formats.source import require_regular_file
from deepmd_tf.data.formats.xyz_cell import not_read, other_cell
from deepmd_tf.data.open_directions import FAR, closed
from deepmd_tf.errors import DataError, InputError, InstallError

log = logging.getLogger(__name__)

FRAMES_PER_BLOCK = 1000
_DPDATA_ITEMS = {"energies": "energy", "forces": "force", "virials": "virial"}
_OF_ASE = {"numbers", "positions", "energy", "free_energy", "forces", "stress"}


def ase_formats() -> set[str]:
    """Names of the formats that ASE reads; none without ASE."""
    try:
        from ase.io.formats import ioformats
    except ImportError:
        return set()
    return {name for name, known in ioformats.items() if known.can_read}


def dpdata_formats() -> set[str]:
    """Names of the formats that dpdata knows; none without dpdata."""
    try:
        from dpdata.format import Format
    except ImportError:
        return set()
    return set(Format.get_formats())


def guess_ase_format(path: str) -> str | None:
    """The format that ASE recognises, or None."""
    try:
        from ase.io.formats import filetype
    except ImportError:
        raise InstallError(
            "ASE is needed to recognise and read this file; install it with: pip install ase"
        ) from None
    try:
        return filetype(path)
    except Exception:  # whatever goes wrong in one of its readers, it has not recognised the file
        return None


def read_ase(path: str, form: str, energy: str | None = None) -> Iterator[StoredFrames]:
    """StoredFrames that ASE reads, in the units of ASE, which are those of this package.

    Results of a calculation are taken as they stand in the file: energy, forces without the
    effect of constraints, and −stress V as virial in frames that are periodic in all directions.
    Cells that are open in some are :func:`~deepmd_tf.data.open_directions.closed`.

    Parameters
    ----------
    path, form
        The file, and its format.
    energy
        Name of the result that is the energy, ``"energy"`` or ``"free_energy"``; it must be given
        if they differ.

    Raises
    ------
    InstallError
        Without ASE.
    DataError
        If it cannot be read.
    """
    try:
        from ase.io import iread
    except ImportError:
        raise InstallError("ASE is needed to read this; install it with: pip install ase") from None
    if form in ("xyz", "extxyz"):
        _check_counts(path)
    block: list[StoredFrames] = []
    frames = iread(path, index=":", format=form)
    unused: set[str] = set()
    opened = 0
    number = 0
    while True:
        where = f"{path}: frame {number} (counted from 0)"
        try:
            atoms = next(frames, None)
        except Exception as error:
            raise _unreadable(path, f"ASE as {form}", error) from error
        if atoms is None:
            break
        cell = other_cell(atoms.info) if form == "extxyz" else None
        if cell is not None and not atoms.pbc.any():
            raise DataError(f"{where}: {not_read(cell)}")
        try:
            one = _of_atoms(atoms, where, energy)
        except (ValueError, TypeError) as error:  # results may be anything
            raise DataError(f"{where}: is not understood ({error})") from error
        results = atoms.calc.results if atoms.calc is not None else {}
        unused |= {*atoms.info, *atoms.arrays, *(k for k, v in results.items() if v is not None)}
        if block and (len(block) == FRAMES_PER_BLOCK or not _alike(block[0], one)):
            yield _joined(block)
            block = []
        block.append(one)
        opened += bool(atoms.pbc.any() and not atoms.pbc.all())
        number += 1
    if block:
        yield _joined(block)
    if opened:
        log.info(
            "%s: %d frames are periodic along some directions only; in the others their cells "
            "reach %g Å beyond the atoms, and their stress is not used",
            *(path, opened, FAR),
        )
    unused -= _OF_ASE
    if unused:
        log.info("%s: not used: %s", path, ", ".join(sorted(unused)))


def _check_counts(path: str) -> None:
    """Refuse frames that announce more atoms than the file has bytes."""
    require_regular_file(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while (word := file.readline().strip()).isdigit():
            if len(word) > 18 or int(word) > size:
                raise DataError(f"{path}: a frame announces {word[:20].decode()} atoms or more")
            for _ in range(int(word) + 1):
                file.readline()


def _of_atoms(atoms: Any, where: str, energy: str | None) -> StoredFrames:
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    items: dict[str, np.ndarray] = {}
    energies = {k: float(results[k]) for k in ("energy", "free_energy") if _is_number(results, k)}
    if energy is not None:
        energies = {k: v for k, v in energies.items() if k == energy}
    values = list(energies.values())
    if len(values) > 1 and abs(values[0] - values[1]) > 1e-9 * abs(values[0]):
        raise InputError(
            f"{where}: energy is {values[0]:.10g} eV, free_energy {values[1]:.10g} eV; choose with "
            "--energy (forces are derivatives of free_energy where electrons have a temperature)"
        )
    if values:
        items["energy"] = np.array([[values[0]]])
    if results.get("forces") is not None:
        items["force"] = np.reshape(results["forces"], (1, -1)).astype(np.float64)
    if atoms.pbc.all() and results.get("stress") is not None:
        stress = np.asarray(results["stress"], dtype=np.float64)
        if stress.shape == (6,):
            stress = stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
        items["virial"] = -stress.reshape(1, 9) * atoms.get_volume()
    box = None
    if atoms.pbc.any():
        box = closed(atoms.cell.array[None], atoms.pbc, atoms.positions[None])
    return StoredFrames(tuple(atoms.get_chemical_symbols()), atoms.positions[None], box, items)


def _is_number(results: dict[str, Any], key: str) -> bool:
    value = results.get(key)
    if value is None or np.size(value) != 1:
        return False
    if np.asarray(value).dtype.kind not in "fiu":
        raise ValueError(f"{key} is {value!r}, not a number")
    return True


def _alike(one: StoredFrames, other: StoredFrames) -> bool:
    same = one.species == other.species and (one.box is None) == (other.box is None)
    return same and one.items.keys() == other.items.keys()


def _joined(frames: list[StoredFrames]) -> StoredFrames:
    first = frames[0]
    return StoredFrames(
        first.species,
        np.concatenate([one.coord for one in frames]),
        None if first.box is None else np.concatenate([one.box for one in frames]),
        {name: np.concatenate([one.items[name] for one in frames]) for name in first.items},
    )


def read_dpdata(path: str, form: str) -> Iterator[StoredFrames]:
    """StoredFrames that dpdata reads, in the units of dpdata, which are those of this package.

    Raises
    ------
    InstallError
        Without dpdata.
    DataError
        If it cannot be read.
    """
    try:
        import dpdata
    except ImportError:
        raise InstallError(
            "dpdata is needed to read this; install it with: pip install dpdata"
        ) from None

    def labelled() -> list[Any]:
        return [dpdata.LabeledSystem(path, fmt=form)]

    def several() -> list[Any]:
        return list(dpdata.MultiSystems().load_systems_from_file(path, fmt=form))

    def bare() -> list[Any]:
        return [dpdata.System(path, fmt=form)]

    systems, reasons = [], []
    # A file of many systems read as one would be the first of them without a word.
    for attempt in (several, labelled, bare):
        try:
            systems = [system for system in attempt() if system.get_nframes()]
        except Exception as error:  # some formats have labels, some several systems, some neither
            reasons.append(error)
        if systems:
            break
    else:
        raise _unreadable(path, f"dpdata as {form}", reasons[1] if len(reasons) > 1 else None)
    for system in systems:
        yield _of_dpdata(system.data)


def _of_dpdata(data: dict[str, Any]) -> StoredFrames:
    species = tuple(str(data["atom_names"][t]) for t in data["atom_types"])
    coord = np.asarray(data["coords"], dtype=np.float64)
    box = None if data.get("nopbc", False) else np.asarray(data["cells"], dtype=np.float64)
    items = {
        name: np.asarray(data[key], dtype=np.float64).reshape(len(coord), -1)
        for key, name in _DPDATA_ITEMS.items()
        if data.get(key) is not None
    }
    if box is None:
        items.pop("virial", None)
    return StoredFrames(species, coord, box, items)


def _unreadable(path: str, what: str, error: Exception | None) -> DataError:
    lines = str(error).strip().splitlines() if error is not None else ["it has no frame"]
    reason = lines[0] if lines else type(error).__name__
    return DataError(f"{path}: cannot be read by {what} ({reason})")
