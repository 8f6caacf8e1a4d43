# SPDX-License-Identifier: BSD-3-Clause
"""What is shown on a terminal while something takes long. Nothing is written when standard error is a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

REFRESH_SECONDS = 0.1


def on_terminal() -> bool:
    """Whether somebody may be watching."""
    return sys.stderr.isatty()


def _bar(*columns: TextColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not on_terminal(),
    )


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Iterate over ``items`` with a bar.

    Parameters
    ----------
    items
        What to go through.
    description
        What is being done, e.g. ``"neighbour statistics"``.
    total
        How many there are.
    """
    with _bar() as bar:
        task = bar.add_task(description, total=total)
        for item in items:
            yield item
            bar.advance(task)


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
        self._bar = _bar(TextColumn("{task.fields[speed]}"), TextColumn("{task.fields[errors]}"))
        self._task = self._bar.add_task("training", total=total, completed=done, speed="", errors="")
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


@contextmanager
def busy(description: str) -> Iterator[None]:
    """A moving bar for something whose length is not known."""
    with _bar() as bar:
        bar.add_task(description, total=None)
        yield
