# SPDX-License-Identifier: BSD-3-Clause
"""The moment family: values, closure under differentiation, accuracy of the table."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from plain_session import plain_session
from scipy.interpolate import BPoly

from deepmd_tf import ops

from .contract import Arrays, OpContract, Operation
from .moments import (
    MOMENT,
    NODES,
    NTYPES,
    OF_ROWS,
    ROWS,
    TABLE,
    arguments,
    case_of_rows,
    make_case,
    run_all,
)


def embedding(table: np.ndarray, ends: np.ndarray, s: np.ndarray, order: int) -> np.ndarray:
    """Derivative of the interpolant of one table, [len(s), n_columns], with SciPy's polynomials."""
    nodes = np.linspace(*ends, len(table))
    inside = BPoly.from_derivatives(nodes, table).derivative(order)(s)
    for below, end in ((True, 0), (False, -1)):
        outside = s < ends[0] if below else s > ends[1]
        line = [table[end, 0] + np.multiply.outer(s - ends[end], table[end, 1])]
        line += [np.broadcast_to(table[end, 1], inside.shape), np.zeros_like(inside)]
        inside[outside] = line[min(order, 2)][outside]
    return inside


def expected(case: dict[str, np.ndarray], order: int) -> tuple[np.ndarray, np.ndarray]:
    """Moment and moment_rows, section by section."""
    rows, adjoint, splits = case["rows"], case["adjoint"], case["splits"]
    moment, out = np.zeros_like(adjoint), np.zeros_like(rows)
    for section, table in enumerate(case["table_of"]):
        pairs = slice(splits[section], splits[section + 1])
        if table < 0 or splits[section] == splits[section + 1]:
            continue
        for j in range(rows.shape[1]):
            g = embedding(case["table"][table], case["range"][table], case["s"][pairs], order + j)
            moment[section // NTYPES] += rows[pairs, j].T @ g
            out[pairs, j] = g @ adjoint[section // NTYPES].T
    return moment, out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n_columns", "orders", "order"),
    [(1, 1, 0), (5, 2, 0), (8, 3, 0), (16, 1, 1), (25, 2, 1), (33, 3, 2), (100, 1, 0), (3, 8, 0)],
)
def test_values(
    rng: np.random.Generator, n_columns: int, orders: int, order: int, dtype: type
) -> None:
    case = make_case(rng, n_columns=n_columns, orders=orders)
    moment, rows = expected(case, order)
    values = run_all(case, dtype, order)
    tolerance = 1e-12 if dtype is np.float64 else 1e-3
    assert all(v.dtype == dtype for v in values)
    assert relative(values[0], moment) < tolerance
    assert relative(values[1], rows) < tolerance
    # The form is linear in the table and random in everything else.
    phi = np.sum(values[2] * case["table"], dtype=np.float64)
    assert abs(phi - np.sum(moment * case["adjoint"])) < tolerance * np.abs(moment).sum()


def test_every_number_of_the_table(rng: np.random.Generator) -> None:
    """Each derivative is the form of a table that is one there and zero elsewhere."""
    case = make_case(rng, n_columns=2, orders=2)
    value = run_all(case, order=1)[2]
    brute = np.zeros_like(value)
    for index in np.ndindex(value.shape[:3]):
        unit = np.zeros_like(value)
        unit[index] = 1
        moment, _ = expected(case | {"table": unit}, 1)
        brute[index] = np.sum(moment * case["adjoint"], axis=(0, 1))
    assert relative(value, brute) < 1e-12


@pytest.mark.parametrize("sort", [True, False])
def test_many_pairs_around_one_centre(rng: np.random.Generator, sort: bool) -> None:
    """More pairs and more intervals than the kernels collect at a time, in order or not."""
    case = make_case(rng, n_centers=1, n_pairs=900)
    case["table"] = rng.normal(size=(3, 200, 3, 5))
    case["splits"] = np.array([0, 500, 900], np.int32)
    case["table_of"] = np.array([2, 0], np.int32)
    if sort:
        case["s"] = -np.sort(-case["s"])
    moment, rows = expected(case, 0)
    values = run_all(case)
    assert relative(values[0], moment) < 1e-11
    assert relative(values[1], rows) < 1e-11
    phi = np.sum(values[2] * case["table"])
    np.testing.assert_allclose(phi, np.sum(moment * case["adjoint"]), rtol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_columns", [40, 150])
@pytest.mark.parametrize("orders", [1, 2])
def test_many_pairs_in_few_intervals(
    rng: np.random.Generator, orders: int, n_columns: int, dtype: type
) -> None:
    """More of an interval, and more columns, than the kernels of a GPU collect at a time."""
    case = make_case(rng, n_centers=3, n_pairs=1500, n_columns=n_columns, orders=orders)
    tolerance = 1e-12 if dtype is np.float64 else 1e-3
    moment, rows = expected(case, 0)
    values = run_all(case, dtype)
    assert relative(values[0], moment) < tolerance
    assert relative(values[1], rows) < tolerance
    terms = values[2] * case["table"]
    off = np.sum(terms) - np.sum(moment * case["adjoint"])
    assert abs(off) < tolerance * np.linalg.norm(terms)


@pytest.mark.parametrize("dtype", DTYPES)
def test_divisor(rng: np.random.Generator, dtype: type) -> None:
    """It divides every member of the family, also where straight lines go on."""
    case = make_case(rng, orders=2)
    whole = run_all(case, dtype)
    keys: dict[str, Any] = {"ntypes": NTYPES, "divisor": 7}
    parts = [
        run(ops.moment, *arguments(case, MOMENT, dtype), **keys),
        run(ops.moment_rows, *arguments(case, ROWS, dtype), orders=2, **keys),
        run(ops.moment_table, *arguments(case, TABLE, dtype), np.int32(NODES), **keys),
    ]
    for part, value in zip(parts, whole, strict=True):
        assert relative(7 * part, value) < 10 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_columns", [1, 5, 16, 25, 40, 100, 150])
def test_rows_that_hold_their_argument(
    rng: np.random.Generator, n_columns: int, dtype: type
) -> None:
    case = case_of_rows(rng, n_columns=n_columns)
    rows = np.stack([case["rows"], np.zeros_like(case["rows"])], axis=1)
    moment, products = expected(case | {"rows": rows}, 0)
    d_rows = products[:, 0].copy()
    d_rows[:, 0] += np.sum(products[:, 1] * case["rows"], axis=1)
    tolerance = 1e-12 if dtype is np.float64 else 1e-3
    keys: dict[str, Any] = {"ntypes": NTYPES, "divisor": 3}
    values = {
        name: run(getattr(ops, name), *arguments(case, names, dtype), **keys)
        for name, names in OF_ROWS.items()
    }
    assert relative(values["moment_of_rows"], case["start"] + moment / 3) < tolerance
    assert relative(values["moment_of_rows_vjp"], d_rows / 3) < tolerance
    alone = run(ops.moment_of_rows, *arguments(case, MOMENT.replace(" s ", " "), dtype), **keys)
    assert relative(alone, moment / 3) < tolerance
    s, along = run(ops.moment_tangent_rows, *arguments(case, "rows tangent", dtype))
    np.testing.assert_array_equal(s, case["s"].astype(dtype))
    both = [case["tangent"], case["tangent"][:, :1] * case["rows"]]
    assert relative(along, np.stack(both, axis=1)) < np.finfo(dtype).eps


def test_rows_in_sections_that_are_left_out(rng: np.random.Generator) -> None:
    case = case_of_rows(rng)
    out = np.repeat(case["table_of"], np.diff(case["splits"])) < 0
    case["rows"][out] = np.nan
    moment, d_rows = (
        run(getattr(ops, name), *arguments(case, names), ntypes=NTYPES)
        for name, names in OF_ROWS.items()
    )
    assert np.isfinite(moment).all()
    assert np.all(d_rows[out] == 0) and np.isfinite(d_rows).all() and out.any()


def operation(name: str, inputs: str, orders: int = 1, **promises: Any) -> Operation:
    """Sections of all kinds, or none; ``orders`` 0 are rows that hold s."""
    function = getattr(ops, name)

    def make(rng: np.random.Generator, n: int) -> Arrays:
        sizes = {"n_centers": max(1, n // 7), "n_pairs": n, "n_columns": 33 if n > 100 else 3}
        case = make_case(rng, **sizes, orders=orders) if orders else case_of_rows(rng, **sizes)
        if n == 0:
            case |= {key: case[key][:0] for key in ("table_of", "adjoint")}
            case |= {"splits": case["splits"][:1]}
            if not orders:
                case["start"] = case["start"][:0]
        return {key: case[key] for key in inputs.split()}

    def build(**tensors: Any) -> Any:
        if orders and "rows" in tensors:
            tensors["rows"] = tf.ensure_shape(tensors["rows"], [None, orders, 4])
        if name == "moment_tangent_rows":
            return function(**tensors)
        keys = {"orders": orders} if name == "moment_rows" else {}
        keys |= {} if name == "moment_outside" else {"divisor": 3}
        nodes = [NODES] if name == "moment_table" else []
        return function(*tensors.values(), *nodes, ntypes=NTYPES, **keys)

    registered = "Dp" + name.title().replace("_", "")
    return Operation(registered, build, make, step=2e-4, single=1e-3, **promises)


class TestContract(OpContract):
    operations = (
        *(
            one
            for orders in (1, 2)
            for one in (
                operation(
                    "moment",
                    MOMENT,
                    orders,
                    by="table s rows",
                    linear="table rows",
                    free="table.1 table.3",
                ),
                operation(
                    "moment_rows",
                    ROWS,
                    orders,
                    by="table s adjoint",
                    linear="table adjoint",
                    free="table.1",
                ),
                operation(
                    "moment_table",
                    TABLE,
                    orders,
                    by="s rows adjoint",
                    linear="rows adjoint",
                    free="adjoint.2 range.0",
                ),
            )
        ),
        operation(
            "moment_of_rows",
            OF_ROWS["moment_of_rows"],
            0,
            by="table rows start",
            linear="table start",
            free="table.1",
        ),
        operation(
            "moment_of_rows_vjp",
            OF_ROWS["moment_of_rows_vjp"],
            0,
            by="table rows adjoint",
            linear="table adjoint",
            free="table.1",
        ),
        operation(
            "moment_tangent_rows", "rows tangent", 0, by="rows tangent", linear="rows tangent"
        ),
        operation("moment_outside", "range s splits table_of", free="range.0"),
    )


def net(s: Any, weights: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    y = s[:, None]
    for w, b in weights:
        y = tf.tanh(y @ w + b)
    return y


def test_the_table_is_the_net(rng: np.random.Generator) -> None:
    """Against a small net on every pair; errors of order h⁶, and h⁵, h⁴ in its derivatives."""
    sizes = [1, 8, 4]
    weights = [
        (rng.normal(size=(m, n)) / np.sqrt(m), rng.normal(size=n)) for m, n in pairwise(sizes)
    ]
    s = rng.uniform(-1, 1, 300)
    rows = rng.normal(size=(300, 4))
    splits, table_of = np.array([0, 200, 300], np.int32), np.zeros(2, np.int32)

    def errors(n_nodes: int) -> np.ndarray:
        with tf.Graph().as_default(), plain_session() as session:
            nodes = tf.linspace(tf.constant(-1.0, tf.float64), 1.0, n_nodes)
            # Columns do not mix, so gradients of their sum over the nodes are derivatives.
            columns = []
            for i in range(sizes[-1]):
                g = net(nodes, weights)[:, i]
                (g1,) = tf.gradients(g, nodes)
                (g2,) = tf.gradients(g1, nodes)
                columns.append(tf.stack([g, g1, g2], axis=1))
            table = tf.stack(columns, axis=2)[None]
            x = tf.constant(s)
            ends = np.array([[-1.0, 1.0]])
            tabulated = ops.moment(table, ends, x, rows, splits, table_of, ntypes=NTYPES)
            direct = ops.contract(rows, net(x, weights), splits, ntypes=NTYPES)
            pairs = []
            for moment in (tabulated, direct):
                (first,) = tf.gradients(tf.reduce_sum(moment**2), x)
                (second,) = tf.gradients(tf.reduce_sum(first**2), x)
                pairs.append([moment, first, second])
            return np.array([relative(*v) for v in zip(*session.run(pairs), strict=True)])

    coarse, fine = errors(33), errors(65)
    ratios = np.log2(coarse / fine)
    np.testing.assert_allclose(ratios, [6, 5, 4], atol=0.5)
    assert np.all(errors(257) < [1e-13, 1e-10, 1e-7])


def test_straight_lines_outside(rng: np.random.Generator) -> None:
    """Value and slope continue at the ends, the second derivative is zero; they are counted."""
    case = make_case(rng, n_centers=1, n_pairs=8)
    case["splits"] = np.array([0, 8, 8], np.int32)
    case["table_of"] = np.array([1, -1], np.int32)
    end = 2.0
    case["s"] = end + np.array([0, 1e-9, 0.5, 1.0, 1.5, -2 - 1e-9, -2.0, np.nan])
    case["rows"][:] = [1, 0, 0, 0]
    case["adjoint"][:] = 0
    case["adjoint"][0, 0, 0] = 1
    value, slope, bend = (
        run(ops.moment_rows, *arguments(case, ROWS), ntypes=NTYPES, order=d)[:, 0, 0]
        for d in range(3)
    )
    first, last = case["table"][1, [0, -1], :, 0]
    expected_value = [last[0] + last[1] * d for d in (0, 0, 0.5, 1.0, 1.5)] + [first[0]] * 2
    np.testing.assert_allclose(value[:7], expected_value, atol=1e-8)
    np.testing.assert_allclose(slope[:7], [last[1]] * 5 + [first[1]] * 2, atol=1e-8)
    np.testing.assert_allclose(bend[:7], [last[2], 0, 0, 0, 0, 0, first[2]], atol=1e-8)
    assert np.isnan([value[7], slope[7], bend[7]]).all()
    outside = run(ops.moment_outside, *arguments(case, "range s splits table_of"), ntypes=NTYPES)
    assert outside == 6
    case["table_of"][0] = -1
    outside = run(ops.moment_outside, *arguments(case, "range s splits table_of"), ntypes=NTYPES)
    assert outside == 0


def test_sections_that_are_left_out(rng: np.random.Generator) -> None:
    """Their pairs, whatever they are, change nothing and get nothing."""
    case = make_case(rng)
    out = np.repeat(case["table_of"], np.diff(case["splits"])) < 0
    assert out.any()
    clean = run_all(case)
    case["s"][out] = np.nan
    case["rows"][out] = np.inf
    for value, before in zip(run_all(case), clean, strict=True):
        np.testing.assert_array_equal(value, before)
    assert np.all(clean[1][out] == 0)


def test_what_is_not_a_number_stays_with_its_centre(rng: np.random.Generator) -> None:
    case = make_case(rng)
    section = int(np.argmax(np.diff(case["splits"]) * (case["table_of"] >= 0)))
    case["s"][case["splits"][section]] = np.nan
    moment, rows, _ = run_all(case)
    bad = np.isnan(moment).all(axis=(1, 2))
    assert np.flatnonzero(bad).tolist() == [section // NTYPES]
    assert np.flatnonzero(np.isnan(rows).any(axis=(1, 2))).tolist() == [case["splits"][section]]


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300, -1e300, np.nan])
def test_extreme_arguments(rng: np.random.Generator, value: float) -> None:
    """They are outside, or no number, and do not lead anywhere else in memory."""
    case = make_case(rng)
    case["s"][:] = value
    for dtype in DTYPES:
        with np.errstate(over="ignore"):
            _, rows, table = run_all(case, dtype)
        left_out = np.repeat(case["table_of"] < 0, np.diff(case["splits"]))
        assert left_out.any() and not rows[left_out].any()
        assert table.shape == case["table"].shape


def test_rows_of_one_order(rng: np.random.Generator) -> None:
    case = make_case(rng)
    flat = case | {"rows": case["rows"][:, 0]}
    whole, short = (run(ops.moment, *arguments(c, MOMENT), ntypes=NTYPES) for c in (case, flat))
    np.testing.assert_array_equal(short, whole)


def test_the_range_has_no_gradient(rng: np.random.Generator) -> None:
    """Asking for it is refused; having it come from a variable does not disturb other gradients."""
    case = make_case(rng)
    with tf.Graph().as_default():
        ends = tf.get_variable("range", initializer=case["range"])
        s = tf.constant(case["s"])
        rest = arguments(case, "rows splits table_of")
        value = ops.moment(case["table"], ends * 1, s, *rest, ntypes=NTYPES)
        (first,) = tf.gradients(value**2, s)
        (second,) = tf.gradients(first**2, s)
        assert second.shape == s.shape
        for y in (value, first):
            with pytest.raises(LookupError, match="range of the table"):
                tf.gradients(y, ends)
