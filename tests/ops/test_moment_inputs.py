# SPDX-License-Identifier: BSD-3-Clause
"""The moment family: unknown sizes, and inputs that do not fit together are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import run
from plain_session import plain_session

from deepmd_tf import ops

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

VALUES = pytest.mark.cpu("nobody looks at values on a GPU, whose kernels stay within their arrays")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": np.zeros((40, 1, 4))}, "rows has shape"),
        pytest.param({"rows": np.zeros((39, 4))}, "splits runs from 0 to 40", marks=VALUES),
        ({"table": np.zeros((2, 6, 3, 5))}, "table has shape"),
    ],
)
def test_wrong_inputs_with_rows(
    rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    case = case_of_rows(rng)
    (name,) = change
    with tf.Graph().as_default(), plain_session() as session:
        holders = {k: tf.placeholder(a.dtype) for k, a in case.items()}
        feed = {holders[k]: a for k, a in (case | change).items()}
        for function, names in OF_ROWS.items():
            if name in names.split():
                inputs = [holders[k] for k in names.split()]
                value = getattr(ops, function)(*inputs, ntypes=NTYPES)
                with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                    session.run(value, feed)
        along = ops.moment_tangent_rows(holders["rows"], holders["tangent"])
        if name == "rows":
            with pytest.raises(tf.errors.InvalidArgumentError, match="has shape"):
                session.run(along, feed)


def test_unknown_number_of_orders(rng: np.random.Generator) -> None:
    case = make_case(rng)
    with tf.Graph().as_default():
        rows = tf.placeholder(tf.float64, [None, None, 4])
        with pytest.raises(ValueError, match="known number of orders"):
            ops.moment(*arguments(case | {"rows": rows}, "table range s"), rows, 0, 0, ntypes=1)


def test_ranks_are_checked_in_the_graph(rng: np.random.Generator) -> None:
    case = case_of_rows(rng)
    table, ends, rows, splits, table_of = arguments(case, "table range rows splits table_of")
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="rank 1"):
            ops.moment(table, ends, rows, rows, splits, table_of, ntypes=NTYPES)
        with pytest.raises(ValueError, match="rank 2"):
            ops.moment_of_rows(table, ends, case["s"], splits, table_of, ntypes=NTYPES)
        with pytest.raises(ValueError, match="must be 4"):
            ops.moment_of_rows(table, ends, rows[:, :3], splits, table_of, ntypes=NTYPES)


def test_number_of_nodes_may_be_unknown(rng: np.random.Generator) -> None:
    case = make_case(rng)
    with tf.Graph().as_default(), plain_session() as session:
        table = tf.placeholder(tf.float64, [None, None, 3, 5])
        value = ops.moment(table, *arguments(case, "range s rows splits table_of"), ntypes=NTYPES)
        (gradient,) = tf.gradients(value**2, table)
        assert session.run(gradient, {table: case["table"]}).shape == case["table"].shape


def refuse(rng: np.random.Generator, change: dict[str, np.ndarray], message: str) -> None:
    """All that take a changed input say what is wrong with it."""
    case = make_case(rng)
    wrong = case | change
    (name,) = change
    with tf.Graph().as_default(), plain_session() as session:
        holders = {k: tf.placeholder(a.dtype) for k, a in case.items()}
        holders["rows"] = tf.placeholder_with_default(case["rows"][:, :1], [None, 1, None])
        feed = {holders[k]: a for k, a in wrong.items()}
        for function, names, keys in (
            (ops.moment, MOMENT, {}),
            (ops.moment_rows, ROWS, {}),
            (ops.moment_table, TABLE, {"n_nodes": NODES}),
            (ops.moment_outside, "range s splits table_of", {}),
        ):
            if name not in names.split() or (name == "rows" and wrong["rows"].ndim != 3):
                continue
            if "no column" in message and function is ops.moment_rows:
                continue
            value = function(*(holders[k] for k in names.split()), **keys, ntypes=NTYPES)
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                session.run(value, feed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": np.zeros((2, 6, 3, 5))}, "table has shape"),
        ({"table": np.zeros((3, 1, 3, 5))}, "1 nodes, expected at least 2"),
        ({"table": np.zeros((3, 6, 3, 0))}, "no column"),
        ({"splits": np.zeros(0, np.int32)}, "splits is empty"),
        ({"splits": np.array([0, 9, 20, 40], np.int32)}, "multiple of ntypes = 2"),
        ({"adjoint": np.zeros((4, 4, 0))}, "adjoint has"),
    ],
)
def test_wrong_inputs(
    rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    refuse(rng, change, message)


WRONG = [
    ({"range": np.ones((3, 2))}, r"range\[0\] = \[1, 1\]"),
    ({"range": np.array([[0, 1], [0, np.nan], [0, 1]])}, r"range\[1\]"),
    ({"range": np.array([[0, np.inf], [0, 1], [0, 1]])}, r"range\[0\]"),
    ({"splits": np.array([0, 9, 8, 7, 6, 5, 4, 3, 40], np.int32)}, "splits.1. = 9 is followed"),
    ({"splits": np.array([1, 9, 9, 9, 9, 9, 9, 9, 40], np.int32)}, "splits runs from 1 to 40"),
    ({"splits": np.array([0, 9, 9, 9, 9, 9, 9, 9, 41], np.int32)}, "splits runs from 0 to 41"),
    ({"splits": np.array([0, -9, 9, 9, 9, 9, 9, 9, 40], np.int32)}, "splits.0. = 0 is foll"),
    ({"table_of": np.full(8, 3, np.int32)}, r"table_of\[0\] = 3"),
    ({"table_of": np.full(8, -2, np.int32)}, r"table_of\[0\] = -2"),
]


@VALUES
@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_values(
    rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    refuse(rng, change, message)


@pytest.mark.gpu("where wrong values are refused nothing else is to be tested")
@pytest.mark.parametrize("change", [change for change, _ in WRONG])
def test_wrong_values_on_a_gpu(rng: np.random.Generator, change: dict[str, np.ndarray]) -> None:
    """They lead nowhere else in memory; what is not part of a known table is no number."""
    case = make_case(rng)
    wrong = case | change
    _, rows, _ = run_all(wrong)
    run(ops.moment_outside, *arguments(wrong, "range s splits table_of"), ntypes=NTYPES)
    bad = np.isnan(rows).all(axis=(1, 2))
    if "splits" not in change:
        section = np.repeat(np.arange(len(case["table_of"])), np.diff(case["splits"]))
        table = wrong["table_of"][section]
        width = np.diff(wrong["range"])[:, 0]
        known = np.isin(table, np.flatnonzero(np.isfinite(width) & (width > 0)))
        np.testing.assert_array_equal(bad, ~known & (table != -1))
    elif change["splits"][0] > 0:
        assert bad[0]


@pytest.mark.parametrize("n_nodes", [-1, 0, 1])
def test_wrong_number_of_nodes(rng: np.random.Generator, n_nodes: int) -> None:
    case = make_case(rng)
    with tf.Graph().as_default(), plain_session() as session:
        nodes = tf.placeholder(tf.int32, [])
        value = ops.moment_table(*arguments(case, TABLE), nodes, ntypes=NTYPES)
        with pytest.raises(tf.errors.InvalidArgumentError, match="nodes, expected at least 2"):
            session.run(value, {nodes: n_nodes})


@pytest.mark.parametrize("attribute", [{"ntypes": 0}, {"ntypes": -1}, {"ntypes": 1, "order": -1}])
def test_wrong_attributes(rng: np.random.Generator, attribute: dict[str, int]) -> None:
    case = make_case(rng)
    with tf.Graph().as_default(), pytest.raises(ValueError, match=r"ntypes|order"):
        ops.moment(*arguments(case, MOMENT), **attribute)
