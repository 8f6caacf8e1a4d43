# SPDX-License-Identifier: BSD-3-Clause
"""Sees that all ranks train the same: versions, input, data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

import deepmd_tf
from deepmd_tf.config import Config
from deepmd_tf.data import DataSystem
from deepmd_tf.data.identity import fingerprint
from deepmd_tf.environment_variables import MPI as SWITCH
from deepmd_tf.errors import TrainingError
from deepmd_tf.graph.checkpoint import read_step
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.parallel import Ranks
from deepmd_tf.training.options import TrainOptions

SHOWN = 60
"""Letters of a value that a message has."""


def require_same_input(
    ranks: Ranks, config: Config, options: TrainOptions, checkpoint: Path | None
) -> None:
    """See that all ranks have the same versions and settings, script, options and checkpoint.

    Raises
    ------
    TrainingError
        If not; the message says which rank has what.
    """
    if ranks.size == 1:
        return
    given = {k: v for k, v in vars(options).items() if k not in ("input_file", "max_time")}
    require_same(
        ranks,
        {
            "version of deepmd_tf": deepmd_tf.__version__,
            "version of TensorFlow": tf.__version__,
            "version of NumPy": np.__version__,
            "DP_INTERFACE_PREC": interface_dtype().name,
            **{f"option {name}": str(value) for name, value in given.items()},
            "input script": config.to_json(),
            "checkpoint": "none" if checkpoint is None else f"step {read_step(checkpoint)}",
        },
    )


def require_same_data(
    ranks: Ranks, training: Sequence[DataSystem], validation: Sequence[DataSystem]
) -> None:
    """See that all ranks find the same data: shapes, types, first and last frame of each set.

    Raises
    ------
    TrainingError
        If not.
    """
    if ranks.size == 1:
        return
    require_same(
        ranks,
        {
            f"{name} data": fingerprint([_sample(system) for system in systems])
            for name, systems in (("training", training), ("validation", validation))
        },
    )


def require_same(ranks: Ranks, facts: Mapping[str, str]) -> None:
    """See that what is named has the same value on all ranks.

    Raises
    ------
    TrainingError
        If not.
    """
    if ranks.size == 1:
        return
    digests = {name: hashlib.sha256(value.encode()).hexdigest() for name, value in facts.items()}
    found = ranks.objects([(name, facts[name][:SHOWN], digests[name]) for name in facts])
    for rank, other in enumerate(found[1:], 1):
        for (name, here, digest), (_, there, its) in zip(found[0], other, strict=True):
            if digest == its:
                continue
            values = f" ({there} instead of {here})" if max(len(here), len(there)) < SHOWN else ""
            raise TrainingError(
                f"{name}: that of {ranks.name(rank)} differs from that of {ranks.name(0)}{values}; "
                "processes that train together need the same input, data and versions. To let each "
                f"train for itself set {SWITCH}=off"
            )


def _sample(system: DataSystem) -> list[Any]:
    """A part of the numbers of a system: who reads other files finds others."""
    found: list[Any] = [system.natoms, system.pbc, list(system.set_names), list(system.set_sizes)]
    for name, size in zip(system.set_names, system.set_sizes, strict=True):
        batch = system.pick(name, sorted({0, size - 1}))
        hasher = hashlib.sha256()
        for key in sorted(batch.arrays):
            hasher.update(np.ascontiguousarray(batch.arrays[key]).data)
        found.append(hasher.hexdigest())
    return found
