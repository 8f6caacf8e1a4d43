# SPDX-License-Identifier: BSD-3-Clause
"""The product of two matrices."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run

from deepmd_tf import ops

from .contract import Arrays, OpContract, Operation

SIZES = (
    (1, 1, 1),
    (8, 24, 5),
    (7, 25, 3),
    (9, 23, 256),
    (37, 51, 257),
    (130, 1, 240),
    (1, 130, 33),
    (300, 77, 600),
    (64, 240, 1600),
)
"""m, n, k: below, at and beyond the tiles and blocks of every instruction set."""
TRANSPOSED = tuple(itertools.product((False, True), repeat=2))


def make_case(
    rng: np.random.Generator, size: tuple[int, int, int], transposed: tuple[bool, bool]
) -> tuple[np.ndarray, np.ndarray, dict[str, bool]]:
    m, n, k = size
    a = rng.normal(size=(k, m) if transposed[0] else (m, k))
    b = rng.normal(size=(n, k) if transposed[1] else (k, n))
    return a, b, {"transpose_a": transposed[0], "transpose_b": transposed[1]}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize("size", SIZES)
def test_values(rng, size, transposed, dtype):
    a, b, keywords = make_case(rng, size, transposed)
    value = run(ops.matmul, a.astype(dtype), b.astype(dtype), **keywords)
    expected = (a.T if transposed[0] else a) @ (b.T if transposed[1] else b)
    assert value.shape == expected.shape and value.dtype == dtype
    assert relative(value, expected) < 50 * np.finfo(dtype).eps


@pytest.mark.parametrize("transposed", TRANSPOSED)
def test_other_rows_change_no_bit(rng, transposed):
    a, b, keywords = make_case(rng, (300, 200, 600), transposed)
    value = run(ops.matmul, a, b, **keywords)
    part = a[:, 100:107] if transposed[0] else a[100:107]
    assert np.array_equal(run(ops.matmul, part, b, **keywords), value[100:107])


@pytest.mark.parametrize("size", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_empty(rng, size):
    a, b, _ = make_case(rng, size, (False, False))
    assert np.array_equal(run(ops.matmul, a, b), np.zeros(size[:2]))


def operation(transposed: tuple[bool, bool]) -> Operation:
    def make(rng: np.random.Generator, n: int) -> Arrays:
        a, b, _ = make_case(rng, (n // 10, n // 5, 3 if n else 0), transposed)
        return {"a": a, "b": b}

    def build(a: Any, b: Any) -> Any:
        return ops.matmul(a, b, transpose_a=transposed[0], transpose_b=transposed[1])

    outer = f"a.{int(transposed[0])} b.{1 - int(transposed[1])}"
    return Operation("DpMatMul", build, make, by="a b", linear="a b", contained="a b", free=outer)


class TestContract(OpContract):
    operations = tuple(operation(transposed) for transposed in TRANSPOSED)


def test_shapes_are_known_while_the_graph_is_built():
    with tf.Graph().as_default():
        a, b = tf.placeholder(tf.float64, [None, 3]), tf.zeros([5, 3], tf.float64)
        assert ops.matmul(a, b, transpose_b=True).shape.as_list() == [None, 5]
        with pytest.raises(ValueError, match="must be equal"):
            ops.matmul(a, b)
