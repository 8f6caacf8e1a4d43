# SPDX-License-Identifier: BSD-3-Clause
"""The session of a training, and how the graph is run in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from deepmd_tf.graph.session import make_callable, session_config
from deepmd_tf.log import told_if_slow
from deepmd_tf.ops.threads import open_session

log = logging.getLogger(__name__)


class Feed(NamedTuple):
    """Placeholders, and a value for each."""

    placeholders: list[tf.Tensor]
    values: list[Any]

    def extended(self, *pairs: tuple[tf.Tensor, Any]) -> Feed:
        """With further (placeholder, value)."""
        placeholders = [*self.placeholders, *(placeholder for placeholder, _ in pairs)]
        return Feed(placeholders, [*self.values, *(value for _, value in pairs)])


class GraphRunner:
    """Runs a graph in a session.

    Attributes
    ----------
    graph
        All nodes are added before :meth:`open`.
    initialise
        Gives variables their first values; run by :meth:`open`.
    session
        None until :meth:`open`.
    """

    def __init__(self, graph: tf.Graph) -> None:
        self.graph = graph
        self.initialise: tf.Operation | None = None
        self.session: tf.Session = None  # until `open`
        self._callables: dict[tuple[str, int], Any] = {}
        self._record: tf.RunMetadata | None = None

    def open(self) -> None:
        """Start the session, with all variables at their first values."""
        self.session = open_session(graph=self.graph, config=session_config(repeatable=True))
        with told_if_slow(log, "giving the variables their first values"):
            self.session.run(self.initialise)

    def close(self) -> None:
        """End the session."""
        if self.session is not None:
            self.session.close()

    def run(self, name: str, fetches: Any, feed: Feed) -> Any:
        """Values of ``fetches``, with a callable that is made once for each name and number of
        placeholders; a name stands for the fetches and the placeholders.
        """
        if self._record is not None:
            options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
            values, record = dict(zip(*feed, strict=True)), tf.RunMetadata()
            found = self.session.run(fetches, values, options=options, run_metadata=record)
            self._record.MergeFrom(record)
            return found
        key = (name, len(feed.placeholders))
        if key not in self._callables:
            with told_if_slow(log, f"preparing the graph for: {name}"):
                self._callables[key] = make_callable(self.session, fetches, feed.placeholders)
        return self._callables[key](*feed.values)

    @contextmanager
    def traced(self) -> Iterator[tf.RunMetadata]:
        """Record when each operation runs, in all runs made while it is open."""
        self._record = tf.RunMetadata()
        try:
            yield self._record
        finally:
            self._record = None
