# SPDX-License-Identifier: BSD-3-Clause
"""Gather, scatter and virial over pairs: values in NumPy, adjointness, gradients, messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, check_gradients, relative, run

from deepmd_tf import ops
from deepmd_tf.ops import pairs as pairs_module
from deepmd_tf.ops.library import native

N_ROWS, N_PAIRS = 11, 60
N_FRAME = 5


@pytest.fixture
def index(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres and neighbours; no order is needed, and a row may be its own neighbour (an image)."""
    center = rng.integers(0, N_ROWS, N_PAIRS).astype(np.int32)
    neighbor = rng.integers(0, N_ROWS, N_PAIRS).astype(np.int32)
    assert np.any(center == neighbor)
    return center, neighbor


def scattered(pairs: np.ndarray, center: np.ndarray, neighbor: np.ndarray) -> np.ndarray:
    out = np.zeros((N_ROWS, pairs.shape[1]))
    np.add.at(out, neighbor, pairs)
    np.subtract.at(out, center, pairs)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 5])
def test_values(rng: np.random.Generator, index: tuple, dtype: type, width: int) -> None:
    center, neighbor = index
    values = rng.normal(size=(N_ROWS, width)).astype(dtype)
    pairs = rng.normal(size=(N_PAIRS, width)).astype(dtype)
    gathered = run(ops.gather_pairs, values, *index)
    np.testing.assert_array_equal(gathered, values[neighbor] - values[center])
    shifted = run(ops.gather_pairs, values, *index, pairs)
    np.testing.assert_array_equal(shifted, values[neighbor] - values[center] + pairs)
    n_rows = np.int32(N_ROWS)
    result = run(ops.scatter_pairs, pairs, *index, n_rows)
    assert result.dtype == dtype
    assert relative(result, scattered(pairs.astype(float), *index)) < 10 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_virial(rng: np.random.Generator, index: tuple, dtype: type) -> None:
    _, neighbor = index
    g, x = rng.normal(size=(2, N_PAIRS, 3)).astype(dtype)
    expected = np.zeros((N_ROWS, 9))
    outer = g.astype(float)[:, :, None] * x.astype(float)[:, None, :]
    np.subtract.at(expected, neighbor, outer.reshape(-1, 9))
    result = run(ops.pair_virial, g, x, neighbor, np.int32(N_ROWS))
    assert relative(result, expected) < 10 * np.finfo(dtype).eps


