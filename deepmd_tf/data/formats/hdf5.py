# SPDX-License-Identifier: BSD-3-Clause
"""Systems in HDF5 files: a group for a directory, a dataset for a file of the same name.

A file may come from anywhere. It is opened read-only and closed again, so that any number of
systems needs no open file. What a dataset says of itself is compared with what the file stores
before memory is taken for it, and links of any kind are not followed.
"""

from __future__ import annotations

import functools
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import h5py
import numpy as np

from deepmd_tf.data.formats.source import (
    NOPBC_FILE,
    TYPE_FILE,
    TYPE_MAP_FILE,
    Source,
    StoredArray,
    file_name,
    require_regular_file,
    require_sets,
    split_file,
)
from deepmd_tf.data.formats.spool import spool
from deepmd_tf.errors import DataError

SUFFIXES = (".h5", ".hdf5")
_SMALL = 1 << 26
"""Datasets of fewer bytes than this are read however well they are compressed."""
_LARGEST_RATIO = 100
"""Larger ones may have this many times the bytes of the file."""
_MOST_WORDS = 1 << 20
_LONGEST_WORD = 1 << 10
_MOST_OBJECTS = 1 << 20
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_LZF,
}
_TEXTS = (TYPE_FILE, TYPE_MAP_FILE, NOPBC_FILE)


def split(path: str) -> tuple[str, str]:
    """The file and the group of ``file.hdf5#/group``; the group is ``/`` if there is none."""
    file, group = split_file(path)
    return file, "/" + "/".join(part for part in group.split("/") if part)


def is_hdf5(file: str) -> bool:
    """Whether the name of `file` or its content is that of an HDF5 file."""
    return file.lower().endswith(SUFFIXES) or (os.path.isfile(file) and bool(h5py.is_hdf5(file)))


def systems_below(path: str, patterns: Iterable[str] | None = None) -> list[str]:
    """Groups with a ``type.raw`` in or below ``file.hdf5#/group``, as paths of that form, sorted.

    Parameters
    ----------
    path
        File and group.
    patterns
        If given, only groups below that match one of them, from the right, as in
        :meth:`pathlib.PurePath.match`.

    Raises
    ------
    DataError
        If the file cannot be read, has no such group, or has links to other files there.
    """
    file, root = split(path)
    with _opened(file) as opened:
        found = list(_groups(opened, file, root))
    if patterns is not None:
        found = [group for group in found if group != root and _matches(group, patterns)]
    return sorted(f"{file}#{group}" for group in found)


def read_arrays(file: str, names: Iterable[str]) -> list[np.ndarray] | None:
    """Arrays of numbers in a file that is no system; None if one is missing.

    Raises
    ------
    DataError
        If the file cannot be read, or holds something else under one of these names.
    """
    arrays = []
    with _opened(file) as opened:
        for name in names:
            where = f"{file}#/{name}"
            *groups, last = name.split("/")
            node: Any = opened["/"]
            for part in groups:
                node = _child(node, part, where)
                if not isinstance(node, h5py.Group):
                    return None
            if _child(node, last, where) is None:
                return None
            dataset = _dataset(node, last, where)
            dtype = _dtype(dataset, where)
            if dtype.kind not in "fiu":
                raise DataError(f"{where}: holds elements of type {dtype}, expected real numbers")
            _check_storage(dataset, dtype, where)
            with _translated(where):
                arrays.append(np.asarray(dataset[()]))
    return arrays


def _matches(group: str, patterns: Iterable[str]) -> bool:
    try:
        return any(PurePosixPath(group).match(pattern) for pattern in patterns)
    except ValueError as error:
        raise DataError(f"rglob_patterns: {error}") from error


