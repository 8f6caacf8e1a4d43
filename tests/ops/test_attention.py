# SPDX-License-Identifier: BSD-3-Clause
"""Attention among the neighbours of a centre: values, derivatives, limits, checks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run

from deepmd_tf import ops

from .contract import Arrays, OpContract, Operation

NTYPES = 2
SLOTS = 30
FORMS = list(itertools.product((False, True), repeat=3))
"""Smooth, with the diagonal, with rows."""


def make_case(
    rng: np.random.Generator, sizes: list[int], width: int, smooth: bool = True
) -> Arrays:
    """Pairs of centres with so many neighbours, divided at random into two sections each."""
    n = sum(sizes)
    cuts = [rng.integers(0, size + 1) for size in sizes]
    sections = np.ravel([(cut, size - cut) for cut, size in zip(cuts, sizes, strict=True)])
    weights = rng.uniform(0.1, 1, n) if smooth else (rng.random(n) < 0.7).astype(float)
    return {
        "qkv": rng.normal(size=(n, 3 * width)),
        "weights": weights,
        "splits": np.cumsum([0, *sections]).astype(np.int32),
        "rows": rng.normal(size=(n, 4)),
    }


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.maximum(np.sum(x**2, axis=-1, keepdims=True), 1e-12))


def padded(case: Arrays, smooth: bool, diagonal: bool, rows: bool) -> np.ndarray:
    """The formula with matrices of all slots, empty ones included."""
    out = np.zeros((len(case["qkv"]), case["qkv"].shape[1] // 3))
    ends = case["splits"][::NTYPES]
    for begin, end in itertools.pairwise(ends):
        fill = [(0, SLOTS - (end - begin)), (0, 0)]
        q, k, v = (np.pad(unit(x), fill) for x in np.split(case["qkv"][begin:end], 3, axis=1))
        w = np.pad(case["weights"][begin:end], fill[0])
        r = np.pad(unit(case["rows"][begin:end, 1:]), fill)
        ww = np.outer(w, w)
        s = q @ k.T
        s = (s + 20) * ww - 20 if smooth else s * w - 2.0**33 * (1 - w)
        e = np.exp(s - s.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True) * (ww if smooth else w[:, None])
        p = p * (r @ r.T if rows else 1)
        p = p * (1 if diagonal else 1 - np.eye(SLOTS))
        out[begin:end] = (p @ v)[: end - begin]
    return out


def attention(case: Arrays, smooth: bool, diagonal: bool, rows: bool, **changes: Any) -> Any:
    """The operation, with tensors or arrays."""
    keys = {"ntypes": NTYPES, "smooth": smooth, "diagonal": diagonal, "slots": SLOTS} | changes
    given = [case["rows"]] if rows else []
    return ops.neighbor_attention(case["qkv"], case["weights"], case["splits"], *given, **keys)


def evaluate(case: Arrays, *form: bool, dtype: type = np.float64, **changes: Any) -> np.ndarray:
    cast = {k: a if a.dtype == np.int32 else a.astype(dtype) for k, a in case.items()}
    return run(
        lambda *tensors: attention(dict(zip(cast, tensors, strict=True)), *form, **changes),
        *cast.values(),
    )


@pytest.mark.parametrize("form", FORMS)
def test_values(rng: np.random.Generator, form: tuple[bool, bool, bool]) -> None:
    """No neighbours, one, as many as there are slots; widths that fill vectors or do not."""
    for width, dtype in itertools.product((1, 3, 8, 33), DTYPES):
        case = make_case(rng, [0, 1, 2, 17, 0, SLOTS, 9], width, smooth=form[0])
        value = evaluate(case, *form, dtype=dtype)
        assert value.dtype == dtype
        assert relative(value, padded(case, *form)) < 50 * np.finfo(dtype).eps


@pytest.mark.parametrize("rows", [False, True])
def test_pairs_that_are_left_out(rng: np.random.Generator, rows: bool) -> None:
    """Weight 0: as if they were not there; zero where all are left out."""
    case = make_case(rng, [6, 9, 3], 5, smooth=False)
    case["weights"][:6] = 0
    case["weights"][7] = 1
    keep = case["weights"] > 0
    counts = np.add.reduceat(np.append(keep, False).astype(int), [0, 6, 15])
    splits = np.cumsum([0, *counts]).astype(np.int32)
    value = evaluate(case, False, True, rows)
    kept = {key: a[keep] for key, a in case.items() if key != "splits"} | {"splits": splits}
    np.testing.assert_allclose(value[keep], evaluate(kept, False, True, rows, ntypes=1), rtol=1e-13)
    assert not value[~keep].any()
    whole = run(
        lambda qkv: ops.neighbor_attention(qkv, None, case["splits"], ntypes=NTYPES), case["qkv"]
    )
    ones = case | {"weights": np.ones(18)}
    np.testing.assert_array_equal(whole, evaluate(ones, False, True, False))


def test_slots_take_no_memory(rng: np.random.Generator) -> None:
    """A selection for which matrices would fill any machine; a pair of weight 0 is empty too."""
    case = make_case(rng, [4, 7], 3)
    many = 2 * 10**9
    value = evaluate(case, True, True, False, slots=many)
    np.testing.assert_allclose(
        value, evaluate(case, True, True, False) * self_ratio(case, many), rtol=1e-10
    )
    case["weights"][3] = 0
    kept = {key: np.delete(a, 3, axis=0) for key, a in case.items() if key != "splits"}
    kept["splits"] = np.array([0, 3, 10], np.int32)
    value = evaluate(case, True, False, True)
    np.testing.assert_allclose(
        np.delete(value, 3, axis=0), evaluate(kept, True, False, True, ntypes=1), rtol=1e-12
    )
    assert not value[3].any()


def self_ratio(case: Arrays, slots: int) -> np.ndarray:
    """Σ exp(s) with :data:`SLOTS` slots, divided by that with so many."""
    ratio = np.zeros((len(case["qkv"]), 1))
    for begin, end in itertools.pairwise(case["splits"][::NTYPES]):
        q, k, _ = (unit(x) for x in np.split(case["qkv"][begin:end], 3, axis=1))
        w = case["weights"][begin:end]
        total = np.exp((q @ k.T + 20) * np.outer(w, w) - 20).sum(axis=1)
        few, many = (total + (n - (end - begin)) * np.exp(-20) for n in (SLOTS, slots))
        ratio[begin:end, 0] = few / many
    return ratio


def test_short_vectors(rng: np.random.Generator) -> None:
    """Vectors shorter than 1e-6 are divided by that, also in the derivative; zeros are fine."""
    case = make_case(rng, [5], 4)
    case["qkv"][0] *= 1e-8
    case["qkv"][1] = 0
    case["rows"][2] = 0
    assert relative(evaluate(case, *FORMS[7]), padded(case, *FORMS[7])) < 1e-14
    u = rng.normal(size=case["qkv"].shape) * np.where(np.arange(5) < 2, 1e-8, 1)[:, None]

    def slopes(qkv: Any) -> Any:
        (first,) = tf.gradients(attention(case | {"qkv": qkv}, *FORMS[7]) ** 2, qkv)
        return first, tf.gradients(first * u, qkv)[0]

    first, second = run(slopes, case["qkv"])
    h = 1e-4
    plus, minus = (run(slopes, case["qkv"] + sign * h * u)[0] for sign in (1, -1))
    square = [np.sum(padded(case | {"qkv": case["qkv"] + t * u}, *FORMS[7]) ** 2) for t in (h, -h)]
    np.testing.assert_allclose(np.sum(first * u), (square[0] - square[1]) / (2 * h), rtol=1e-6)
    for i in range(5):  # of very different sizes
        assert relative((plus - minus)[i] / (2 * h), second[i]) < 1e-6


@pytest.mark.gpu("where matrices are made in tiles of 32")
@pytest.mark.parametrize("form", FORMS)
def test_tiles(rng: np.random.Generator, form: tuple[bool, bool, bool]) -> None:
    """More neighbours than a tile has, a few less, and just as many; as on the processor."""
    case = make_case(rng, [33, 0, 64, 1, 32, 31, 70], 37, smooth=form[0])
    given = {key: rng.normal(size=np.shape(a)) for key, a in case.items() if key != "splits"}
    adjoint = rng.normal(size=(len(case["qkv"]), 37))
    keys = {"ntypes": NTYPES, "smooth": form[0], "diagonal": form[1], "slots": 90}

    def everything(device: str) -> list[np.ndarray]:
        def build(qkv: Any, weights: Any, splits: Any, rows: Any, adjoint: Any) -> Any:
            more, along = (
                ([rows], [tf.constant(given["rows"], rows.dtype)]) if form[2] else ([], [])
            )
            u, v = (tf.constant(given[key], qkv.dtype) for key in ("qkv", "weights"))
            with tf.device(device):
                value = ops.neighbor_attention(qkv, weights, splits, *more, **keys)
                first = ops.neighbor_attention_vjp(qkv, weights, adjoint, splits, *more, **keys)
                second = ops.neighbor_attention_hvp(
                    qkv, weights, u, v, adjoint, splits, *more, *along, **keys
                )
            return tf.nest.flatten([value, first, second])

        arrays = [*case.values(), adjoint]
        cast = [a if a.dtype == np.int32 else a.astype(dtype) for a in arrays]
        return run(build, *cast)

    for dtype in DTYPES:
        for value, expected in zip(everything("/GPU:0"), everything("/CPU:0"), strict=True):
            if expected.any():
                assert relative(value, expected) < 200 * np.finfo(dtype).eps
            else:
                assert not value.any()


@pytest.mark.gpu("elsewhere they are refused")
def test_splits_of_other_pairs(rng: np.random.Generator) -> None:
    """Nothing is read or written that is not there."""
    case = make_case(rng, [4, 9], 5)
    for splits in ([0, 2**31 - 1, -5, 4, 13], [-(2**31), 9, 20, 7, 2**31 - 1], [13, 9, 4, 2, 0]):
        operations = case | {"splits": np.array(splits, np.int32)}

        def slopes(qkv: Any, case: Arrays = operations) -> Any:
            first = tf.gradients(attention(case | {"qkv": qkv}, True, True, True), qkv)[0]
            return tf.gradients(first, qkv)[0]

        assert run(slopes, case["qkv"]).shape == case["qkv"].shape


def record(name: str, more: str, form: tuple[bool, bool, bool], **promises: Any) -> Operation:
    """With tangents, adjoint and rows as ``more`` says."""
    smooth, diagonal, rows = form
    function = getattr(ops, "neighbor_attention" + name)

    def make(rng: np.random.Generator, n: int) -> Arrays:
        width = 33 if n > 100 else 4
        case = make_case(rng, [n // 4, n - n // 4] if n < 100 else [n // 30] * 30, width, smooth)
        n = len(case["qkv"])
        shapes = {"adjoint": (n, width), "qkv": (n, 3 * width), "weights": (n,), "rows": (n, 4)}
        given = {key: rng.normal(size=shapes[key.split("_")[0]]) for key in more.split()}
        case = {key: case[key] for key in ("qkv", "weights", "splits", *["rows"] * rows)} | given
        return case if n else case | {"splits": case["splits"][:1]}

    def build(**tensors: Any) -> Any:
        keys = {"ntypes": NTYPES, "smooth": smooth, "diagonal": diagonal, "slots": SLOTS}
        return function(**tensors, **keys)

    # twenty times a weight is an exponent
    promises = {"contained": "qkv", "large": 1500, "step": 2e-4} | promises
    return Operation("DpNeighborAttention" + name.title().replace("_", ""), build, make, **promises)


class TestSmooth(OpContract):
    operations = (
        record("", "", (True, True, True), by="qkv weights rows"),
        record(
            "_vjp",
            "adjoint",
            (True, True, True),
            by="qkv weights adjoint rows",
            refused="qkv weights adjoint rows",
            linear="adjoint",
        ),
        record("_hvp", "adjoint qkv_tangent weights_tangent rows_tangent", (True, True, True)),
    )


class TestPlain(OpContract):
    operations = (
        record("", "", (False, False, True), by="qkv rows", contained=""),
        record("", "", (False, True, False), by="qkv", contained=""),
        record(
            "_vjp",
            "adjoint",
            (False, False, True),
            by="qkv adjoint rows",
            refused="qkv adjoint rows",
            contained="",
        ),
        record(
            "_hvp",
            "adjoint qkv_tangent weights_tangent rows_tangent",
            (False, False, True),
            contained="",
        ),
    )


class TestWithoutRows(OpContract):
    operations = (
        record("", "", (True, False, False), by="qkv weights", contained=""),
        record("_hvp", "adjoint qkv_tangent weights_tangent", (True, False, False), contained=""),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qkv": np.zeros((13, 16))}, "qkv has 16 columns, expected three times"),
        ({"qkv": np.zeros((13, 0))}, "qkv has 0 columns, expected three times"),
        ({"weights": np.zeros(12)}, "weights has shape .12., expected .13."),
        ({"rows": np.zeros((13, 3))}, "rows has shape .13,3., expected .13,4."),
        ({"splits": np.array([0, 13], np.int32)}, "multiple of ntypes = 2"),
        pytest.param(
            {"splits": np.array([0, 9, 2, 4, 13], np.int32)},
            "splits.1. = 9 is followed by 2",
            marks=pytest.mark.cpu("values are not looked at elsewhere"),
        ),
    ],
)
def test_wrong_inputs(rng: np.random.Generator, change: Arrays, message: str) -> None:
    case = make_case(rng, [4, 9], 5)
    with tf.Graph().as_default(), tf.Session() as session:
        holders = {k: tf.placeholder(a.dtype) for k, a in case.items()}
        value = attention(holders, True, True, True)
        feed = {holders[k]: a for k, a in (case | change).items()}
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session.run(value, feed)


def test_what_is_refused(rng: np.random.Generator) -> None:
    """Smooth attention without slots; derivatives by a mask; third derivatives."""
    case = make_case(rng, [4, 9], 5)
    with tf.Graph().as_default():
        tensors = {key: tf.constant(a) for key, a in case.items()}
        with pytest.raises(ValueError, match="slots is 0, expected the selection"):
            attention(tensors, True, True, True, slots=0)
        weights = tf.identity(tensors["weights"])
        value = attention(tensors | {"weights": weights}, False, True, True)
        with pytest.raises(LookupError, match="weights of pairs"):
            tf.gradients(value, weights)
        (first,) = tf.gradients(value, tensors["qkv"])
        with pytest.raises(LookupError, match="weights of pairs"):
            tf.gradients(first, weights)
        (second,) = tf.gradients(first**2, tensors["rows"])
        with pytest.raises(LookupError, match="third derivative"):
            tf.gradients(second, tensors["qkv"])
