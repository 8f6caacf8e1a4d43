# SPDX-License-Identifier: BSD-3-Clause
"""Measures: what makes one number of the residuals of a batch.

A mean takes residuals x of any shape and weights w (or None, which stands for 1): one for each
residual, or one for each of equally long runs of them. It gives a scalar of their type. It divides
by the number of residuals, not by the sum of the weights. Its gradient is finite everywhere; that
of an absolute value or a length is 0 where the residual is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from deepmd_tf import metrics

Mean = Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]
"""(residuals, weights or None) → scalar, built in the graph."""


@dataclass(frozen=True)
class Measure:
    """A mean that is displayed.

    Attributes
    ----------
    name
        Prefix of its columns in ``lcurve.out``: ``rmse`` or ``mae``.
    mean
        The mean that the graph computes.
    display
        That scalar → the number that is shown, which scales as the residual does.
    """

    name: str
    mean: Mean
    display: Callable[[float], float]


def mean_square(x: tf.Tensor, w: tf.Tensor | None = None) -> tf.Tensor:
    """mean w x²."""
    if w is not None:
        return _mean(_weighted(tf.square(x), w))
    # l2_loss is ½ Σ x², one kernel forwards and one product backwards
    return tf.nn.l2_loss(x) * (2.0 / _count(x))


def mean_absolute(x: tf.Tensor, w: tf.Tensor | None = None) -> tf.Tensor:
    """mean w abs(x)."""
    return _mean(_weighted(tf.abs(x), w))


def mean_length(x: tf.Tensor, w: tf.Tensor | None = None) -> tf.Tensor:
    """mean w |x| over the vectors x of three successive residuals; weights are of vectors."""
    return _mean(_weighted(_length(x), w))


def mean_huber(delta: float, *, length: bool = False) -> Mean:
    """mean w h(x), with h(x) = ½ x² for abs(x) ≤ δ and δ (abs(x) − ½ δ) beyond.

    Parameters
    ----------
    delta
        δ > 0, in the unit of the residual.
    length
        Take the length of the vectors of three successive residuals for x; weights are of vectors.
    """

    def mean(x: tf.Tensor, w: tf.Tensor | None = None) -> tf.Tensor:
        size = _length(x) if length else tf.abs(x)
        huber = tf.where_v2(size <= delta, 0.5 * tf.square(size), delta * (size - 0.5 * delta))
        return _mean(_weighted(huber, w))

    return mean


def _weighted(x: tf.Tensor, w: tf.Tensor | None) -> tf.Tensor:
    return x if w is None else tf.reshape(w, [-1, 1]) * tf.reshape(x, [tf.size(w), -1])


def _count(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.maximum(tf.size(x), 1), x.dtype)


def _mean(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(x) / _count(x)


def _length(x: tf.Tensor) -> tf.Tensor:
    """Lengths [n / 3]; the root is kept from zero, where its derivative is infinite."""
    square = tf.reduce_sum(tf.square(tf.reshape(x, [-1, 3])), axis=1)
    positive = square > 0.0
    root = tf.sqrt(tf.where_v2(positive, square, tf.ones_like(square)))
    return tf.where_v2(positive, root, tf.zeros_like(square))


ROOT_MEAN_SQUARE = Measure("rmse", mean_square, metrics.root)
"""mean w x², shown as its square root."""
MEAN_ABSOLUTE = Measure("mae", mean_absolute, float)
"""mean w abs(x)."""
MEAN_LENGTH = Measure("mae", mean_length, float)
"""mean w |x| over vectors."""
