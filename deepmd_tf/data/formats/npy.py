# SPDX-License-Identifier: BSD-3-Clause
"""Reading unchecked ``.npy`` files.

A header decides how much memory a reader allocates, so it is read first, on its own, and compared
with the size of the file. Nothing is ever unpickled.
"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from deepmd_tf.errors import DataError

_REAL_NUMBERS = "fiu"
_MOST_NUMBERS = 1 << 58


class NpyHeader(NamedTuple):
    """Where the numbers of a file are, and how they are laid out."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int


def read_header(path: Path) -> NpyHeader:
    """Read and check the header of `path`; the numbers themselves are not touched.

    Raises
    ------
    DataError
        If the file cannot be opened, is not in NumPy's format, holds something other than real
        numbers, or is shorter or longer than its header says.
    """
    try:
        with open(path, "rb") as file:
            shape, fortran_order, dtype = _parse(file, path)
            offset = file.tell()
            found = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    # beside a zero, other sizes are not bounded by that of the file
    possible = all(type(n) is int and n >= 0 for n in shape)
    if not possible or (0 in shape and math.prod(n for n in shape if n) > _MOST_NUMBERS):
        raise DataError(f"{path}: the header gives the impossible shape {shape}")
    if dtype.hasobject or dtype.kind not in _REAL_NUMBERS:
        raise DataError(f"{path}: holds elements of type {dtype}, expected real numbers")
    expected = offset + math.prod(shape) * dtype.itemsize
    if found != expected:
        raise DataError(
            f"{path}: has {found} bytes, but its header (shape {shape}, {dtype}) needs {expected}; "
            "the file is damaged or still being written"
        )
    return NpyHeader(shape, dtype, bool(fortran_order), offset)


def _parse(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    # Whatever bytes the file holds, parsing may only succeed or end in one of these two messages.
    try:
        with warnings.catch_warnings():
            # Files written by Python 2 are fine, but NumPy remarks on each of them.
            warnings.simplefilter("ignore", UserWarning)
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(file)
            if version in ((2, 0), (3, 0)):
                return np.lib.format.read_array_header_2_0(file)
    except OSError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: is not a NumPy .npy file ({reason})") from error
    raise DataError(f"{path}: version {version} of the .npy format is not known")


def read_array(path: Path, header: NpyHeader) -> np.ndarray:
    """The numbers of `path` as a read-only memory map, laid out as `header` says.

    Raises
    ------
    DataError
        If the file cannot be mapped any more.
    """
    try:
        return np.memmap(
            path,
            dtype=header.dtype,
            mode="r",
            offset=header.offset,
            shape=header.shape,
            order="F" if header.fortran_order else "C",
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
