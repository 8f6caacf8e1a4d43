# SPDX-License-Identifier: BSD-3-Clause
"""Sees that all ranks train the same: versions, input, data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

import deepmd_tf
from deepmd_tf.config import Config
from deepmd_tf.data import DataSystem
from deepmd_tf.data.identity import fingerprint_of_some
from deepmd_tf.graph.checkpoint import read_step
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.parallel import Ranks
from deepmd_tf.parallel.agreement import require_same
from deepmd_tf.training.options import TrainOptions


def require_same_input(
    ranks: Ranks, config: Config, options: TrainOptions, checkpoint: Path | None
) -> None:
    """See that all ranks have the same versions and settings, script, options and checkpoint.

    Raises
    ------
    InputError
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
    InputError
        If not.
    """
    if ranks.size == 1:
        return
    require_same(
        ranks,
        {
            f"{name} data": fingerprint_of_some(systems)
            for name, systems in (("training", training), ("validation", validation))
        },
    )
