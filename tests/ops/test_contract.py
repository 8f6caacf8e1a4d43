# SPDX-License-Identifier: BSD-3-Clause
"""The contraction family: values, closure under differentiation, checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from plain_session import plain_session

from deepmd_tf import ops

from .contract import Arrays, OpContract, Operation

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


def run_all(case: dict[str, np.ndarray], dtype: type = np.float64) -> list[np.ndarray]:
    r, g, y = (case[k].astype(dtype) for k in ("rows", "columns", "adjoint"))
    splits = case["splits"]
    return [
        run(ops.contract, r, g, splits, ntypes=NTYPES),
        run(ops.contract_rows, g, y, splits, ntypes=NTYPES),
        run(ops.contract_columns, r, y, splits, ntypes=NTYPES),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_columns", [1, 3, 4, 8, 9, 16, 25, 32, 40, 100, 150])
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


def operation(name: str, build: Any, inputs: str, free: str = "") -> Operation:
    def make(rng: np.random.Generator, n: int) -> Arrays:
        columns = 33 if n > 100 else 5
        case = make_case(rng, n_centers=max(1, n // 5), n_pairs=n, n_columns=columns)
        case = {key: case[key] for key in (*inputs.split(), "splits")}
        return case if n else {key: array[: key == "splits"] for key, array in case.items()}

    def call(**tensors: Any) -> Any:
        return build(*tensors.values(), ntypes=NTYPES)

    return Operation(name, call, make, by=inputs, linear=inputs, contained=inputs, free=free)


class TestContract(OpContract):
    operations = (
        operation("DpContract", ops.contract, "rows columns", free="columns.1"),
        operation("DpContractRows", ops.contract_rows, "columns adjoint"),
        operation("DpContractColumns", ops.contract_columns, "rows adjoint", free="adjoint.2"),
    )


def refuse(rng: np.random.Generator, change: dict[str, np.ndarray], message: str) -> None:
    """All that take a changed input say what is wrong with it."""
    case = make_case(rng)
    (name,) = change
    with tf.Graph().as_default(), plain_session() as session:
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": np.zeros((23, 0))}, "no column|adjoint has shape"),
        ({"adjoint": np.zeros((4, 4, 0))}, "no column|adjoint has shape"),
        ({"splits": np.zeros(0, np.int32)}, "splits is empty"),
        ({"splits": np.array([0, 23], np.int32)}, "multiple of ntypes = 2"),
    ],
)
def test_wrong_inputs(
    rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    refuse(rng, change, message)


WRONG = [
    ({"splits": np.zeros(9, np.int32)}, "splits runs from 0 to 0, expected 0 to 23"),
    ({"splits": np.array([0, 24, 0, 1, 2, 3, 4, 5, 23], np.int32)}, "splits.1. = 24"),
    ({"splits": np.array([0, -1, 0, 1, 2, 3, 4, 5, 23], np.int32)}, "splits.0. = 0"),
]


@pytest.mark.cpu("nobody looks at values on a GPU, whose kernels stay within their arrays")
@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_values(
    rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    refuse(rng, change, message)


@pytest.mark.gpu("where wrong values are refused nothing else is to be tested")
@pytest.mark.parametrize("change", [change for change, _ in WRONG])
def test_wrong_values_on_a_gpu(rng: np.random.Generator, change: dict[str, np.ndarray]) -> None:
    """They lead nowhere else in memory; pairs of no centre get no number."""
    _, rows, columns = run_all(make_case(rng) | change)
    lost = np.arange(len(rows)) >= change["splits"].max()
    assert np.isnan(rows[lost]).all() and np.isnan(columns[lost]).all()


def test_wrong_number_of_types(rng: np.random.Generator) -> None:
    case = make_case(rng)
    with tf.Graph().as_default(), pytest.raises(ValueError, match="ntypes"):
        ops.contract(case["rows"], case["columns"], case["splits"], ntypes=0)
