# SPDX-License-Identifier: BSD-3-Clause
"""Gather, scatter and virial over pairs: values in NumPy, adjointness, gradients, messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from plain_session import plain_session

from deepmd_tf import ops
from deepmd_tf.ops import pairs as pairs_module
from deepmd_tf.ops.library import native

from .contract import Arrays, OpContract, Operation

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
    with tf.Graph().as_default(), plain_session() as session:
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


def operation(name: str, build: Any, inputs: str, free: str = "") -> Operation:
    """Pairs of different atoms within two frames; inputs are linear, each by itself."""

    def make(rng: np.random.Generator, n: int) -> Arrays:
        n_rows = 2 * N_FRAME
        center = rng.integers(0, n_rows, n)
        neighbor = center // N_FRAME * N_FRAME + (center + rng.integers(1, N_FRAME, n)) % N_FRAME
        center[-2:], neighbor[-2:] = [n_rows - 1, n_rows - 2][:n], [n_rows - 2, n_rows - 1][:n]
        shapes = {"values": n_rows, "f": n_rows, "atom_w": n_rows, "w": n_rows, "w_frame": 2}
        widths = {"atom_w": 9, "w": 9, "w_frame": 9}
        index = {"center": center.astype(np.int32), "neighbor": neighbor.astype(np.int32)}
        return {
            key: rng.normal(size=(shapes.get(key, n), widths.get(key, 3))) for key in inputs.split()
        } | {key: array for key, array in index.items() if key in inputs}

    floats = " ".join(key for key in inputs.split() if key not in ("center", "neighbor"))
    return Operation(name, build, make, by=floats, linear=floats, contained=floats, free=free)


class TestContract(OpContract):
    operations = (
        operation(
            "DpGatherPairs",
            lambda values, center, neighbor, shift: ops.gather_pairs(
                values, center, neighbor, shift
            ),
            "values center neighbor shift",
        ),
        operation(
            "DpScatterPairs",
            lambda **t: ops.scatter_pairs(**t, n_rows=2 * N_FRAME),
            "pairs center neighbor",
            free="pairs.1",
        ),
        operation(
            "DpPairVirial", lambda **t: ops.pair_virial(**t, n_rows=2 * N_FRAME), "g x neighbor"
        ),
        *(
            operation(
                "DpPairVirialVjp",
                lambda transpose=transpose, **t: pairs_module.pair_virial_vjp(
                    **t, transpose=transpose
                ),
                "w v neighbor",
            )
            for transpose in (False, True)
        ),
        operation(
            "DpPairForces",
            lambda **t: ops.pair_forces(**t, frames=[2, N_FRAME]),
            "g x center neighbor",
        ),
        operation(
            "DpPairForces",
            lambda **t: ops.pair_forces(**t, frames=[2, N_FRAME])[:2],
            "g x center neighbor",
        ),
        operation(
            "DpPairForcesVjp",
            lambda f, w_frame, x, center, neighbor, atom_w: ops.pair_forces_vjp(
                f, w_frame, x, center, neighbor, atom_w
            ),
            "f w_frame x center neighbor atom_w",
            free="w_frame.0",
        ),
        operation(
            "DpPairForcesVjp",
            lambda f, w_frame, x, center, neighbor: ops.pair_forces_vjp(
                f, w_frame, x, center, neighbor
            ),
            "f w_frame x center neighbor",
            free="w_frame.0",
        ),
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


@pytest.mark.cpu("values of indices are not checked elsewhere")
def test_messages() -> None:
    values, x = np.ones((4, 3)), np.ones((2, 3))
    good, low, high = (np.array(i, np.int32) for i in ([0, 3], [0, -1], [4, 0]))
    n_rows, frames = np.int32(4), np.array([2, 2], np.int32)
    wrong = tf.errors.InvalidArgumentError
    with pytest.raises(wrong, match=r"neighbor\[1\].*-1.*range 0.*3"):
        run(ops.gather_pairs, values, good, low)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside"):
        run(ops.gather_pairs, values, high, good)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside"):
        run(ops.scatter_pairs, x, high, good, n_rows)
    with pytest.raises(wrong, match=r"neighbor\[1\] = -1 is outside"):
        run(ops.pair_virial, x, x, low, n_rows)
    with pytest.raises(wrong, match=r"neighbor\[1\] = -1 is outside"):
        run(ops.pair_forces, x, x, good, low, frames)
    with pytest.raises(wrong, match=r"center\[0\].*4.*range 0.*3"):
        run(ops.pair_forces, x, x, high, good, frames)
    with pytest.raises(wrong, match=r"center\[0\] = 4 is outside"):
        run(ops.pair_forces_vjp, values, np.ones((2, 9)), x, high, good)
    with pytest.raises(wrong, match=r"neighbor\[1\] = -1 is outside"):
        run(ops.pair_forces_vjp, values, np.ones((2, 9)), x, good, low)
    with pytest.raises(wrong, match=r"has 4.*has 3"):
        run(ops.pair_forces_vjp, values, np.ones((3, 9)), x, good, good)
    with pytest.raises(wrong, match="f has 4 rows and w has 0"):
        run(ops.pair_forces_vjp, values, np.ones((0, 9)), x, good, good)
    with pytest.raises((wrong, ValueError), match=r"n_rows|non-negative"):
        run(ops.scatter_pairs, x, good, good, np.int32(-1))
    with tf.Graph().as_default(), plain_session() as session:
        two = native().dp_gather_pairs(values, good, good, [x, x])
        with pytest.raises(wrong, match="2 shifts, expected one or none"):
            session.run(two)
        w = np.ones((4, 9))
        two = native().dp_pair_forces_vjp(values, w[:2], x, good, good, [w, w])
        with pytest.raises(wrong, match="2 atom_w"):
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
