# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets with the activation function tanh at the nodes of a table, in one operation.

A table needs the value and two derivatives of each net at a few hundred nodes, in every training
step. As elementwise operations that would be about a hundred small nodes, with their gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()

_SECOND = "Embedding nets on a table have no second derivative with respect to weights and nodes."


def embedding_jets(
    nodes: Sequence[Any],
    matrix: Sequence[Any],
    bias: Sequence[Any],
    idt: Sequence[Any] = (),
    *,
    name: str | None = None,
) -> list[Any]:
    """Value G and derivatives G' and G'' of nets of one scalar at the nodes of a table.

    A layer computes y = tanh(x W + b). It returns x + y · idt if it keeps the width, (x, x) + y ·
    idt if it doubles it, and y otherwise; idt is 1 if none is given.

    Parameters
    ----------
    nodes
        Tensors float32 or float64 [n_nets, K]: points at which each net is evaluated. K may differ
        between tensors.
    matrix
        W, [n_in, n_out], of all layers of the first net, then of the next, n_in = 1 in the first
        layer. The nets have equal widths.
    bias
        b, [n_out], in the same order.
    idt
        [1, n_out], in the same order, of those layers only whose width stays or doubles.

    Returns
    -------
    For each tensor of ``nodes`` the jets, [n_nets, K, 3, n_out of the last layer]. Values and
    gradients do not depend on the number of threads.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a number of weights, or a shape, that does not fit.
    LookupError
        While the graph is built: a second derivative.
    """
    return native().dp_embedding_jets(nodes, matrix, bias, idt, [], name=name)


def embedding_values(
    s: Any,
    counts: Any,
    matrix: Sequence[Any],
    bias: Sequence[Any],
    idt: Sequence[Any] = (),
) -> Any:
    """Values of many nets, each at numbers of its own: G [n, n_out of the last layer].

    They have two derivatives with respect to s, which have one with respect to the weights.

    Parameters
    ----------
    s
        float32 or float64 [n], where the first net is evaluated, then the next.
    counts
        int32 [n_nets], how many of these are those of each net.
    matrix, bias, idt
        See :func:`embedding_jets`.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a number of weights, or a shape, that does not fit.
    """
    fixed = tf.stop_gradient(s)
    (jets,) = native().dp_embedding_jets([fixed[None]], matrix, bias, idt, [counts])
    value, slope, curvature = tf.unstack(jets[0], axis=1)
    # zero, but with a derivative: a Taylor series of two terms has the right derivatives
    step = (s - fixed)[:, None]
    return value + step * (slope + 0.5 * step * curvature)


@tf.RegisterGradient("DpEmbeddingJets")
def _embedding_jets_gradient(op: Any, *grads: Any) -> list[Any]:
    n, p = op.get_attr("matrices"), op.get_attr("node_sets")
    k = op.get_attr("counted")
    end = len(op.inputs) - k
    nodes, weights, counts = op.inputs[:p], op.inputs[p:end], op.inputs[end:]
    gradient = native().dp_embedding_jets_grad(
        nodes, weights[:n], weights[n : 2 * n], weights[2 * n :], counts, grads
    )
    of_weights = [*gradient.d_matrix, *gradient.d_bias, *gradient.d_idt]
    return [*gradient.d_nodes, *of_weights, *[None] * k]


@tf.RegisterGradient("DpEmbeddingJetsGrad")
def _refuse(op: Any, *grads: Any) -> None:
    raise LookupError(_SECOND)
