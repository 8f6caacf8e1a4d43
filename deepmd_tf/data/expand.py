# SPDX-License-Identifier: BSD-3-Clause
"""Expansion of the option ``systems`` into a list of paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from deepmd_tf.data.formats.opening import kind_of
from deepmd_tf.data.formats.source import TYPE_FILE
from deepmd_tf.errors import DataError


def expand_systems(
    systems: str | Sequence[str],
    rglob_patterns: Sequence[str] | None = None,
    base: str | os.PathLike[str] | None = None,
) -> list[str]:
    """All systems that `systems` stands for.

    An entry is a directory, or an HDF5 file or a group in it (``file.hdf5#/group``). It stands for
    every directory or group with a ``type.raw`` in or below it, itself included. With
    `rglob_patterns`, it stands for those below it that have one and match a pattern. A file of
    extended XYZ stands for its systems (:mod:`deepmd_tf.data.formats.extxyz`). The systems of one
    entry are sorted by path; an entry that is given twice counts twice.

    Parameters
    ----------
    systems
        One entry or a list of them.
    rglob_patterns
        Patterns as in :meth:`pathlib.Path.rglob`.
    base
        What relative entries are relative to, by default the current directory.

    Raises
    ------
    DataError
        If there is no entry, or an entry does not exist or stands for no system.
    """
    entries = [systems] if isinstance(systems, str) else list(systems)
    if not entries:
        raise DataError("systems: the list is empty; expected at least one system")
    found: list[str] = []
    for entry in entries:
        found.extend(_expand(entry if base is None else os.path.join(base, entry), rglob_patterns))
    return found


def _expand(path: str, patterns: Sequence[str] | None) -> list[str]:
    kind = kind_of(path)
    if kind == "hdf5":
        from deepmd_tf.data.formats.hdf5 import systems_below

        found, what = systems_below(path, patterns), "group"
    elif kind == "extxyz":
        from deepmd_tf.data.formats import extxyz

        found, what = extxyz.systems_below(path, patterns), "system"
    else:
        root = Path(path)
        if not root.is_dir():
            begin = "" if root.is_absolute() else f"; relative paths begin at {os.getcwd()}"
            raise DataError(f"systems: {root} is not a directory that exists{begin}")
        found = _all_below(root) if patterns is None else _matching(root, patterns)
        what = "directory"
    if not found:
        hint = "" if patterns is None else f" that matches {list(patterns)}"
        if kind == "extxyz":
            raise DataError(f"systems: no system in {path}{hint}")
        raise DataError(
            f"systems: no system in {path}: no {what} in or below it{hint} has a {TYPE_FILE}"
        )
    return found


def _all_below(root: Path) -> list[str]:
    found = set()
    for directory, children, _ in os.walk(root, onerror=_refuse):
        # A link to a directory is looked into but not descended, so that a loop cannot trap us.
        for candidate in (Path(directory), *(Path(directory, child) for child in children)):
            if (candidate / TYPE_FILE).is_file():
                found.add(str(candidate))
    return sorted(found)


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"systems: {error.filename}: cannot be read ({error.strerror})") from error


def _matching(root: Path, patterns: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for pattern in patterns:
        try:
            found.update(str(d) for d in root.rglob(pattern) if (d / TYPE_FILE).is_file())
        except (ValueError, NotImplementedError) as error:
            raise DataError(f"rglob_patterns: {pattern!r} is not a pattern: {error}") from error
    return sorted(found)
