# SPDX-License-Identifier: BSD-3-Clause
"""Neighbour list: against all pairs in NumPy, the rule of what is kept, meshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, run
from plain_session import plain_session

from deepmd_tf import ops

from .contract import Arrays, OpContract, Operation

PERIODIC = np.zeros(6, np.int32)
OPEN = np.zeros(0, np.int32)
ALL = (-1, -1)


class System(NamedTuple):
    """Frames of atoms; ``box`` is made up where the mesh says that there is none."""

    coord: np.ndarray  # [nf, n, 3]
    type: np.ndarray  # [nf, n]
    box: np.ndarray  # [nf, 3, 3]


def neighbors(
    system: System,
    mesh: np.ndarray,
    rcut: float,
    sel: Sequence[int] = ALL,
    nloc: int | None = None,
) -> ops.NeighborList:
    nf, n, _ = system.coord.shape
    natoms = np.array([n if nloc is None else nloc, n] + [0] * len(sel), np.int32)
    coord, box = system.coord.reshape(nf, 3 * n), system.box.reshape(nf, 9)
    return ops.NeighborList(
        *run(ops.neighbor_list, coord, system.type, natoms, box, mesh, rcut=rcut, sel=list(sel))
    )


def test_nearest_of_all_types(rng: np.random.Generator) -> None:
    """With a total the pairs are those of a list of one type, in sections by type."""
    system = random_system(rng, np.float64, 2, 12, 5.0, virtual=True)
    coord, box = system.coord.reshape(2, -1), system.box.reshape(2, 9)
    natoms, one = np.array([12, 12, 0, 0], np.int32), np.array([12, 12, 0], np.int32)
    both = ops.NeighborList(
        *run(ops.neighbor_list, coord, system.type, natoms, box, PERIODIC, rcut=4, sel=ALL, total=9)
    )
    single = ops.NeighborList(
        *run(
            ops.neighbor_list,
            coord,
            np.minimum(system.type, 0),
            one,
            box,
            PERIODIC,
            rcut=4,
            sel=[9],
        )
    )
    assert single.dropped[0] > 0 and single.splits[-1] == both.splits[-1]
    np.testing.assert_array_equal(both.splits[::2], single.splits)
    np.testing.assert_array_equal(both.dropped, [single.dropped[0], 0])
    np.testing.assert_array_equal(both.max_found, [single.max_found[0], 0])
    type_of = system.type.reshape(-1)
    for center in range(24):
        whole = slice(*single.splits[center : center + 2])
        expected = sorted(zip(single.neighbor[whole], map(tuple, single.shift[whole]), strict=True))
        found = slice(both.splits[2 * center], both.splits[2 * center + 2])
        assert expected == sorted(
            zip(both.neighbor[found], map(tuple, both.shift[found]), strict=True)
        )
        for t in range(2):
            section = slice(*both.splits[2 * center + t : 2 * center + t + 2])
            assert np.all(type_of[both.neighbor[section]] == t)


def displacements(system: System, pairs: ops.NeighborList) -> np.ndarray:
    r = system.coord.reshape(-1, 3).astype(float)
    return r[pairs.neighbor] - r[pairs.center] + pairs.shift


def images_within(box: np.ndarray, rcut: float) -> np.ndarray:
    """All integer triples whose images can reach into the box."""
    faces = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
    reach = [np.arange(-k, k + 1) for k in np.ceil(rcut / faces).astype(int) + 1]
    return np.stack(np.meshgrid(*reach, indexing="ij"), -1).reshape(-1, 3)


def all_pairs(
    coord: np.ndarray, type: np.ndarray, box: np.ndarray | None, rcut: float, ntypes: int
) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """(centre, neighbour type) → neighbours and displacements, from all atoms and images."""
    coord = coord.astype(float)
    shifts = np.zeros((1, 3))
    if box is not None:
        box = box.astype(float)
        coord = (coord @ np.linalg.inv(box) % 1) @ box
        shifts = images_within(box, rcut) @ box
    found = {}
    for i in range(len(coord)):
        x = coord[None] + shifts[:, None] - coord[i]
        r = np.linalg.norm(x, axis=-1)
        near = (r < rcut) & (r > 1e-9) & (type[i] >= 0)
        for t in range(ntypes):
            image, j = np.nonzero(near & (type == t))
            order = np.argsort(r[image, j])
            found[i, t] = j[order], x[image[order], j[order]]
    return found


def check_against_all_pairs(
    system: System, pairs: ops.NeighborList, rcut: float, periodic: bool
) -> None:
    nf, n, _ = system.coord.shape
    x = displacements(system, pairs)
    assert pairs.splits.shape == (nf * n * 2 + 1,)
    assert pairs.splits[-1] == len(pairs.center) == len(pairs.neighbor)
    tolerance = 100 * np.finfo(system.coord.dtype).eps * max(1, np.abs(system.coord).max())
    largest = np.zeros(2, int)
    for f in range(nf):
        box = system.box[f] if periodic else None
        expected = all_pairs(system.coord[f], system.type[f], box, float(np.float32(rcut)), 2)
        for (i, t), (_, xs) in expected.items():
            section = (f * n + i) * 2 + t
            mine = slice(pairs.splits[section], pairs.splits[section + 1])
            assert np.all(pairs.center[mine] == f * n + i)
            assert np.all(system.type.reshape(-1)[pairs.neighbor[mine]] == t)
            largest[t] = max(largest[t], len(xs))
            assert len(xs) == mine.stop - mine.start
            if len(xs) == 0:
                continue
            r = np.linalg.norm(x[mine], axis=1)
            assert np.all(np.diff(r) > -1e-5), "sorted by distance"
            apart = np.linalg.norm(x[mine][:, None] - xs[None], axis=-1)
            assert apart.min(axis=1).max() < tolerance and apart.min(axis=0).max() < tolerance
    np.testing.assert_array_equal(pairs.max_found, largest)
    np.testing.assert_array_equal(pairs.dropped, 0)


def random_system(
    rng: np.random.Generator, dtype: type, nf: int, n: int, size: float, virtual: bool = False
) -> System:
    """Frames with boxes of their own, right- and left-handed, atoms inside and outside of them."""
    box = size * (np.eye(3) + rng.uniform(-0.4, 0.4, (nf, 3, 3)))
    box[rng.random(nf) < 0.4] *= np.array([-1, 1, 1])[:, None]
    coord = rng.uniform(-1.5, 2.5, (nf, n, 3)) @ box
    type = rng.integers(-1 if virtual else 0, 2, (nf, n)).astype(np.int32)
    return System(coord.astype(dtype), type, box.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mesh", [PERIODIC, OPEN], ids=["periodic", "open"])
@pytest.mark.parametrize(
    ("nf", "n", "size", "rcut"),
    [
        (3, 12, 5.0, 3.3),
        (2, 40, 14.0, 4.0),  # several cells of a cutoff
        (2, 7, 1.9, 4.1),  # a box smaller than the cutoff
        (2, 1, 2.2, 5.0),  # only images of itself
        (1, 60, 60.0, 5.0),  # mostly empty
        (1, 40, 4.0, 6.5),  # hundreds of neighbours of a type
    ],
)
def test_all_pairs(
    rng: np.random.Generator,
    dtype: type,
    mesh: np.ndarray,
    nf: int,
    n: int,
    size: float,
    rcut: float,
) -> None:
    system = random_system(rng, dtype, nf, n, size, virtual=n == 12)
    pairs = neighbors(system, mesh, rcut)
    assert pairs.shift.dtype == dtype
    check_against_all_pairs(system, pairs, rcut, mesh.size == 6)


def test_needle_and_plate_boxes(rng: np.random.Generator) -> None:
    """Cells of very different lengths and angles: each direction has its own number of images."""
    boxes = [np.diag([2.0, 30.0, 30.0]), np.diag([2.5, 2.5, 40.0]), np.diag([5.0, 5.0, 5.0])]
    boxes[2][1, 0] = 20.0  # the same lattice as without, written askew
    for box in boxes:
        coord = rng.uniform(0, 1, (1, 20, 3)) @ box
        system = System(coord, np.zeros((1, 20), np.int32), box[None])
        check_against_all_pairs(system, neighbors(system, PERIODIC, 4.5), 4.5, True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_displacements_do_not_depend_on_the_image_of_an_atom(
    rng: np.random.Generator, dtype: type
) -> None:
    system = random_system(rng, dtype, 1, 20, 6.0)
    hops = rng.integers(-3, 4, (1, 20, 3))
    moved = system._replace(coord=(system.coord + hops @ system.box).astype(dtype))
    here, there = (neighbors(s, PERIODIC, 4.0) for s in (system, moved))
    np.testing.assert_array_equal(here.splits, there.splits)
    key = [
        np.sort(np.linalg.norm(displacements(s, p), axis=1))
        for s, p in ((system, here), (moved, there))
    ]
    np.testing.assert_allclose(*key, rtol=1e-4 if dtype is np.float32 else 1e-12)


# The rule of what is kept -------------------------------------------------------------------------


def extended(coord: np.ndarray, box: np.ndarray, rcut: float) -> tuple[np.ndarray, np.ndarray]:
    """Atoms followed by their images, cell by cell with x outermost: (positions, atom of each)."""
    faces = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
    cells = np.maximum((faces / rcut).astype(int), 1)
    ghosts = (rcut / (faces / cells)).astype(int) + 1
    cell_of = np.floor(coord @ np.linalg.inv(box) * cells).astype(int)
    positions, atoms = list(coord), list(range(len(coord)))
    for cell in np.ndindex(*(cells + 2 * ghosts)):
        image, inside = np.divmod(np.array(cell) - ghosts, cells)
        if not image.any():
            continue
        for j in np.nonzero((cell_of == inside).all(axis=1))[0]:
            positions.append(coord[j] + image @ box)
            atoms.append(j)
    return np.array(positions), np.array(atoms)


@pytest.mark.parametrize("periodic", [True, False])
def test_nearest_are_kept_and_ties_follow_the_index(periodic: bool) -> None:
    """In a crystal whole shells are at one distance, and sel cuts through them."""
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    box = 7.5 * np.eye(3)
    coord = grid * 2.5 + 0.5
    type = (np.arange(27) % 2).astype(np.int32)
    sel, rcut = (5, 9), 5.2
    pairs = neighbors(
        System(coord[None], type[None], box[None]), PERIODIC if periodic else OPEN, rcut, sel
    )
    x = displacements(System(coord[None], type[None], box[None]), pairs)

    positions, atoms = extended(coord, box, rcut) if periodic else (coord, np.arange(27))
    narrow = positions.astype(np.float32)
    dropped, largest = np.zeros(2, int), np.zeros(2, int)
    for i in range(27):
        d = narrow - narrow[i]
        r2 = d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1] + d[:, 2] * d[:, 2]
        near = (r2 <= np.float32(rcut) * np.float32(rcut)) & (np.arange(len(d)) != i)
        for t in range(2):
            candidates = np.nonzero(near & (type[atoms] == t))[0]
            ordered = candidates[np.lexsort((candidates, r2[candidates]))]
            kept = ordered[: sel[t]]
            mine = slice(*pairs.splits[2 * i + t : 2 * i + t + 2])
            np.testing.assert_array_equal(pairs.neighbor[mine], atoms[kept])
            np.testing.assert_allclose(x[mine], positions[kept] - coord[i], atol=1e-12)
            dropped[t] += len(ordered) - len(kept)
            largest[t] = max(largest[t], len(ordered))
    assert dropped.min() > 0
    np.testing.assert_array_equal(pairs.dropped, dropped)
    np.testing.assert_array_equal(pairs.max_found, largest)


def test_order_is_decided_in_float32() -> None:
    """Distances that float32 cannot tell apart count as equal: the index decides."""
    coord = np.array([[0, 0, 0], [0, 2 + 1e-9, 0], [2, 0, 0], [0, 0, 1.9]])
    system = System(coord[None], np.zeros((1, 4), np.int32), np.zeros((1, 3, 3)))
    natoms = np.array([1, 4, 1], np.int32)
    center, neighbor, *_ = run(
        ops.neighbor_list,
        coord.reshape(1, -1),
        system.type,
        natoms,
        np.zeros((1, 9)),
        OPEN,
        rcut=3.0,
        sel=[2],
    )
    assert center.tolist() == [0, 0]
    assert neighbor.tolist() == [3, 1]


def test_the_cutoff_is_a_float32_number() -> None:
    """0.7 is 0.699999988 in float32, so an atom at 0.69999999 is outside, in float64 too."""
    for distance, n_pairs in ((0.69999999, 0), (0.69999998, 2)):
        coord = np.array([[[0, 0, 0], [distance, 0, 0]]])
        system = System(coord, np.zeros((1, 2), np.int32), np.zeros((1, 3, 3)))
        assert len(neighbors(system, OPEN, 0.7).center) == n_pairs


def test_sel_of_zero_counts_and_keeps_nothing(rng: np.random.Generator) -> None:
    system = random_system(rng, np.float64, 1, 15, 6.0)
    full = neighbors(system, PERIODIC, 4.0)
    none = neighbors(system, PERIODIC, 4.0, (0, 0))
    assert len(none.center) == 0 and none.splits[-1] == 0
    np.testing.assert_array_equal(none.max_found, full.max_found)
    assert none.dropped.sum() == len(full.center)


def count(rng: np.random.Generator, fetches: Sequence[int], times: int = 1) -> None:
    """Evaluate these outputs for a list with dropped neighbours."""
    system = random_system(rng, np.float64, 1, 15, 6.0)
    natoms = np.array([15, 15, 0, 0], np.int32)
    arrays = system.coord.reshape(1, -1), system.type, natoms, system.box.reshape(1, 9), PERIODIC
    with tf.Graph().as_default(), plain_session() as session:
        # constants would be evaluated beforehand, with all outputs
        fed = [tf.placeholder(array.dtype, array.shape) for array in arrays]
        pairs = ops.neighbor_list(*fed, rcut=4.0, sel=[2, 100])
        fetched = [tf.identity(pairs[i]) for i in fetches]
        for _ in range(times):
            session.run(fetched, dict(zip(fed, arrays, strict=True)))


CENTER, DROPPED = 0, 4


def test_dropped_neighbors_that_nobody_counts_are_told(rng, capfd) -> None:
    """Once, for the same atoms, by type; and not where the caller reads the number."""
    count(rng, [CENTER], times=3)
    told = capfd.readouterr().err
    assert told.count("deepmd_tf WARNING") == 1
    assert "more neighbours within the cutoff than the model was made for (type 0: " in told
    assert "sel is 2)" in told and "type 1" not in told
    count(rng, [CENTER, DROPPED])
    assert "WARNING" not in capfd.readouterr().err


def evaluate_pair(coord: np.ndarray, distances: Sequence[float], counted: bool = False) -> None:
    """Evaluate two atoms of types 0 and 1, and a third, at these distances one after another."""
    with tf.Graph().as_default(), plain_session() as session:
        fed = tf.placeholder(tf.float64, [1, 9])
        natoms = np.array([3, 3, 2, 1], np.int32)
        type = np.array([[0, 1, 0]], np.int32)
        box = np.eye(3).reshape(1, 9) * 9
        pairs = ops.neighbor_list(fed, type, natoms, box, PERIODIC, rcut=3.0, sel=[9, 9], close=0.5)
        fetches = [tf.identity(pairs[i]) for i in ([CENTER, DROPPED] if counted else [CENTER])]
        for distance in distances:
            coord[0, 1] = coord[0, 0] + [0, distance - 9, 0]  # of the next cell
            session.run(fetches, {fed: coord.reshape(1, 9)})


THREE_ATOMS = np.array([[[1.0, 2.0, 3.0], [0, 0, 0], [3.5, 2.0, 3.0]]])


def test_close_atoms_are_told(capfd) -> None:
    """Where and how close, again at half of that, and not where the caller counts."""
    evaluate_pair(THREE_ATOMS, [0.51, 0.4, 0.3, 0.21, 0.19, 0.1])
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("deepmd_tf WARNING: two atoms, type 0 at (1, 2, 3) and type 1 at ")
    assert "(1, 2.4, 3), are 0.4 Angstrom apart, less than half of the smallest" in told[0]
    assert "training data (1)" in told[0] and "0.19 Angstrom" in told[1]
    evaluate_pair(THREE_ATOMS, [0.1], counted=True)
    assert "WARNING" not in capfd.readouterr().err


def test_close_atoms_may_be_errors(capfd, monkeypatch) -> None:
    monkeypatch.setenv("DP_ON_CLOSE_ATOMS", "error")
    evaluate_pair(THREE_ATOMS, [0.51])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"0\.3 Angstrom.*DP_ON_CLOSE_ATOMS"):
        evaluate_pair(THREE_ATOMS, [0.3])
    monkeypatch.setenv("DP_ON_CLOSE_ATOMS", "ignore")
    capfd.readouterr()
    evaluate_pair(THREE_ATOMS, [0.3])
    assert "two atoms" not in capfd.readouterr().err
    monkeypatch.setenv("DP_ON_CLOSE_ATOMS", "no")
    with pytest.raises(tf.errors.InvalidArgumentError, match='"no"'):
        evaluate_pair(THREE_ATOMS, [0.3])


def test_dropped_neighbors_may_be_errors(rng, capfd, monkeypatch) -> None:
    monkeypatch.setenv("DP_ON_MISSING_NEIGHBORS", "error")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"type 0:.*DP_ON_MISSING"):
        count(rng, [CENTER])
    count(rng, [CENTER, DROPPED])
    monkeypatch.setenv("DP_ON_MISSING_NEIGHBORS", "ignore")
    count(rng, [CENTER])
    assert "WARNING" not in capfd.readouterr().err
    monkeypatch.setenv("DP_ON_MISSING_NEIGHBORS", "stop")
    with pytest.raises(tf.errors.InvalidArgumentError, match='"stop"'):
        count(rng, [CENTER])


# Meshes -------------------------------------------------------------------------------------------


def given_mesh(lists: Sequence[np.ndarray], centers: np.ndarray, engine: bool) -> tuple:
    """The lists as a mesh tensor; for an engine's also what must stay alive while it is read."""
    counts = np.array([len(n) for n in lists], np.int32)
    rows = [np.ascontiguousarray(n, np.int32) for n in lists]
    if not engine:
        header = np.zeros(16, np.int32)
        return np.concatenate([header, centers, counts, *rows]).astype(np.int32), None
    centers = centers.astype(np.int32)
    pointers = np.array([row.ctypes.data for row in rows], np.uint64)
    mesh = np.zeros(16, np.int32)
    mesh[1] = len(centers)
    for slot, array in ((4, centers), (8, counts), (12, pointers)):
        mesh[slot : slot + 2] = np.array([array.ctypes.data], np.uint64).view(np.int32)
    return mesh, (centers, counts, pointers, rows)


