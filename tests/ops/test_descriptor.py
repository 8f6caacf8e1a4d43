# SPDX-License-Identifier: BSD-3-Clause
"""The descriptor family: values, closure under differentiation, checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from plain_session import plain_session

from deepmd_tf import ops
from deepmd_tf.ops.library import native

from .contract import Arrays, OpContract, Operation

SHAPES = [(1, 1), (3, 2), (5, 4), (7, 7), (10, 8), (25, 16), (33, 17), (40, 31), (100, 16), (9, 1)]
SHAPES += [(140, 33), (260, 130)]
"""M1 and M2; full vectors, parts of one, and blocks of several, for all instruction sets, and for
the tiles of a GPU."""


def make_case(rng: np.random.Generator, m1: int = 6, m2: int = 3, n: int = 4) -> dict[str, Any]:
    return {
        "adjoint": rng.normal(size=(n, m1 * m2)),
        "moment": rng.normal(size=(n, 4, m1)),
        "tangent": rng.normal(size=(n, 4, m1)),
    }


def run_all(case: dict[str, np.ndarray], n_axis: int, dtype: type = np.float64) -> list[np.ndarray]:
    y, a, b = (case[k].astype(dtype) for k in ("adjoint", "moment", "tangent"))
    return [
        run(ops.descriptor, a, n_axis=n_axis),
        run(ops.descriptor_jvp, a, b, n_axis=n_axis),
        run(ops.descriptor_vjp, y, a, n_axis=n_axis),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m1", "m2"), SHAPES)
def test_values(rng: np.random.Generator, m1: int, m2: int, dtype: type) -> None:
    case = make_case(rng, m1, m2)
    a, b, n = case["moment"], case["tangent"], len(case["moment"])
    y = case["adjoint"].reshape(n, m1, m2)
    product = "iam,iak->imk"
    gradient = np.einsum("iak,imk->iam", a[:, :, :m2], y)
    gradient[:, :, :m2] += np.einsum("iam,imk->iak", a, y)
    expected = [
        np.einsum(product, a, a[:, :, :m2]).reshape(n, -1),
        (np.einsum(product, a, b[:, :, :m2]) + np.einsum(product, b, a[:, :, :m2])).reshape(n, -1),
        gradient,
    ]
    for value, other in zip(run_all(case, m2, dtype), expected, strict=True):
        assert value.dtype == dtype and value.shape == other.shape
        assert relative(value, other) < 20 * np.finfo(dtype).eps


@pytest.mark.parametrize("counts", [[4], [1, 3], [2, 0, 2], [0, 4]])
def test_parts_of_frames(rng: np.random.Generator, counts: list[int]) -> None:
    """Atoms of several frames, cut by part: the same as all at once, and then cut."""
    frames, m1, m2 = 3, 10, 8
    case = make_case(rng, m1, m2, n=frames * sum(counts))
    y, a, b = (case[k] for k in ("adjoint", "moment", "tangent"))
    cuts = np.cumsum(counts)[:-1]

    def cut(values: np.ndarray) -> list[np.ndarray]:
        parts = np.split(values.reshape(frames, sum(counts), -1), cuts, axis=1)
        return [part.reshape(-1, m1 * m2) for part in parts]

    number = np.array(counts, np.int32)
    whole = run_all(case, m2)
    parts = [
        run(ops.descriptor, a, number, n_axis=m2),
        run(ops.descriptor_jvp, a, b, number, n_axis=m2),
    ]
    for found, value in zip(parts, whole[:2], strict=True):
        for part, other in zip(found, cut(value), strict=True):
            np.testing.assert_array_equal(part, other)

    def build(a: Any, n: Any, *adjoints: Any) -> Any:
        return ops.descriptor_vjp(adjoints, a, n, n_axis=m2)

    np.testing.assert_array_equal(run(build, a, number, *cut(y)), whole[2])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.array([2, 1], np.int32), "moment has 4 atoms, expected frames of 3"),
        (np.array([0, 0], np.int32), "moment has 4 atoms, expected frames of 0"),
        (np.array([5, -1], np.int32), r"counts\[1\] = -1"),
        (np.array([4], np.int32), "counts has shape"),
        (np.array([[2], [2]], np.int32), "counts has shape"),
    ],
)
def test_wrong_counts(rng: np.random.Generator, counts: np.ndarray, message: str) -> None:
    case = make_case(rng)
    with tf.Graph().as_default(), plain_session() as session:
        fed = tf.placeholder(tf.int32)
        number = tf.placeholder_with_default(np.array([2, 2], np.int32), [2])
        two = [case["adjoint"][:2], case["adjoint"][2:]]
        values = [
            ops.descriptor(case["moment"], number, n_axis=3),
            ops.descriptor_jvp(case["moment"], case["tangent"], number, n_axis=3),
            ops.descriptor_vjp(two, case["moment"], number, n_axis=3),
        ]
        for value in values:
            session.run(value)
            if counts.shape != (2,):
                continue
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                session.run(value, {number: counts})
        other = native().dp_descriptor(case["moment"], [fed], n_axis=3, parts=2)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session.run(other, {fed: counts})
        with pytest.raises(ValueError, match="known number of parts"):
            ops.descriptor(case["moment"], fed, n_axis=3)


def operation(name: str, build: Any, inputs: str, linear: str, parts: bool = False) -> Operation:
    """The atoms of all frames at once, or in two parts of each frame."""

    def make(rng: np.random.Generator, n: int) -> Arrays:
        m1, m2 = (50, 16) if n > 100 else (6, 3)
        case = make_case(rng, m1, m2, n=n // 8 * 2)
        pieces = case["adjoint"].reshape(-1, 2, m1 * m2)
        case |= {"first": pieces[:, 0], "second": pieces[:, 1]}
        counts = {"counts": np.array([1, 1], np.int32)} if parts else {}
        return {key: case[key] for key in inputs.split()} | counts

    def call(**tensors: Any) -> Any:
        n_axis = 16 if tensors["moment"].shape[-1] == 50 else 3
        if parts:
            counts = tf.ensure_shape(tensors.pop("counts"), [2])
            if "first" in tensors:
                adjoints = [tensors["first"], tensors["second"]]
                return build(adjoints, tensors["moment"], counts, n_axis=n_axis)
            return build(*tensors.values(), counts, n_axis=n_axis)
        return build(*tensors.values(), n_axis=n_axis)

    free = "moment.2" if inputs == "moment" else ""
    free += "" if parts or free == "" else " moment.0"
    return Operation(name, call, make, by=inputs, linear=linear, contained=inputs, free=free)


class TestContract(OpContract):
    operations = (
        operation("DpDescriptor", ops.descriptor, "moment", ""),
        operation("DpDescriptor", ops.descriptor, "moment", "", parts=True),
        operation("DpDescriptorJvp", ops.descriptor_jvp, "moment tangent", "tangent"),
        operation("DpDescriptorJvp", ops.descriptor_jvp, "moment tangent", "tangent", parts=True),
        operation("DpDescriptorVjp", ops.descriptor_vjp, "adjoint moment", "adjoint moment"),
        operation("DpDescriptorVjp", ops.descriptor_vjp, "first second moment", "moment", True),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moment": np.zeros((4, 4, 2))}, "moment has 2 columns, expected at least n_axis = 3"),
        ({"moment": np.zeros((4, 4, 0))}, "moment has 0 columns"),
        ({"adjoint": np.zeros((4, 17))}, r"adjoint has shape \[4,17\], expected \[4,18\]"),
    ],
)
def test_wrong_inputs(
    rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    case = make_case(rng)
    (name,) = change
    with tf.Graph().as_default(), plain_session() as session:
        holders = {k: tf.placeholder(a.dtype) for k, a in case.items()}
        feed = {holders[k]: a for k, a in (case | change).items()}
        for function, names in (
            (ops.descriptor, ["moment"]),
            (ops.descriptor_jvp, ["moment", "tangent"]),
            (ops.descriptor_vjp, ["adjoint", "moment"]),
        ):
            if name in names:
                value = function(*(holders[k] for k in names), n_axis=3)
                with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                    session.run(value, feed)


def test_shapes_are_known_and_checked_in_the_graph() -> None:
    with tf.Graph().as_default():
        moment = tf.placeholder(tf.float64, [None, 4, 6])
        assert ops.descriptor(moment, n_axis=3).shape.as_list() == [None, 18]
        with pytest.raises(ValueError, match="17 and 18"):
            ops.descriptor_vjp(tf.zeros([4, 17], tf.float64), moment, n_axis=3)
        with pytest.raises(ValueError, match="n_axis"):
            ops.descriptor(moment, n_axis=0)
