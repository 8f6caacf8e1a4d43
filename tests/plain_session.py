# SPDX-License-Identifier: BSD-3-Clause
"""Sessions for graphs that a test makes itself, and runs a few times only."""

from __future__ import annotations

import tensorflow.compat.v1 as tf


def plain_session(graph: tf.Graph | None = None) -> tf.Session:
    """A session that runs the graph as it stands.

    TensorFlow would rewrite it first, which takes longer than a few runs of it. What users run,
    trainings and evaluations, goes through the sessions of the package, which do rewrite.
    """
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    return tf.Session(graph=graph, config=config)