@pytest.mark.parametrize("engine", [True, False], ids=["pointers", "in the tensor"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_given_list_equals_own_search(rng: np.random.Generator, dtype: type, engine: bool) -> None:
    """Ghosts made here and a list with a skin, in shuffled order: the same pairs as the search."""
    rcut, n = 4.0, 14
    system = random_system(rng, np.float64, 1, n, 5.0, virtual=True)
    box = system.box[0]
    coord = (system.coord[0] @ np.linalg.inv(box) % 1) @ box
    positions, atoms = extended(coord, box, rcut + 0.5)
    type = system.type[0][atoms]
    lists = []
    centers = rng.permutation(n).astype(np.int32)
    for i in centers:
        near = np.linalg.norm(positions - positions[i], axis=1) < rcut + 0.5
        near[i] = False
        lists.append(rng.permutation(np.nonzero(near)[0]))
    mesh, alive = given_mesh(lists, centers, engine)
    fed = System(positions[None].astype(dtype), type[None], np.zeros((1, 3, 3), dtype))
    given = neighbors(fed, mesh, rcut, (6, 40), nloc=n)
    del alive
    own = neighbors(
        System(coord[None].astype(dtype), type[None, :n], box[None].astype(dtype)),
        PERIODIC,
        rcut,
        (6, 40),
    )
    np.testing.assert_array_equal(given.center, own.center)
    np.testing.assert_array_equal(given.splits, own.splits)
    np.testing.assert_array_equal(given.dropped, own.dropped)
    np.testing.assert_array_equal(given.max_found, own.max_found)
    np.testing.assert_array_equal(atoms[given.neighbor], own.neighbor)
    assert given.neighbor.max() >= n and not given.shift.any()
    x = [displacements(s, p) for s, p in ((fed, given), (System(coord[None], type, box), own))]
    np.testing.assert_allclose(*x, atol=1e-5 if dtype is np.float32 else 1e-12)


def test_given_list_serves_all_frames(rng: np.random.Generator) -> None:
    system = random_system(rng, np.float64, 3, 9, 6.0)
    everyone = [np.delete(np.arange(9), i) for i in range(9)]
    mesh, _ = given_mesh(everyone, np.arange(9, dtype=np.int32), engine=False)
    given, own = (neighbors(system, m, 4.0) for m in (mesh, OPEN))
    for mine, theirs in zip(given, own, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("mesh", [PERIODIC, OPEN], ids=["periodic", "open"])
@pytest.mark.parametrize(("nf", "n"), [(0, 3), (2, 0), (1, 1), (2, 3)])
def test_nothing_to_find(mesh: np.ndarray, nf: int, n: int) -> None:
    coord = np.tile(np.arange(n)[:, None] * [10.0, 0, 0], (nf, 1, 1)).reshape(nf, n, 3)
    system = System(coord, np.zeros((nf, n), np.int32), np.tile(99 * np.eye(3), (nf, 1, 1)))
    pairs = neighbors(system, mesh, 3.0)
    assert len(pairs.center) == 0 and pairs.shift.shape == (0, 3)
    np.testing.assert_array_equal(pairs.splits, np.zeros(nf * n * 2 + 1))
    np.testing.assert_array_equal(pairs.max_found, [0, 0])


def test_ghosts_without_a_box_are_neighbors_only(rng: np.random.Generator) -> None:
    system = random_system(rng, np.float64, 1, 40, 4.0)
    few, full = (neighbors(system, OPEN, 3.0, nloc=nloc) for nloc in (5, None))
    assert few.center.max() < 5 and few.neighbor.max() >= 5
    np.testing.assert_array_equal(few.splits, full.splits[: 5 * 2 + 1])
    np.testing.assert_array_equal(few.neighbor, full.neighbor[: few.splits[-1]])


def test_virtual_atoms_may_be_anywhere() -> None:
    """Padding of shorter frames sits at the origin, or is not even a number."""
    coord = np.array([[[0, 0, 0], [0, 0, 1], [0, 0, 0], [np.nan] * 3]])
    type = np.array([[0, 1, -1, -1]], np.int32)
    for mesh in (PERIODIC, OPEN):
        pairs = neighbors(System(coord, type, 9 * np.eye(3)[None]), mesh, 2.0)
        assert sorted(zip(pairs.center, pairs.neighbor, strict=True)) == [(0, 1), (1, 0)]


def make_atoms(rng: np.random.Generator, n: int) -> Arrays:
    box = 2.5 * max(n, 1) ** (1 / 3) * np.eye(3)
    return {
        "coord": (rng.uniform(0, 1, (1, n, 3)) @ box).reshape(1, -1),
        "type": rng.integers(0, 2, (1, n)).astype(np.int32),
        "natoms": np.array([n, n, 0, 0], np.int32),
        "box": box.reshape(1, 9),
        "mesh": PERIODIC,
    }


class TestContract(OpContract):
    operations = (
        Operation(
            "DpNeighborList",
            lambda **tensors: ops.neighbor_list(*tensors.values(), rcut=3.0, sel=[20, 20]),
            make_atoms,
        ),
    )
