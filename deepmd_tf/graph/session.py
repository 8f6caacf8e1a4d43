# SPDX-License-Identifier: BSD-3-Clause
"""How sessions are configured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from deepmd_tf.environment_variables import INTER_OP_THREADS, INTRA_OP_THREADS, threads
from deepmd_tf.ops.threads import open_session, require_threads


def session_config(*, repeatable: bool = False) -> tf.ConfigProto:
    """Configuration of every session of this package.

    The number of threads inside an op is the first of ``DP_INTRA_OP_PARALLELISM_THREADS``,
    ``TF_INTRA_OP_PARALLELISM_THREADS`` and ``OMP_NUM_THREADS`` that is set; that of ops at a time
    is ``DP_INTER_OP_PARALLELISM_THREADS`` or ``TF_INTER_OP_PARALLELISM_THREADS``, by default 1:
    operations of this package use all threads of an operation, and side by side they would wait for
    each other. 0 (the default of the former) leaves a number to TensorFlow, which takes all
    processors. Memory of a GPU is taken as it is
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
    at_a_time = threads(INTER_OP_THREADS)
    config = tf.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=threads(INTRA_OP_THREADS) or 0,
        inter_op_parallelism_threads=1 if at_a_time is None else at_a_time,
    )
    config.gpu_options.allow_growth = True
    if repeatable:
        rewrites = config.graph_options.rewrite_options
        rewrites.arithmetic_optimization = rewrites.OFF
        # Rewriting is half of what the first step takes. A second round and the order in which
        # large sums are made, which are all of two tensors, change nothing in later ones.
        rewrites.meta_optimizer_iterations = rewrites.ONE
        rewrites.memory_optimization = rewrites.NO_MEM_OPT
    return config


def make_callable(session: tf.Session, fetches: Any, fed: Sequence[tf.Tensor]) -> Callable:
    """A function of the values of ``fed`` that returns what ``session.run(fetches)`` would.

    Running a graph with a dozen placeholders this way takes 0.01 ms besides the graph, where
    ``session.run`` takes 0.2 ms. Shapes of the values are not checked.

    Parameters
    ----------
    session
        Runs the graph.
    fetches
        Tensors, operations (their value is None), or a list or dictionary of such, nested at will;
        none is fed.
    fed
        Placeholders.

    Raises
    ------
    InputError
        When it is made or called in a process that was forked, see :func:`require_threads`.
    """
    require_threads()
    flat = tf.nest.flatten(fetches)
    tensors = list(dict.fromkeys(f.name for f in flat if isinstance(f, tf.Tensor)))
    options = CallableOptions()
    options.feed.extend(tensor.name for tensor in fed)
    options.fetch.extend(tensors)
    options.target.extend(f.name for f in flat if not isinstance(f, tf.Tensor))
    # Session.make_callable is session.run as soon as there are placeholders
    run = session._make_callable_from_options(options)
    types = [tensor.dtype.as_numpy_dtype for tensor in fed]
    places = tf.nest.map_structure(
        lambda f: tensors.index(f.name) if isinstance(f, tf.Tensor) else None, fetches
    )

    def call(*values: Any) -> Any:
        require_threads()
        arrays = [np.asarray(value, t) for value, t in zip(values, types, strict=True)]
        return _fill(places, run(*arrays))

    return call


def _fill(places: Any, found: Sequence[np.ndarray]) -> Any:
    """Values in the structure of their places, which takes tf.nest 0.1 ms."""
    if isinstance(places, dict):
        return {key: _fill(place, found) for key, place in places.items()}
    if isinstance(places, list | tuple):
        return type(places)([_fill(place, found) for place in places])
    return None if places is None else found[places]


def assign(session: tf.Session, pairs: Iterable[tuple[tf.Variable, Any]]) -> None:
    """Set variables, by their initialisers: a graph that is final has no other node for it."""
    pairs = list(pairs)
    feed = {variable.initializer.inputs[1]: value for variable, value in pairs}
    session.run([variable.initializer for variable, _ in pairs], feed)


def start_threads() -> None:
    """Start the threads of this process as :func:`session_config` says.

    All sessions of a process share the threads that the first one has started, whatever their own
    configuration says; so this is called before anything else opens a session.
    """
    with tf.Graph().as_default(), open_session(config=session_config()):
        pass


def plain_message(error: Exception) -> str:
    """The message of an operation in one line, without the text that TensorFlow adds."""
    text = getattr(error, "message", None) or str(error)
    lines = [line.strip() for line in text.splitlines()]
    # what was said comes after the place in the graph
    begin = max((i + 1 for i, line in enumerate(lines) if line.startswith("Node: ")), default=0)
    for line in lines[begin:]:
        if line and not line.startswith("[[") and "root error(s) found" not in line:
            return re.sub(r"^\(\d+\) [A-Z_]+: +", "", line).partition(" [[{{")[0]
    return type(error).__name__
