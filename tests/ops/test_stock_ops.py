# SPDX-License-Identifier: BSD-3-Clause
"""Operations with stock names: against formulas, finite differences, and the stock wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from stock_wheel import needs_stock
from stock_wheel import run as run_stock_python

from deepmd_tf import ops
from deepmd_tf.ops import library, stock

from .contract import Arrays, OpContract, Operation

RCUT, SMTH, SEL = 4.2, 1.3, (7, 12)
SLOTS = sum(SEL)
PERIODIC, OPEN = np.zeros(6, np.int32), np.zeros(0, np.int32)


@pytest.fixture
def frames(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two frames of eleven atoms, one virtual, with averages that differ from slot to slot."""
    n = 11
    box = 5.5 * (np.eye(3) + rng.uniform(-0.2, 0.2, (2, 3, 3)))
    type = np.tile([0, 0, 0, 1, 1, 1, 1, 1, -1, 0, 1], (2, 1)).astype(np.int32)
    return {
        "coord": (rng.uniform(-1, 2, (2, n, 3)) @ box).reshape(2, -1),
        "type": type,
        "natoms": np.array([n, n, 5, 6], np.int32),
        "box": box.reshape(2, 9),
        "mesh": PERIODIC,
        "davg": rng.normal(size=(2, 4 * SLOTS)),
        "dstd": rng.uniform(0.5, 2, (2, 4 * SLOTS)),
    }


def environment(frames: dict[str, np.ndarray], dtype: type = np.float64) -> list[np.ndarray]:
    arrays = [a.astype(dtype) if a.dtype == np.float64 else a for a in frames.values()]
    return run(stock.prod_env_mat_a, *arrays, rcut_r=RCUT, rcut_r_smth=SMTH, sel_a=SEL)


