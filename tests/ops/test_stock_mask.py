# SPDX-License-Identifier: BSD-3-Clause
"""Operations with stock names for environments with a mask, against formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, difference, relative, run

from deepmd_tf.ops import stock

from .contract import Arrays, OpContract, Operation
from .test_stock_tabulate import signature

WRONG = tf.errors.InvalidArgumentError


def make_molecule(rng: np.random.Generator, n: int) -> Arrays:
    """Two frames of ``n`` atoms of two types, in any order, of which some are masked."""
    return {
        "coord": 3 * rng.normal(size=(2, 3 * n)),
        "type": rng.integers(0, 2, (2, n)).astype(np.int32),
        "mask": (rng.uniform(size=(2, n)) < 0.7).astype(np.int32),
        "box": np.zeros((2, 9)),
        "natoms": np.array([n, n, n, 0], np.int32),
        "mesh": np.zeros(0, np.int32),
    }


def make_slots(rng: np.random.Generator, n: int) -> Arrays:
    return {
        "net_deriv": rng.normal(size=(2, n * n * 4)),
        "in_deriv": rng.normal(size=(2, n * n * 12)),
        "mask": np.ones((2, n), np.int32),
        "nlist": rng.integers(-1, max(n, 1), (2, n * n)).astype(np.int32),
    }


def force(**tensors) -> tf.Tensor:
    n_atoms = tensors["mask"].shape.as_list()[1]
    if n_atoms is None:  # of the test of shapes, with cases of 20
        n_atoms = 20
    return stock.prod_force_se_a_mask(**tensors, total_atom_num=n_atoms)


class TestContract(OpContract):
    operations = (
        Operation(
            "DescrptSeAMask",
            stock.descrpt_se_a_mask,
            make_molecule,
            free="natoms.0 mesh.0",
            large=200,
        ),
        Operation("ProdForceSeAMask", force, make_slots, large=200),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_and_slots(rng, dtype):
    case = make_molecule(rng, 7)
    case["coord"] = case["coord"].astype(dtype)
    case["box"] = case["box"].astype(dtype)
    case["mask"][0, 2], case["mask"][1, 4] = 0, 3  # whatever is not 0 takes part
    rows, _, x, nlist = run(stock.descrpt_se_a_mask, *case.values())
    rows, x, nlist = rows.reshape(2, 7, 7, 4), x.reshape(2, 7, 7, 3), nlist.reshape(2, 7, 7)
    coord, on = case["coord"].reshape(2, 7, 3), case["mask"] != 0
    for frame, center in np.ndindex(2, 7):
        if not on[frame, center]:
            assert not rows[frame, center].any() and (nlist[frame, center] == -1).all()
            continue
        d = coord[frame] - coord[frame, center]
        r = np.linalg.norm(d, axis=1)
        r[~on[frame] | (np.arange(7) == center)] = np.inf
        order = np.lexsort((np.arange(7), r, case["type"][frame]))
        np.testing.assert_array_equal(nlist[frame, center], order)
        d, r = d[order], r[order][:, None]
        wanted = np.hstack([1 / r, d / r**2])
        assert relative(rows[frame, center], wanted) < 10 * np.finfo(dtype).eps
        np.testing.assert_array_equal(x[frame, center], np.where(np.isfinite(r), d, 0))


def test_virtual_atoms_take_no_part(rng):
    """Atoms of negative type are masked, whatever the mask and their place."""
    case = make_molecule(rng, 6)
    case["mask"][:] = 1
    case["type"][:, 3] = -1
    case["mask"][1, 4] = 0
    masked = case | {"mask": case["mask"] * (case["type"] >= 0)}
    strange = case["coord"].copy().reshape(2, 6, 3)
    strange[:, 3], strange[1, 4] = np.nan, np.inf
    found = run(stock.descrpt_se_a_mask, *(case | {"coord": strange.reshape(2, 18)}).values())
    for value, expected in zip(found, run(stock.descrpt_se_a_mask, *masked.values()), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_force_is_the_derivative(rng):
    case = make_molecule(rng, 6)
    rows, derivative, _, nlist = run(stock.descrpt_se_a_mask, *case.values())
    net, along = rng.normal(size=rows.shape), rng.normal(size=case["coord"].shape)

    def energy(t: float) -> float:
        moved = case | {"coord": case["coord"] + t * along}
        return float((run(stock.descrpt_se_a_mask, *moved.values())[0] * net).sum())

    found = run(stock.prod_force_se_a_mask, net, derivative, case["mask"], nlist, total_atom_num=6)
    assert abs(-(found * along).sum() - difference(energy)) < 1e-8
    assert not found.reshape(2, 6, 3)[case["mask"] == 0].any()


def test_registration_is_that_of_stock() -> None:
    assert signature("DescrptSeAMask") == (
        "coord:T type:3 mask:3 box:T natoms:3 mesh:3",
        "descrpt:T descrpt_deriv:T rij:T nlist:3",
        "T:type",
    )
    assert signature("ProdForceSeAMask") == (
        "net_deriv:T in_deriv:T mask:3 nlist:3",
        "force:T",
        "T:type total_atom_num:int",
    )


def test_messages(rng):
    case = make_molecule(rng, 4)
    with pytest.raises(WRONG, match=r"mask has shape \[2,3\], expected \[2,4\]"):
        run(stock.descrpt_se_a_mask, *(case | {"mask": case["mask"][:, 1:]}).values())
    with pytest.raises(WRONG, match=r"natoms starts with 4, 5: expected .* no ghost atoms"):
        wrong = np.array([4, 5, 4, 0], np.int32)
        run(stock.descrpt_se_a_mask, *(case | {"natoms": wrong}).values())
    slots = make_slots(rng, 4)
    with pytest.raises(WRONG, match="mask has shape"):
        run(stock.prod_force_se_a_mask, *slots.values(), total_atom_num=3)


def test_positions_that_are_not_finite(rng, on_gpu):
    """An error, or on a GPU no numbers in the rows of that atom alone."""
    case = make_molecule(rng, 4)
    case["mask"][:] = 1
    whole, *_ = run(stock.descrpt_se_a_mask, *case.values())
    case["coord"][1, 7] = np.nan
    if not on_gpu:
        with pytest.raises(WRONG, match="frame 1 has atom 2 at a position that is not finite"):
            run(stock.descrpt_se_a_mask, *case.values())
        return
    rows, _, _, nlist = run(stock.descrpt_se_a_mask, *case.values())
    np.testing.assert_array_equal(rows[0], whole[0])
    rows, nlist = rows[1].reshape(4, 4, 4), nlist[1].reshape(4, 4)
    assert (np.sort(nlist) == range(4)).all()
    lost = (nlist == 2) != (np.arange(4) == 2)[:, None]
    itself = nlist == np.arange(4)[:, None]
    assert np.isnan(rows[lost & ~itself]).all() and np.isfinite(rows[~lost | itself]).all()
