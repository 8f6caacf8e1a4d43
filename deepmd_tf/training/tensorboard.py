# SPDX-License-Identifier: BSD-3-Clause
"""The learning curve for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow.compat.v1 as tf

from deepmd_tf.errors import TrainingError
from deepmd_tf.graph.session import plain_message

TRAIN, TEST = "train", "test"
EVENTS = "events.out.tfevents.*"


class TensorBoard:
    """Writes errors and learning rate as scalars below ``log_dir``.

    ``train`` gets the errors of training batches before the update, the learning rate, and the
    graph; ``test`` the errors of validation batches where the learning curve has a row, and those
    over all validation frames where there is a full validation. The names are those of the columns.

    Parameters
    ----------
    log_dir
        ``tensorboard_log_dir`` of the input script.
    frequency
        ``tensorboard_freq``: training batches are written once in so many steps.
    """

    def __init__(self, log_dir: str, frequency: int) -> None:
        self.log_dir = Path(log_dir)
        self.frequency = frequency
        self._writers: dict[str, tf.summary.FileWriter] = {}

    def open(self, graph: tf.Graph, after_step: int | None = None) -> None:
        """Begin anew, which removes the events of an earlier training, or go on after a step.

        Raises
        ------
        TrainingError
            If the folder cannot be written to.
        """
        for name in (TRAIN, TEST):
            folder = self.log_dir / name
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if after_step is None:
                    for old in folder.glob(EVENTS):
                        old.unlink()
                with graph.as_default():
                    shown = graph if name == TRAIN else None
                    writer = tf.summary.FileWriter(str(folder), shown)
                if after_step is not None:
                    # what an interrupted training wrote from here on does not count
                    start = tf.SessionLog(status=tf.SessionLog.START)
                    writer.add_session_log(start, after_step)
                writer.flush()
            except (OSError, tf.errors.OpError) as error:
                reason = getattr(error, "strerror", None) or plain_message(error)
                raise TrainingError(
                    f"{folder}: events for TensorBoard cannot be written ({reason})"
                ) from error
            self._writers[name] = writer

    def due(self, step: int) -> bool:
        """Whether the next training batch, after this step, is written."""
        return step % self.frequency == 0

    def write(self, name: str, step: int, scalars: Mapping[str, float]) -> None:
        """Add points, to :data:`TRAIN` or :data:`TEST`."""
        values = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._writers[name].add_summary(tf.Summary(value=values), step)

    def flush(self) -> None:
        """Let the files hold all points."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