def switched_rows(x: np.ndarray) -> np.ndarray:
    """(s, s·x/r, s·y/r, s·z/r) with the numbers that float32 makes of the cutoff and the width."""
    rcut, smth = np.float32(RCUT), np.float32(SMTH)
    r = np.linalg.norm(x, axis=-1, keepdims=True)
    u = np.clip((r - float(smth)) / float(rcut - smth), 0, 1)
    s = (u**3 * (-6 * u**2 + 15 * u - 10) + 1) / r
    return np.concatenate([s, s * x / r], axis=-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mesh", [PERIODIC, OPEN], ids=["periodic", "open"])
def test_environment_matrix(frames: dict[str, np.ndarray], mesh: np.ndarray, dtype: type) -> None:
    """Slots from the flat list, values from the formula."""
    frames = frames | {"mesh": mesh}
    descrpt, _, rij, nlist = environment(frames, dtype)
    n, nf = 11, 2
    flat = [frames[k] for k in ("coord", "type", "natoms", "box", "mesh")]
    flat = [a.astype(dtype) if a.dtype == np.float64 else a for a in flat]
    pairs = ops.NeighborList(*run(ops.neighbor_list, *flat, rcut=RCUT, sel=list(SEL)))
    r = frames["coord"].reshape(-1, 3)
    expected_nlist = np.full((nf * n, SLOTS), -1)
    expected_x = np.zeros((nf * n, SLOTS, 3))
    for row in range(nf * n):
        for t, first in enumerate((0, SEL[0])):
            p = np.arange(*pairs.splits[2 * row + t : 2 * row + t + 2])
            slots = first + np.arange(len(p))
            expected_nlist[row, slots] = pairs.neighbor[p] - row // n * n
            expected_x[row, slots] = r[pairs.neighbor[p]] - r[row] + pairs.shift[p]
    filled = expected_nlist >= 0
    assert 0 < filled.sum() < filled.size and pairs.dropped.sum() >= 0
    raw = np.zeros((nf * n, SLOTS, 4))
    raw[filled] = switched_rows(expected_x[filled])
    type = frames["type"].reshape(-1)
    expected = (raw.reshape(nf * n, -1) - frames["davg"][type]) / frames["dstd"][type]
    expected[type < 0] = 0
    np.testing.assert_array_equal(nlist.reshape(nf * n, -1), expected_nlist)
    tolerance = 1e-12 if dtype is np.float64 else 3e-5
    assert relative(rij.reshape(nf * n, SLOTS, 3), expected_x) < tolerance
    assert relative(descrpt.reshape(nf * n, -1), expected) < tolerance


def test_derivative_is_by_the_position_of_the_center(frames: dict[str, np.ndarray]) -> None:
    """Move one centre: its own row changes as the derivative says, in empty slots not at all."""
    _, derivative, _, nlist = environment(frames)
    step = 1e-5
    for i in (1, 6, 8):
        for d in range(3):
            around = []
            for sign in (1, -1):
                moved = frames["coord"].copy()
                moved[:, 3 * i + d] += sign * step
                around.append(environment(frames | {"coord": moved})[0].reshape(2, 11, -1)[:, i])
            slope = (around[0] - around[1]) / (2 * step)
            mine = derivative.reshape(2, 11, SLOTS, 4, 3)[:, i, :, :, d]
            # A neighbour that is an image of the centre moves with it.
            others = nlist.reshape(2, 11, SLOTS)[:, i] != i
            np.testing.assert_allclose(
                mine[others],
                slope.reshape(mine.shape)[others],
                atol=2e-8 * np.abs(mine).max() + 1e-8,
            )
    empty = nlist.reshape(2, 11, SLOTS) < 0
    assert not derivative.reshape(2, 11, SLOTS, 12)[empty].any()


def energy_like(frames: dict[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """One number per frame, linear in the environment matrix: its net_deriv is ``weights``."""
    return np.sum(environment(frames)[0] * weights, axis=1)


def test_force_and_virial_are_derivatives(
    frames: dict[str, np.ndarray], rng: np.random.Generator
) -> None:
    descrpt, derivative, rij, nlist = environment(frames)
    weights = rng.normal(size=descrpt.shape)
    natoms = frames["natoms"]
    slots = {"n_a_sel": SLOTS}
    force = run(stock.prod_force_se_a, weights, derivative, nlist, natoms, **slots)
    virial, atom_virial = run(
        stock.prod_virial_se_a, weights, derivative, rij, nlist, natoms, **slots
    )
    assert force.shape == (2, 33) and virial.shape == (2, 9) and atom_virial.shape == (2, 99)
    np.testing.assert_allclose(atom_virial.reshape(2, 11, 9).sum(axis=1), virial, rtol=1e-12)
    np.testing.assert_allclose(force.reshape(2, 11, 3).sum(axis=1), 0, atol=1e-12)

    step = 1e-5
    for k in range(0, 33, 4):
        moved = np.zeros(33)
        moved[k] = step
        up, down = (
            energy_like(frames | {"coord": frames["coord"] + s * moved}, weights) for s in (1, -1)
        )
        np.testing.assert_allclose(-(up - down) / (2 * step), force[:, k], rtol=1e-6, atol=1e-6)
    for a in range(3):
        for b in range(3):
            around = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += sign * step
                strained = {
                    k: (frames[k].reshape(2, -1, 3) @ strain.T).reshape(frames[k].shape)
                    for k in ("coord", "box")
                }
                around.append(energy_like(frames | strained, weights))
            slope = -(around[0] - around[1]) / (2 * step)
            np.testing.assert_allclose(slope, virial[:, 3 * a + b], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_force_and_virial_sums(rng: np.random.Generator, dtype: type) -> None:
    """Ghosts and empty slots, by sums written out in NumPy."""
    nf, nloc, nall, slots = 2, 3, 5, 4
    g = rng.normal(size=(nf, nloc, slots, 4)).astype(dtype)
    derivative = rng.normal(size=(nf, nloc, slots, 4, 3)).astype(dtype)
    x = rng.normal(size=(nf, nloc, slots, 3)).astype(dtype)
    nlist = rng.integers(-1, nall, (nf, nloc, slots)).astype(np.int32)
    derivative[nlist < 0] = 0
    force, per_atom = np.zeros((nf, nall, 3)), np.zeros((nf, nall, 9))
    for f, i, k in np.ndindex(nf, nloc, slots):
        pull = g[f, i, k].astype(float) @ derivative[f, i, k]
        force[f, i] -= pull
        if (j := nlist[f, i, k]) >= 0:
            force[f, j] += pull
            per_atom[f, j] += np.outer(pull, x[f, i, k]).reshape(9)
    natoms = np.array([nloc, nall, 2, 1], np.int32)
    flat = [a.reshape(nf, -1) for a in (g, derivative, x, nlist)]
    got_force = run(stock.prod_force_se_a, *flat[:2], flat[3], natoms, n_a_sel=slots)
    virial, atom_virial = run(stock.prod_virial_se_a, *flat, natoms, n_a_sel=slots)
    tolerance = 20 * np.finfo(dtype).eps
    assert relative(got_force, force.reshape(nf, -1)) < tolerance
    assert relative(atom_virial, per_atom.reshape(nf, -1)) < tolerance
    assert relative(virial, per_atom.sum(axis=1)) < tolerance


def make_padded(rng: np.random.Generator, n: int) -> Arrays:
    box = 2.5 * max(n, 1) ** (1 / 3) * np.eye(3)
    return {
        "coord": (rng.uniform(0, 1, (1, n, 3)) @ box).reshape(1, -1),
        "type": np.sort(rng.integers(0, 2, (1, n))).astype(np.int32),
        "natoms": np.array([n, n, 0, 0], np.int32),
        "box": box.reshape(1, 9),
        "mesh": PERIODIC,
        "davg": rng.normal(size=(2, 4 * SLOTS)),
        "dstd": rng.uniform(0.5, 2, (2, 4 * SLOTS)),
    }


def make_slots(rng: np.random.Generator, n: int, virial: bool = False) -> Arrays:
    return {
        "net_deriv": rng.normal(size=(2, n * SLOTS * 4)),
        "in_deriv": rng.normal(size=(2, n * SLOTS * 12)),
        **({"rij": rng.normal(size=(2, n * SLOTS * 3))} if virial else {}),
        "nlist": rng.integers(0, max(n, 1), (2, n * SLOTS)).astype(np.int32),
        "natoms": np.array([n, n, 0, 0], np.int32),
    }


class TestContract(OpContract):
    operations = (
        Operation(
            "ProdEnvMatA",
            lambda **t: stock.prod_env_mat_a(**t, rcut_r=RCUT, rcut_r_smth=SMTH, sel_a=SEL),
            make_padded,
            large=500,
        ),
        Operation(
            "ProdForceSeA",
            lambda **t: stock.prod_force_se_a(**t, n_a_sel=SLOTS),
            make_slots,
            free="natoms.0",
            large=500,
        ),
        Operation(
            "ProdVirialSeA",
            lambda **t: stock.prod_virial_se_a(**t, n_a_sel=SLOTS),
            lambda rng, n: make_slots(rng, n, virial=True),
            free="natoms.0",
            large=500,
        ),
    )


def test_registration_is_that_of_stock() -> None:
    """Names, order, types and defaults: a graph with another attribute would not load there."""
    from tensorflow.python.framework import op_def_registry

    library.stock()
    expected = {
        "ProdEnvMatA": (
            "coord:T type:3 natoms:3 box:T mesh:3 davg:T dstd:T",
            "descrpt:T descrpt_deriv:T rij:T nlist:3",
            "T:type rcut_a:float rcut_r:float rcut_r_smth:float sel_a:list(int) sel_r:list(int)",
        ),
        "ProdForceSeA": (
            "net_deriv:T in_deriv:T nlist:3 natoms:3",
            "force:T",
            "T:type n_a_sel:int n_r_sel:int",
        ),
        "ProdVirialSeA": (
            "net_deriv:T in_deriv:T rij:T nlist:3 natoms:3",
            "virial:T atom_virial:T",
            "T:type n_a_sel:int n_r_sel:int",
        ),
    }
    for name, (inputs, outputs, attributes) in expected.items():
        definition = op_def_registry.get(name)
        given = [
            " ".join(f"{a.name}:{a.type_attr or a.type}" for a in arguments)
            for arguments in (definition.input_arg, definition.output_arg)
        ]
        assert given == [inputs, outputs]
        assert " ".join(f"{a.name}:{a.type}" for a in definition.attr) == attributes
        assert not definition.is_stateful
        for attribute in definition.attr:
            assert attribute.HasField("default_value") == (attribute.name == "T")
            if attribute.name == "T":
                assert attribute.default_value.type == tf.float64.as_datatype_enum


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh": np.zeros(7, np.int32)}, "mixed types are not supported"),
        ({"mesh": np.zeros(9, np.int32)}, "invalid mesh tensor"),
        ({"davg": np.zeros((2, 5))}, r"davg has shape \[2,5\], expected \[2,76\]"),
        ({"dstd": np.zeros((1, 76))}, r"dstd has shape \[1,76\], expected \[2,76\]"),
        ({"natoms": np.array([11, 11], np.int32)}, r"natoms has shape \[2\]"),
        ({"natoms": np.array([11, 11, 11], np.int32)}, "sel has 2 entries, but natoms has 1"),
        ({"coord": np.full((2, 33), np.nan)}, "frame 0 has atom 0 at a position"),
        ({"box": np.zeros((2, 9))}, "zero volume"),
    ],
)
def test_messages(frames: dict[str, np.ndarray], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        environment(frames | changes)


def test_messages_of_force_and_virial() -> None:
    natoms = np.array([2, 3, 2], np.int32)
    net, derivative, rij = np.zeros((1, 24)), np.zeros((1, 72)), np.zeros((1, 18))
    nlist = np.zeros((1, 6), np.int32)
    wrong = tf.errors.InvalidArgumentError
    with pytest.raises(wrong, match=r"net_deriv.*\[1,24\],.*\[\?,32\]"):
        run(stock.prod_force_se_a, net, derivative, nlist, natoms, n_a_sel=4)
    with pytest.raises(wrong, match=r"in_deriv.*\[1,71\],.*\[1,72\]"):
        run(stock.prod_force_se_a, net, derivative[:, 1:], nlist, natoms, n_a_sel=3)
    with pytest.raises(wrong, match=r"rij has shape \[1,17\], expected \[1,18\]"):
        run(stock.prod_virial_se_a, net, derivative, rij[:, 1:], nlist, natoms, n_a_sel=3)
    with pytest.raises(wrong, match="radial-only slots are"):
        run(stock.prod_force_se_a, net, derivative, nlist, natoms, n_a_sel=3, n_r_sel=1)


def test_neighbors_that_are_no_atoms(rng: np.random.Generator, on_gpu: bool) -> None:
    """Nobody looks at them on a GPU, where such slots are empty."""
    slots = make_slots(rng, 5, virial=True)
    slots["nlist"][0, 3], slots["nlist"][1, [4, 9]] = 5, (1 << 30, -(1 << 30))
    force = {key: slots[key] for key in ("net_deriv", "in_deriv", "nlist", "natoms")}
    operations = (
        (stock.prod_force_se_a, force),
        (stock.prod_virial_se_a, slots),
    )
    for operation, given in operations:
        if not on_gpu:
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"nlist\[3\] = 5 .*-1 … 4"):
                run(operation, *given.values(), n_a_sel=SLOTS)
            continue
        empty = np.where((given["nlist"] < 0) | (given["nlist"] >= 5), -1, given["nlist"])
        found = run(operation, *given.values(), n_a_sel=SLOTS)
        expected = run(operation, *(given | {"nlist": empty}).values(), n_a_sel=SLOTS)
        for value, other in zip(*map(tf.nest.flatten, (found, expected)), strict=True):
            np.testing.assert_array_equal(value, other)


def test_virials_of_many_atoms(rng: np.random.Generator) -> None:
    """More of them than are summed at a time."""
    n = 2500
    slots = make_slots(rng, n // SLOTS, virial=True)
    slots["natoms"][1] = n
    virial, per_atom = run(stock.prod_virial_se_a, *slots.values(), n_a_sel=SLOTS)
    assert relative(virial, per_atom.reshape(2, n, 9).sum(axis=1)) < 1e-13


REUSE = """
import shutil, sys
import numpy as np
import tensorflow.compat.v1 as tf
from deepmd_tf.errors import InstallError
from deepmd_tf.ops import library, stock

# Another package has the names: its library, here a copy of ours, is loaded first.
other = shutil.copy(library.LIBRARY_FOLDER / "libdeepmd_tf_stock_ops.so", sys.argv[1])
tf.load_op_library(other)
with tf.Graph().as_default(), tf.Session() as session:
    arrays = np.ones((1, 8)), np.ones((1, 24)), np.array([[1, 0]], np.int32), [2, 2, 2]
    print(session.run(stock.prod_force_se_a(*arrays, n_a_sel=1)).tolist())
record = library.build_record() | {"stock_ops": ["ProdForceSeA", "NoSuchOp"]}
library.build_record = lambda: record
library.stock.cache_clear()
try:
    library.stock()
except InstallError as error:
    print(error)
"""


@pytest.mark.slow
def test_names_that_another_package_has_registered_are_used(tmp_path: Path) -> None:
    """TensorFlow takes each name once; two kernels of one name would make every use of it fail."""
    command = [sys.executable, "-c", REUSE, str(tmp_path / "other.so")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    force, message = done.stdout.splitlines()
    assert force == "[[0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]"
    assert "registered some of the stock operations" in message and "NoSuchOp" in message


# The stock wheel ----------------------------------------------------------------------------------

PEER = """
import sys
import numpy as np
from deepmd.tf.env import op_module, tf
given, result = np.load(sys.argv[1]), {}
for k in range(int(given["n"])):
    case = {name[len(f"{k}_"):]: given[name] for name in given if name.startswith(f"{k}_")}
    sel = [int(n) for n in case.pop("sel")]
    rcut, smth, net = float(case.pop("rcut")), float(case.pop("smth")), case.pop("net")
    with tf.Graph().as_default(), tf.Session() as session:
        env = op_module.prod_env_mat_a(
            **case, rcut_a=-1.0, rcut_r=rcut, rcut_r_smth=smth, sel_a=sel, sel_r=[0] * len(sel))
        lists = dict(nlist=env[3], natoms=case["natoms"], n_a_sel=sum(sel), n_r_sel=0)
        force = op_module.prod_force_se_a(net_deriv=net, in_deriv=env[1], **lists)
        virial = op_module.prod_virial_se_a(net_deriv=net, in_deriv=env[1], rij=env[2], **lists)
        values = session.run([*env, force, *virial])
    result |= {f"{k}_{i}": value for i, value in enumerate(values)}
np.savez(sys.argv[2], **result)
"""


def peer_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Small and large boxes, random atoms and crystals, sections that overflow."""
    cases = []
    for k in range(24):
        dtype = np.float32 if k % 4 == 3 else np.float64
        nf, n, ntypes, size = 2, int(rng.integers(2, 30)), 1 + k % 3, rng.uniform(3, 13)
        box = size * (np.eye(3) + np.tril(rng.uniform(-0.3, 0.3, (nf, 3, 3)), -1))
        coord = rng.uniform(-1, 2, (nf, n, 3)) @ box
        if k % 6 == 5:
            n, box = 8, np.tile(size * np.eye(3), (nf, 1, 1))
            coord = np.tile(np.argwhere(np.ones((2, 2, 2))) * size / 2 + 0.1, (nf, 1, 1))
        type = np.tile(np.sort(rng.integers(0, ntypes, n)), (nf, 1)).astype(np.int32)
        sel = rng.integers(1, 25, ntypes)
        rcut = rng.uniform(2.5, 6.5)
        width = 4 * sel.sum()
        cases.append(
            {
                "coord": coord.reshape(nf, -1).astype(dtype),
                "type": type,
                "natoms": np.array([n, n, *np.bincount(type[0], minlength=ntypes)], np.int32),
                "box": box.reshape(nf, 9).astype(dtype),
                "mesh": OPEN if k % 5 == 4 else PERIODIC,
                "davg": rng.normal(size=(ntypes, width)).astype(dtype),
                "dstd": rng.uniform(0.5, 2, (ntypes, width)).astype(dtype),
                "sel": sel,
                "rcut": rcut,
                "smth": 0.3 * rcut,
                "net": rng.normal(size=(nf, n * width)).astype(dtype),
            }
        )
    return cases


class TestPeer:
    pytestmark = needs_stock

    def test_same_as_the_wheel(self, rng: np.random.Generator, tmp_path: Path) -> None:
        """Neighbours and their order exactly; everything else to rounding."""
        cases = peer_cases(rng)
        given = {f"{k}_{key}": value for k, case in enumerate(cases) for key, value in case.items()}
        np.savez(tmp_path / "given.npz", n=len(cases), **given)
        run_stock_python(["-c", PEER, "given.npz", "result.npz"], tmp_path)
        with np.load(tmp_path / "result.npz") as result:
            theirs = dict(result)
        for k, case in enumerate(cases):
            sel, net, natoms = [int(n) for n in case["sel"]], case["net"], case["natoms"]
            names = ("coord", "type", "natoms", "box", "mesh", "davg", "dstd")
            where = {"rcut_r": case["rcut"], "rcut_r_smth": case["smth"], "sel_a": sel}
            env = run(stock.prod_env_mat_a, *(case[name] for name in names), **where)
            slots = {"n_a_sel": sum(sel)}
            force = run(stock.prod_force_se_a, net, env[1], env[3], natoms, **slots)
            virial = run(stock.prod_virial_se_a, net, *env[1:], natoms, **slots)
            tolerance = 1e-12 if case["coord"].dtype == np.float64 else 1e-3
            for i, mine in enumerate([*env, force, *virial]):
                peer = theirs[f"{k}_{i}"]
                assert mine.shape == peer.shape and mine.dtype == peer.dtype
                if mine.dtype == np.int32:
                    np.testing.assert_array_equal(mine, peer)
                else:
                    scale = tolerance * max(1.0, np.abs(peer).max(initial=0))
                    np.testing.assert_allclose(mine, peer, atol=scale, rtol=0)
