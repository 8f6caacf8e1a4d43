# SPDX-License-Identifier: BSD-3-Clause
"""Progress bars on a terminal; nothing is shown elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


def bar(*columns: ProgressColumn) -> Progress:
    """A bar with counts and times, and further ``columns``; it vanishes when it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        # quiet: older releases of rich end a bar that is disabled with an empty line
        console=Console(stderr=True, quiet=not on_terminal()),
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
    with bar() as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)
