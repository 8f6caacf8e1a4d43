# SPDX-License-Identifier: BSD-3-Clause
"""Frames that the operations refuse, named as the user knows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.data.source import DirectorySource
from deepmd_tf.data.types import read_types
from deepmd_tf.errors import DataError
from deepmd_tf.graph.session import plain_message

_FRAME = re.compile(r"frame (\d+) (.*)")
_ATOMS = re.compile(r"\batoms? (\d+)(?: and (\d+))?(?: \(counted from 0\))?")


class NamedFaults:
    """While it is open, an op that refuses a frame raises :class:`DataError` with its place.

    Parameters
    ----------
    data
        Where the batches come from.
    batch
        The one that is evaluated; without it, the last one that :meth:`watch` passed on.
    """

    def __init__(self, data: DataSystems, batch: Batch | None = None) -> None:
        self._data = data
        self._batch = batch

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches, one by one."""
        for self._batch in batches:
            yield self._batch

    def __enter__(self) -> NamedFaults:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._batch is None or not isinstance(error, tf.errors.InvalidArgumentError):
            return
        # Other refusals do not come from the data: they are faults of the program.
        if match := _FRAME.match(plain_message(error)):
            raise DataError(self._describe(int(match[1]), match[2])) from None

    def _describe(self, index: int, text: str) -> str:
        batch = self._batch
        system = self._data.systems[batch.system]
        file_types, _ = read_types(DirectorySource(system.path), self._data.type_map or ())
        order = np.argsort(file_types, kind="stable")

        def in_file(match: re.Match[str]) -> str:
            atoms = sorted(int(order[int(i)]) for i in match.groups() if i is not None)
            return f"atom{'s' * (len(atoms) > 1)} {' and '.join(map(str, atoms))}"

        where = Path(system.path) / batch.set_name / "coord.npy"
        return (
            f"{where}: frame {batch.frames[index]} {_ATOMS.sub(in_file, text, count=1)} "
            "(frames and atoms counted from 0); correct or remove the frame"
        )
