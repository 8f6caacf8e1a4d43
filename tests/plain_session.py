# SPDX-License-Identifier: BSD-3-Clause
"""Sessions for graphs that a test makes itself, and runs a few times only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf


def plain_session(graph: tf.Graph | None = None) -> tf.Session:
    """A session that runs the graph as it stands.

    TensorFlow would rewrite it first, which takes longer than a few runs of it. What users run,
    trainings and evaluations, goes through the sessions of the package, which do rewrite.
    """
    return tf.Session(graph=graph, config=plain(tf.ConfigProto()))


def plain(config: tf.ConfigProto) -> tf.ConfigProto:
    """The same configuration without rewriting."""
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    return config


class Kept:
    """The last graphs that were opened, by what they were built of.

    Tests that want the same model with other inputs pay for a run of its graph only.
    """

    def __init__(self, size: int = 24) -> None:
        self._size = size
        self._opened: dict[Hashable, tuple[Any, ...]] = {}

    def get(self, key: Hashable, build: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """What ``build`` returns, a session first, unless it is there already."""
        if key not in self._opened:
            while len(self._opened) >= self._size:
                self._opened.pop(next(iter(self._opened)))[0].close()
            self._opened[key] = build()
        return self._opened[key]


def content(arrays: Mapping[str, np.ndarray]) -> Hashable:
    """Names and bits of arrays, as part of a key of :class:`Kept`."""
    values = ((name, np.asarray(array)) for name, array in sorted(arrays.items()))
    return tuple((name, a.dtype.str, a.shape, a.tobytes()) for name, a in values)