@pytest.fixture
def framed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pairs within two frames of N_FRAME atoms; the frames take turns, which no order forbids."""
    frame = rng.integers(0, 2, N_PAIRS)
    center, neighbor = (rng.integers(0, N_FRAME, (2, N_PAIRS)) + N_FRAME * frame).astype(np.int32)
    return center, neighbor


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("in_order", [False, True])
def test_forces(rng: np.random.Generator, framed: tuple, in_order: bool, dtype: type) -> None:
    """The same sums as of the operations for one of them each."""
    g, x = rng.normal(size=(2, N_PAIRS, 3)).astype(dtype)
    index = sorted(zip(*framed, strict=True)) if in_order else list(zip(*framed, strict=True))
    center, neighbor = np.array(index, np.int32).T
    n_rows, frames = np.int32(2 * N_FRAME), np.array([2, N_FRAME], np.int32)
    force, virial, atom_virial = run(ops.pair_forces, g, x, center, neighbor, frames)
    assert force.dtype == virial.dtype == atom_virial.dtype == dtype
    eps = 10 * np.finfo(dtype).eps
    assert relative(force, -run(ops.scatter_pairs, g, center, neighbor, n_rows)) < eps
    np.testing.assert_array_equal(atom_virial, run(ops.pair_virial, g, x, neighbor, n_rows))
    assert relative(virial, atom_virial.reshape(2, N_FRAME, 9).sum(axis=1)) < eps

    f, atom_w = (rng.normal(size=a.shape).astype(dtype) for a in (force, atom_virial))
    w = rng.normal(size=virial.shape).astype(dtype)
    for given in ([], [atom_w]):
        pulled = run(ops.pair_forces_vjp, f, w, x, center, neighbor, *given)
        matrix = w[center // N_FRAME] + sum(rows[neighbor] for rows in given)
        expected = f[center] - f[neighbor]
        expected -= np.einsum("pab,pb->pa", matrix.reshape(-1, 3, 3), x)
        assert relative(pulled, expected) < eps


def test_any_of_the_results_alone(rng: np.random.Generator, framed: tuple) -> None:
    """Virials of atoms are computed only if they are asked for."""
    g, x = rng.normal(size=(2, N_PAIRS, 3))
    frames = [2, N_FRAME]
    with tf.Graph().as_default(), tf.Session() as session:
        results = ops.pair_forces(g, x, *framed, frames)
        all_three = session.run(results)
        for k, result in enumerate(results):
            np.testing.assert_array_equal(session.run(result), all_three[k])
        np.testing.assert_array_equal(session.run(results[:2])[1], all_three[1])


def test_no_part_of_atoms_in_what_does_not_depend_on_their_virials(
    rng: np.random.Generator, framed: tuple
) -> None:
    g, x = rng.normal(size=(2, N_PAIRS, 3))
    with tf.Graph().as_default() as graph:
        given = tf.constant(g)
        force, virial, atom_virial = ops.pair_forces(given, x, *framed, [2, N_FRAME])
        tf.gradients([force, virial], [given], [force, virial])
        tf.gradients([force, atom_virial], [given], [force, atom_virial])
        pulled = [op for op in graph.get_operations() if op.type == "DpPairForcesVjp"]
        assert [op.get_attr("atom_cotangents") for op in pulled] == [0, 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ["pair_forces", "pair_forces_vjp", "without atoms"])
def test_gradients_of_forces(
    rng: np.random.Generator, framed: tuple, function: str, dtype: type
) -> None:
    shapes = {"g": (N_PAIRS, 3), "x": (N_PAIRS, 3)}
    if function == "pair_forces_vjp":
        del shapes["g"]
        shapes |= {"f": (2 * N_FRAME, 3), "w": (2, 9), "atom_w": (2 * N_FRAME, 9)}

    def build(**tensors: Any) -> Any:
        squares = {name: value * value for name, value in tensors.items()}
        index = {"center": framed[0], "neighbor": framed[1]}
        if function == "pair_forces_vjp":
            return ops.pair_forces_vjp(**squares, **index)
        results = ops.pair_forces(**squares, **index, frames=[2, N_FRAME])
        kept = results[:2] if function == "without atoms" else results
        return tf.concat([tf.reshape(value, [-1]) for value in kept], axis=0)

    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    check_gradients(build, arrays, rng, dtype)


def test_scatter_is_the_transpose_of_gather(rng: np.random.Generator, index: tuple) -> None:
    values, pairs = rng.normal(size=(N_ROWS, 3)), rng.normal(size=(N_PAIRS, 3))
    left = np.sum(pairs * run(ops.gather_pairs, values, *index))
    right = np.sum(values * run(ops.scatter_pairs, pairs, *index, np.int32(N_ROWS)))
    np.testing.assert_allclose(left, right, rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients(rng: np.random.Generator, index: tuple, dtype: type) -> None:
    """Through a nonlinear function, so that the second derivative is not zero."""
    center, neighbor = index
    check_gradients(
        lambda values, shift: tf.sin(ops.gather_pairs(values, center, neighbor, shift)),
        {"values": rng.normal(size=(N_ROWS, 3)), "shift": rng.normal(size=(N_PAIRS, 3))},
        rng,
        dtype,
    )
    check_gradients(
        lambda pairs: tf.sin(ops.scatter_pairs(pairs, center, neighbor, N_ROWS)),
        {"pairs": rng.normal(size=(N_PAIRS, 3))},
        rng,
        dtype,
    )
    check_gradients(
        lambda g, x: tf.sin(0.3 * ops.pair_virial(g, x, neighbor, N_ROWS)),
        {"g": rng.normal(size=(N_PAIRS, 3)), "x": rng.normal(size=(N_PAIRS, 3))},
        rng,
        dtype,
    )
    for transpose in (False, True):
        check_gradients(
            lambda w, v, transpose=transpose: tf.sin(
                pairs_module.pair_virial_vjp(w, v, neighbor, transpose=transpose)
            ),
            {"w": rng.normal(size=(N_ROWS, 9)), "v": rng.normal(size=(N_PAIRS, 3))},
            rng,
            dtype,
        )


def test_gradients_are_dense_and_their_shapes_known(index: tuple) -> None:
    """tf.gather would give IndexedSlices, and a sort of rows in every step."""
    with tf.Graph().as_default():
        values = tf.placeholder(tf.float64, [N_ROWS, 3])
        x = ops.gather_pairs(values, *index)
        assert x.shape.as_list() == [N_PAIRS, 3]
        virial = ops.pair_virial(x * x, x, index[1], tf.shape(values)[0])
        assert virial.shape.as_list() == [N_ROWS, 9]
        (slope,) = tf.gradients(virial, [values])
        assert isinstance(slope, tf.Tensor) and slope.shape.as_list() == [N_ROWS, 3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_pairs(dtype: type) -> None:
    none = np.zeros(0, np.int32)
    assert run(ops.gather_pairs, np.ones((4, 3), dtype), none, none).shape == (0, 3)
    empty = np.zeros((0, 3), dtype)
    np.testing.assert_array_equal(
        run(ops.scatter_pairs, empty, none, none, np.int32(2)), np.zeros((2, 3))
    )
    np.testing.assert_array_equal(
        run(ops.pair_virial, empty, empty, none, np.int32(2)), np.zeros((2, 9))
    )
    for frames in ([1, 2], [0, 2], [2, 0], [0, 0]):
        results = run(ops.pair_forces, empty, empty, none, none, np.array(frames, np.int32))
        n_rows = frames[0] * frames[1]
        for result, n, width in zip(results, (n_rows, frames[0], n_rows), (3, 9, 9), strict=True):
            np.testing.assert_array_equal(result, np.zeros((n, width)))
        pulled = run(ops.pair_forces_vjp, *results[:2], empty, none, none)
        assert pulled.shape == (0, 3)


def test_messages() -> None:
    values, x = np.ones((4, 3)), np.ones((2, 3))
    good, low, high = (np.array(i, np.int32) for i in ([0, 3], [0, -1], [4, 0]))
    n_rows, frames = np.int32(4), np.array([2, 2], np.int32)
    wrong = tf.errors.InvalidArgumentError
    with pytest.raises(wrong, match=r"neighbor\[1\] = -1 is outside the valid range 0 … 3"):
        run(ops.gather_pairs, values, good, low)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside"):
        run(ops.gather_pairs, values, high, good)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside"):
        run(ops.scatter_pairs, x, high, good, n_rows)
    with pytest.raises(wrong, match=r"neighbor\[1\] = -1 is outside"):
        run(ops.pair_virial, x, x, low, n_rows)
    with pytest.raises(wrong, match=r"neighbor\[1\] = -1 is outside"):
        run(ops.pair_forces, x, x, good, low, frames)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside the valid range 0 … 3"):
        run(ops.pair_forces, x, x, high, good, frames)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside"):
        run(ops.pair_forces_vjp, values, np.ones((2, 9)), x, high, good)
    with pytest.raises(wrong, match=r"neighbor\[1\] = -1 is outside"):
        run(ops.pair_forces_vjp, values, np.ones((2, 9)), x, good, low)
    with pytest.raises(wrong, match="f has 4 rows and w has 3, expected as many atoms for each"):
        run(ops.pair_forces_vjp, values, np.ones((3, 9)), x, good, good)
    with pytest.raises(wrong, match="f has 4 rows and w has 0"):
        run(ops.pair_forces_vjp, values, np.ones((0, 9)), x, good, good)
    with pytest.raises((wrong, ValueError), match=r"n_rows|non-negative"):
        run(ops.scatter_pairs, x, good, good, np.int32(-1))
    with tf.Graph().as_default(), tf.Session() as session:
        unknown = tf.placeholder(tf.float64)
        names = "neighbor|center|shift|x|w|atom_w"
        for build in (
            lambda: ops.scatter_pairs(unknown, good, good, 4),
            lambda: ops.pair_virial(unknown, x, good, 4),
            lambda: ops.gather_pairs(values, good, good, unknown),
            lambda: ops.pair_forces(unknown, x, good, good, frames),
            lambda: ops.pair_forces_vjp(values, np.ones((2, 9)), x, good, good, unknown),
            lambda: ops.pair_forces_vjp(values, unknown, x, good, good),
        ):
            with pytest.raises(wrong, match=rf"has shape \[3,2\], expected|({names}) has shape"):
                session.run(build(), {unknown: np.ones((3, 2))})
        two = native().dp_gather_pairs(values, good, good, [x, x])
        with pytest.raises(wrong, match="2 shifts, expected one or none"):
            session.run(two)
        w = np.ones((4, 9))
        two = native().dp_pair_forces_vjp(values, w[:2], x, good, good, [w, w])
        with pytest.raises(wrong, match="2 atom_w, expected one or none"):
            session.run(two)
        numbers = tf.placeholder(tf.int32)
        forces = ops.pair_forces(x, x, good, good, numbers)
        most = 2**31 - 1
        for n_frames, n_all in ((-2, 3), (2, -3), (-1, -1), (most, most), (2, most)):
            message = f"{n_frames} frames of {n_all} atoms, expected 0 or more of each and at most"
            with pytest.raises(wrong, match=message):
                session.run(forces, {numbers: [n_frames, n_all]})
        with pytest.raises(wrong, match=r"frames has shape \[3\], expected \[2\]"):
            session.run(forces, {numbers: [2, 2, 1]})
    with tf.Graph().as_default(), pytest.raises(ValueError, match="must be rank 2"):
        ops.gather_pairs(np.ones(4), good, good)
    with tf.Graph().as_default(), pytest.raises(ValueError, match="Dimensions must be equal"):
        ops.scatter_pairs(np.ones((3, 3)), good, good, 4)


# Threads and instruction sets ---------------------------------------------------------------------

SCRIPT = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
from deepmd_tf import ops
from deepmd_tf.ops.library import native
from deepmd_tf.ops import stock

given = np.load(sys.argv[1])
with tf.Graph().as_default():
    n, natoms = given["type"].size, given["natoms"]
    where = given["coord"], given["type"], natoms, given["box"], np.zeros(6, np.int32)
    pairs = ops.neighbor_list(*where, rcut=6.0, sel=[40, 80])
    r = tf.reshape(tf.constant(given["coord"]), [-1, 3])
    x = ops.gather_pairs(r, pairs.center, pairs.neighbor) + pairs.shift
    force = ops.scatter_pairs(tf.sin(x), pairs.center, pairs.neighbor, n)
    virial = ops.pair_virial(tf.sin(x), x, pairs.neighbor, n)
    forces = ops.pair_forces(tf.sin(x), x, pairs.center, pairs.neighbor, [2, n // 2])
    norm = given["avg"], given["std"]
    env = stock.prod_env_mat_a(*where, *norm, rcut_r=6.0, rcut_r_smth=1.0, sel_a=[40, 80])
    lists = env.descrpt_deriv, env.nlist, natoms
    stock_force = stock.prod_force_se_a(env.descrpt, *lists, n_a_sel=120)
    lists = env.descrpt_deriv, env.rij, env.nlist, natoms
    stock_virial = stock.prod_virial_se_a(env.descrpt, *lists, n_a_sel=120)
    everything = [*pairs, x, force, virial, *forces, *env, stock_force, *stock_virial]
    threads = int(sys.argv[3])
    config = tf.ConfigProto(intra_op_parallelism_threads=threads)
    with tf.Session(config=config) as session:
        np.savez(sys.argv[2], *session.run(everything))
"""


