# SPDX-License-Identifier: BSD-3-Clause
"""Where the raw items of one system are, whatever contains them.

A source knows names, shapes and types of the stored arrays and reads the numbers on request.
What they mean, and whether they fit together, is decided in :mod:`deepmd_tf.data.sets`, so that
another container needs another source and nothing else.
"""

from __future__ import annotations

import abc
import dataclasses
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable

import numpy as np

from deepmd_tf.errors import DataError

log = logging.getLogger(__name__)

TYPE_FILE = "type.raw"
TYPE_MAP_FILE = "type_map.raw"
NOPBC_FILE = "nopbc"
MIXED_TYPE_STEM = "real_atom_types"
_COPY = re.compile(r"set\.\d+\D.*", re.DOTALL)
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


def require_regular_file(path: str | os.PathLike[str], what: str = "a file") -> None:
    """Reject devices and pipes: reading them may block.

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


def require_sets(names: Iterable[str], path: str, what: str) -> tuple[str, ...]:
    """Names of sets, sorted, without copies such as ``set.000.bak``.

    Parameters
    ----------
    names
        Names that begin with ``set.``.
    path
        The system.
    what
        What a set is there, for messages.

    Raises
    ------
    DataError
        If there is none.
    """
    found = sorted(names)
    copies = [name for name in found if _COPY.fullmatch(name)]
    if copies:
        log.warning(
            "%s: %s is left out: sets are named set.000, set.001 and so on, and this looks like a "
            "copy of one",
            path,
            ", ".join(copies),
        )
    sets = tuple(name for name in found if name not in copies)
    if not sets:
        raise DataError(
            f"{path}: no frames; expected at least one {what} named set.*, for example set.000, "
            "with coord.npy in it"
        )
    return sets


def split_file(path: str) -> tuple[str, str]:
    """File and rest of ``file#rest``: names of files may have a ``#``, too.

    The file is the longest beginning of `path` that is one; where none is, the shortest.
    """
    cuts = [place for place, letter in enumerate(path) if letter == "#"]
    for cut in (len(path), *reversed(cuts)):
        if os.path.isfile(path[:cut]):
            return path[:cut], path[cut + 1 :]
    file, _, rest = path.partition("#")
    return file, rest


def file_name(*names: str) -> str:
    """Where in a system the text ``name`` is, or the array ``set_name, stem``."""
    return names[0] if len(names) == 1 else f"{'/'.join(names)}.npy"
