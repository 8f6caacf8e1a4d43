# SPDX-License-Identifier: BSD-3-Clause
"""Shares the processors of a machine out among its ranks."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

from deepmd_tf.environment_variables import INTRA_OP_THREADS, threads
from deepmd_tf.parallel.joining import machine
from deepmd_tf.parallel.ranks import Ranks

log = logging.getLogger(__name__)


class Processors(NamedTuple):
    """What a rank may use.

    Attributes
    ----------
    machine, host
        Where it runs.
    allowed
        Numbers of the processors that it may run on.
    threads
        As the environment says; None if it does not.
    all
        Processors of the machine.
    """

    machine: str
    host: str
    allowed: frozenset[int]
    threads: int | None
    all: int

    @classmethod
    def here(cls) -> Processors:
        """Those of this process.

        Raises
        ------
        InputError
            If the environment has something else than a number of threads.
        """
        allowed = frozenset(os.sched_getaffinity(0))
        # 0, for automatic, is an equal part too
        told = threads(INTRA_OP_THREADS) or None
        return cls(machine(), socket.gethostname(), allowed, told, os.cpu_count() or 1)


def threads_of(ranks: Sequence[Processors], own: int) -> int:
    """Threads of a rank: what it is told, or an equal part of what it may use, at least 1."""
    one = ranks[own]
    if one.threads is not None:
        return one.threads
    rivals = [other for other in ranks if other.machine == one.machine]
    sharing = sum(bool(other.allowed & one.allowed) for other in rivals)
    return max(1, len(one.allowed) // sharing)


def share_processors(ranks: Ranks) -> None:
    """Set the threads of this rank, unless the environment has done so, and say how many.

    Called before anything starts threads.

    Raises
    ------
    InputError
        If the environment has something else than a number of threads.
    """
    if ranks.size == 1:
        return
    found = ranks.objects(Processors.here())
    counts = [threads_of(found, rank) for rank in range(ranks.size)]
    os.environ[INTRA_OP_THREADS[0]] = str(counts[ranks.rank])
    hosts = {one.machine: one.host for one in found}
    for key, host in hosts.items():
        here = [rank for rank, one in enumerate(found) if one.machine == key]
        allowed = frozenset().union(*(found[rank].allowed for rank in here))
        running = sum(counts[rank] for rank in here)
        log.info(
            "%s: %d processes with %s threads on %d processors",
            host,
            len(here),
            "+".join(str(counts[rank]) for rank in here),
            len(allowed),
        )
        if running > len(allowed):
            log.warning(
                "%s: %d threads share %d processors and wait for each other; start fewer "
                "processes there, or set %s to a smaller number",
                host,
                running,
                len(allowed),
                INTRA_OP_THREADS[0],
            )
        elif len(allowed) < found[here[0]].all:
            log.info(
                "%s has %d processors, of which the launcher leaves %d to these processes (mpirun "
                "--bind-to none, srun --cpus-per-task)",
                host,
                found[here[0]].all,
                len(allowed),
            )