class HDF5Source(Source):
    """A group with ``type.raw`` and ``set.*/*.npy``.

    Parameters
    ----------
    path
        ``file.hdf5#/group``; without ``#`` it is the file's root.

    Raises
    ------
    DataError
        If the file cannot be read, or there is no such group, or no ``set.*`` in it.
    """

    def __init__(self, path: str) -> None:
        self._file, self._group = split(path)
        self.path = f"{self._file}#{self._group}"
        self._texts: dict[str, str | DataError] = {}
        self._arrays: dict[tuple[str, str], StoredArray | DataError] = {}
        self._kept: dict[tuple[str, str], np.ndarray] = {}
        sets: dict[str, h5py.Group] = {}
        with _opened(self._file) as opened:
            group = _descend(opened, self._file, self._group)
            for name in _member_names(group, self.path):
                if name in _TEXTS:
                    self._texts[name] = _caught(self._read_text, group, name)
                elif name.startswith("set."):
                    members = _child(group, name, self.path)
                    if isinstance(members, h5py.Group):
                        sets[name] = members
            self.sets = require_sets(sets, self.path, "group")
            for name in self.sets:
                self._describe_set(sets[name], name)

    def exists(self, name: str) -> bool:
        return name in self._texts

    def text(self, name: str) -> str:
        found = self._texts.get(name)
        if found is None:
            raise DataError(f"{self.where(name)}: there is no such dataset")
        if isinstance(found, DataError):
            raise found
        return found

    def find(self, set_name: str, stems: Iterable[str]) -> StoredArray | None:
        for stem in stems:
            found = self._arrays.get((set_name, stem))
            if isinstance(found, DataError):
                raise found
            if found is not None:
                return found
        return None

    def stems(self, set_name: str) -> list[str]:
        return [stem for name, stem in self._arrays if name == set_name]

    def where(self, *names: str) -> str:
        return f"{self._file}#{self._group.rstrip('/')}/{file_name(*names)}"

    def _describe_set(self, group: h5py.Group, set_name: str) -> None:
        for name in _member_names(group, self.path):
            if name.endswith(".npy"):
                key = set_name, name.removesuffix(".npy")
                self._arrays[key] = _caught(self._describe, group, *key)

    def _describe(self, group: h5py.Group, set_name: str, stem: str) -> StoredArray:
        where = self.where(set_name, stem)
        dataset = _dataset(group, f"{stem}.npy", where)
        dtype = _dtype(dataset, where)
        if dtype.kind not in "fiu":
            raise DataError(f"{where}: holds elements of type {dtype}, expected real numbers")
        _check_storage(dataset, dtype, where)
        shape = tuple(dataset.shape)
        read = functools.partial(self._read, set_name, stem, shape, dtype)
        return StoredArray(where, shape, dtype, read)

    def _read(self, set_name: str, stem: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A view of the file itself, or of a copy without compression."""
        if (set_name, stem) in self._kept:
            return self._kept[set_name, stem]
        where = self.where(set_name, stem)
        with _opened(self._file) as opened:
            group = _descend(opened, self._file, f"{self._group}/{set_name}")
            again = self._describe(group, set_name, stem)
            if (again.shape, again.dtype) != (shape, dtype):
                raise DataError(f"{where}: has changed since it was opened")
            dataset = _dataset(group, f"{stem}.npy", where)
            with _translated(where):
                offset = dataset.id.get_offset()
                if offset is not None and _is_plain(dataset):
                    return np.memmap(self._file, dtype, "r", offset, shape)
                values = np.asarray(dataset[()])
        self._kept[set_name, stem] = spool().keep(values)
        return self._kept[set_name, stem]

    def _read_text(self, group: h5py.Group, name: str) -> str:
        where = self.where(name)
        dataset = _dataset(group, name, where)
        if name == NOPBC_FILE:
            return ""
        dtype = _dtype(dataset, where)
        number = dtype.kind in "fiu" and name == TYPE_FILE
        string = h5py.check_string_dtype(dtype) is not None and name == TYPE_MAP_FILE
        if not number and not string:
            expected = "numbers" if name == TYPE_FILE else "strings"
            raise DataError(f"{where}: holds elements of type {dtype}, expected {expected}")
        if math.prod(dataset.shape) > _MOST_WORDS << (4 if number else 0):
            raise DataError(f"{where}: has the shape {dataset.shape}, more than can be meant")
        if dtype.itemsize > _LONGEST_WORD:
            raise DataError(f"{where}: holds strings of {dtype.itemsize} bytes; expected names")
        _check_storage(dataset, dtype, where)
        if string and dtype.kind == "O":
            _check_strings(dataset, where)
        with _translated(where):
            words = np.atleast_1d(dataset[()]).ravel().tolist()
        try:
            return "\n".join(w.decode() if isinstance(w, bytes) else str(w) for w in words)
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: is not text ({error.reason})") from error


def _caught(function: Callable[..., Any], *args: Any) -> Any:
    """The result, or the error, which matters only if the item is wanted."""
    try:
        return function(*args)
    except DataError as error:
        return error


@contextmanager
def _translated(where: str) -> Iterator[None]:
    # Whatever bytes the file holds, h5py's answer is one of many exceptions, and ours is one.
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        lines = str(error).splitlines()
        reason = lines[0] if lines else type(error).__name__
        known = isinstance(error, OSError) and error.errno is not None
        hint = "" if known else "; is it a whole HDF5 file, which is not being written?"
        raise DataError(f"{where}: cannot be read ({reason}){hint}") from error


@contextmanager
def _opened(file: str) -> Iterator[h5py.File]:
    require_regular_file(file, "an HDF5 file")
    with _translated(file):
        # Reading needs no lock, and file systems of clusters often have none.
        opened = h5py.File(file, "r", locking=False)
    try:
        with _translated(file):
            yield opened
    finally:
        with _translated(file):
            opened.close()


def _member_names(group: h5py.Group, where: str) -> list[str]:
    with _translated(where):
        if len(group) > _MOST_OBJECTS:
            raise DataError(f"{where}: a group has {len(group)} members, more than can be meant")
        return [name for name in group if isinstance(name, str)]


def _child(group: h5py.Group, name: str, where: str) -> Any:
    """A member that is in the file itself, or None."""
    with _translated(where):
        link = group.get(name, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{where}: {name!r} is a link to the file {link.filename!r}, which is not "
                "followed; give the path of that file, or copy the data"
            )
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{where}: {name!r} is a link, which is not followed; copy the data")
        return group[name]


def _descend(opened: h5py.File, file: str, path: str) -> h5py.Group:
    node = opened["/"]
    for name in path.split("/"):
        if name:
            node = _child(node, name, f"{file}#{path}")
        if not isinstance(node, h5py.Group):
            raise DataError(f"{file}#{path}: there is no such group in the file")
    return node


def _groups(opened: h5py.File, file: str, root: str) -> Iterator[str]:
    """Paths of the groups with a ``type.raw``; each group once, though it may have many names."""
    waiting = [(root, _descend(opened, file, root))]
    seen = set()
    while waiting:
        path, group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > _MOST_OBJECTS:
            raise DataError(f"{file}: has more than {_MOST_OBJECTS} groups")
        for name in _member_names(group, f"{file}#{path}"):
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink):
                # What it stands for is either visited under its own name or nothing of this file.
                continue
            child = _child(group, name, f"{file}#{path}")
            if isinstance(child, h5py.Group):
                waiting.append((f"{path.rstrip('/')}/{name}", child))
            elif isinstance(child, h5py.Dataset) and name == TYPE_FILE:
                yield path


def _dataset(group: h5py.Group, name: str, where: str) -> h5py.Dataset:
    found = _child(group, name, where)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{where}: is not a dataset")
    return found


def _dtype(dataset: h5py.Dataset, where: str) -> np.dtype:
    with _translated(where):
        if dataset.shape is None:
            raise DataError(f"{where}: is empty")
        return dataset.dtype


def _check_storage(dataset: h5py.Dataset, dtype: np.dtype, where: str) -> None:
    """Check that all numbers are stored in this file, and are not absurdly many for its size."""
    with _translated(where):
        plist = dataset.id.get_create_plist()
        layout = plist.get_layout()
        if layout == h5py.h5d.VIRTUAL or plist.get_external_count():
            raise DataError(f"{where}: its numbers are in other files, which are not read")
        unknown = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        unknown = [number for number in unknown if number not in _FILTERS]
        if unknown:
            raise DataError(
                f"{where}: is compressed with the filter {unknown[0]}, which is not read; "
                "gzip and lzf are"
            )
        size = math.prod(dataset.shape) * dtype.itemsize
        with open(dataset.file.filename, "rb") as file:
            stored = os.fstat(file.fileno()).st_size
        chunk = math.prod(dataset.chunks) * dtype.itemsize if dataset.chunks else 0
        for what, count in (("shape", size), ("chunks", chunk)):
            if count > _SMALL and count > _LARGEST_RATIO * stored:
                raise DataError(
                    f"{where}: its {what} {getattr(dataset, what)} would be {count} bytes from a "
                    f"file of {stored}, more than {_LARGEST_RATIO} times as many; not read"
                )
        if size and not _complete(dataset, layout):
            raise DataError(
                f"{where}: not all of its numbers were written; the file is incomplete or still "
                "being written"
            )


def _check_strings(dataset: h5py.Dataset, where: str) -> None:
    """Check the heaps that hold strings of variable length.

    The library walks through the objects of a heap, and never ends if one says that it is empty.
    """
    with _translated(where):
        plist = dataset.file.id.get_create_plist()
        offset = dataset.id.get_offset()
        if offset is None or plist.get_userblock() or plist.get_sizes() != (8, 8):
            raise DataError(
                f"{where}: its strings are stored in a way that is not read; write strings of a "
                "fixed length (dtype S)"
            )
        with open(dataset.file.filename, "rb") as file:
            references = np.frombuffer(
                os.pread(file.fileno(), 16 * dataset.size, offset), _REFERENCE
            )
            # an empty string has none
            heaps = set(references["heap"].tolist()) - {0}
            if not all(_sound_heap(file.fileno(), address) for address in heaps):
                raise DataError(f"{where}: the heap of its strings is damaged")


_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])
_HEAP_HEADER = struct.Struct("<4sB3xQ")
_HEAP_OBJECT = struct.Struct("<HH4xQ")


def _sound_heap(handle: int, address: int) -> bool:
    """Whether a global heap collection is a row of objects with nothing beyond its end."""
    if address >= os.fstat(handle).st_size:
        return False
    header = os.pread(handle, _HEAP_HEADER.size, address)
    if len(header) < _HEAP_HEADER.size:
        return False
    signature, version, size = _HEAP_HEADER.unpack(header)
    if signature != b"GCOL" or version != 1 or size > _SMALL:
        return False
    heap = os.pread(handle, size, address)
    position = _HEAP_HEADER.size
    while position + _HEAP_OBJECT.size <= len(heap):
        index, _, length = _HEAP_OBJECT.unpack_from(heap, position)
        # the object 0 is the free space at the end, and counts its header
        step = -(-length // 8) * 8 + (_HEAP_OBJECT.size if index else 0)
        if not _HEAP_OBJECT.size <= step <= size - position:
            return False
        position += step
    return len(heap) == size


def _is_plain(dataset: h5py.Dataset) -> bool:
    """Whether its numbers are in the file one after the other as they are in memory."""
    in_memory = h5py.h5t.py_create(dataset.dtype)
    return dataset.chunks is None and dataset.size > 0 and dataset.id.get_type() == in_memory


def _complete(dataset: h5py.Dataset, layout: int) -> bool:
    if layout == h5py.h5d.CHUNKED:
        grid = [-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
        return dataset.id.get_num_chunks() == math.prod(grid)
    size = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    return dataset.id.get_storage_size() >= size
