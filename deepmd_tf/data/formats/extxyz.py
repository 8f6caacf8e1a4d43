# SPDX-License-Identifier: BSD-3-Clause
"""Frames of extended XYZ files, grouped into systems.

A file is read once, frame by frame, checked, and its numbers are kept in a temporary file, so that
memory holds no more than the sets in use. Reading it here rather than with ASE lets messages name
line, frame and atom, keeps apart what ASE merges (``energy`` and ``free_energy``), and is faster.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from deepmd_tf.data.formats.source import (
    NOPBC_FILE,
    TYPE_FILE,
    TYPE_MAP_FILE,
    Source,
    StoredArray,
    file_name,
    require_regular_file,
    split_file,
)
from deepmd_tf.data.formats.xyz_frames import (
    Contents,
    FrameReader,
    FramesOfSystem,
    XYZSet,
    some_of,
)
from deepmd_tf.data.formats.xyz_labels import parse_choices
from deepmd_tf.data.formats.xyz_lines import LineScanner
from deepmd_tf.errors import DataError

FRAMES_PER_SET = 5000


def systems_below(path: str, patterns: Sequence[str] | None = None) -> list[str]:
    """The systems of ``file.extxyz#words``, as paths of that form, sorted.

    `path` may name one of them, and choose keys (:func:`xyz_labels.parse_choices`), separated by
    commas. With `patterns`, systems are taken whose names match one of them.

    Raises
    ------
    DataError
        If the file cannot be read, or its labels are ambiguous.
    """
    file, name, words = _split(path)
    systems = read(file, words).systems
    names = [_named(path, name, systems)] if name else list(systems)
    if patterns is not None:
        names = [n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)]
    return sorted(f"{file}#{','.join((n, *words))}" for n in names)


class ExtxyzSource(Source):
    """The frames of one composition and periodicity.

    Parameters
    ----------
    path
        ``file.extxyz#words``, as for :func:`systems_below`; a system must be named if the file has
        more than one.

    Raises
    ------
    DataError
        As there.
    """

    def __init__(self, path: str) -> None:
        file, name, words = _split(path)
        found = read(file, words)
        if not name and len(found.systems) > 1:
            raise DataError(
                f"{path}: the file holds {len(found.systems)} systems; name one of them, for "
                f"example {file}#{','.join((next(iter(found.systems)), *words))}"
            )
        name = _named(path, name, found.systems) if name else next(iter(found.systems))
        self.path = f"{file}#{','.join((name, *words))}"
        self._system = found.systems[name]
        self._texts = {
            TYPE_FILE: "\n".join(str(found.elements.index(s)) for s in self._system.species),
            TYPE_MAP_FILE: "\n".join(found.elements),
        }
        if not self._system.periodic:
            self._texts[NOPBC_FILE] = ""
        self._sets = {
            f"set.{number:03d}": one
            for number, one in enumerate(
                XYZSet(layout, frames[begin : begin + FRAMES_PER_SET])
                for layout, frames in self._system.frames.items()
                for begin in range(0, len(frames), FRAMES_PER_SET)
            )
        }
        self.sets = tuple(self._sets)

    def exists(self, name: str) -> bool:
        return name in self._texts

    def text(self, name: str) -> str:
        return self._texts[name]

    def find(self, set_name: str, stems: Iterable[str]) -> StoredArray | None:
        one = self._sets[set_name]
        for stem in stems:
            begin = 0
            for item, width in one.layout:
                if item == stem:
                    where = self.where(set_name, stem)
                    read_rows = functools.partial(one.read, begin, width)
                    shape = (len(one.frames), width)
                    return StoredArray(where, shape, np.dtype(np.float64), read_rows)
                begin += width
        return None

    def stems(self, set_name: str) -> list[str]:
        return [name for name, _ in self._sets[set_name].layout]

    def where(self, *names: str) -> str:
        return f"{self.path}/{file_name(*names).removesuffix('.npy')}"

    def origin(self, set_name: str, frame: int, atom: int = 0) -> tuple[int, int]:
        found = self._sets[set_name].frames[frame]
        return found.number, int(atom if found.order is None else found.order[atom])


def read(file: str, words: Sequence[str] = ()) -> Contents:
    """Read and check all frames, unless that was done and the file is the same; log what they are.

    Raises
    ------
    DataError
        If the file cannot be read or a frame is not understood; the message names line, frame and
        atom.
    """
    require_regular_file(file, "a file of extended XYZ")
    found = os.stat(file)
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    return _read(os.path.abspath(file), tuple(words), key, file)


@functools.lru_cache(maxsize=1024)
def _read(_: str, words: tuple[str, ...], __: tuple[int, ...], file: str) -> Contents:
    try:
        with open(file, "rb") as opened:
            return FrameReader(LineScanner(opened, file), parse_choices(words, file)).read()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error


def _split(path: str) -> tuple[str, str, tuple[str, ...]]:
    """File, name of a system (maybe empty), and choices."""
    file, rest = split_file(path)
    parts = [part for part in rest.strip("/").split(",") if part]
    names = [part for part in parts if "=" not in part]
    if len(names) > 1:
        raise DataError(f"{path}: names more than one system: {', '.join(names)}")
    return file, "".join(names), tuple(part for part in parts if "=" in part)


def _named(path: str, name: str, systems: Mapping[str, FramesOfSystem]) -> str:
    if name in systems:
        return name
    raise DataError(f"{path}: there is no system {name!r} in the file; it has {some_of(systems)}")
