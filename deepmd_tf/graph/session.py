# SPDX-License-Identifier: BSD-3-Clause
"""How sessions are configured."""

from __future__ import annotations

import os

import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError


def session_config() -> tf.ConfigProto:
    """Configuration of every session of this package.

    Threads come from ``DP_INTRA_OP_PARALLELISM_THREADS`` and ``DP_INTER_OP_PARALLELISM_THREADS``,
    or the same with ``TF_`` in place of ``DP_``; 0 (the default) leaves the number to TensorFlow.
    Memory of a GPU is taken as it is needed.

    Raises
    ------
    InputError
        When one of these variables is not a number.
    """
    config = tf.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=_threads("INTRA"),
        inter_op_parallelism_threads=_threads("INTER"),
    )
    config.gpu_options.allow_growth = True
    return config


def _threads(kind: str) -> int:
    for prefix in ("DP", "TF"):
        name = f"{prefix}_{kind}_OP_PARALLELISM_THREADS"
        text = os.environ.get(name, "").strip()
        if not text:
            continue
        if not text.isdigit():
            raise InputError(
                f'environment variable {name} is "{text}", '
                "it must be a number of threads (0: automatic)"
            )
        return int(text)
    return 0
