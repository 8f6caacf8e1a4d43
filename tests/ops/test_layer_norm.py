# SPDX-License-Identifier: BSD-3-Clause
"""Layer normalisation: values, derivatives, checks."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run

from deepmd_tf import ops

from .contract import Arrays, OpContract, Operation

EPSILON = 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 5, 16, 100])
def test_values(rng: np.random.Generator, width: int, dtype: type) -> None:
    x = rng.normal(size=(7, width)) * 10.0 ** rng.integers(-3, 2, (7, 1))
    x[0] = 3
    expected = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPSILON)
    value = run(ops.layer_norm, x.astype(dtype), epsilon=EPSILON)
    assert value.dtype == dtype
    assert np.abs(value - expected).max() < 100 * np.finfo(dtype).eps


def operation(name: str, more: str, **promises: Any) -> Operation:
    def make(rng: np.random.Generator, n: int) -> Arrays:
        return {key: rng.normal(size=(n, 9)) for key in ("x", *more.split())}

    build = functools.partial(getattr(ops, "layer_norm" + name), epsilon=EPSILON)
    registered = "DpLayerNorm" + name.title().replace("_", "")
    inputs = ("x " + more).strip()
    return Operation(
        registered, build, make, contained=inputs, large=40000, **({"by": inputs} | promises)
    )


class TestContract(OpContract):
    operations = (
        operation("", "", free="x.0 x.1"),
        operation("_vjp", "g", linear="g", refused="x:x"),
        operation("_hvp", "g u", by="g u", linear="g u"),
    )


def test_derivative_is_symmetric(rng: np.random.Generator) -> None:
    x, g, u = rng.normal(size=(3, 6, 11))
    along = [run(ops.layer_norm_vjp, x, v, epsilon=EPSILON) for v in (g, u)]
    np.testing.assert_allclose(np.sum(along[0] * u, 1), np.sum(along[1] * g, 1), rtol=1e-12)
    (h,) = (run(ops.layer_norm_hvp, x, g, u, epsilon=EPSILON),)
    step = 1e-6 * rng.normal(size=x.shape)
    ends = [np.sum(u * run(ops.layer_norm_vjp, x + s * step, g, epsilon=EPSILON)) for s in (1, -1)]
    assert relative(np.sum(h * step), (ends[0] - ends[1]) / 2) < 1e-6


def test_epsilon(rng: np.random.Generator) -> None:
    """Not rounded; without a gradient; not negative."""
    x = 1e-4 * rng.normal(size=(3, 5))
    values = [run(ops.layer_norm, x, epsilon=e) for e in (1e-3, float(np.float32(1e-3)))]
    assert relative(values[1], values[0]) > 1e-9
    with tf.Graph().as_default():
        epsilon = tf.constant(1e-3, tf.float64)
        with pytest.raises(LookupError, match="no gradient with respect to epsilon"):
            tf.gradients(ops.layer_norm(tf.constant(x), epsilon=epsilon), epsilon)
    with pytest.raises(tf.errors.InvalidArgumentError, match="epsilon is -1, expected at least 0"):
        run(ops.layer_norm, x, epsilon=-1.0)
