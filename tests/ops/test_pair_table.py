# SPDX-License-Identifier: BSD-3-Clause
"""Tables of pair potentials and the switch to them: the native operation, and those under stock
names, against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run

from deepmd_tf import ops
from deepmd_tf.ops import stock_pair_table as stock

from .contract import Arrays, OpContract, Operation
from .test_stock_tabulate import signature

START, STEP, COUNT = 0.3, 0.1, 30
SEL, SLOTS = [2, 3], 5
ALPHA, RMIN, RMAX = 0.2, 0.8, 1.6
WRONG = tf.errors.InvalidArgumentError


def make_table(order: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Any cubics, one polynomial over all intervals for each pair of types: smooth."""
    rng = np.random.default_rng(4)
    ends = START + STEP * np.arange(COUNT)
    data = np.zeros((2, 2, COUNT, 4))
    for i in range(2):
        for j in range(i, 2):
            c = rng.normal(size=4)  # c3 r³ + c2 r² + c1 r + c0 around the ends of intervals
            for power in range(4):
                whole = np.polynomial.Polynomial(c[::-1])
                factor = STEP**power / np.prod(range(1, power + 1))
                data[i, j, :, 3 - power] = (
                    whole.deriv(power)(ends) * factor if power else whole(ends)
                )
            data[j, i] = data[i, j]
    return np.array([START, STEP, COUNT, 2.0]), data.ravel()


INFO, DATA = make_table()


def spline(r: np.ndarray, i: np.ndarray, j: np.ndarray, order: int = 0) -> np.ndarray:
    """φ or its derivative by coefficients of each interval."""
    place = (r - START) / STEP
    k = np.clip(np.floor(place).astype(int), 0, COUNT - 1)
    a = DATA.reshape(2, 2, COUNT, 4)[i, j, k]
    u = place - k
    values = {
        0: ((a[..., 0] * u + a[..., 1]) * u + a[..., 2]) * u + a[..., 3],
        1: (3 * a[..., 0] * u + 2 * a[..., 1]) * u + a[..., 2],
        2: 6 * a[..., 0] * u + 2 * a[..., 1],
        3: 6 * a[..., 0],
    }
    return np.where(place < COUNT, values.get(order, 0 * u) / STEP**order, 0.0)


def make_pairs(rng: np.random.Generator, n: int) -> Arrays:
    atoms = rng.integers(0, 12, (2, n)).astype(np.int32)
    types = np.random.default_rng(0).integers(0, 2, (2, 6)).astype(np.int32)
    # far from where intervals, and the table, end
    r = START + STEP * (rng.integers(0, COUNT, n) + rng.uniform(0.3, 0.7, n))
    return {"r": r, "center": atoms[0], "neighbor": atoms[1], "type": types}


def native_spline(r, center, neighbor, type, order=0):
    return ops.pair_spline(r, center, neighbor, type, INFO, DATA, order=order)


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_derivative(rng, order, dtype):
    pairs = make_pairs(rng, 40)
    pairs["r"][:4] = [START, START + COUNT * STEP, START + COUNT * STEP + 0.01, 100.0]
    pairs["r"] = pairs["r"].astype(dtype)
    pairs["type"][1, 5] = -1
    types = pairs["type"].ravel()
    i, j = types[pairs["center"]], types[pairs["neighbor"]]
    expected = spline(pairs["r"].astype(float), i, j, order) * ((i >= 0) & (j >= 0))
    found = run(lambda *a: native_spline(*a, order=order), *pairs.values())
    scale = max(np.abs(expected).max(), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=50 * np.finfo(dtype).eps * scale)


@pytest.mark.cpu("values are not looked at elsewhere")
def test_the_first_of_the_pairs_that_are_too_close_is_named(rng):
    pairs = make_pairs(rng, 2000)
    for place in (1500, 700, 1999):
        pairs["r"][place] = 0.125
        pairs["type"][:] = 0
    pairs["center"][700], pairs["neighbor"][700] = 8, 7
    said = "frame 1 has atoms 2 and 1 0.125 Å apart, but the table .* begins at 0.3 Å"
    with pytest.raises(WRONG, match=said):
        run(native_spline, *pairs.values())