def test_results_do_not_depend_on_threads_nor_much_on_the_processor(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    """TensorFlow makes its worker threads once per process, hence the processes."""
    n, size = 150, 11.5
    np.savez(
        tmp_path / "given.npz",
        coord=rng.uniform(0, size, (2, n * 3)),
        type=np.tile(np.sort(rng.integers(0, 2, n)), (2, 1)).astype(np.int32),
        box=np.tile(size * np.eye(3).reshape(1, 9), (2, 1)),
        natoms=np.array([n, n, 0, 0], np.int32),
        avg=rng.normal(size=(2, 480)),
        std=rng.uniform(0.5, 2, (2, 480)),
    )

    def start(threads: int, isa: str) -> tuple[subprocess.Popen, Path]:
        out = tmp_path / f"{threads}{isa}.npz"
        arguments = [str(tmp_path / "given.npz"), str(out), str(threads)]
        command = [sys.executable, "-c", SCRIPT, *arguments]
        environment = os.environ | {"DEEPMD_TF_ISA": isa}
        return subprocess.Popen(command, env=environment, cwd=tmp_path), out

    def values(out: Path) -> list[np.ndarray]:
        with np.load(out) as result:
            return [result[key] for key in result]

    started = [start(1, ""), start(3, ""), start(3, "baseline")]
    assert [process.wait(timeout=200) for process, _ in started] == [0, 0, 0]
    one, three, plain = (values(out) for _, out in started)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(one, plain, strict=True):
        if a.dtype.kind == "i":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
