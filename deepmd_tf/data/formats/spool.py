# SPDX-License-Identifier: BSD-3-Clause
"""Numbers that were costly to read, kept in a temporary file instead of in memory."""

from __future__ import annotations

import atexit
import functools
import mmap
import os
import tempfile

import numpy as np

from deepmd_tf.errors import DataError

SEGMENT = 1 << 28
"""Bytes that are mapped together: bounds the number of open files, one for each segment."""


class Spool:
    """Arrays in one private temporary file that is removed with the process."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="deepmd_tf")  # noqa: SIM115
        atexit.register(self._file.close)
        self._segment = memoryview(b"")
        self._begin = self._end = 0

    def keep(self, values: np.ndarray) -> np.ndarray:
        """The same numbers, read-only and in the file.

        Raises
        ------
        DataError
            If there is no room for them.
        """
        if not values.size:
            return values
        self._reserve(values.nbytes)
        data = np.ascontiguousarray(values).data.cast("B")
        offset = self._end
        try:
            while data:
                written = os.pwrite(self._file.fileno(), data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise _no_room(error) from error
        place = self._end - self._begin
        self._end += -(-values.nbytes // 16) * 16
        return np.frombuffer(self._segment, values.dtype, values.size, place).reshape(values.shape)

    def _reserve(self, size: int) -> None:
        if self._end - self._begin + size <= len(self._segment):
            return
        descriptor, length = self._file.fileno(), -(-max(size, SEGMENT) // SEGMENT) * SEGMENT
        try:
            self._begin = self._end = os.fstat(descriptor).st_size
            os.ftruncate(descriptor, self._begin + length)
            mapped = mmap.mmap(descriptor, length, access=mmap.ACCESS_READ, offset=self._begin)
        except OSError as error:
            raise _no_room(error) from error
        self._segment = memoryview(mapped)


@functools.cache
def spool() -> Spool:
    """The one of this process."""
    return Spool()


def _no_room(error: OSError) -> DataError:
    return DataError(
        f"{tempfile.gettempdir()}: numbers of the data cannot be kept there ({error.strerror}); "
        "set the environment variable TMPDIR to a folder with room"
    )