@pytest.mark.gpu("elsewhere they are refused")
@pytest.mark.parametrize("order", [0, 4])
def test_what_is_not_in_the_table_is_not_a_number(rng, order):
    """Too close, no row, no type: nothing else changes."""
    pairs = make_pairs(rng, 40)
    pairs["type"][1, 4] = -1

    def values():
        return run(lambda *a: native_spline(*a, order=order), *pairs.values())

    right = values()
    pairs["r"][:2] = [0.125, np.nan]
    pairs["center"][2:4] = [12, -1]
    pairs["neighbor"][4:6] = [2**31 - 1, -(2**31)]
    pairs["type"][0, :2] = [2, -2]
    i, j = (pairs["type"].ravel()[np.clip(pairs[key], 0, 11)] for key in ("center", "neighbor"))
    wrong = (i < -1) | (i > 1) | (j < -1) | (j > 1)
    wrong[:6] = True
    wrong[(i == -1) | (j == -1)] = False
    found = values()
    np.testing.assert_array_equal(np.isnan(found), wrong)
    np.testing.assert_array_equal(found[~wrong], right[~wrong])


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ([0.3, 0.0, 30, 2], "table_info is 0.3, 0, 30, 2"),
        ([0.3, 0.1, 0, 2], "table_info"),
        ([0.3, np.nan, 30, 2], "table_info"),
        ([0.3, 0.1, 1e300, 2], "table_info"),
        ([0.3, 0.1, 31, 2], "table_data has 480 numbers"),
        ([0.3, 0.1, 30, 3], "table_data"),
    ],
)
def test_tables_that_are_none(rng, info, said):
    pairs = make_pairs(rng, 3)
    with pytest.raises(WRONG, match=said):
        run(lambda *a: ops.pair_spline(*a, np.array(info, float), DATA), *pairs.values())


def make_slots(rng: np.random.Generator, n: int) -> Arrays:
    """Two frames of n atoms, of which the last is a ghost, with some empty slots."""
    local = max(n - 1, 0)
    nlist = rng.integers(-1, max(n, 1), (2, local * SLOTS)).astype(np.int32)
    x = rng.normal(size=(2, local * SLOTS, 3))
    r = rng.uniform(0.6, 2.2, (2, local * SLOTS, 1))
    rij = np.where(nlist[..., None] < 0, 0, x / np.linalg.norm(x, axis=-1, keepdims=True) * r)
    return {
        "type": np.random.default_rng(1).integers(0, 2, (2, n)).astype(np.int32),
        "rij": rij.reshape(2, -1),
        "nlist": nlist,
        "natoms": np.array([local, n, 0, 0], np.int32),
    }


def gather(slots: Arrays) -> tuple[np.ndarray, ...]:
    """Displacement and distance [2, n_loc, slots], and which slots are filled."""
    shape = (2, -1, SLOTS)
    x = slots["rij"].reshape(2, -1, SLOTS, 3)
    return x, np.linalg.norm(x, axis=-1), slots["nlist"].reshape(shape) >= 0


