# SPDX-License-Identifier: BSD-3-Clause
"""How sessions are configured."""

from __future__ import annotations

import os
import re

import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError


def session_config(*, repeatable: bool = False) -> tf.ConfigProto:
    """Configuration of every session of this package.

    The number of threads inside an op is the first of ``DP_INTRA_OP_PARALLELISM_THREADS``,
    ``TF_INTRA_OP_PARALLELISM_THREADS`` and ``OMP_NUM_THREADS`` that is set; that of ops at a time
    is ``DP_INTER_OP_PARALLELISM_THREADS`` or ``TF_INTER_OP_PARALLELISM_THREADS``. 0 (the default)
    leaves the number to TensorFlow, which takes all processors. Memory of a GPU is taken as it is
    needed.

    Parameters
    ----------
    repeatable
        Results are the same to the last bit each time, if the graph adds gradients in pairs. A sum
        of three or more tensors (AddN) begins with the one whose memory happens to be free, so
        TensorFlow must not join sums of two into such. It costs some per cent.

    Raises
    ------
    InputError
        When one of these variables is not a number.
    """
    config = tf.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=_threads(*_named("INTRA"), "OMP_NUM_THREADS"),
        inter_op_parallelism_threads=_threads(*_named("INTER")),
    )
    config.gpu_options.allow_growth = True
    if repeatable:
        rewrites = config.graph_options.rewrite_options
        rewrites.arithmetic_optimization = rewrites.OFF
    return config


def start_threads() -> None:
    """Start the threads of this process as :func:`session_config` says.

    All sessions of a process share the threads that the first one has started, whatever their own
    configuration says; so this is called before anything else opens a session.
    """
    with tf.Graph().as_default(), tf.Session(config=session_config()):
        pass


def plain_message(error: Exception) -> str:
    """What an operation said, without what TensorFlow writes around it, in one line."""
    text = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in text.splitlines()]
    # what was said comes after the place in the graph
    begin = max((i + 1 for i, line in enumerate(lines) if line.startswith("Node: ")), default=0)
    for line in lines[begin:]:
        if line and not line.startswith("[[") and "root error(s) found" not in line:
            return re.sub(r"^\(\d+\) [A-Z_]+: +", "", line).partition(" [[{{")[0]
    return type(error).__name__


def _named(kind: str) -> list[str]:
    return [f"{prefix}_{kind}_OP_PARALLELISM_THREADS" for prefix in ("DP", "TF")]


def _threads(*variables: str) -> int:
    for name in variables:
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
