# SPDX-License-Identifier: BSD-3-Clause
"""Errors of operations about a batch, translated to the file and frame of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import tensorflow.compat.v1 as tf

from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.errors import DataError
from deepmd_tf.fields import COORD
from deepmd_tf.graph.refusals import FrameError, translate


class NamedFaults:
    """Context in which an op that refuses a frame raises :class:`DataError` with its file, and one
    that lacks memory with the size of the batch and what might fit.

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
        if self._batch is None:
            return
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise DataError(self._too_large(self._batch)) from None
        if not isinstance(error, tf.errors.InvalidArgumentError):
            return
        # Other refusals do not come from the data: they are faults of the program.
        refused = translate(error)
        if isinstance(refused, FrameError):
            raise DataError(self._describe(self._batch, refused)) from None

    def _describe(self, whole: Batch, refused: FrameError) -> str:
        batch, index = whole.locate(refused.frame)
        system = self._data.systems[batch.system]
        frame, atoms = system.origin(batch, index)
        refused = refused.renumber({refused.frame: frame}, atoms)
        where = system.where(batch.set_name, COORD.name)
        return f"{where}: {refused}; {refused.remedy}"

    def _too_large(self, batch: Batch) -> str:
        frames, atoms = batch.nframes, batch.arrays["type"].shape[1]
        system = f" of {self._data.systems[batch.system].path}" if batch.system >= 0 else ""
        what = f"there is not enough memory for a batch of {frames} frames of {atoms} atoms{system}"
        if frames == 1:
            return f"{what}; smaller systems, a smaller cutoff or narrower nets need less"
        half = atoms * (frames // 2)
        return (
            f'{what}; half as many frames may fit: give the data "batch_size": "max:{half}" (atoms '
            "of a batch) or a smaller number. Checkpoints written before are intact"
        )
