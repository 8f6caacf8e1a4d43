# SPDX-License-Identifier: BSD-3-Clause
"""Ranks that are threads of one process: what ranks make of a training, without an MPI."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from deepmd_tf.parallel import Ranks

PATIENCE = 60.0


class ThreadRanks(Ranks):
    """One of the ranks of an exchange."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, slots: list[Any]) -> None:
        self.rank = rank
        self.size = size
        self._barrier = barrier
        self._slots = slots

    def objects(self, value: Any) -> list[Any]:
        self._slots[self.rank] = pickle.dumps(value)
        self._barrier.wait(PATIENCE)
        found = [pickle.loads(data) for data in self._slots]
        self._barrier.wait(PATIENCE)
        return found

    def rows(self, values: np.ndarray) -> np.ndarray:
        return np.array(self.objects(values), dtype=float)

    def total(self, values: np.ndarray) -> np.ndarray:
        summed, *others = self.objects(values)
        for other in others:
            summed = summed + other
        return summed

    def shared(self, value: Any) -> Any:
        return self.objects(value)[0]


def on_ranks(size: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What ``work`` returns on each rank; the first error of any is raised."""
    barrier, slots = threading.Barrier(size), [None] * size
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadRanks(rank, size, barrier, slots))
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def train(monkeypatch: pytest.MonkeyPatch, size: int, script: Any, **options: Any) -> list[int]:
    """Train on so many ranks; the exit status of each."""
    from deepmd_tf.environment_variables import INTRA_OP_THREADS
    from deepmd_tf.training import entrypoint

    def work(ranks: Ranks) -> int:
        local.ranks = ranks
        return entrypoint.train(script, **options)

    @contextmanager
    def joined():
        yield local.ranks

    local = threading.local()
    with monkeypatch.context() as patch:
        patch.setenv(INTRA_OP_THREADS[0], "1")
        patch.setattr(entrypoint, "joined", joined)
        return on_ranks(size, work)
