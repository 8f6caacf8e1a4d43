# SPDX-License-Identifier: BSD-3-Clause
"""Tabulated embedding and gelu: against formulas, finite differences, and the stock wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from plain_session import plain_session
from stock_wheel import needs_stock
from stock_wheel import run as run_stock_python

from deepmd_tf.ops import library, stock

from .contract import Arrays, OpContract, Operation

INFO = np.array([-2.0, 3.0, 7.0, 0.25, 0.5, -1.0])
N_FINE, N_ROWS = 20, 28


def locate(s: float) -> tuple[int, float, float]:
    """Row, distance from its beginning, and how far s lies outside."""
    lower, upper, last, fine, coarse = INFO[:5]
    if s < lower:
        return 0, 0.0, s - lower
    if s >= last:
        return N_ROWS - 1, coarse, s - last
    if s < upper:
        row = int((s - lower) / fine)
        return row, s - lower - row * fine, 0.0
    row = int((s - upper) / coarse)
    return N_FINE + row, s - upper - row * coarse, 0.0


def functions(table: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """G and dG/ds [..., M], one number after another."""
    table = table.astype(float).reshape(N_ROWS, -1, 6)
    value, slope = np.empty((2, *s.shape, table.shape[1]))
    for at in np.ndindex(s.shape):
        row, d, outside = locate(float(s[at]))
        for k, coefficients in enumerate(table[row]):
            polynomial = np.polynomial.Polynomial(coefficients)
            slope[at][k] = polynomial.deriv()(d)
            value[at][k] = polynomial(d) + outside * slope[at][k]
    return value, slope


def make_case(
    rng: np.random.Generator, width: int = 7, slots: int = 9, dtype: type = np.float64
) -> dict[str, np.ndarray]:
    """Four centres with 0, 1, 4 and all slots at the end that are the same; some s outside."""
    em = rng.normal(size=(4, slots, 4))
    em[..., 0] = rng.uniform(-4, 9, (4, slots))
    for center, n in enumerate((0, 1, 4, slots)):
        em[center, slots - n :] = [0.3 * center, 0, 0, 0]
    em = em.astype(dtype)
    return {
        "table": rng.normal(size=(N_ROWS, 6 * width)).astype(dtype),
        "table_info": INFO.astype(dtype),
        "em_x": em[..., 0].reshape(-1, 1),
        "em": em,
    }


def tabulate(case: dict[str, np.ndarray], **options: Any) -> np.ndarray:
    width = case["table"].shape[1] // 6
    return run(stock.tabulate_fusion_se_a, *case.values(), last_layer_size=width, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8, 13, 100, 130])
def test_sums(rng: np.random.Generator, width: int, dtype: type) -> None:
    """All slots by sums in NumPy: every way to cut the columns, tails, equal slots."""
    case = make_case(rng, width, dtype=dtype)
    em = case["em"].astype(float)
    value, slope = functions(case["table"], em[..., 0])
    dy = rng.normal(size=(4, 4, width)).astype(dtype)
    tolerance = 300 * np.finfo(dtype).eps
    assert relative(tabulate(case), np.einsum("cja,cjk->cak", em, value)) < tolerance
    ds, drows = run(stock.tabulate_fusion_se_a_grad, *case.values(), dy, dy)
    assert ds.shape == (36, 1) and drows.shape == (4, 9, 4)
    assert relative(drows, np.einsum("cak,cjk->cja", dy, value)) < tolerance
    expected = np.einsum("cak,cja,cjk->cj", dy, em, slope).reshape(-1, 1)
    assert relative(ds, expected) < tolerance


def test_many_slots(rng: np.random.Generator) -> None:
    """More slots than are prepared at a time."""
    case = make_case(rng, slots=150)
    em, dy = case["em"], rng.normal(size=(4, 4, 7))
    value, slope = functions(case["table"], em[..., 0])
    assert relative(tabulate(case), np.einsum("cja,cjk->cak", em, value)) < 1e-13
    ds, drows = run(stock.tabulate_fusion_se_a_grad, *case.values(), dy, dy)
    assert relative(drows, np.einsum("cak,cjk->cja", dy, value)) < 1e-13
    expected = np.einsum("cak,cja,cjk->cj", dy, em, slope)
    assert relative(ds, expected.reshape(-1, 1)) < 1e-13


def smooth_table(width: int) -> np.ndarray:
    """Of sin((k+1) s/3): polynomials that agree to 1e-9 where rows meet."""
    lower, upper, last, fine, coarse = INFO[:5]
    rows = np.concatenate([np.arange(lower, upper, fine), np.arange(upper, last, coarse)])
    k = np.arange(1, width + 1) / 3
    shift = np.pi / 2 * np.arange(6)
    terms = np.sin(rows[:, None, None] * k[:, None] + shift) * k[:, None] ** np.arange(6)
    return (terms / np.array([1, 1, 2, 6, 24, 120])).reshape(len(rows), -1)


def make_slots(rng: np.random.Generator, n: int, grad: bool = False) -> Arrays:
    case = make_case(rng)
    many = {key: np.concatenate([case[key][:0], *[case[key]] * (n // 4)]) for key in ("em_x", "em")}
    dy = {"dy": rng.normal(size=(len(many["em"]), 4, 7))} if grad else {}
    return many | dy


def table_of(em: Any) -> tuple[np.ndarray, np.ndarray]:
    dtype = em.dtype.as_numpy_dtype
    return smooth_table(7).astype(dtype), INFO.astype(dtype)


class TestContract(OpContract):
    operations = (
        Operation(
            "TabulateFusionSeA",
            lambda em_x, em: stock.tabulate_fusion_se_a(*table_of(em), em_x, em, last_layer_size=7),
            make_slots,
            by="em_x em",
            refused="em_x em",
            linear="em",
            contained="em",
            large=800,
            step=1e-4,
        ),
        Operation(
            "TabulateFusionSeAGrad",
            lambda em_x, em, dy: stock.tabulate_fusion_se_a_grad(*table_of(em), em_x, em, dy, dy),
            lambda rng, n: make_slots(rng, n, grad=True),
            contained="dy",
            large=800,
        ),
        Operation(
            "GeluCustom",
            lambda x: library.stock().gelu_custom(x=x),
            lambda rng, n: {"x": rng.normal(size=(n, 7))},
            contained="x",
            free="x.0 x.1 x",
        ),
        Operation(
            "GeluGradCustom",
            lambda dy, x: library.stock().gelu_grad_custom(dy=dy, x=x),
            lambda rng, n: {"dy": rng.normal(size=(n, 7)), "x": rng.normal(size=(n, 7))},
            contained="dy x",
        ),
    )


def test_only_constant_tables_are_differentiated_through() -> None:
    with tf.Graph().as_default():
        table, em = tf.placeholder(tf.float64, [N_ROWS, 12]), tf.ones([1, 2, 4], tf.float64)
        x = em[0, :, :1]
        out = stock.tabulate_fusion_se_a(table, INFO, x, em, last_layer_size=2)
        with pytest.raises(LookupError, match="must be a constant"):
            tf.gradients(out, [x])
        constant = np.zeros((N_ROWS, 12))
        out = stock.tabulate_fusion_se_a(constant, INFO, x, em, last_layer_size=2)
        (slope,) = tf.gradients(out, [x])
        with pytest.raises(LookupError):
            tf.gradients(slope, [x])


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 1e300, -1e300])
def test_numbers_out_of_the_ordinary(rng: np.random.Generator, special: float) -> None:
    """No place of the table is read that is not there; other centres keep their values."""
    case = make_case(rng)
    expected = tabulate(case)
    case["em_x"][12] = special
    value = tabulate(case)
    np.testing.assert_array_equal(value[[0, 2, 3]], expected[[0, 2, 3]])
    assert np.isnan(value[1]).all() == np.isnan(special) or not np.isfinite(special)
    ds, _ = run(stock.tabulate_fusion_se_a_grad, *case.values(), expected, expected)
    assert np.isfinite(np.delete(ds.ravel(), 12)).all()


def test_nothing_to_sum(rng: np.random.Generator) -> None:
    for shape in ((0, 9), (4, 0), (0, 0)):
        case = make_case(rng)
        case |= {"em": np.zeros((*shape, 4)), "em_x": np.zeros((shape[0] * shape[1], 1))}
        np.testing.assert_array_equal(tabulate(case), np.zeros((shape[0], 4, 7)))
        dy = np.ones((shape[0], 4, 7))
        ds, drows = run(stock.tabulate_fusion_se_a_grad, *case.values(), dy, dy)
        assert ds.shape == case["em_x"].shape and drows.shape == case["em"].shape


def test_more_centers_than_fit() -> None:
    """Without slots they take no memory themselves."""
    with tf.Graph().as_default(), plain_session() as session:
        n = tf.placeholder(tf.int64, [])
        em, x = tf.zeros(tf.stack([n, 0, 4]), tf.float64), tf.zeros([0, 1], tf.float64)
        table = tf.zeros([N_ROWS, 42], tf.float64)
        out = stock.tabulate_fusion_se_a(table, INFO, x, em, last_layer_size=7)
        with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError)):
            session.run(out, {n: 1 << 61})


def info(**changes: float) -> np.ndarray:
    places = ("lower", "upper", "max", "stride0", "stride1", "check")
    return np.array([changes.get(key, INFO[i]) for i, key in enumerate(places)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": np.zeros((N_ROWS, 41))}, r"table has shape \[28,41\], expected \[\?,42\]"),
        ({"table": np.zeros((27, 42))}, "table has 27 rows, but .* says 20 and 8"),
        ({"table": np.zeros((0, 42))}, "table has 0 rows"),
        ({"table_info": info(lower=np.nan)}, "table_info starts with nan"),
        ({"table_info": info(upper=np.nan)}, "expected lower, upper, max in this order"),
        ({"table_info": info(max=np.inf)}, "table_info starts with -2, 3, inf"),
        ({"table_info": info(max=2.0)}, "in this order"),
        ({"table_info": info(lower=4.0)}, "in this order"),
        ({"table_info": info(stride0=0.0)}, "two positive strides"),
        ({"table_info": info(stride1=-1.0)}, "two positive strides"),
        ({"table_info": info(stride0=1e-300)}, "table has 28 rows"),
        ({"table_info": info(stride0=9.0, stride1=9.0)}, "says 0.5[0-9]* and 0.4"),
        ({"table_info": info(max=1e300)}, "table has 28 rows"),
    ],
)
def test_messages(rng: np.random.Generator, changes: dict[str, np.ndarray], message: str) -> None:
    case = make_case(rng) | changes
    wrong = tf.errors.InvalidArgumentError
    with pytest.raises(wrong, match=message):
        run(stock.tabulate_fusion_se_a, *case.values(), last_layer_size=7)
    dy = np.zeros((4, 4, 7))
    with pytest.raises(wrong, match=message):
        run(stock.tabulate_fusion_se_a_grad, *case.values(), dy, dy)


def test_messages_of_shapes_that_one_of_the_two_has(rng: np.random.Generator) -> None:
    case = make_case(rng)
    for width in (0, 1 << 62):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"last_layer_size is {width}, "):
            run(stock.tabulate_fusion_se_a, *case.values(), last_layer_size=width)
    dy = np.zeros((4, 4, 7))
    wrong = tf.errors.InvalidArgumentError
    for changed, message in ((dy[:3], "dy has"), (dy[:, :3], "dy has"), (dy[..., :0], "column")):
        with pytest.raises(wrong, match=message):
            run(stock.tabulate_fusion_se_a_grad, *case.values(), changed, dy)
    with pytest.raises(wrong, match="descriptor has shape"):
        run(stock.tabulate_fusion_se_a_grad, *case.values(), dy, dy[1:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu(rng: np.random.Generator, dtype: type) -> None:
    x = rng.normal(size=(5, 7), scale=3).astype(dtype)
    dy = rng.normal(size=(5, 7)).astype(dtype)

    def gelu(x: np.ndarray) -> np.ndarray:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    wide = x.astype(float)
    slope = (gelu(wide + 1e-5) - gelu(wide - 1e-5)) / 2e-5
    tolerance = 8 * np.finfo(dtype).eps
    assert relative(run(library.stock().gelu_custom, x), gelu(wide)) < tolerance
    assert relative(run(library.stock().gelu_grad_custom, dy, x), dy * slope) < max(tolerance, 1e-9)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"dy has shape \[4,7\]"):
        run(library.stock().gelu_grad_custom, dy[1:], x)


SIGNATURES = {
    "TabulateFusionSeA": (
        "table:T table_info:T em_x:T em:T",
        "descriptor:T",
        "T:type last_layer_size:int",
    ),
    "TabulateFusionSeAGrad": (
        "table:T table_info:T em_x:T em:T dy:T descriptor:T",
        "dy_dem_x:T dy_dem:T",
        "T:type",
    ),
    "GeluCustom": ("x:T", "output:T", "T:type"),
    "GeluGradCustom": ("dy:T x:T", "output:T", "T:type"),
}
OLDER = {
    "DescrptSeA": "ProdEnvMatA",
    "DescrptNorot": "ProdEnvMatA",
    "ProdForceNorot": "ProdForceSeA",
    "ProdVirialNorot": "ProdVirialSeA",
    "TabulateFusion": "TabulateFusionSeA",
    "TabulateFusionGrad": "TabulateFusionSeAGrad",
    "Gelu": "GeluCustom",
    "GeluGrad": "GeluGradCustom",
}


def signature(name: str) -> tuple[str, ...]:
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(name)
    given = [
        " ".join(f"{a.name}:{a.type_attr or a.type}" for a in arguments)
        for arguments in (definition.input_arg, definition.output_arg)
    ]
    return (*given, " ".join(f"{a.name}:{a.type}" for a in definition.attr))


def test_registration_is_that_of_stock() -> None:
    library.stock()
    for name, expected in SIGNATURES.items():
        assert signature(name) == expected
    for older, name in OLDER.items():
        assert signature(older) == signature(name)


PEER = """
import sys
import numpy as np
from deepmd.tf.env import op_module, tf
given, result = np.load(sys.argv[1]), {}
for k in range(int(given["n"])):
    case = [given[f"{k}_{name}"] for name in ("table", "table_info", "em_x", "em")]
    dy, x = given[f"{k}_dy"], given[f"{k}_em"]
    with tf.Graph().as_default(), tf.Session() as session:
        out = op_module.tabulate_fusion_se_a(*case, last_layer_size=dy.shape[2])
        grad = op_module.tabulate_fusion_se_a_grad(*case, dy, out)
        gelu = op_module.gelu_custom(x), op_module.gelu_grad_custom(x[::-1].copy(), x)
        values = session.run([out, *grad, *gelu])
    result |= {f"{k}_{i}": value for i, value in enumerate(values)}
