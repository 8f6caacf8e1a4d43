# SPDX-License-Identifier: BSD-3-Clause
"""Operations that cut frames into a quantum region and fragments, against NumPy and the peer."""

from __future__ import annotations

import numpy as np
import paper_gpu
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, run
from pairwise_maps import maps, merged
from stock_wheel import needs_stock
from stock_wheel import run as run_stock_python

from deepmd_tf import ops
from deepmd_tf.ops import stock_pairwise

from .contract import Arrays, OpContract, Operation
from .test_stock_tabulate import signature

WRONG = tf.errors.InvalidArgumentError


def groups(rng: np.random.Generator, n: int, n_ghost: int = 0, n_frames: int = 2) -> Arrays:
    """Frames of ``n`` local atoms and ghosts in groups from -1 to n/6 + 1; each has a first one."""
    group = rng.integers(-1, n // 6 + 2, (n_frames, n + n_ghost))
    group[:, :1] = 0
    return {"group": group.astype(float), "natoms": np.array([n, n + n_ghost, n, 0], np.int32)}


def placed(made: Arrays) -> Arrays:
    """With coordinates and types, inputs of :func:`deepmd_tf.ops.fragments`."""
    frames, n_all = made["group"].shape
    coord = np.random.default_rng(3).uniform(0, 50, (frames, 3 * n_all))
    return {"coord": coord, "type": np.zeros((frames, n_all), np.int32), **made}


def make_groups(rng: np.random.Generator, n: int) -> Arrays:
    return groups(rng, n, n // 3, 2 if n else 0)


def make_placed(rng: np.random.Generator, n: int) -> Arrays:
    return placed(make_groups(rng, n))


def fragments(group: np.ndarray, natoms: np.ndarray, dtype: type = np.float64):
    """Values of the operation for atoms in places of their own."""
    made = placed({"group": np.asarray(group, float), "natoms": natoms})
    given = [a.astype(dtype) if a.dtype == np.float64 else a for a in made.values()]
    return run(ops.fragments, *given)


def make_whole(rng: np.random.Generator, n: int) -> Arrays:
    made = make_groups(rng, n)
    return {"idxs": made["group"].astype(np.int32), "natoms": made["natoms"]}


def make_forward(rng: np.random.Generator, n: int) -> Arrays:
    """Sub-frames of one frame."""
    made = groups(rng, n, n // 3, 1)
    if not n:
        empty = np.zeros((0, 1), np.int32)
        return {"sub_forward_map": empty, "sub_natoms": np.array([1, 1, 1, 0], np.int32)} | {
            "natoms": made["natoms"]
        }
    found = maps(made["group"], made["natoms"])
    return {
        "sub_forward_map": found.forward_qmmm.astype(np.int32),
        "sub_natoms": found.natoms_qmmm.astype(np.int32),
        "natoms": made["natoms"],
    }


class TestContract(OpContract):
    operations = (
        Operation("DpFragments", ops.fragments, make_placed, free="natoms.0", large=600),
        Operation(
            "DprcPairwiseIdx",
            stock_pairwise.dprc_pairwise_idx,
            make_whole,
            free="idxs.0 natoms.0",
            large=600,
        ),
        Operation(
            "ConvertForwardMap",
            stock_pairwise.convert_forward_map,
            make_forward,
            free="sub_forward_map.0 sub_natoms.0 natoms.0",
            large=600,
        ),
    )


CASES = {
    "sub-frames": (20, 0, 3),
    "ghosts": (20, 17, 2),
    "many": (150, 40, 1),
    "one": (1, 0, 2),
}


def same(found, expected) -> None:
    for name, value, wanted in zip(expected._fields, found, expected, strict=True):
        np.testing.assert_array_equal(value, wanted, err_msg=name)
        assert value.dtype == np.int32


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_maps(rng, case, dtype):
    made = groups(rng, *case)
    group, natoms = made["group"], made["natoms"]
    expected = maps(group, natoms)
    same(fragments(group, natoms, dtype), expected)
    same(run(stock_pairwise.dprc_pairwise_idx, group.astype(np.int32), natoms), expected)


@pytest.mark.gpu("about its waits")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_waits_once(rng, case):
    """For the numbers of parts: kernels find them."""
    made = groups(rng, *case)
    before = paper_gpu.counts().get("copy_to_host", 0)
    fragments(made["group"], made["natoms"])
    assert paper_gpu.counts()["copy_to_host"] == before + 1


def test_the_smallest_group_of_a_frame_is_its_quantum_region():
    """Also where all local atoms are of others, or there are no others."""
    natoms = np.array([3, 4, 3], np.int32)
    for group in ([[5.0, 3, 5, -1], [7, 7, 7, 7]], [[1, 1, 2, 0]] * 2, [[2, -1, -1, -1]] * 2):
        same(fragments(np.array(group), natoms), maps(np.array(group), natoms))


@pytest.mark.parametrize(
    ("locals_", "ghosts"),
    [(16, 0), (16, 9), (1, 0), (0, 9)],
    ids=["", "ghosts", "lone", "no local"],
)
def test_merged_frame(rng, locals_, ghosts):
    made = groups(rng, locals_, ghosts, 1)
    found = maps(made["group"], made["natoms"])
    given = [a.astype(np.int32) for a in (found.forward_qmmm, found.natoms_qmmm)]
    values = run(stock_pairwise.convert_forward_map, *given, made["natoms"])
    n_all = locals_ + ghosts
    atoms, backward, counts, mesh = merged(found.forward_qmmm, found.natoms_qmmm[0], n_all)
    np.testing.assert_array_equal(values.forward_map, atoms)
    np.testing.assert_array_equal(values.backward_map, backward)
    np.testing.assert_array_equal(values.natoms, [*counts, counts[0], 0])
    np.testing.assert_array_equal(values.mesh, mesh)


def test_virtual_atoms_take_no_part(rng):
    made = placed(groups(rng, 20, 10))
    made["type"][:, 3:20:4] = -1
    changed = np.where(made["type"] < 0, -1, made["group"])
    same(run(ops.fragments, *made.values()), maps(changed, made["natoms"]))


def test_messages():
    natoms = np.array([2, 3, 2], np.int32)

    def message(group: list[list[float]], counts: np.ndarray = natoms) -> str:
        with pytest.raises(WRONG) as error:
            fragments(np.array(group), counts)
        return error.value.message

    whole = "expected a whole number, the same for all atoms of a fragment"
    assert f"frame 1 has atom 1 in the group 0.5, {whole}" in message([[0, 1, 2], [0, 0.5, 1]])
    assert f"frame 0 has atom 2 in the group nan, {whole}" in message([[0, 1, np.nan]])
    assert "frame 0 has atom 0 in the group -2, expected 0 or more, or -1 for" in message(
        [[-2, 1, 0]]
    )
    assert "frame 1 has no atom in a group, expected those of the quantum region" in message(
        [[0, 1, 1], [-1, -1, -1]]
    )
    assert "group has shape [1,2], expected [?,3]" in message([[0, 1]])
    assert "natoms starts with 4, 3" in message([[0, 1, 1]], np.array([4, 3, 4], np.int32))
    with pytest.raises(WRONG, match=r"sub_forward_map\[1\] = 3 is outside"):
        forward = np.array([[0, 3, -1]], np.int32)
        run(stock_pairwise.convert_forward_map, forward, np.array([3, 3, 3], np.int32), natoms)


@pytest.mark.parametrize("dtype", DTYPES)
def test_atoms_in_one_place(dtype):
    """Atoms of a sub-frame, told with their frame; those of different fragments do not meet."""
    group = np.array([[0, 1, 1, 2, 0, -1]] * 2, float)
    made = placed({"group": group, "natoms": np.array([6, 6, 6], np.int32)})

    def refused(i: int, j: int) -> str:
        coord = made["coord"].reshape(2, 6, 3).copy()
        coord[1, i] = coord[1, j] if j >= 0 else np.nan
        given = made | {"coord": coord.reshape(2, 18)}
        arrays = [a.astype(dtype) if a.dtype == np.float64 else a for a in given.values()]
        try:
            run(ops.fragments, *arrays)
        except WRONG as error:
            return error.message
        return ""

    for i, j in ((0, 4), (1, 2), (4, 3)):
        first, last = sorted((i, j))
        said = f"frame 1 has atoms {first} and {last} (counted from 0) at the same place"
        assert said in refused(i, j)
    assert not refused(1, 3) and not refused(5, 0) and not refused(5, -1)
    assert "frame 1 has atom 2 at a position that is not finite" in refused(2, -1)


def test_registration_is_that_of_stock() -> None:
    run(stock_pairwise.dprc_pairwise_idx, np.zeros((1, 1), np.int32), np.ones(3, np.int32))
    assert signature("DprcPairwiseIdx") == (
        "idxs:3 natoms:3",
        "forward_qm_map:3 backward_qm_map:3 forward_qmmm_map:3 backward_qmmm_map:3 natoms_qm:3 "
        "natoms_qmmm:3 qmmm_frame_idx:3",
        "",
    )
    assert signature("ConvertForwardMap") == (
        "sub_forward_map:3 sub_natoms:3 natoms:3",
        "forward_map:3 backward_map:3 new_natoms:3 mesh:3",
        "",
    )


PEER = """
import sys
import numpy as np
from deepmd.tf.env import op_module, tf
given, result = np.load(sys.argv[1]), {}
for k in range(int(given["n"])):
    idxs, natoms = given[f"{k}_idxs"], given[f"{k}_natoms"]
    with tf.Graph().as_default(), tf.Session() as session:
        one = op_module.dprc_pairwise_idx(idxs, natoms)
        two = op_module.convert_forward_map(one[2], one[5], natoms)
        for name, values in (("one", one), ("two", two)):
            for i, value in enumerate(session.run(list(values))):
                result[f"{k}_{name}_{i}"] = value
np.savez(sys.argv[2], **result)
"""


@pytest.mark.peer
@pytest.mark.parametrize("_", [pytest.param(0, marks=needs_stock)])
def test_same_as_the_peer(tmp_path, rng, _):
    """To the last index, with groups of one frame and of several.

    Where there is no fragment beside the region, it puts numbers that it has not set into the
    frame of all sub-frames.
    """
    given: dict[str, np.ndarray | int] = {}
    made = [groups(rng, n, g, f) for n, g, f in [*CASES.values(), (6, 30, 3), (40, 0, 1)]]
    for k, case in enumerate(made):
        given[f"{k}_idxs"], given[f"{k}_natoms"] = case["group"].astype(np.int32), case["natoms"]
    np.savez(tmp_path / "given.npz", n=len(made), **given)
    run_stock_python(["-c", PEER, "given.npz", "result.npz"], tmp_path)
    with np.load(tmp_path / "result.npz") as theirs:
        for k in range(len(made)):
            idxs, natoms = given[f"{k}_idxs"], given[f"{k}_natoms"]
            one = run(stock_pairwise.dprc_pairwise_idx, idxs, natoms)
            two = run(stock_pairwise.convert_forward_map, one[2], one[5], natoms)
            made_of_none = not len(one.frame)
            for name, values in (("one", one), ("two", () if made_of_none else two)):
                for i, value in enumerate(values):
                    wanted = theirs[f"{k}_{name}_{i}"]
                    np.testing.assert_array_equal(value, wanted, err_msg=f"{k} {name} {i}")
