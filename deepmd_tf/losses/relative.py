# SPDX-License-Identifier: BSD-3-Clause
"""Relative errors of the frames of a batch: residuals whose mean is one over all pairs of frames.

For the errors d_a of n frames there are n (n − 1) / 2 differences d_a − d_b, a < b. Adding a
constant to all errors changes none of them.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf


def centred(d: tf.Tensor) -> tf.Tensor:
    """√(2n / (n − 1)) (d_a − mean d), [n].

    Their mean square is that of all differences. The mean is taken off first, so nothing cancels
    that is not in d itself. Zero for a single frame.
    """
    n = tf.cast(tf.size(d), d.dtype)
    return tf.sqrt(2.0 * n / tf.maximum(n - 1.0, 1.0)) * (d - tf.reduce_mean(d))


def gaps(d: tf.Tensor) -> tf.Tensor:
    """2 k (n − k) / n (d_(k+1) − d_(k)), k = 1 … n − 1, of the errors in ascending order.

    The difference of two errors is the sum of the gaps between them, and k (n − k) pairs lie across
    gap k; so their mean absolute value is that of all differences.
    """
    n = tf.size(d)
    ascending = tf.sort(d)
    k = tf.range(1, n)
    weight = tf.cast(2 * k * (n - k), d.dtype) / tf.cast(n, d.dtype)
    return weight * (ascending[1:] - ascending[:-1])


def differences(d: tf.Tensor) -> tf.Tensor:
    """d_a − d_b for all a < b, [n (n − 1) / 2]: for means that the two others do not serve."""
    a, b = tf.meshgrid(tf.range(tf.size(d)), tf.range(tf.size(d)), indexing="ij")
    return tf.boolean_mask(d[:, None] - d[None, :], a < b)
