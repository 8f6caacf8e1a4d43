# SPDX-License-Identifier: BSD-3-Clause
"""The bar of the training loop, and the lines of the log about errors and times."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from deepmd_tf.config import TrainingConfig
from deepmd_tf.progress import on_terminal
from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.observer import Observer, Training
from deepmd_tf.training.record import Record, timing_message

log = logging.getLogger(__name__)

REFRESH_SECONDS = 0.1


class TrainingProgress:
    """The bar of the training loop: steps, errors last displayed, steps per second, time left.

    Parameters
    ----------
    total
        Steps of the whole training.
    done
        Steps done before.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),  # what the other columns leave of the line
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[errors]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            expand=True,
            disable=not on_terminal(),
        )
        self._task = self._bar.add_task(
            "training", total=total, completed=done, speed="", errors=""
        )
        self._first = self._last = (time.monotonic(), done)

    def start(self, step: int) -> None:
        """Show the bar; speed is that of steps after ``step``."""
        self._first = self._last = (time.monotonic(), step)
        self._bar.start()

    def stop(self) -> None:
        """Remove it."""
        self._bar.stop()

    def update(self, step: int) -> None:
        """Show that ``step`` steps are done; may be called often."""
        now = time.monotonic()
        if self._bar.disable or now - self._last[0] < REFRESH_SECONDS:
            return
        self._last = (now, step)
        seconds, steps = now - self._first[0], step - self._first[1]
        self._bar.update(self._task, completed=step, speed=f"{steps / seconds:.1f}/s")

    def show(self, errors: str) -> None:
        """Show a summary of errors."""
        self._bar.update(self._task, errors=errors)


class ProgressLog(Observer):
    """Shows the bar, and logs displayed errors, times of steps, and their average.

    The first steps of a long run, which are slower, do not count for the average.

    Parameters
    ----------
    config
        Section ``training`` of the input script.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._bar: TrainingProgress | None = None
        self._first = 0
        self._excluded = 0
        self._steps = 0
        self._seconds = 0.0
        self._interval = 0.0

    def open(
        self,
        training: Training,
        after_step: int | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Show the bar."""
        self._bar = TrainingProgress(training.num_steps, training.step)
        self._bar.start(training.step)

    @property
    def _shown(self) -> TrainingProgress:
        if self._bar is None:
            raise ValueError("the training has not been opened")
        return self._bar

    def began(self, training: Training) -> None:
        """Take the time from now on."""
        self._first, frequency = training.step, self._config.disp_freq
        is_long = training.num_steps - self._first >= 2 * frequency
        self._excluded = frequency if is_long else 0
        self._shown.start(self._first)
        self._interval = time.monotonic()

    def updated(self, training: Training, diagnostics: Diagnostics, seconds: float) -> None:
        """Count the step."""
        if training.step - self._first > self._excluded:
            self._steps += 1
            self._seconds += seconds
        self._shown.update(training.step)

    def displayed(self, training: Training, record: Record) -> None:
        """Log errors."""
        for line in record.messages():
            log.info(line)
        self._shown.show(record.summary())

    def step_ended(self, training: Training) -> None:
        """Log the time since the last such line, and when training will end."""
        config, step = self._config, training.step
        if step % config.disp_freq:
            return
        now = time.monotonic()
        if config.disp_training and config.time_training:
            seconds, steps = now - self._interval, min(config.disp_freq, step - self._first)
            remaining = int((training.num_steps - step) / max(1, steps) * seconds)
            local = datetime.datetime.now().astimezone()
            log.info(timing_message(step, seconds, remaining, local))
        self._interval = now

    def ended(self, training: Training) -> None:
        """Remove the bar, and log the average."""
        self._shown.stop()
        if not self._config.time_training or not self._steps:
            return
        excluded = training.step - self._first - self._steps
        note = f" (exclude first {excluded} batches)" if excluded else ""
        log.info("average training time: %.4f s/batch%s", self._seconds / self._steps, note)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
