# SPDX-License-Identifier: BSD-3-Clause
"""Writing HDF5 files to a disk that may be full."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py


class HDF5Writer:
    """An HDF5 file whose failures to write are exceptions.

    The HDF5 library crashes when a file that it closes cannot be written. So it writes to a stream
    that notes the first error and continues.

    Parameters
    ----------
    path
        The file.
    keeps
        Whether what is in it stays; it must exist then.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, keeps: bool = False) -> None:
        self._stream = _Noting(path, "r+b" if keeps else "w+b")
        self._file = h5py.File(self._stream, "r+" if keeps else "w")

    def put(self, name: str, values: Any) -> None:
        """Write a dataset, in place of one of this name.

        Raises
        ------
        OSError
            If something could not be written so far.
        """
        if name in self._file:
            del self._file[name]
        self._file[name] = values
        self._check()

    def close(self) -> None:
        """Close it.

        Raises
        ------
        OSError
            If something could not be written.
        """
        self._file.close()
        self._stream.close()
        self._check()

    def _check(self) -> None:
        if self._stream.error is not None:
            raise self._stream.error


@contextmanager
def hdf5_writer(path: str | os.PathLike[str], *, keeps: bool = False) -> Iterator[HDF5Writer]:
    """An :class:`HDF5Writer` that is closed at the end."""
    writer = HDF5Writer(path, keeps=keeps)
    try:
        yield writer
    finally:
        writer.close()


class _Noting(io.FileIO):
    error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        try:
            while left and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return self.tell() if size is None else size
