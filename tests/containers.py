# SPDX-License-Identifier: BSD-3-Clause
"""The same system in another container, written without the code that reads it."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np


def pack(directory: Path, file: Path, group: str = "/", **options) -> str:
    """Copy a directory into an HDF5 file, dataset by dataset; the path of the system in it.

    Names of types are strings of fixed length, as dpdata writes them. `options` are those of
    ``create_dataset`` for the arrays.
    """
    with h5py.File(file, "a") as opened:
        target = opened.require_group(group)
        for path in sorted(directory.rglob("*")):
            name = str(path.relative_to(directory)).replace(os.sep, "/")
            if path.suffix == ".npy":
                target.create_dataset(name, data=np.load(path), **options)
            elif path.name == "type.raw":
                target[name] = np.loadtxt(path, dtype=int, ndmin=1)
            elif path.name == "type_map.raw":
                target[name] = np.array(path.read_text().split(), dtype="S")
            elif path.name == "nopbc":
                target[name] = True
    return f"{file}#{group}"


def as_extxyz(directory: Path, file: Path, **names: str) -> None:
    """Append the frames of all sets of a directory; all digits of all numbers.

    `names` are those of ``energy``, ``force`` and ``virial`` if not the usual ones;
    ``stress="stress"`` writes a stress in place of the virial.
    """
    names = {"energy": "energy", "force": "forces", "virial": "virial", **names}
    symbols = (directory / "type_map.raw").read_text().split()
    species = [symbols[k] for k in np.loadtxt(directory / "type.raw", dtype=int, ndmin=1)]
    with open(file, "a") as opened:
        for one in sorted(directory.glob("set.*")):
            arrays = {path.stem: np.load(path) for path in one.glob("*.npy")}
            for frame in range(len(arrays["coord"])):
                items = {key: values[frame] for key, values in arrays.items()}
                opened.write(_frame(species, items, names))


def _frame(species: list[str], items: dict[str, np.ndarray], names: dict[str, str]) -> str:
    table = [items["coord"].reshape(-1, 3)]
    words = ["Properties=species:S:1:pos:R:3"]
    if "force" in items:
        table.append(items["force"].reshape(-1, 3))
        words[0] += f":{names['force']}:R:3"
    if "box" in items:
        words.insert(0, f'Lattice="{_digits(items["box"])}" pbc="T T T"')
    if "energy" in items:
        words.append(f"{names['energy']}={_digits(np.atleast_1d(items['energy']))}")
    if "virial" in items and "stress" in names:
        volume = abs(np.linalg.det(items["box"].reshape(3, 3)))
        words.append(f'{names["stress"]}="{_digits(-items["virial"] / volume)}"')
    elif "virial" in items:
        columns = items["virial"].reshape(3, 3).T
        words.append(f'{names["virial"]}="{_digits(columns)}"')
    rows = np.concatenate(table, axis=1)
    lines = [f"{symbol} {_digits(row)}" for symbol, row in zip(species, rows, strict=True)]
    return "\n".join([str(len(species)), " ".join(words), *lines, ""])


def _digits(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values.reshape(-1))
