# SPDX-License-Identifier: BSD-3-Clause
"""Model files that consist of constants, changed for tests of what reads them."""

from __future__ import annotations

import tensorflow.compat.v1 as tf


def write(path, graph):
    path.write_bytes(graph.SerializeToString())
    return path


def replace(graph, name, value):
    """Give the constant ``name`` another value; None removes the node."""
    kept = [node for node in graph.node if node.name != name]
    assert len(kept) == len(graph.node) - 1
    result = tf.GraphDef(node=kept)
    if value is not None:
        node = result.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return result
