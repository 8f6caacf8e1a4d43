# SPDX-License-Identifier: BSD-3-Clause
"""The bar of the training loop."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from deepmd_tf.progress import on_terminal

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

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
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
