# SPDX-License-Identifier: BSD-3-Clause
"""The bar of the training loop."""

from __future__ import annotations

import time

from rich.progress import TextColumn

from deepmd_tf.progress import bar, busy, on_terminal, track

__all__ = ["TrainingProgress", "busy", "on_terminal", "track"]

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
        self._bar = bar(TextColumn("{task.fields[speed]}"), TextColumn("{task.fields[errors]}"))
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
        self._bar.update(self._task, completed=step, speed=f"{steps / seconds:.1f} steps/s")

    def show(self, errors: str) -> None:
        """Show a summary of errors."""
        self._bar.update(self._task, errors=errors)
