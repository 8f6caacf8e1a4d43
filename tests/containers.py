# SPDX-License-Identifier: BSD-3-Clause
"""The same system in another container, written by the libraries of the formats alone."""

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
