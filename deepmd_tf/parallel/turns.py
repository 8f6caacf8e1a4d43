# SPDX-License-Identifier: BSD-3-Clause
"""Work that ranks take turns at, with results in the order of one process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from deepmd_tf.log import ROOT
from deepmd_tf.parallel.ranks import Ranks

Item = TypeVar("Item")
Result = TypeVar("Result")


class Said(NamedTuple):
    """A message: name of its logger, level, text."""

    logger: str
    level: int
    text: str


def in_turns(
    ranks: Ranks, items: Iterable[Item], work: Callable[[Item], Result]
) -> Iterator[Result]:
    """What ``work`` makes of each item.

    The ranks take one item each, then the next ones. Rank 0 gets all results, in the order of the
    items, and none of them has to wait for those of a later round; other ranks get nothing. What
    they warn of is told by rank 0, once.

    Parameters
    ----------
    ranks
        All of them exhaust what this returns, with the same items.
    items
        What there is to do.
    work
        Makes of an item what can be sent to another process.
    """
    if ranks.size == 1:
        yield from map(work, items)
        return
    said: set[Said] = set()
    own: tuple[Result, list[Said]] | None = None
    number = 0
    for number, item in enumerate(items, 1):
        if (number - 1) % ranks.size == ranks.rank:
            with _warnings() as messages:
                own = work(item), messages
        if number % ranks.size == 0:
            yield from _collected(ranks, own, said)
            own = None
    if number % ranks.size:
        yield from _collected(ranks, own, said)


def _collected(
    ranks: Ranks, own: tuple[Result, list[Said]] | None, said: set[Said]
) -> Iterator[Result]:
    """The results of a round, on rank 0."""
    sent = own
    if own is not None and ranks.leads:
        said.update(own[1])
        sent = own[0], []  # has been told already
    for found in ranks.collected(sent):
        if found is None:
            continue
        result, messages = found
        for message in messages:
            if message not in said:
                said.add(message)
                logging.getLogger(message.logger).log(message.level, "%s", message.text)
        yield result


@contextmanager
def _warnings() -> Iterator[list[Said]]:
    """What this thread warns of."""
    found: list[Said] = []
    thread = threading.get_ident()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                found.append(Said(record.name, record.levelno, record.getMessage()))

    handler, logger = Keep(logging.WARNING), logging.getLogger(ROOT)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