def scatter(slots: Arrays, g: np.ndarray, halves: bool) -> tuple[np.ndarray, np.ndarray]:
    """Forces and atomic virials of ∂E/∂x of each slot."""
    n_all = slots["natoms"][1]
    force, virial = np.zeros((2, n_all, 3)), np.zeros((2, n_all, 9))
    x, _, filled = gather(slots)
    nlist = slots["nlist"].reshape(filled.shape)
    for f, i, k in zip(*np.nonzero(filled), strict=True):
        j, w = nlist[f, i, k], -np.outer(g[f, i, k], x[f, i, k]).ravel()
        force[f, i] += g[f, i, k]
        force[f, j] -= g[f, i, k]
        virial[f, j] += 0.5 * w if halves else w
        virial[f, i] += 0.5 * w if halves else 0
    return force.reshape(2, -1), virial.reshape(2, -1)


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pair_tab(rng, dtype, radial):
    slots = make_slots(rng, 7)
    scale = rng.normal(size=(2, 6))
    x, r, filled = gather(slots)
    i = np.broadcast_to(slots["type"][:, :6, None], r.shape)
    j = np.broadcast_to(np.repeat([0, 1], SEL), r.shape)
    phi, slope = (np.where(filled, spline(r, i, j, order), 0.0) for order in (0, 1))
    energy = 0.5 * phi.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        g = np.where(filled[..., None], 0.5 * (scale[..., None] * slope / r)[..., None] * x, 0.0)
    force, virial = scatter(slots, g, halves=True)
    sel = {"sel_a": [0, 0], "sel_r": SEL} if radial else {"sel_a": SEL, "sel_r": [0, 0]}
    slots["rij"] = slots["rij"].astype(dtype)
    found = run(
        lambda *a: stock.pair_tab(INFO, DATA, *a, **sel), *slots.values(), scale.astype(dtype)
    )
    for value, expected in zip(found, (energy, force, virial), strict=True):
        assert value.dtype == dtype and relative(value, expected) < 100 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_atoms_that_are_closer_than_the_table_begins(rng, dtype, on_gpu):
    """An error, or on a GPU no numbers for their energy and forces."""
    slots = make_slots(rng, 7)
    slots["nlist"][1, 2 * SLOTS + 1] = 5
    slots["rij"][1, 3 * (2 * SLOTS + 1) :][:3] = [0.125, 0, 0]
    slots["rij"] = slots["rij"].astype(dtype)
    arrays = (*slots.values(), np.ones((2, 6), dtype))

    def build(*tensors):
        return stock.pair_tab(INFO, DATA, *tensors, sel_a=SEL, sel_r=[0, 0])

    if not on_gpu:
        with pytest.raises(WRONG, match=r"frame 1 has atoms 2 and 5 0.125 Å apart, .* 0.3 Å"):
            run(build, *arrays)
        return
    energy, force, virial = run(build, *arrays)
    assert np.argwhere(np.isnan(energy)).tolist() == [[1, 2]]
    for values in (force.reshape(2, 7, 3), virial.reshape(2, 7, 9)):
        assert np.isnan(values[1, [2, 5]]).any(axis=1).all()
        rest = np.isnan(values).any(axis=2)
        rest[1, [2, 5]] = False
        assert not rest.any()


@pytest.mark.gpu("an error on the processor")
def test_types_that_the_table_does_not_have(rng):
    """No numbers; virtual atoms have no energy."""
    slots = make_slots(rng, 7)
    slots["type"][0, 1], slots["type"][1, 3] = 2, -1
    slots["nlist"][0, SLOTS] = 4
    energy, force, _ = run(
        lambda *a: stock.pair_tab(INFO, DATA, *a, sel_a=SEL, sel_r=[0, 0]),
        *slots.values(),
        np.ones((2, 6)),
    )
    assert np.argwhere(np.isnan(energy)).tolist() == [[0, 1]] and energy[1, 3] == 0
    assert np.isnan(force.reshape(2, 7, 3)[0, [1, 4]]).all()


def test_pair_tab_knows_types_by_sections_only(rng):
    """With one section for all types the energies would be those of other pairs."""
    slots = make_slots(rng, 7)
    with pytest.raises(WRONG, match="2 types and the neighbours are in 1 sections"):
        run(
            lambda *a: stock.pair_tab(INFO, DATA, *a, sel_a=[SLOTS], sel_r=[0]),
            *slots.values(),
            np.ones((2, 6)),
        )


def switch(slots: Arrays) -> np.ndarray:
    _, r, filled = gather(slots)
    w = np.where(filled, np.exp(-r / np.float64(np.float32(ALPHA))), 0.0)
    with np.errstate(invalid="ignore"):
        s = np.where(filled.any(-1), (r * w).sum(-1) / w.sum(-1), np.inf)
    low, high = np.float64(np.float32(RMIN)), np.float64(np.float32(RMAX))
    u = np.clip((s - low) / (high - low), 0, 1)
    return 1 - 10 * u**3 + 15 * u**4 - 6 * u**5


def soft_min(*tensors):
    return stock.soft_min_switch(
        *tensors, sel_a=SEL, sel_r=[0, 0], alpha=ALPHA, rmin=RMIN, rmax=RMAX
    )


