# SPDX-License-Identifier: BSD-3-Clause
"""The operation with a stock name for tabulated functions of products of two neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from stock_wheel import needs_stock
from stock_wheel import run as run_stock_python

from deepmd_tf.ops import stock

from .contract import Arrays, OpContract, Operation
from .test_stock_tabulate import signature

WRONG = tf.errors.InvalidArgumentError
INFO = np.array([-2.0, 2.0, 6.0, 0.25, 0.5, -1.0])
LOW, FINE = 8, 16
ROWS = np.concatenate(
    [-6 + 0.5 * np.arange(LOW), -2 + 0.25 * np.arange(FINE), np.arange(2, 6, 0.5)]
)
"""Where the rows of the table begin."""


def functions(table: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """G and dG/de [..., M], one number after another."""
    table = table.astype(float).reshape(len(ROWS), -1, 6)
    value, slope = np.empty((2, *e.shape, table.shape[1]))
    for at in np.ndindex(e.shape):
        inside = float(np.clip(e[at], -6, 6))
        row = max(int(np.searchsorted(ROWS, inside, side="right")) - 1, 0)
        for k, coefficients in enumerate(table[row]):
            polynomial = np.polynomial.Polynomial(coefficients)
            slope[at][k] = polynomial.deriv()(inside - ROWS[row])
            value[at][k] = polynomial(inside - ROWS[row]) + (e[at] - inside) * slope[at][k]
    return value, slope


def make_case(
    rng: np.random.Generator, width: int = 7, n: int = 4, others: int = 5
) -> dict[str, np.ndarray]:
    em = rng.uniform(-8, 8, (n, 3, others))
    table = rng.normal(size=(len(ROWS), 6 * width))
    return {"table": table, "table_info": INFO, "em_x": em.reshape(-1, 1), "em": em}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 8, 100, 130])
def test_sums(rng, width, dtype):
    case = {key: a.astype(dtype) for key, a in make_case(rng, width, others=23).items()}
    em = case["em"].astype(float)
    value, slope = functions(case["table"], em)
    tolerance = 300 * np.finfo(dtype).eps
    found = run(stock.tabulate_fusion_se_t, *case.values(), last_layer_size=width)
    assert relative(found, np.einsum("cjk,cjkm->cm", em, value)) < tolerance
    dy = rng.normal(size=(4, width)).astype(dtype)
    by_x, by_em = run(stock.tabulate_fusion_se_t_grad, *case.values(), dy, dy)
    assert by_x.shape == (276, 1) and by_em.shape == em.shape
    expected = np.einsum("cm,cjkm,cjk->cjk", dy, slope, em)
    assert relative(by_x, expected.reshape(-1, 1)) < tolerance
    assert relative(by_em, np.einsum("cm,cjkm->cjk", dy, value)) < tolerance


def smooth_table(width: int) -> np.ndarray:
    """Of sin((k+1) e/3), which agree to 1e-9 where rows meet."""
    k = np.arange(1, width + 1) / 3
    shift = np.pi / 2 * np.arange(6)
    terms = np.sin(ROWS[:, None, None] * k[:, None] + shift) * k[:, None] ** np.arange(6)
    return (terms / np.array([1, 1, 2, 6, 24, 120])).reshape(len(ROWS), -1)


def table_of(em: Any) -> tuple[np.ndarray, np.ndarray]:
    dtype = em.dtype.as_numpy_dtype
    return smooth_table(7).astype(dtype), INFO.astype(dtype)


def make_slots(rng: np.random.Generator, n: int, grad: bool = False) -> Arrays:
    case = make_case(rng, n=n // 4)
    dy = {"dy": rng.normal(size=(n // 4, 7))} if grad else {}
    return {"em_x": case["em_x"], "em": case["em"]} | dy


class TestContract(OpContract):
    operations = (
        Operation(
            "TabulateFusionSeT",
            lambda em_x, em: stock.tabulate_fusion_se_t(*table_of(em), em_x, em, last_layer_size=7),
            make_slots,
            by="em_x em",
            refused="em_x em",
            linear="em",
            contained="em",
            large=2000,
            step=1e-4,
        ),
        Operation(
            "TabulateFusionSeTGrad",
            lambda em_x, em, dy: stock.tabulate_fusion_se_t_grad(*table_of(em), em_x, em, dy, dy),
            lambda rng, n: make_slots(rng, n, grad=True),
            contained="dy",
            large=2000,
        ),
    )


def test_registration_is_that_of_stock() -> None:
    assert signature("TabulateFusionSeT") == (
        "table:T table_info:T em_x:T em:T",
        "descriptor:T",
        "T:type last_layer_size:int",
    )
    assert signature("TabulateFusionSeTGrad") == (
        "table:T table_info:T em_x:T em:T dy:T descriptor:T",
        "dy_dem_x:T dy_dem:T",
        "T:type",
    )


def test_messages(rng):
    case = make_case(rng)
    with pytest.raises(WRONG, match=r"table has 31 rows, but .* says 24 and 8"):
        run(
            stock.tabulate_fusion_se_t,
            *(case | {"table": case["table"][1:]}).values(),
            last_layer_size=7,
        )
    with pytest.raises(WRONG, match="a lower limit that is not below minus the third"):
        info = case["table_info"] - [7, 0, 0, 0, 0, 0]
        run(stock.tabulate_fusion_se_t, *(case | {"table_info": info}).values(), last_layer_size=7)
    with pytest.raises(WRONG, match=r"em_x has shape \[59,1\], expected \[60,1\]"):
        em_x = case["em_x"][1:]
        run(stock.tabulate_fusion_se_t, *(case | {"em_x": em_x}).values(), last_layer_size=7)


STOCK = """
import sys
import numpy as np
import tensorflow as tf
from deepmd.tf.env import op_module
with np.load(sys.argv[1]) as file:
    case = {key: file[key] for key in ("table", "table_info", "em_x", "em")}
    dy = file["dy"]
out = op_module.tabulate_fusion_se_t(**case, last_layer_size=7)
grad = op_module.tabulate_fusion_se_t_grad(**case, dy=dy, descriptor=dy)
with tf.compat.v1.Session() as session:
    out, (by_x, by_em) = session.run([out, grad])
np.savez(sys.argv[2], out=out, slope=by_x.ravel() + by_em.ravel())
"""


class TestStockWheel:
    pytestmark = needs_stock

    def test_agrees(self, rng, tmp_path: Path) -> None:
        """Within the table and outside, values and the sum of both derivatives, which is by e."""
        case, dy = make_case(rng), rng.normal(size=(4, 7))
        np.savez(tmp_path / "in.npz", **case, dy=dy)
        run_stock_python(["-c", STOCK, "in.npz", "out.npz"], tmp_path)
        with np.load(tmp_path / "out.npz") as theirs:
            found = run(stock.tabulate_fusion_se_t, *case.values(), last_layer_size=7)
            assert relative(found, theirs["out"]) < 1e-12
            by_x, by_em = run(stock.tabulate_fusion_se_t_grad, *case.values(), dy, dy)
            assert relative(by_x.ravel() + by_em.ravel(), theirs["slope"]) < 1e-12