np.savez(sys.argv[2], **result)
"""


class TestPeer:
    pytestmark = needs_stock

    def test_same_as_the_wheel(self, rng: np.random.Generator, tmp_path: Path) -> None:
        """The derivatives of equal slots at the end, padding, are one sum there."""
        cases, given = [], {}
        for k in range(6):
            dtype = np.float32 if k % 3 == 2 else np.float64
            width = (5, 100, 16)[k % 3]
            case = make_case(rng, width, dtype=dtype)
            case["dy"] = rng.normal(size=(4, 4, width)).astype(dtype)
            cases.append(case)
            given |= {f"{k}_{key}": value for key, value in case.items()}
        np.savez(tmp_path / "given.npz", n=len(cases), **given)
        run_stock_python(["-c", PEER, "given.npz", "result.npz"], tmp_path)
        with np.load(tmp_path / "result.npz") as result:
            theirs = dict(result)
        for k, case in enumerate(cases):
            dy, x = case.pop("dy"), case["em"]
            out = tabulate(case)
            ds, drows = run(stock.tabulate_fusion_se_a_grad, *case.values(), dy, out)
            ds = ds.reshape(4, 9)
            for center, n in enumerate((0, 1, 4, 9)):
                for grad in (ds[center], drows[center]):
                    if n:
                        grad[9 - n] = grad[9 - n :].sum(axis=0)
                        grad[10 - n :] = 0
            gelu = (
                run(library.stock().gelu_custom, x),
                run(library.stock().gelu_grad_custom, x[::-1].copy(), x),
            )
            tolerance = 1e-12 if out.dtype == np.float64 else 1e-5
            for i, mine in enumerate([out, ds.reshape(-1, 1), drows, *gelu]):
                peer = theirs[f"{k}_{i}"]
                assert mine.shape == peer.shape and mine.dtype == peer.dtype
                assert relative(mine, peer) < tolerance
