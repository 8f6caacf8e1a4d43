# SPDX-License-Identifier: BSD-3-Clause
"""The contraction family: values, closure under differentiation, checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, check_gradients, relative, run

from deepmd_tf import ops

NTYPES = 2


def make_case(
    rng: np.random.Generator, n_centers: int = 4, n_pairs: int = 23, n_columns: int = 5
) -> dict[str, np.ndarray]:
    cuts = np.sort(rng.integers(0, n_pairs + 1, n_centers * NTYPES - 1))
    return {
        "rows": rng.normal(size=(n_pairs, 4)),
        "columns": rng.normal(size=(n_pairs, n_columns)),
        "adjoint": rng.normal(size=(n_centers, 4, n_columns)),
        "splits": np.concatenate([[0], cuts, [n_pairs]]).astype(np.int32),
    }


def run_all(
    case: dict[str, np.ndarray], dtype: type = np.float64, threads: int = 2
) -> list[np.ndarray]:
    r, g, y = (case[k].astype(dtype) for k in ("rows", "columns", "adjoint"))
    splits = case["splits"]
    return [
        run(ops.contract, r, g, splits, ntypes=NTYPES, threads=threads),
        run(ops.contract_rows, g, y, splits, ntypes=NTYPES, threads=threads),
        run(ops.contract_columns, r, y, splits, ntypes=NTYPES, threads=threads),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_columns", [1, 3, 4, 8, 9, 16, 25, 32, 100])
def test_values(rng: np.random.Generator, n_columns: int, dtype: type) -> None:
    case = make_case(rng, n_columns=n_columns)
    n_centers = len(case["adjoint"])
    member = np.repeat(np.repeat(np.arange(n_centers), NTYPES), np.diff(case["splits"]))
    one_hot = np.eye(n_centers)[member]
    factors = {"pc": one_hot, "pa": case["rows"], "pm": case["columns"], "cam": case["adjoint"]}
    for value, (names, out) in zip(
        run_all(case, dtype),
        [("pc pa pm", "cam"), ("pc pm cam", "pa"), ("pc pa cam", "pm")],
        strict=True,
    ):
        formula = ",".join(names.split()) + "->" + out
        expected = np.einsum(formula, *(factors[k] for k in names.split()))
        assert value.dtype == dtype
        assert relative(value, expected) < 20 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("function", "names"),
    [
        ("contract", ["rows", "columns"]),
        ("contract_rows", ["columns", "adjoint"]),
        ("contract_columns", ["rows", "adjoint"]),
    ],
)
def test_gradients(rng: np.random.Generator, function: str, names: list[str], dtype: type) -> None:
    case = make_case(rng)

    def build(**tensors: Any) -> Any:
        # Squares, so that the second derivative is not that of a bilinear form alone.
        squares = [tensors[k] ** 2 for k in names]
        return getattr(ops, function)(*squares, case["splits"], ntypes=NTYPES)

    check_gradients(build, {k: case[k] for k in names}, rng, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_columns", [4, 100])
def test_threads_do_not_matter(rng: np.random.Generator, n_columns: int, dtype: type) -> None:
    case = make_case(rng, n_centers=100, n_pairs=5000, n_columns=n_columns)
    for value, same in zip(run_all(case, dtype, 4), run_all(case, dtype, 1), strict=True):
        np.testing.assert_array_equal(value, same)


@pytest.mark.parametrize("n_centers", [3, 0])
def test_nothing_to_do(rng: np.random.Generator, n_centers: int) -> None:
    case = make_case(rng, n_centers=3)
    case = {k: a[:0] for k, a in case.items()} | {
        "adjoint": case["adjoint"][:n_centers],
        "splits": np.zeros(n_centers * NTYPES + 1, np.int32),
    }
    moment, rows, columns = run_all(case)
    assert moment.shape == (n_centers, 4, 5) and not moment.any()
    assert rows.shape == (0, 4) and columns.shape == (0, 5)


def test_what_is_not_a_number_stays_with_its_centre(rng: np.random.Generator) -> None:
    case = make_case(rng)
    case["rows"][0, 0] = np.nan
    centre = np.searchsorted(case["splits"][NTYPES::NTYPES], 0, side="right")
    bad = np.isnan(run_all(case)[0])
    assert bad[centre, 0].all() and bad.sum() == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": np.zeros((23, 3))}, "rows has shape"),
        ({"rows": np.zeros(23)}, "rows has shape"),
        ({"columns": np.zeros((23, 0))}, "no column|adjoint has shape"),
        ({"columns": np.zeros(23)}, "columns has shape"),
        ({"adjoint": np.zeros((5, 4, 5))}, "adjoint has shape"),
        ({"adjoint": np.zeros((4, 4, 0))}, "no column|adjoint has shape"),
        ({"splits": np.zeros(0, np.int32)}, "splits is empty"),
        ({"splits": np.zeros(9, np.int32)}, "splits runs from 0 to 0, expected 0 to 23"),
        ({"splits": np.array([0, 23], np.int32)}, "multiple of ntypes = 2"),
        ({"splits": np.array([0, 24, 0, 1, 2, 3, 4, 5, 23], np.int32)}, "splits.1. = 24"),
        ({"splits": np.array([0, -1, 0, 1, 2, 3, 4, 5, 23], np.int32)}, "splits.0. = 0"),
    ],
)
def test_wrong_inputs(
    rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    case = make_case(rng)
    (name,) = change
    with tf.Graph().as_default(), tf.Session() as session:
        holders = {k: tf.placeholder(a.dtype) for k, a in case.items()}
        feed = {holders[k]: a for k, a in (case | change).items()}
        for function, names in (
            (ops.contract, "rows columns splits"),
            (ops.contract_rows, "columns adjoint splits"),
            (ops.contract_columns, "rows adjoint splits"),
        ):
            if name in names.split():
                value = function(*(holders[k] for k in names.split()), ntypes=NTYPES)
                with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                    session.run(value, feed)


def test_wrong_number_of_types(rng: np.random.Generator) -> None:
    case = make_case(rng)
    with tf.Graph().as_default(), pytest.raises(ValueError, match="ntypes"):
        ops.contract(case["rows"], case["columns"], case["splits"], ntypes=0)
