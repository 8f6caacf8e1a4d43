# SPDX-License-Identifier: BSD-3-Clause
"""The env_matrix family: values, derivatives, refusals, checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from plain_session import plain_session

from deepmd_tf import ops

from .contract import Arrays, OpContract, Operation

CUTOFF = {"rcut": 4.0, "rcut_smth": 1.5}


@pytest.fixture
def pairs(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Pairs of five centres, the last of type −1, closer than, within and beyond the switch."""
    n = 41
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return {
        "x": direction * np.linspace(0.7, 4.6, n)[:, None],
        "center": np.sort(rng.integers(0, 5, n)).astype(np.int32),
        "type": np.array([0, 1, 1, 0, -1, 1], np.int32),
        "avg": rng.normal(size=(2, 4)),
        "std": rng.uniform(0.5, 2, (2, 4)),
    }


def rows(x: np.ndarray) -> np.ndarray:
    r = np.linalg.norm(x, axis=1, keepdims=True)
    u = (r - CUTOFF["rcut_smth"]) / (CUTOFF["rcut"] - CUTOFF["rcut_smth"])
    w = np.where(u < 0, 1, np.where(u < 1, u**3 * (-6 * u**2 + 15 * u - 10) + 1, 0))
    return w / r * np.hstack([np.ones_like(r), x / r])


def cast(arrays: dict[str, np.ndarray], dtype: type) -> list[np.ndarray]:
    return [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays.values()]


@pytest.mark.parametrize("dtype", DTYPES)
def test_values(pairs: dict[str, np.ndarray], dtype: type) -> None:
    c = pairs["type"][pairs["center"]]
    expected = (rows(pairs["x"]) - pairs["avg"][c]) / pairs["std"][c]
    expected[c < 0] = 0
    value = run(ops.env_matrix, *cast(pairs, dtype), **CUTOFF)
    assert value.dtype == dtype
    assert relative(value, expected) < 20 * np.finfo(dtype).eps
    assert np.all(value[c < 0] == 0)


