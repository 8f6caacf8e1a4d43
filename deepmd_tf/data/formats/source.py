# SPDX-License-Identifier: BSD-3-Clause
"""Where the raw items of one system are, whatever contains them.

A source knows names, shapes and types of what is stored and hands out the numbers on request.
What they mean, and whether they fit together, is decided in :mod:`deepmd_tf.data.sets`, so that
another container needs another source and nothing else.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from deepmd_tf.data.formats.npy import read_array, read_header
from deepmd_tf.errors import DataError

TYPE_FILE = "type.raw"
TYPE_MAP_FILE = "type_map.raw"
NOPBC_FILE = "nopbc"
MIXED_TYPE_STEM = "real_atom_types"
EXTXYZ_SUFFIXES = (".xyz", ".extxyz")
_LARGEST_TEXT = 1 << 25
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array that is there but not read: its place for messages, shape, type, and a reader."""

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


class Source(abc.ABC):
    """A system as it is stored: texts such as ``type.raw``, and sets of arrays.

    Attributes
    ----------
    path : str
        The system as messages name it.
    sets : tuple of str
        Names of the sets, sorted.
    """

    path: str
    sets: tuple[str, ...]

    @abc.abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the system has a text called `name`."""

    @abc.abstractmethod
    def text(self, name: str) -> str:
        """The text called `name`.

        Raises
        ------
        DataError
            If it is missing, unreasonably large, or not text.
        """

    @abc.abstractmethod
    def find(self, set_name: str, stems: Iterable[str]) -> StoredArray | None:
        """The first of the arrays `stems` that the set has, or None.

        Raises
        ------
        DataError
            If there is such an array but it does not hold real numbers.
        """

    @abc.abstractmethod
    def stems(self, set_name: str) -> list[str]:
        """Names of all arrays of a set."""

    @abc.abstractmethod
    def where(self, *names: str) -> str:
        """Where something is or should be, for messages.

        ``where(name)`` is the place of a text, ``where(set_name, stem)`` that of an array.
        """

    def origin(self, set_name: str, frame: int, atom: int = 0) -> tuple[int, int]:
        """Which frame and atom a user knows as `frame` and `atom` of a set, counted from 0."""
        return frame, atom


def open_source(path: str | os.PathLike[str]) -> Source:
    """The source that reads the system `path`.

    Raises
    ------
    DataError
        If there is no such system, or it has no sets.
    """
    path = os.fspath(path)
    kind = kind_of(path)
    if kind == "hdf5":
        from deepmd_tf.data.formats.hdf5 import HDF5Source

        return HDF5Source(path)
    if kind == "extxyz":
        from deepmd_tf.data.formats.extxyz import ExtxyzSource

        return ExtxyzSource(path)
    return DirectorySource(path)


def kind_of(path: str) -> str:
    """What contains the system or systems `path`: "directory", "hdf5" or "extxyz".

    A directory is one whatever its name is. Of a file, the part of `path` before ``#`` is looked
    at.

    Raises
    ------
    DataError
        If it is a file of another kind.
    """
    file = path.partition("#")[0]
    if os.path.isdir(path):
        return "directory"
    if file.lower().endswith(EXTXYZ_SUFFIXES):
        return "extxyz"
    from deepmd_tf.data.formats.hdf5 import is_hdf5

    if is_hdf5(file):
        return "hdf5"
    if os.path.exists(file):
        raise DataError(
            f"{path}: is not a system; expected a directory with {TYPE_FILE}, an HDF5 file "
            "(file.hdf5 or file.hdf5#/group), or extended XYZ (file.extxyz or file.xyz)"
        )
    return "directory"


def require_regular_file(path: str | os.PathLike[str], what: str = "a file") -> None:
    """Whatever else can have a name, such as a device or a pipe, may keep a reader for ever.

    Raises
    ------
    DataError
        If there is no file `path`, or it is something else.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if os.path.islink(path):
            reason = f"{reason}; it is a link to {os.readlink(path)}"
        raise DataError(
            f"{os.fspath(path)!s}: cannot be read ({reason}); expected {what}"
        ) from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
        raise DataError(f"{os.fspath(path)!s}: is {kind}, expected {what}")


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
        self.sets = tuple(sorted(name for name in found if (self._root / name).is_dir()))
        if not self.sets:
            raise DataError(
                f"{self.path}: no frames; expected at least one directory named set.*, "
                "for example set.000, with coord.npy in it"
            )

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


def file_name(*names: str) -> str:
    """Where in a system the text ``name`` is, or the array ``set_name, stem``."""
    return names[0] if len(names) == 1 else f"{'/'.join(names)}.npy"
