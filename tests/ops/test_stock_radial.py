# SPDX-License-Identifier: BSD-3-Clause
"""Operations with stock names for rows without directions: against those with directions, whose
first component they are, and against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run

from deepmd_tf.ops import stock

from .contract import Arrays, OpContract, Operation
from .test_stock_ops import PERIODIC, RCUT, SEL, SLOTS, SMTH, frames  # noqa: F401
from .test_stock_tabulate import functions, make_case, signature, table_of

WRONG = tf.errors.InvalidArgumentError


def test_first_component_of_the_angular_rows(frames, rng):  # noqa: F811
    names = ("coord", "type", "natoms", "box", "mesh")
    atoms = [frames[name] for name in names]
    davg, dstd = (frames[key].reshape(2, SLOTS, 4) for key in ("davg", "dstd"))
    full = run(
        stock.prod_env_mat_a,
        *atoms,
        davg.reshape(2, -1),
        dstd.reshape(2, -1),
        rcut_r=RCUT,
        rcut_r_smth=SMTH,
        sel_a=SEL,
    )
    radial = run(
        stock.prod_env_mat_r,
        *atoms,
        davg[:, :, 0].copy(),
        dstd[:, :, 0].copy(),
        rcut=RCUT,
        rcut_smth=SMTH,
        sel=SEL,
    )
    np.testing.assert_array_equal(radial[0], full[0].reshape(2, -1, 4)[:, :, 0])
    np.testing.assert_array_equal(
        radial[1].reshape(2, -1, 3), full[1].reshape(2, -1, 4, 3)[:, :, 0]
    )
    for one, other in zip(radial[2:], full[2:], strict=True):
        np.testing.assert_array_equal(one, other)

    net, natoms = rng.normal(size=radial[0].shape), frames["natoms"]
    wide = np.zeros((*net.shape, 4))
    wide[..., 0] = net
    wide = wide.reshape(2, -1)
    force = run(stock.prod_force_se_r, net, radial[1], radial[3], natoms)
    expected = run(stock.prod_force_se_a, wide, full[1], full[3], natoms, n_a_sel=SLOTS)
    assert relative(force, expected) < 1e-14
    virial = run(stock.prod_virial_se_r, net, *radial[1:], natoms)
    expected = run(stock.prod_virial_se_a, wide, *full[1:], natoms, n_a_sel=SLOTS)
    for one, other in zip(virial, expected, strict=True):
        assert relative(one, other) < 1e-14


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 8, 100, 130])
def test_functions_of_each_slot(rng, width, dtype):
    case = make_case(rng, width, slots=18, dtype=dtype)
    table, info, s = case["table"], case["table_info"], case["em"][..., 0]
    value, slope = functions(table, s.astype(float))
    dy = rng.normal(size=value.shape).astype(dtype)
    tolerance = 300 * np.finfo(dtype).eps
    found = run(stock.tabulate_fusion_se_r, table, info, s, last_layer_size=width)
    assert relative(found, value) < tolerance
    found = run(stock.tabulate_fusion_se_r_grad, table, info, s, dy, dy)
    assert relative(found, np.sum(slope * dy, axis=-1)) < tolerance


def make_rows(rng: np.random.Generator, n: int) -> Arrays:
    box = 2.5 * max(n, 1) ** (1 / 3) * np.eye(3)
    return {
        "coord": (rng.uniform(0, 1, (1, n, 3)) @ box).reshape(1, -1),
        "type": np.sort(rng.integers(0, 2, (1, n))).astype(np.int32),
        "natoms": np.array([n, n, 0, 0], np.int32),
        "box": box.reshape(1, 9),
        "mesh": PERIODIC,
        "davg": rng.normal(size=(2, SLOTS)),
        "dstd": rng.uniform(0.5, 2, (2, SLOTS)),
    }


def make_slots(rng: np.random.Generator, n: int, virial: bool = False) -> Arrays:
    return {
        "net_deriv": rng.normal(size=(2, n * SLOTS)),
        "in_deriv": rng.normal(size=(2, n * SLOTS * 3)),
        **({"rij": rng.normal(size=(2, n * SLOTS * 3))} if virial else {}),
        "nlist": rng.integers(0, max(n, 1), (2, n * SLOTS)).astype(np.int32),
        "natoms": np.array([n, n, 0, 0], np.int32),
    }


def make_points(rng: np.random.Generator, n: int, grad: bool = False) -> Arrays:
    dy = {"dy": rng.normal(size=(n, 9, 7))} if grad else {}
    return {"em": rng.uniform(-4, 9, (n, 9))} | dy


class TestContract(OpContract):
    operations = (
        Operation(
            "ProdEnvMatR",
            lambda **t: stock.prod_env_mat_r(**t, rcut=RCUT, rcut_smth=SMTH, sel=SEL),
            make_rows,
            large=500,
        ),
        Operation(
            "ProdForceSeR",
            lambda **t: stock.prod_force_se_r(**t),
            make_slots,
            free="natoms.0",
            large=500,
        ),
        Operation(
            "ProdVirialSeR",
            lambda **t: stock.prod_virial_se_r(**t),
            lambda rng, n: make_slots(rng, n, virial=True),
            free="natoms.0",
            large=500,
        ),
        Operation(
            "TabulateFusionSeR",
            lambda em: stock.tabulate_fusion_se_r(*table_of(em), em, last_layer_size=7),
            make_points,
            by="em",
            refused="em",
            contained="em",
            free="em.0 em.1",
            large=800,
            step=1e-4,
        ),
        Operation(
            "TabulateFusionSeRGrad",
            lambda em, dy: stock.tabulate_fusion_se_r_grad(*table_of(em), em, dy, dy),
            lambda rng, n: make_points(rng, n, grad=True),
            contained="dy",
            large=800,
        ),
    )


def test_registration_is_that_of_stock() -> None:
    assert signature("ProdEnvMatR") == (
        "coord:T type:3 natoms:3 box:T mesh:3 davg:T dstd:T",
        "descrpt:T descrpt_deriv:T rij:T nlist:3",
        "T:type rcut:float rcut_smth:float sel:list(int)",
    )
    lists = "net_deriv:T in_deriv:T", "nlist:3 natoms:3"
    assert signature("ProdForceSeR") == (" ".join(lists), "force:T", "T:type")
    assert signature("ProdVirialSeR") == (" rij:T ".join(lists), "virial:T atom_virial:T", "T:type")
    assert signature("TabulateFusionSeR") == (
        "table:T table_info:T em:T",
        "descriptor:T",
        "T:type last_layer_size:int",
    )
    assert signature("TabulateFusionSeRGrad") == (
        "table:T table_info:T em:T dy:T descriptor:T",
        "dy_dem:T",
        "T:type",
    )


def test_messages(rng):
    rows = make_rows(rng, 4)
    where = {"rcut": RCUT, "rcut_smth": SMTH, "sel": SEL}
    with pytest.raises(WRONG, match=r"davg has shape \[2,3\], expected \[2,19\]"):
        run(stock.prod_env_mat_r, *(rows | {"davg": np.zeros((2, 3))}).values(), **where)
    with pytest.raises(WRONG, match="rcut_smth is 5, expected less than rcut"):
        run(stock.prod_env_mat_r, *rows.values(), **(where | {"rcut_smth": 5.0}))
    slots = make_slots(rng, 4)
    with pytest.raises(WRONG, match=r"net_deriv has shape \[2,75\], expected \[\?,76\]"):
        changed = slots | {"net_deriv": slots["net_deriv"][:, 1:]}
        run(stock.prod_force_se_r, *changed.values())
    with pytest.raises(WRONG, match=r"nlist has shape \[3\]"):
        changed = slots | {"nlist": np.zeros(3, np.int32)}
        run(stock.prod_force_se_r, *changed.values())
    case = make_case(rng)
    table, info, s = case["table"], case["table_info"], case["em"][..., 0]
    with pytest.raises(WRONG, match="last_layer_size is 0, "):
        run(stock.tabulate_fusion_se_r, table, info, s, last_layer_size=0)
    with pytest.raises(WRONG, match="descriptor has shape"):
        dy = np.zeros((*s.shape, 7))
        run(stock.tabulate_fusion_se_r_grad, table, info, s, dy, dy[1:])


def test_only_constant_tables_are_differentiated_through() -> None:
    with tf.Graph().as_default():
        table = tf.placeholder(tf.float64, [28, 12])
        s = tf.ones([1, 2], tf.float64)
        info = table_of(s)[1]
        out = stock.tabulate_fusion_se_r(table, info, s, last_layer_size=2)
        with pytest.raises(LookupError, match=r"TabulateFusionSeR .*must be a constant"):
            tf.gradients(out, [s])
