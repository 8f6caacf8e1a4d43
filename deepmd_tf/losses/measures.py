# SPDX-License-Identifier: BSD-3-Clause
"""Measures: what makes one number of the residuals of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from deepmd_tf import metrics


@dataclass(frozen=True)
class Measure:
    """A mean over all residuals of a batch.

    Attributes
    ----------
    name
        Prefix of its columns in ``lcurve.out``, e.g. ``rmse``.
    mean
        Residual tensor of any shape → scalar of the same type, built in the graph.
    display
        The scalar → the number that is shown, which scales as the residual does.
    """

    name: str
    mean: Callable[[tf.Tensor], tf.Tensor]
    display: Callable[[float], float]


def _mean_square(residual: tf.Tensor) -> tf.Tensor:
    # l2_loss is ½ Σ x², one kernel forwards and one product backwards
    count = tf.maximum(tf.size(residual), 1)
    return tf.nn.l2_loss(residual) * (2.0 / tf.cast(count, residual.dtype))


MEAN_SQUARE = Measure("rmse", _mean_square, metrics.root)
"""mean x², shown as its square root."""
