# SPDX-License-Identifier: BSD-3-Clause
"""Run compiled operations on arrays, and check their gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

DTYPES = (np.float64, np.float32)


def run(build: Callable[..., Any], *arrays: Any, threads: int = 2, **keywords: Any) -> Any:
    """Values of ``build(*tensors, **keywords)``, the tensors being fed with the arrays."""
    config = tf.ConfigProto(intra_op_parallelism_threads=threads)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        holders = [tf.placeholder(np.asarray(a).dtype, np.shape(a)) for a in arrays]
        return session.run(build(*holders, **keywords), dict(zip(holders, arrays, strict=True)))


def relative(value: np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation, relative to the largest expected number."""
    return float(np.max(np.abs(value - expected)) / np.max(np.abs(expected)))


def difference(function: Callable[[float], Any], step: float = 1e-3) -> Any:
    """df/dt at t = 0, by differences of fourth order."""
    values = {i: function(i * step) for i in (-2, -1, 1, 2)}
    return (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)


def check_gradients(
    build: Callable[..., Any],
    arrays: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    dtype: type,
    step: float = 1e-3,
) -> None:
    """First and second derivatives of ``build(**tensors)`` with respect to all arrays.

    Scalars stand for them: S1 = ⟨c, build⟩, contracted with random numbers, and S2 = Σ ⟨d,
    ∂S1/∂array⟩. For both the gradient that the operations give in ``dtype``, along a random
    direction, is compared with a fourth-order difference of float64 values.
    """
    direction = {k: rng.normal(size=a.shape) for k, a in arrays.items()}
    weights = {k: rng.normal(size=a.shape) for k, a in arrays.items()}
    seed = rng.integers(1 << 30)

    def scalars(holders: Mapping[str, Any]) -> tuple[Any, Any, list[Any], list[Any]]:
        out = build(**holders)
        shape = [-1 if n is None else n for n in out.shape.as_list()]
        c = np.random.default_rng(seed).normal(size=shape)
        first = tf.reduce_sum(out * tf.constant(c, out.dtype))
        slopes = tf.gradients(first, list(holders.values()))
        assert None not in slopes
        second = tf.add_n(
            [
                tf.reduce_sum(slope * tf.constant(weights[k], out.dtype))
                for k, slope in zip(holders, slopes, strict=True)
            ]
        )
        return first, second, slopes, tf.gradients(second, list(holders.values()))

    def evaluator(dtype: type) -> tuple[tf.Session, Mapping[str, Any], Any]:
        graph = tf.Graph()
        with graph.as_default():
            holders = {k: tf.placeholder(dtype, a.shape) for k, a in arrays.items()}
            return tf.Session(graph=graph), holders, scalars(holders)

    session, holders, (first, second, slopes, curvatures) = evaluator(dtype)
    with session:
        feed = {holders[k]: arrays[k] for k in arrays}
        fetched = session.run([slopes, [c for c in curvatures if c is not None]], feed)
        slopes_value, curvatures_value = fetched
    given = [k for k, c in zip(arrays, curvatures, strict=True) if c is not None]
    along = [
        sum(np.sum(slope * direction[k]) for k, slope in zip(arrays, slopes_value, strict=True)),
        sum(np.sum(c * direction[k]) for k, c in zip(given, curvatures_value, strict=True)),
    ]

    session, holders, (first, second, _, _) = evaluator(np.float64)
    with session:
        values = {
            i: np.array(
                session.run(
                    [first, second],
                    {holders[k]: arrays[k] + i * step * direction[k] for k in arrays},
                )
            )
            for i in (-2, -1, 1, 2)
        }
    difference = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)
    tolerance = 1e-7 if dtype is np.float64 else 1e-3
    np.testing.assert_allclose(along, difference, rtol=tolerance, err_msg="first, second order")