def operation(name: str, operands: str = "", **promises: str) -> Operation:
    """Pairs away from the two ends of the switch, where third derivatives jump."""
    function = getattr(ops, "env_matrix" + name.lower())

    def make(rng: np.random.Generator, n: int) -> Arrays:
        direction = rng.normal(size=(n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        r = np.linspace(0.7, 4.6, n)
        r += 0.05 * (np.abs(r[:, None] - [1.5, 4]).min(axis=1) < 0.02)
        return {
            "x": direction * r[:, None],
            **{key: rng.normal(size=(n, 4 if key == "g" else 3)) for key in operands.split()},
            "center": np.sort(rng.integers(0, 5, n)).astype(np.int32),
            "type": np.array([0, 1, 1, 0, -1, 1], np.int32),
            **({} if name else {"avg": rng.normal(size=(2, 4))}),
            "std": rng.uniform(0.5, 2, (2, 4)),
        }

    def build(**tensors: Any) -> Any:
        return function(*tensors.values(), **CUTOFF)

    registered = "DpEnvMatrix" + "".join(word.capitalize() for word in name.split("_"))
    return Operation(registered, build, make, free="type.0", contained="x", **promises)


class TestContract(OpContract):
    operations = (
        operation("", by="x"),
        operation("_vjp", "g", by="x g", linear="g", refused="x:x"),
        operation("_jvp", "v", by="x v", linear="v", refused="x:x"),
        operation("_hvp", "g v", by="g v", linear="g v"),
        operation("_jvp_of_jvp", "u v", by="u v", linear="u v"),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_second_derivative_is_the_derivative_of_the_first(
    pairs: dict[str, np.ndarray], rng: np.random.Generator, dtype: type
) -> None:
    """Hvp and jvp_of_jvp, at the cutoffs too, against differences of vjp and jvp."""
    x, center, kind, _, std = pairs.values()
    r = np.linalg.norm(x, axis=1, keepdims=True)
    x[10] *= 1.5 / r[10]
    x[30] *= 4.0 / r[30]
    g, u, v = (rng.normal(size=(len(x), k)) for k in (4, 3, 3))
    h = 1e-6

    def slope(function: Any, operand: np.ndarray) -> np.ndarray:
        plus, minus = (
            run(function, x + sign * h * v, operand, center, kind, std, **CUTOFF)
            for sign in (1, -1)
        )
        return (plus - minus) / (2 * h)

    for second, first, operand in (
        (ops.env_matrix_hvp, ops.env_matrix_vjp, g),
        (ops.env_matrix_jvp_of_jvp, ops.env_matrix_jvp, u),
    ):
        floats = [a.astype(dtype) for a in (x, operand, v)]
        value = run(second, *floats, center, kind, std.astype(dtype), **CUTOFF)
        tolerance = 1e-4 if dtype is np.float32 else 1e-6  # the third derivative jumps
        assert relative(value, slope(first, operand)) < tolerance


def test_nothing_beyond_the_cutoff(rng: np.random.Generator) -> None:
    """Value and derivatives are exactly zero from rcut on, and those of 1/r below rcut_smth."""
    x = np.array([[4.0, 0, 0], [0, 0, 9.0], [0, 0.8, 0]])
    g, v = rng.normal(size=(3, 4)), rng.normal(size=(3, 3))
    center, kind, std = np.zeros(3, np.int32), np.zeros(1, np.int32), np.ones((1, 4))
    value = run(ops.env_matrix, x, center, kind, 0 * std, std, **CUTOFF)
    jvp = run(ops.env_matrix_jvp, x, v, center, kind, std, **CUTOFF)
    jvp_of_jvp = run(ops.env_matrix_jvp_of_jvp, x, v, v, center, kind, std, **CUTOFF)
    hvp = run(ops.env_matrix_hvp, x, g, v, center, kind, std, **CUTOFF)
    for array in (value, jvp, jvp_of_jvp, hvp):
        assert np.all(array[:2] == 0)
    r, dr, vv = 0.8, v[2, 1], v[2] @ v[2]
    np.testing.assert_allclose(value[2, 0], 1 / r)
    np.testing.assert_allclose(jvp[2, 0], -dr / r**2)
    np.testing.assert_allclose(jvp_of_jvp[2, 0], 2 * dr**2 / r**3 - (vv - dr**2) / r**3)


def test_rotation(pairs: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    pairs["avg"][:, 1:] = 0
    pairs["std"][:, 1:] = pairs["std"][:, 1:2]
    value = run(ops.env_matrix, *pairs.values(), **CUTOFF)
    rotated = run(ops.env_matrix, *(pairs | {"x": pairs["x"] @ q}).values(), **CUTOFF)
    np.testing.assert_allclose(rotated, np.hstack([value[:, :1], value[:, 1:] @ q]), atol=1e-13)


@pytest.mark.parametrize("constant", ["avg", "std"])
def test_normalisation_has_no_gradient(pairs: dict[str, np.ndarray], constant: str) -> None:
    """Asking for it is refused; having it come from a variable does not disturb other gradients."""
    with tf.Graph().as_default():
        tensors = {k: tf.constant(a) for k, a in pairs.items()}
        variable = tf.get_variable(constant, initializer=pairs[constant], trainable=False)
        tensors[constant] = variable * 2
        value = ops.env_matrix(*tensors.values(), **CUTOFF)
        (first,) = tf.gradients(value**2, tensors["x"])
        (second,) = tf.gradients(first**2, tensors["x"])
        assert second.shape == pairs["x"].shape
        with pytest.raises(LookupError, match="no gradient with"):
            tf.gradients(value, variable)
        if constant == "std":
            with pytest.raises(LookupError, match="no gradient with"):
                tf.gradients(first, variable)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pair_does_not_depend_on_the_others(
    pairs: dict[str, np.ndarray], rng: np.random.Generator, dtype: type
) -> None:
    """Bit for bit: its place in the list and its company."""
    n = 4000
    x = rng.normal(size=(n, 3)) * 2
    center = np.sort(rng.integers(0, 4, n)).astype(np.int32)
    many = cast(pairs | {"x": x, "center": center}, dtype)
    value = run(ops.env_matrix, *many, **CUTOFF)
    some = rng.permutation(n)[:100]
    few = cast(pairs | {"x": x[some], "center": center[some]}, dtype)
    np.testing.assert_array_equal(run(ops.env_matrix, *few, **CUTOFF), value[some])


@pytest.mark.cpu("values of indices and deviations are not checked elsewhere")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"center": np.full(41, 6, np.int32)}, r"center\[0\] = 6"),
        ({"center": np.full(41, -1, np.int32)}, r"center\[0\] = -1"),
        ({"type": np.full(6, 2, np.int32)}, r"type\[0\] = 2"),
        ({"type": np.full(6, -2, np.int32)}, r"type\[0\] = -2"),
        ({"std": np.zeros((2, 4))}, r"std\[0, 0\] = 0, expected a positive number"),
        ({"std": np.full((2, 4), np.nan)}, r"std\[0, 0\] = nan"),
    ],
)
def test_wrong_inputs(
    pairs: dict[str, np.ndarray], change: dict[str, np.ndarray], message: str
) -> None:
    with tf.Graph().as_default(), plain_session() as session:
        holders = [tf.placeholder(a.dtype) for a in pairs.values()]
        value = ops.env_matrix(*holders, **CUTOFF)
        feed = dict(zip(holders, (pairs | change).values(), strict=True))
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session.run(value, feed)


@pytest.mark.gpu("elsewhere they are refused")
def test_wrong_values_stay_where_they_are(pairs: dict[str, np.ndarray]) -> None:
    """Indices are not followed out of the arrays; what has no type or no deviation is NaN."""
    right = run(ops.env_matrix, *pairs.values(), **CUTOFF)
    pairs["center"][:5] = [6, -1, 2**31 - 1, -(2**31), 5]
    pairs["type"][5] = 2
    pairs["type"][1] = -2
    pairs["std"][0, 2] = 0
    kind = pairs["type"][np.clip(pairs["center"], 0, 5)]
    wrong = np.full(right.shape, False)
    wrong[(kind < -1) | (kind > 1)] = True
    wrong[:5] = True
    wrong[kind == 0, 2] = True
    found = run(ops.env_matrix, *pairs.values(), **CUTOFF)
    np.testing.assert_array_equal(np.isnan(found), wrong)
    np.testing.assert_array_equal(found[~wrong], right[~wrong])


@pytest.mark.parametrize(
    "cutoff", [(1.0, 1.0), (1.0, 2.0), (2.0, -1.0), (np.nan, 1.0), (2.0, np.nan)]
)
def test_wrong_cutoff(pairs: dict[str, np.ndarray], cutoff: tuple[float, float]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="are no cutoff"):
        run(ops.env_matrix, *pairs.values(), rcut=cutoff[0], rcut_smth=cutoff[1])


def test_wrong_shapes_are_found_while_the_graph_is_built(pairs: dict[str, np.ndarray]) -> None:
    with tf.Graph().as_default(), pytest.raises(ValueError, match="must be 3"):
        ops.env_matrix(np.zeros((41, 2)), *list(pairs.values())[1:], **CUTOFF)
