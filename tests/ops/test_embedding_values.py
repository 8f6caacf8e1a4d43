# SPDX-License-Identifier: BSD-3-Clause
"""Many embedding nets, each at numbers of its own, against TensorFlow operations; checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf import ops
from deepmd_tf.nn.activations import TENSORFLOW, get_activation
from deepmd_tf.nn.embedding_layers import Layer, advance

from .test_embedding_jets import make_nets

COUNTS = [3, 0, 130, 1]
"""Numbers of each net: none, one, more than are handled at once."""


def by_operation(s: Any, nets: list[list[Layer]], counts: Any = COUNTS) -> Any:
    layers = [layer for net in nets for layer in net]
    return ops.embedding_values(
        s,
        counts,
        [layer.matrix for layer in layers],
        [layer.bias for layer in layers],
        [layer.idt for layer in layers if layer.idt is not None],
    )


def by_tensorflow(s: Any, nets: list[list[Layer]]) -> Any:
    found = []
    for x, net in zip(tf.split(s[:, None], COUNTS), nets, strict=True):
        for layer in net:
            (x,) = advance(TENSORFLOW, get_activation("tanh"), layer, (x,))
        found.append(x)
    return tf.concat(found, axis=0)


@pytest.mark.parametrize("idt", [False, True])
def test_values_and_derivatives(rng: np.random.Generator, idt: bool) -> None:
    """As a training needs them: by s twice, and by the weights of both derivatives by s."""
    nets = make_nets(rng, (3, 6, 6), idt, len(COUNTS))
    s = rng.normal(size=sum(COUNTS))
    a, b = rng.normal(size=(2, len(s), 6))
    found = []
    for function in (by_operation, by_tensorflow):
        with tf.Graph().as_default(), plain_session() as session:
            x = tf.constant(s)
            tensors = [[layer.map(tf.constant) for layer in net] for net in nets]
            weights = [w for net in tensors for layer in net for w in layer.members().values()]
            value = function(x, tensors)
            (slope,) = tf.gradients(value, x, grad_ys=[a])
            (bend,) = tf.gradients(tf.reduce_sum(tf.sin(slope)), x)
            loss = tf.reduce_sum(value * b) + tf.reduce_sum(tf.sin(slope)) + tf.reduce_sum(bend)
            found.append(session.run([value, slope, bend, tf.gradients(loss, weights)]))
    for one, other in zip(*map(tf.nest.flatten, found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3, 0, 130, 2], r"counts\[3\] = 2 does not fit to 134 nodes"),
        ([3, -1, 130, 1], r"counts\[1\] = -1 does not fit"),
        ([3, 0, 120, 1], "there are 134 nodes, expected 124 as counts says"),
        ([3, 0, 131], "there are 12 matrices for 3 nets|matrix has shape"),
    ],
)
def test_wrong_counts(rng: np.random.Generator, counts: list[int], message: str) -> None:
    nets = make_nets(rng, (3, 6, 6), False, len(COUNTS))
    with tf.Graph().as_default(), plain_session() as session:
        value = by_operation(tf.zeros([sum(COUNTS)], tf.float64), nets, counts)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session.run(value)
