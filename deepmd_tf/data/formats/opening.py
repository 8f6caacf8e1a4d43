# SPDX-License-Identifier: BSD-3-Clause
"""Which source reads a system."""

from __future__ import annotations

import os

from deepmd_tf.data.formats.directory import DirectorySource
from deepmd_tf.data.formats.extxyz import ExtxyzSource
from deepmd_tf.data.formats.hdf5 import HDF5Source, is_hdf5
from deepmd_tf.data.formats.source import TYPE_FILE, Source, split_file
from deepmd_tf.errors import DataError

EXTXYZ_SUFFIXES = (".xyz", ".extxyz")
LMDB_SUFFIX, LMDB_FILE = ".lmdb", "data.mdb"
"""Of the folder, and of the file in it."""


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
        return HDF5Source(path)
    if kind == "extxyz":
        return ExtxyzSource(path)
    return DirectorySource(path)


def kind_of(path: str) -> str:
    """The kind of storage of the system or systems `path`: "directory", "hdf5" or "extxyz".

    A directory is one whatever its name is. Of a file, the part of `path` that is its name is
    looked at (:func:`~deepmd_tf.data.formats.source.split_file`).

    Raises
    ------
    DataError
        If it is a file of another kind, or an LMDB data set.
    """
    if path.rstrip("/").endswith(LMDB_SUFFIX) or os.path.exists(os.path.join(path, LMDB_FILE)):
        raise DataError(
            f"{path}: is an LMDB data set, which only other backends of DeePMD-kit read; take the "
            f"folders with {TYPE_FILE} that it was made from"
        )
    if os.path.isdir(path):
        return "directory"
    file, _ = split_file(path)
    if file.lower().endswith(EXTXYZ_SUFFIXES):
        return "extxyz"
    if is_hdf5(file):
        return "hdf5"
    if os.path.exists(file):
        raise DataError(
            f"{path}: is not a system; expected a directory with {TYPE_FILE}, an HDF5 file "
            "(file.hdf5 or file.hdf5#/group), or extended XYZ (file.extxyz or file.xyz)"
        )
    return "directory"
