# SPDX-License-Identifier: BSD-3-Clause
"""Systems that ranks share: batches in one order, the same files everywhere."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import deepmd_tf
from deepmd_tf.data import Batch, DataSystem
from deepmd_tf.data.identity import fingerprint_of_some
from deepmd_tf.errors import DataError
from deepmd_tf.inference.deep_eval import DeepEval
from deepmd_tf.parallel import Ranks
from deepmd_tf.parallel.agreement import require_same


@dataclass(frozen=True)
class Share:
    """Frames that one rank evaluates.

    Attributes
    ----------
    data, batch
        The system, and frames of it.
    last
        Whether they are the last ones of this system.
    """

    data: DataSystem
    batch: Batch
    last: bool


def shares(
    systems: deque[DataSystem],
    ranks: Ranks,
    atoms_at_once: Callable[[DataSystem], int],
    *,
    limit: int = 0,
    rng: np.random.RandomState | None = None,
) -> Iterator[Share]:
    """All frames of all systems, in batches that are small enough for all ranks to have some.

    Parameters
    ----------
    systems
        Are taken out one by one.
    ranks
        Who shares them.
    atoms_at_once
        Largest number of atoms of a batch.
    limit, rng
        As for :meth:`~deepmd_tf.data.DataSystem.batches`.

    Raises
    ------
    DataError
        When a system has no frames.
    """
    while systems:
        data = systems.popleft()
        most = atoms_at_once(data)
        if ranks.size > 1:
            most = min(most, data.natoms * -(-frames_of(data, limit) // ranks.size))
        batches = data.batches(max_atoms=most, limit=limit, rng=rng)
        batch = next(batches, None)
        if batch is None:
            raise DataError(f"No test frames found in system {data.path}.")
        for following in batches:
            yield Share(data, batch, last=False)
            batch = following
        yield Share(data, batch, last=True)


def frames_of(data: DataSystem, limit: int) -> int:
    """Frames of a system of which at most ``limit`` are taken; 0 stands for all."""
    return min(limit or data.nframes, data.nframes)


def require_same_work(
    ranks: Ranks, pots: Sequence[DeepEval], systems: Sequence[DataSystem], options: str
) -> None:
    """See that all ranks have the same version, models, data and options.

    Raises
    ------
    InputError
        If not; the message says which rank has what.
    """
    if ranks.size == 1:
        return
    require_same(
        ranks,
        {
            "version of deepmd_tf": deepmd_tf.__version__,
            **{f"model {pot.model_path}": _digest(pot.model_path) for pot in pots},
            "systems": "\n".join(data.path for data in systems),
            "data": fingerprint_of_some(systems),
            "options": options,
        },
    )


def _digest(path: Path) -> str:
    """Hash of a frozen file, or of the index of a checkpoint, which has sums of all variables."""
    file = path if path.is_file() else Path(f"{path}.index")
    return hashlib.sha256(file.read_bytes()).hexdigest()
