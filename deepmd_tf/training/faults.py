# SPDX-License-Identifier: BSD-3-Clause
"""Frames that the operations refuse, named as the user knows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.data.source import DirectorySource
from deepmd_tf.data.types import read_types
from deepmd_tf.errors import DataError
from deepmd_tf.graph.refusals import FrameError, translate


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
        refused = translate(error)
        if isinstance(refused, FrameError):
            raise DataError(self._describe(refused)) from None

    def _describe(self, refused: FrameError) -> str:
        batch = self._batch
        system = self._data.systems[batch.system]
        file_types, _ = read_types(DirectorySource(system.path), self._data.type_map or ())
        # Batches are sorted by type.
        refused = refused.renumber(batch.frames, np.argsort(file_types, kind="stable"))
        where = Path(system.path) / batch.set_name / "coord.npy"
        return f"{where}: {refused}; correct or remove the frame"
