# SPDX-License-Identifier: BSD-3-Clause
"""Opening sessions, whose threads are those of the process that opened the first one."""

from __future__ import annotations

import os

import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError
from deepmd_tf.ops.device import wanted

_started_in: int | None = None
"""Number of the process that started the threads of all sessions."""


def open_session(graph: tf.Graph | None = None, config: tf.ConfigProto | None = None) -> tf.Session:
    """A session; every one of this package is opened here. It has no GPU if none is wanted.

    Parameters
    ----------
    graph
        By default the default graph.
    config
        By default that of TensorFlow.

    Raises
    ------
    InputError
        When the process was forked from one that had opened a session, see
        :func:`require_threads`; when ``DEEPMD_TF_DEVICE`` is not a device.
    """
    global _started_in
    require_threads()
    _started_in = os.getpid()
    if wanted() == "cpu":
        config = config or tf.ConfigProto()
        config.device_count["GPU"] = 0
    return tf.Session(graph=graph, config=config)


def require_threads() -> None:
    """See that the threads that run graphs are there.

    All sessions of a process share them, and they do not exist in a process that is forked after
    the first session was opened: a session would wait for them for ever there.

    Raises
    ------
    InputError
        In such a process.
    """
    if _started_in is not None and _started_in != os.getpid():
        raise InputError(
            f"this process ({os.getpid()}) was forked from one ({_started_in}) that had opened a "
            "model, and TensorFlow's threads do not survive that, so nothing can be evaluated "
            'here; start processes by multiprocessing.get_context("spawn") (or "forkserver"), '
            "which models can be sent to, or open models in the new processes only"
        )
