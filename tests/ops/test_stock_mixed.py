# SPDX-License-Identifier: BSD-3-Clause
"""Operations with stock names for neighbours of all types together: against those for neighbours
by type, formulas, and the registration of the stock wheel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run

from deepmd_tf.ops import stock, stock_mixed

from .contract import Arrays, OpContract, Operation
from .test_stock_ops import OPEN, PERIODIC, RCUT, SMTH, frames  # noqa: F401
from .test_stock_tabulate import functions, make_case, signature, table_of

SEL = 17
WRONG = tf.errors.InvalidArgumentError


def environment(
    frames: Arrays,  # noqa: F811
    dtype: type = np.float64,
    sel: int = SEL,
) -> stock_mixed.MixedEnvironment:
    arrays = dict(frames)
    for key in ("davg", "dstd"):
        arrays[key] = np.tile(arrays[key][:, :4], (1, sel))
    values = [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays.values()]
    found = run(stock_mixed.prod_env_mat_a_mix, *values, rcut_r=RCUT, rcut_r_smth=SMTH, sel_a=[sel])
    return stock_mixed.MixedEnvironment(*found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mesh", [PERIODIC, OPEN], ids=["periodic", "open"])
def test_rows_of_one_type(frames, mesh, dtype):  # noqa: F811
    """The neighbours are those of atoms of one type; averages go by the type of the centre."""
    frames = frames | {"mesh": mesh}
    found = environment(frames, dtype)
    types = frames["type"]
    for t in range(2):
        one = frames | {
            "type": np.minimum(types, 0),
            "natoms": frames["natoms"][:3],
            "davg": np.tile(frames["davg"][t : t + 1, :4], (1, SEL)),
            "dstd": np.tile(frames["dstd"][t : t + 1, :4], (1, SEL)),
        }
        values = [a.astype(dtype) if a.dtype == np.float64 else a for a in one.values()]
        expected = run(stock.prod_env_mat_a, *values, rcut_r=RCUT, rcut_r_smth=SMTH, sel_a=[SEL])
        centers = types.reshape(-1) == t
        for a, b in zip(found[:4], expected, strict=True):
            a, b = (v.reshape(len(centers), -1)[centers] for v in (a, b))
            np.testing.assert_array_equal(a, b)
    nlist = found.nlist.reshape(2, 11, SEL)
    neighbor = np.take_along_axis(types[:, None], np.maximum(nlist, 0), axis=2)
    np.testing.assert_array_equal(
        found.ntype.reshape(nlist.shape), np.where(nlist < 0, 2, neighbor)
    )
    np.testing.assert_array_equal(found.nmask.reshape(nlist.shape), nlist >= 0)
    assert (nlist[:, 8] < 0).all() and 0 < (nlist < 0).sum() < nlist.size


def test_meshes_of_mixed_types(frames):  # noqa: F811
    for short, long in ((PERIODIC, np.zeros(7, np.int32)), (OPEN, np.zeros(1, np.int32))):
        for a, b in zip(
            environment(frames | {"mesh": short}), environment(frames | {"mesh": long}), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_types_that_do_not_exist(frames):  # noqa: F811
    types = frames["type"].copy()
    types[1, 3] = 2
    with pytest.raises(WRONG, match="frame 1 has atom 3 of type 2, expected less than 2"):
        environment(frames | {"type": types})
    with pytest.raises(WRONG, match="sel_a has 2 entries, expected one for all types"):
        run(
            stock_mixed.prod_env_mat_a_mix,
            *frames.values(),
            rcut_r=RCUT,
            rcut_r_smth=SMTH,
            sel_a=[7, 12],
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("width", "slots"), [(1, 9), (7, 150), (100, 9), (130, 9)])
def test_sums_with_factors_of_types(rng, width, slots, dtype):
    case = make_case(rng, width, slots, dtype=dtype)
    em = case["em"].astype(float)
    two = rng.normal(size=(4 * slots, width)).astype(dtype)
    factor = 1 + two.astype(float).reshape(4, slots, width)
    value, slope = functions(case["table"], em[..., 0])
    tolerance = 300 * np.finfo(dtype).eps
    found = run(stock_mixed.tabulate_fusion_se_atten, *case.values(), two, last_layer_size=width)
    assert relative(found, np.einsum("cja,cjk->cak", em, value * factor)) < tolerance
    dy = rng.normal(size=(4, 4, width)).astype(dtype)
    ds, drows, dtwo = run(
        stock_mixed.tabulate_fusion_se_atten_grad, *case.values(), two, dy, dy, is_sorted=False
    )
    along = np.einsum("cja,cak->cjk", em, dy.astype(float))
    assert relative(drows, np.einsum("cak,cjk->cja", dy, value * factor)) < tolerance
    assert relative(ds.reshape(4, slots), np.sum(slope * factor * along, axis=-1)) < tolerance
    assert relative(dtwo.reshape(4, slots, width), value * along) < tolerance


def make_rows(rng: np.random.Generator, n: int) -> Arrays:
    box = 2.5 * max(n, 1) ** (1 / 3) * np.eye(3)
    return {
        "coord": (rng.uniform(0, 1, (1, n, 3)) @ box).reshape(1, -1),
        "type": rng.integers(0, 2, (1, n)).astype(np.int32),
        "natoms": np.array([n, n, 0, 0], np.int32),
        "box": box.reshape(1, 9),
        "mesh": PERIODIC,
        "davg": rng.normal(size=(2, 4 * SEL)),
        "dstd": rng.uniform(0.5, 2, (2, 4 * SEL)),
    }


def make_slots(rng: np.random.Generator, n: int, grad: bool = False) -> Arrays:
    em = rng.normal(size=(n, 9, 4))
    em[..., 0] = rng.uniform(-4, 9, (n, 9))
    slots = {"em_x": em[..., 0].reshape(-1, 1), "em": em, "two": rng.normal(size=(9 * n, 7))}
    return slots | ({"dy": rng.normal(size=(n, 4, 7))} if grad else {})


class TestContract(OpContract):
    operations = (
        Operation(
            "ProdEnvMatAMix",
            lambda **t: stock_mixed.prod_env_mat_a_mix(
                **t, rcut_r=RCUT, rcut_r_smth=SMTH, sel_a=[SEL]
            ),
            make_rows,
            large=500,
        ),
        Operation(
            "TabulateFusionSeAtten",
            lambda em_x, em, two: stock_mixed.tabulate_fusion_se_atten(
                *table_of(em), em_x, em, two, last_layer_size=7
            ),
            make_slots,
            by="em_x em two",
            refused="em_x em two",
            contained="em_x em two",
            free="em.0 em.1",
            large=800,
            step=1e-4,
        ),
        Operation(
            "TabulateFusionSeAttenGrad",
            lambda em_x, em, two, dy: stock_mixed.tabulate_fusion_se_atten_grad(
                *table_of(em), em_x, em, two, dy, dy
            ),
            lambda rng, n: make_slots(rng, n, grad=True),
            contained="dy",
            large=800,
        ),
    )


def test_registration_is_that_of_stock() -> None:
    assert signature("ProdEnvMatAMix") == (
        "coord:T type:3 natoms:3 box:T mesh:3 davg:T dstd:T",
        "descrpt:T descrpt_deriv:T rij:T nlist:3 ntype:3 nmask:10",
        "T:type rcut_a:float rcut_r:float rcut_r_smth:float sel_a:list(int) sel_r:list(int)",
    )
    assert signature("TabulateFusionSeAtten") == (
        "table:T table_info:T em_x:T em:T two_embed:T",
        "descriptor:T",
        "T:type last_layer_size:int is_sorted:bool",
    )
    assert signature("TabulateFusionSeAttenGrad") == (
        "table:T table_info:T em_x:T em:T two_embed:T dy:T descriptor:T",
        "dy_dem_x:T dy_dem:T dy_dtwo:T",
        "T:type is_sorted:bool",
    )
