# SPDX-License-Identifier: BSD-3-Clause
"""The learning curve for TensorBoard."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf.errors import TrainingError
from deepmd_tf.graph.session import plain_message
from deepmd_tf.training.observer import Observer, Training
from deepmd_tf.training.record import Record

TRAIN, TEST = "train", "test"
EVENTS = "events.out.tfevents.*"
VERSION = "brain.Event:2"
"""Of the format, in the first event of a file."""


class EventFile:
    """A file of events, written by the thread that adds them, which so learns of failures.

    Parameters
    ----------
    folder
        Where it is made.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        now = time.time_ns()
        self._name = f"events.out.tfevents.{now // 10**9:010d}.{socket.gethostname()}"
        self._name += f".{os.getpid()}.{now % 10**9}"
        self._writer: tf.io.TFRecordWriter = None  # where it cannot be opened
        self._call(self._open)
        self.add(file_version=VERSION)

    def add(self, **event: Any) -> None:
        """Add an event: fields of TensorFlow's message ``Event``."""
        data = tf.Event(wall_time=time.time(), **event).SerializeToString()
        self._call(lambda: self._writer.write(data))

    def flush(self) -> None:
        """Let the file hold all events."""
        self._call(lambda: self._writer.flush())

    def close(self) -> None:
        """Close it; nothing is done when it could not be written."""
        if self._writer is not None:
            self._call(lambda: self._writer.close())

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._writer = tf.io.TFRecordWriter(str(self.folder / self._name))

    def _call(self, work: Any) -> None:
        try:
            work()
        # the writer of TensorFlow raises what it likes, IndexError among others
        except (OSError, tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
            self._writer = None
            reason = getattr(error, "strerror", None) or plain_message(error)
            raise TrainingError(
                f"{self.folder}: events for TensorBoard cannot be written ({reason})"
            ) from error


class TensorBoard(Observer):
    """Writes errors and learning rate as scalars below ``log_dir``.

    ``train`` gets the errors of training batches before the update, the learning rate, and the
    graph; ``test`` the errors of validation batches where the learning curve has a row, and those
    over all validation frames where there is a full validation. The names are those of the columns.

    Parameters
    ----------
    log_dir
        ``tensorboard_log_dir`` of the input script.
    frequency
        ``tensorboard_freq``: steps between two training batches that are written.
    """

    def __init__(self, log_dir: str, frequency: int) -> None:
        self.log_dir = Path(log_dir)
        self.frequency = frequency
        self._files: dict[str, EventFile] = {}

    def open(
        self,
        training: Training,
        after_step: int | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin anew, which removes the events of an earlier training, or go on after a step.

        Raises
        ------
        TrainingError
            If the folder cannot be written to.
        """
        for name in (TRAIN, TEST):
            folder = self.log_dir / name
            old = list(folder.glob(EVENTS)) if after_step is None else []
            file = self._files[name] = EventFile(folder)
            for path in old:
                path.unlink(missing_ok=True)
            if name == TRAIN:
                graph = training.graph.runner.graph
                file.add(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())
            if after_step is not None:
                # what an interrupted training wrote from here on does not count
                start = tf.SessionLog(status=tf.SessionLog.START)
                file.add(session_log=start, step=after_step)
            file.flush()

    def wants_errors(self, step: int) -> bool:
        """Whether the next training batch, after this step, is written."""
        return step % self.frequency == 0

    def measured(self, training: Training, errors: Mapping[str, float], lr: float) -> None:
        """Write the errors of a training batch, and the learning rate."""
        self._write(TRAIN, training.step, {**errors, "lr": lr})

    def displayed(self, training: Training, record: Record) -> None:
        """Write the errors of validation batches, and let the files hold all points."""
        if record.validation is not None:
            self._write(TEST, record.step, record.validation)
        for file in self._files.values():
            file.flush()

    def validated(self, training: Training, errors: Mapping[str, float]) -> None:
        """Write the errors over all validation frames."""
        self._write(TEST, training.step, errors)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _write(self, name: str, step: int, scalars: Mapping[str, float]) -> None:
        """Add points, to :data:`TRAIN` or :data:`TEST`."""
        values = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._files[name].add(summary=tf.Summary(value=values), step=step)
