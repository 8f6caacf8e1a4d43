# SPDX-License-Identifier: BSD-3-Clause
"""Where the time of a step is spent."""

from __future__ import annotations

import logging

import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from tensorflow.python.client import timeline

from deepmd_tf.data import Batch
from deepmd_tf.errors import TrainingError
from deepmd_tf.files import replacing, require_writable
from deepmd_tf.graph.session import plain_message
from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.graph import TrainingGraph

log = logging.getLogger(__name__)

WARM_UP = 10
"""Steps of a run before anything is recorded: the first ones are slower."""
PROFILED = 100
"""Steps that the profiler records; it keeps them in memory."""


class Tracing:
    """Records one step as a time line, some steps with TensorFlow's profiler, or both.

    Parameters
    ----------
    timeline_file
        ``profiling_file``, in the format that Chrome and Perfetto show; None: no time line.
    profiler_dir
        Folder for the profiler, read by TensorBoard; None: no profile.

    Raises
    ------
    InputError
        If the file cannot be written.
    """

    def __init__(self, timeline_file: str | None, profiler_dir: str | None) -> None:
        self.timeline_file = timeline_file
        self.profiler_dir = profiler_dir
        self._profiles = False
        if timeline_file is not None:
            require_writable(timeline_file)

    def begin(self, step: int, num_steps: int) -> None:
        """Training continues after ``step`` of ``num_steps`` steps."""
        self._profiled = min(step + WARM_UP, num_steps - 1)
        # the two cannot record at the same time
        both = self.timeline_file is not None and self.profiler_dir is not None
        self._traced = max(step, self._profiled - 1) if both else self._profiled

    def train(
        self, graph: TrainingGraph, batch: Batch, lr: np.float32, step: int
    ) -> Diagnostics | None:
        """Train the step after ``step`` if its time line is wanted; None if it is not.

        Raises
        ------
        TrainingError
            If the profiler cannot be started.
        """
        timeline_file = self.timeline_file
        traces = timeline_file is not None and step == self._traced
        if self.profiler_dir is not None and not traces:
            if step == self._profiled:
                self._start()
            elif step == self._profiled + PROFILED:
                self.close()
        if timeline_file is None or not traces:
            return None
        diagnostics, record = graph.step.train_and_trace(batch, lr)
        trace = timeline.Timeline(record.step_stats).generate_chrome_trace_format()
        with replacing(timeline_file) as part:
            part.write_text(trace, encoding="utf-8")
        log.info("wrote the time line of step %d to %s", step + 1, self.timeline_file)
        return diagnostics

    def close(self) -> None:
        """Write the profile, if one is being recorded."""
        if self._profiles:
            self._profiles = False
            tf2.profiler.experimental.stop()
            log.info("wrote a profile to %s", self.profiler_dir)

    def _start(self) -> None:
        try:
            tf2.profiler.experimental.start(self.profiler_dir)
        except (OSError, tf.errors.OpError) as error:
            raise TrainingError(
                f"training.enable_profiler: the profiler cannot be started ({plain_message(error)})"
            ) from error
        self._profiles = True
