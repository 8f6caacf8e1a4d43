# SPDX-License-Identifier: BSD-3-Clause
"""Systems in directories: a text of types, and sets of NumPy files."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from pathlib import Path

from deepmd_tf.data.formats.npy import read_array, read_header
from deepmd_tf.data.formats.source import (
    TYPE_FILE,
    Source,
    StoredArray,
    file_name,
    require_regular_file,
    require_sets,
)
from deepmd_tf.errors import DataError

_LARGEST_TEXT = 1 << 25


class DirectorySource(Source):
    """A directory with ``type.raw`` and ``set.*/*.npy``.

    Parameters
    ----------
    path
        The directory.

    Raises
    ------
    DataError
        If there is no such directory, or no ``set.*`` in it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._root = Path(path)
        if not self._root.is_dir():
            raise DataError(f"{self.path}: no such directory; expected a system with {TYPE_FILE}")
        try:
            names = os.listdir(self._root)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error
        found = (name for name in names if name.startswith("set."))
        folders = (name for name in found if (self._root / name).is_dir())
        self.sets = require_sets(folders, self.path, "directory")

    def exists(self, name: str) -> bool:
        return _is_there(self._root / name)

    def text(self, name: str) -> str:
        file = self._root / name
        require_regular_file(file)
        try:
            if file.stat().st_size > _LARGEST_TEXT:
                raise DataError(f"{file}: larger than {_LARGEST_TEXT >> 20} MiB, not read")
            return file.read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: is not a text file ({error.reason})") from error

    def find(self, set_name: str, stems: Iterable[str]) -> StoredArray | None:
        for stem in stems:
            file = self._root / set_name / f"{stem}.npy"
            if _is_there(file):
                header = read_header(file)
                return StoredArray(
                    str(file),
                    header.shape,
                    header.dtype,
                    functools.partial(read_array, file, header),
                )
        return None

    def stems(self, set_name: str) -> list[str]:
        return [file.stem for file in (self._root / set_name).glob("*.npy")]

    def where(self, *names: str) -> str:
        return str(self._root / file_name(*names))


def _is_there(file: Path) -> bool:
    """Whether there is such a file; something else of that name, or a link to nothing, is wrong."""
    if not os.path.lexists(file):
        return False
    require_regular_file(file)
    return True