def test_switch_with_forces_and_virials(rng):
    slots = make_slots(rng, 9)
    slots["nlist"][0, :SLOTS] = -1
    slots["rij"][0, : 3 * SLOTS] = 0
    value, derivative = run(soft_min, *slots.values())
    assert ((value > 0.05) & (value < 0.95)).sum() > 3 and value[0, 0] == 0
    np.testing.assert_allclose(value, switch(slots), rtol=0, atol=1e-14)
    h, numeric = 1e-5, np.zeros_like(slots["rij"])
    for k in range(numeric.shape[1]):
        up, down = (slots | {"rij": slots["rij"].copy()} for _ in range(2))
        up["rij"][:, k] += h
        down["rij"][:, k] -= h
        atom = k // (3 * SLOTS)
        numeric[:, k] = (switch(up) - switch(down))[:, atom] / (2 * h)
    numeric *= np.repeat(slots["nlist"] >= 0, 3, axis=1)
    np.testing.assert_allclose(derivative, numeric, rtol=0, atol=1e-8)

    du = rng.normal(size=value.shape)
    g = du[..., None, None] * derivative.reshape(2, -1, SLOTS, 3)
    force, virial = scatter(slots, g, halves=False)
    neighbors = (slots["nlist"], slots["natoms"])
    counts = {"n_a_sel": SLOTS, "n_r_sel": 0}
    found = run(lambda *a: stock.soft_min_force(*a, **counts), du, derivative, *neighbors)
    assert relative(found, force) < 1e-13
    found = run(
        lambda *a: stock.soft_min_virial(*a, **counts), du, derivative, slots["rij"], *neighbors
    )
    assert relative(found[1], virial) < 1e-13
    assert relative(found[0], virial.reshape(2, -1, 9).sum(axis=1)) < 1e-13


def with_scale(rng: np.random.Generator, n: int) -> Arrays:
    return make_slots(rng, n) | {"scale": rng.normal(size=(2, max(n - 1, 0)))}


def with_du(rng: np.random.Generator, n: int, virial: bool = False) -> Arrays:
    slots = make_slots(rng, n)
    local = slots["natoms"][0]
    return {
        "du": rng.normal(size=(2, local)),
        "sw_deriv": rng.normal(size=(2, local * SLOTS * 3)),
        **({"rij": slots["rij"]} if virial else {}),
        "nlist": slots["nlist"],
        "natoms": slots["natoms"],
    }


class TestContract(OpContract):
    operations = (
        Operation(
            "DpPairSpline",
            native_spline,
            make_pairs,
            by="r",
            free="type.1 type.0",
            large=20000,
            step=1e-4,
        ),
        Operation(
            "PairTab",
            lambda **t: stock.pair_tab(INFO, DATA, **t, sel_a=SEL, sel_r=[0, 0]),
            with_scale,
            free="natoms.0",
            large=500,
        ),
        Operation(
            "SoftMinSwitch",
            lambda **t: soft_min(*t.values()),
            make_slots,
            free="natoms.0",
            large=500,
        ),
        Operation(
            "SoftMinForce",
            lambda **t: stock.soft_min_force(
                t["du"], t["sw_deriv"], t["nlist"], t["natoms"], n_a_sel=SLOTS, n_r_sel=0
            ),
            with_du,
            free="natoms.0",
            large=500,
        ),
        Operation(
            "SoftMinVirial",
            lambda **t: stock.soft_min_virial(*t.values(), n_a_sel=SLOTS, n_r_sel=0),
            lambda rng, n: with_du(rng, n, virial=True),
            free="natoms.0",
            large=500,
        ),
    )


def test_registration_is_that_of_stock() -> None:
    slots, sections = "nlist:3 natoms:3", "sel_a:list(int) sel_r:list(int)"
    assert signature("PairTab") == (
        f"table_info:2 table_data:2 type:3 rij:T {slots} scale:T",
        "atom_energy:T force:T atom_virial:T",
        f"T:type {sections}",
    )
    assert signature("SoftMinSwitch") == (
        f"type:3 rij:T {slots}",
        "sw_value:T sw_deriv:T",
        f"T:type {sections} alpha:float rmin:float rmax:float",
    )
    counts = "T:type n_a_sel:int n_r_sel:int"
    assert signature("SoftMinForce") == (f"du:T sw_deriv:T {slots}", "force:T", counts)
    assert signature("SoftMinVirial") == (
        f"du:T sw_deriv:T rij:T {slots}",
        "virial:T atom_virial:T",
        counts,
    )
