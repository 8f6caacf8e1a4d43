# SPDX-License-Identifier: BSD-3-Clause
"""Writing a system in the format that :class:`~deepmd_tf.data.DataSystem` reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_tf.data.formats.source import NOPBC_FILE, TYPE_FILE, TYPE_MAP_FILE
from deepmd_tf.files import save_array


def write_system(
    path: str | os.PathLike[str],
    *,
    types: Sequence[int] | np.ndarray,
    coord: np.ndarray,
    box: np.ndarray | None = None,
    type_map: Sequence[str] | None = None,
    frames_per_set: int | None = None,
    dtype: Any = np.float64,
    **items: np.ndarray,
) -> Path:
    """Write frames as ``type.raw``, ``type_map.raw`` and ``set.*/*.npy``; return the directory.

    Parameters
    ----------
    path
        Directory, created if needed. Files of the same names are replaced.
    types
        [natoms] type of each atom.
    coord
        [nframes, natoms, 3] or [nframes, 3 natoms] coordinates in Å.
    box
        [nframes, 3, 3] or [nframes, 9] lattice vectors in Å, or None for a system without
        periodicity (which gets the file ``nopbc``).
    type_map
        Names of the types.
    frames_per_set
        Start a new set after this many frames; by default there is one set.
    dtype
        Type of the files, except ``energy`` (float64) and whatever is not a floating-point array.
    **items
        Other items by file name, [nframes, ...], for example ``energy``, ``force``, ``virial`` with
        the shapes and units of :mod:`deepmd_tf.fields`.

    Raises
    ------
    ValueError
        If an array does not have one entry for each frame of `coord`.
    """
    arrays = {"coord": np.asarray(coord), **({} if box is None else {"box": np.asarray(box)})}
    arrays |= {name: np.asarray(values) for name, values in items.items()}
    nframes = len(arrays["coord"])
    for name, values in arrays.items():
        if values.ndim == 0 or len(values) != nframes:
            raise ValueError(f"{name}: shape {values.shape}, expected {nframes} frames as in coord")
    root = Path(path)
    root.mkdir(parents=True, exist_ok=True)
    (root / TYPE_FILE).write_text("".join(f"{t}\n" for t in types), encoding="utf-8")
    if type_map is not None:
        (root / TYPE_MAP_FILE).write_text(
            "".join(f"{name}\n" for name in type_map), encoding="utf-8"
        )
    if box is None:
        (root / NOPBC_FILE).touch()
    size = frames_per_set or nframes
    for number, begin in enumerate(range(0, nframes, size)):
        directory = root / f"set.{number:03d}"
        directory.mkdir(exist_ok=True)
        for name, values in arrays.items():
            part = values[begin : begin + size].reshape(min(size, nframes - begin), -1)
            save_array(directory / f"{name}.npy", _stored(name, part, dtype))
    return root


def _stored(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    if values.dtype.kind != "f":
        return values
    values = values.astype(np.float64 if name == "energy" else dtype)
    return values.reshape(-1) if values.shape[1] == 1 else values
