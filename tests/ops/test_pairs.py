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


@pytest.mark.parametrize("dtype", DTYPES)
def test_forces(rng: np.random.Generator, index: tuple, dtype: type) -> None:
    """In one pass the same sums as in two, to the last bit."""
    g, x = rng.normal(size=(2, N_PAIRS, 3)).astype(dtype)
    n_rows = np.int32(N_ROWS)
    force, virial = run(ops.pair_forces, g, x, *index, n_rows)
    np.testing.assert_array_equal(force, -run(ops.scatter_pairs, g, *index, n_rows))
    np.testing.assert_array_equal(virial, run(ops.pair_virial, g, x, index[1], n_rows))
    f, w = rng.normal(size=force.shape).astype(dtype), rng.normal(size=virial.shape).astype(dtype)
    pulled = run(ops.pair_forces_vjp, f, w, x, *index)
    center, neighbor = index
    expected = f[center] - f[neighbor]
    expected -= np.einsum("pab,pb->pa", w[neighbor].reshape(-1, 3, 3), x)
    assert relative(pulled, expected) < 10 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ["pair_forces", "pair_forces_vjp"])
def test_gradients_of_forces(
    rng: np.random.Generator, index: tuple, function: str, dtype: type
) -> None:
    shapes = {"f": (N_ROWS, 3), "w": (N_ROWS, 9)}
    if function == "pair_forces":
        shapes = {"g": (N_PAIRS, 3)}
    shapes["x"] = (N_PAIRS, 3)

    def build(**tensors: Any) -> Any:
        squares = [value * value for value in tensors.values()]
        if function == "pair_forces":
            return tf.concat(ops.pair_forces(*squares, *index, N_ROWS), axis=1)
        return ops.pair_forces_vjp(*squares, *index)

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


def test_messages() -> None:
    values, x = np.ones((4, 3)), np.ones((2, 3))
    good, low, high = (np.array(i, np.int32) for i in ([0, 3], [0, -1], [4, 0]))
    n_rows = np.int32(4)
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
        run(ops.pair_forces, x, x, good, low, n_rows)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside the valid range 0 … 3"):
        run(ops.pair_forces, x, x, high, good, n_rows)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside"):
        run(ops.pair_forces_vjp, values, np.ones((4, 9)), x, high, good)
    with pytest.raises(wrong, match=r"neighbor\[1\] = -1 is outside"):
        run(ops.pair_forces_vjp, values, np.ones((4, 9)), x, good, low)
    with pytest.raises((wrong, ValueError), match=r"n_rows|non-negative"):
        run(ops.scatter_pairs, x, good, good, np.int32(-1))
    with tf.Graph().as_default(), tf.Session() as session:
        unknown = tf.placeholder(tf.float64)
        for build in (
            lambda: ops.scatter_pairs(unknown, good, good, 4),
            lambda: ops.pair_virial(unknown, x, good, 4),
            lambda: ops.gather_pairs(values, good, good, unknown),
            lambda: ops.pair_forces(unknown, x, good, good, 4),
            lambda: ops.pair_forces_vjp(values, unknown, x, good, good),
        ):
            with pytest.raises(
                wrong, match=r"has shape \[3,2\], expected|(neighbor|center|shift|x|w) has shape"
            ):
                session.run(build(), {unknown: np.ones((3, 2))})
        two = native().dp_gather_pairs(values, good, good, [x, x])
        with pytest.raises(wrong, match="2 shifts, expected one or none"):
            session.run(two)
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
    norm = given["avg"], given["std"]
    env = stock.prod_env_mat_a(*where, *norm, rcut_r=6.0, rcut_r_smth=1.0, sel_a=[40, 80])
    lists = env.descrpt_deriv, env.nlist, natoms
    stock_force = stock.prod_force_se_a(env.descrpt, *lists, n_a_sel=120)
    lists = env.descrpt_deriv, env.rij, env.nlist, natoms
    stock_virial = stock.prod_virial_se_a(env.descrpt, *lists, n_a_sel=120)
    everything = [*pairs, x, force, virial, *env, stock_force, *stock_virial]
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
