# SPDX-License-Identifier: BSD-3-Clause
"""Ranks, and what they tell each other.

Sums are made in the order of the ranks, so that they are the same to the last bit whenever there
are as many ranks, wherever these run.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from deepmd_tf.errors import DeepmdError
from deepmd_tf.parallel.watch import Watch

T = TypeVar("T")

_EAGER = 200
"""How often a message is looked for at once; then other threads and processes get their turn."""
_PATIENT = 0.05
"""Seconds after which a rank that waits sleeps between two looks."""
_SLEEP = 5e-4


class RanksLost(DeepmdError):
    """Another rank has ended; the message says which, and why."""


class Ranks:
    """A single process; the base of several.

    Attributes
    ----------
    rank
        Which one this is, counted from 0.
    size
        How many there are.
    on_machine
        How many of them run on the machine of this one.
    waited
        Seconds that this one has spent in the methods below.
    """

    rank = 0
    size = 1
    on_machine = 1
    waited = 0.0

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and messages."""
        return self.rank == 0

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum over the ranks of float64 [n], in their order."""
        return values

    def rows(self, values: np.ndarray) -> np.ndarray:
        """The float64 [n] of each rank: [size, n]."""
        return values[None]

    def objects(self, value: T) -> list[T]:
        """The object of each rank."""
        return [value]

    def collected(self, value: T) -> list[T]:
        """The object of each rank on rank 0, nothing elsewhere."""
        found = self.objects(value)
        return found if self.leads else []

    def shared(self, value: T) -> T:
        """The object of rank 0."""
        return value

    def first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns on rank 0, the only one that calls it."""
        return self.shared(make() if self.leads else None)  # type: ignore[return-value]

    def name(self, rank: int) -> str:
        """A rank in words, with its machine and process."""
        return f"rank {rank}"


ALONE = Ranks()
"""The only process."""


class MpiRanks(Ranks):
    """The ranks of a communicator of mpi4py.

    No call blocks in MPI: a rank that waits sees that another one has died
    (:class:`~deepmd_tf.parallel.watch.Watch`).

    Parameters
    ----------
    communicator
        A duplicate of ``MPI.COMM_WORLD``.
    watch
        Tells of ranks that die.
    names
        The ranks in words.
    """

    def __init__(self, communicator: Any, watch: Watch, names: list[str]) -> None:
        self._communicator = communicator
        self._watch = watch
        self._names = names
        self.rank = int(communicator.Get_rank())
        self.size = int(communicator.Get_size())

    def name(self, rank: int) -> str:
        return self._names[rank]

    def total(self, values: np.ndarray) -> np.ndarray:
        # each rank sums its part of the vector of all, and tells it to all
        chunk = -(-len(values) // self.size)
        sent = np.zeros(chunk * self.size)
        sent[: len(values)] = values
        parts = np.empty((self.size, chunk))
        self._wait(lambda: self._communicator.Ialltoall(sent, parts))
        own = parts[0]
        for part in parts[1:]:
            own = own + part
        summed = np.empty(chunk * self.size)
        self._wait(lambda: self._communicator.Iallgather(own, summed))
        return summed[: len(values)]

    def rows(self, values: np.ndarray) -> np.ndarray:
        values = np.ascontiguousarray(values, dtype=np.float64)
        found = np.empty((self.size, len(values)))
        self._wait(lambda: self._communicator.Iallgather(values, found))
        return found

    def objects(self, value: T) -> list[T]:
        return self._gather(value, self._communicator.Iallgatherv)

    def collected(self, value: T) -> list[T]:
        return self._gather(value, self._communicator.Igatherv, self.leads)

    def shared(self, value: T) -> T:
        own = np.frombuffer(pickle.dumps(value if self.leads else None), dtype=np.uint8).copy()
        size = int(self.rows(np.array([float(len(own))]))[0, 0])
        data = own if self.leads else np.empty(size, dtype=np.uint8)
        self._wait(lambda: self._communicator.Ibcast(data, 0))
        return value if self.leads else pickle.loads(data.tobytes())

    def _gather(self, value: Any, start: Callable[..., Any], gets: bool = True) -> list[Any]:
        """The object of each rank, where they are gathered."""
        own = np.frombuffer(pickle.dumps(value), dtype=np.uint8)
        sizes = self.rows(np.array([float(len(own))]))[:, 0].astype(int)
        if not gets:
            self._wait(lambda: start(own, None))
            return []
        found = np.empty(int(sizes.sum()), dtype=np.uint8)
        ends = np.cumsum(sizes)
        places = [found, (sizes.tolist(), (ends - sizes).tolist())]
        self._wait(lambda: start(own, places))
        return [
            pickle.loads(found[end - size : end].tobytes())
            for size, end in zip(sizes, ends, strict=True)
        ]

    def _wait(self, start: Callable[[], Any]) -> None:
        """Start something, and wait until it is done.

        Raises
        ------
        RanksLost
            If another rank has ended meanwhile.
        """
        from mpi4py import MPI

        begin = time.monotonic()
        looks = 0
        try:
            request = start()
            while not request.Test():
                looks += 1
                if looks < _EAGER:
                    continue
                self._require_all()
                time.sleep(0 if time.monotonic() - begin < _PATIENT else _SLEEP)
        except MPI.Exception as error:
            # MPI may notice before the watch does, but does not know whom
            self._watch.lost.wait(self._watch.silence)
            self._require_all()
            raise RanksLost(f"MPI cannot pass on a message: {error}") from None
        self.waited += time.monotonic() - begin

    def _require_all(self) -> None:
        if self._watch.lost.is_set():
            raise RanksLost(self._watch.reason)
