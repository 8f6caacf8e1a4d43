# SPDX-License-Identifier: BSD-3-Clause
"""Neighbour lists on a GPU: those of the processor to the bit, and what is copied for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paper_gpu
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, run
from plain_session import plain_session

from deepmd_tf import ops

from .test_neighbor_list import OPEN, PERIODIC, System, given_mesh, random_system

pytestmark = pytest.mark.gpu("compares both devices")


def arrays_of(system: System, mesh: np.ndarray, n_local: int | None = None) -> tuple:
    nf, n, _ = system.coord.shape
    natoms = np.array([n if n_local is None else n_local, n, 0, 0], np.int32)
    return system.coord.reshape(nf, 3 * n), system.type, natoms, system.box.reshape(nf, 9), mesh


def evaluate(device: str, arrays: Sequence[np.ndarray], **keywords: Any) -> list[np.ndarray]:
    def build(*tensors: Any) -> Any:
        with tf.device(device):
            return ops.neighbor_list(*tensors, **keywords)

    return run(build, *arrays)


def compare(arrays: Sequence[np.ndarray], on_host: bool = False, **keywords: Any) -> int:
    """Both devices; the number of pairs. on_host: the processor does what the GPU cannot."""
    expected = evaluate("/CPU:0", arrays, **keywords)
    before = paper_gpu.counts()
    found = evaluate("/GPU:0", arrays, **keywords)
    counts = {key: n - before.get(key, 0) for key, n in paper_gpu.counts().items()}
    number = "float" if arrays[0].dtype == np.float32 else "double"
    if arrays[0].size:
        assert (counts.get(f"neighbors write_pairs {number}", 0) == 0) == on_host
    if not on_host:
        assert counts["copy_to_host"] == 1, "waits for the number of pairs alone"
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, other)
        assert value.dtype == other.dtype
    return len(expected[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mesh", [PERIODIC, OPEN], ids=["periodic", "open"])
@pytest.mark.parametrize(
    ("nf", "n", "size", "rcut"),
    [
        (5, 12, 5.0, 3.3),
        (2, 150, 14.0, 4.0),
        (3, 7, 1.9, 4.1),
        (1, 60, 60.0, 5.0),
        (1, 600, 20.0, 4.0),  # more cells than a block sums up
        (1, 40, 4.0, 6.5),
        (2, 0, 4.0, 6.5),
        (0, 3, 4.0, 6.5),
    ],
)
def test_searches(
    rng: np.random.Generator,
    dtype: type,
    mesh: np.ndarray,
    nf: int,
    n: int,
    size: float,
    rcut: float,
) -> None:
    """All neighbours, as many as fit of each type, and of all types together."""
    system = random_system(rng, dtype, nf, n, size, virtual=True)
    for keywords in ({"sel": [-1, -1]}, {"sel": [4, 11]}, {"sel": [-1, -1], "total": 9}):
        compare(arrays_of(system, mesh), rcut=rcut, **keywords)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("periodic", [True, False])
def test_crystals(dtype: type, periodic: bool) -> None:
    """Whole shells at one distance, images among them: ties are ordered alike."""
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    box = np.array([[10.0, 0, 0], [0, 10, 0], [2.5, 0, 10]])
    coord = (grid / 4 @ box + 0.3).astype(dtype)[None]
    system = System(coord, (grid.sum(axis=1) % 2).astype(np.int32)[None], box.astype(dtype)[None])
    arrays = arrays_of(system, PERIODIC if periodic else OPEN)
    for keywords in ({"sel": [7, 9]}, {"sel": [0, -1]}, {"sel": [-1, -1], "total": 21}):
        assert compare(arrays, rcut=5.1, **keywords) > 0


def test_needles_are_left_to_the_processor() -> None:
    """Images by the hundred along one axis are beyond what the kernels count."""
    box = np.diag([0.005, 30.0, 30.0])[None]
    system = System(np.array([[[0.001, 1.0, 2.0]]]), np.zeros((1, 1), np.int32), box)
    pairs = compare(arrays_of(system, PERIODIC), on_host=True, rcut=4.0, sel=[-1, -1])
    assert pairs == 2 * 799


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", [True, False], ids=["pointers", "in the tensor"])
def test_given_lists(rng: np.random.Generator, dtype: type, engine: bool) -> None:
    """With ghost atoms, an atom listed twice, and centres in any order; for all frames."""
    system = random_system(rng, dtype, 3, 50, 6.0, virtual=True)
    centers = rng.permutation(20).astype(np.int32)
    lists = [rng.permutation(np.append(np.delete(np.arange(50), i), (i + 1) % 50)) for i in centers]
    lists[3] = lists[3][:0]
    mesh, alive = given_mesh([np.array(row[:49]) for row in lists], centers, engine)
    for keywords in ({"sel": [-1, -1]}, {"sel": [4, 11]}, {"sel": [-1, -1], "total": 9}):
        assert compare(arrays_of(system, mesh, 20), rcut=4.5, **keywords) > 0
    del alive


def test_lists_of_an_engine_are_copied_when_they_are_new(rng: np.random.Generator) -> None:
    """When it was made in this step, and when it is another one in spite of what its age says."""
    system = random_system(rng, np.float64, 1, 30, 6.0)
    system.type[:] = 1
    system.coord[:] = rng.uniform(0, 6, (1, 30, 3))
    rows = [np.delete(np.arange(30, dtype=np.int32), i) for i in range(30)]
    mesh, alive = given_mesh(rows, np.arange(30), engine=True)
    counts, neighbors = alive[1], alive[3]
    arrays = arrays_of(system, mesh)
    with tf.Graph().as_default(), plain_session() as session:
        fed = [tf.placeholder(array.dtype, array.shape) for array in arrays]
        pairs = ops.neighbor_list(*fed, rcut=4.0, sel=[-1, -1])

        def look(age: int) -> tuple[int, int]:
            """Number of pairs, and of copies to the device."""
            mesh[0] = age
            before = paper_gpu.counts().get("copy_to_device", 0)
            splits = session.run(pairs.splits, dict(zip(fed, arrays, strict=True)))
            return splits[-1], paper_gpu.counts()["copy_to_device"] - before

        full, new = look(3)
        assert look(0) == (full, new)
        assert look(1) == (full, new - 2) and look(2) == (full, new - 2)
        arrays[0][0, :3] += 100  # atoms move, and the list stays
        fewer, copied = look(3)
        assert fewer < full and copied == new - 2
        neighbors[1][:] = 0
        assert look(4) == (fewer, new - 2)
        assert look(0)[0] < fewer and look(1)[1] == new - 2
        counts[:] //= 2
        assert look(2)[1] == new


@pytest.mark.parametrize("dtype", DTYPES)
def test_closest_pair_is_read_with_one_more_wait(
    rng: np.random.Generator, capfd: Any, dtype: type
) -> None:
    """And told as the processor does."""
    system = random_system(rng, dtype, 2, 40, 7.0)
    told = []
    for device in ("/CPU:0", "/GPU:0"):
        with tf.Graph().as_default(), plain_session() as session, tf.device(device):
            arrays = arrays_of(system, PERIODIC)
            fed = [tf.placeholder(array.dtype, array.shape) for array in arrays]
            pairs = ops.neighbor_list(*fed, rcut=4.0, sel=[5, 5], close=2.0)
            fetched = tf.identity(pairs.center)
            before = paper_gpu.counts().get("copy_to_host", 0)
            session.run(fetched, dict(zip(fed, arrays, strict=True)))
            waits = paper_gpu.counts().get("copy_to_host", 0) - before
            assert waits == (0 if device == "/CPU:0" else 2)
        told.append(capfd.readouterr().err)
    assert "two atoms" in told[0] and "more neighbours" in told[0]
    assert told[0] == told[1]
