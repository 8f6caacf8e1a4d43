# SPDX-License-Identifier: BSD-3-Clause
"""Hessians of DeepPot: those of the forces, in the order of the caller, whatever file they are
from."""

from __future__ import annotations

import numpy as np
import pytest
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.refusals import FrameError
from deepmd_tf.infer import DeepPot
from deepmd_tf.nn import table

N = 9
STEP = 1e-4
TOLERANCE = 2e-10
"""The second derivative of a table has rounding errors of 1e-16 over the square of its step."""


@pytest.fixture(scope="module")
def pot(saved):
    with DeepPot(saved) as pot:
        yield pot


@pytest.fixture(params=[True, False], ids=["periodic", "free"])
def frames(request, rng):
    coords, cells, types = water_like(rng, n_atoms=N, length=5.0)
    return coords, cells if request.param else None, types


def assert_close(got, expected, tolerance=TOLERANCE):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def by_differences(pot, coords, cells, types, **parameters):
    """Hessian of one frame from forces on both sides."""
    moves = STEP * np.eye(coords.size).reshape(-1, *coords.shape)
    sides = []
    for sign in (1, -1):
        moved = coords + sign * moves
        box = None if cells is None else np.tile(cells, (len(moved), 1))
        sides.append(pot.eval(moved, box, types, **parameters)[1].reshape(len(moved), -1))
    return (sides[1] - sides[0]) / (2 * STEP)


def test_is_the_derivative_of_the_forces(pot, frames):
    coords, cells, types = frames
    got = pot.eval_hessian(coords, cells, types)
    assert got.shape == (2, 3 * N, 3 * N) and got.dtype == np.float64
    for i in range(2):
        cell = None if cells is None else cells[i]
        assert_close(got[i], by_differences(pot, coords[i], cell, types), 1e-6)


def test_of_a_linear_fitting(frames, tmp_path):
    coords, cells, types = frames
    script = small_input(fitting_net={"neuron": []})
    with DeepPot(save_checkpoint(tmp_path, script)[0]) as pot:
        got = pot.eval_hessian(coords[:1], None if cells is None else cells[:1], types)
        cell = None if cells is None else cells[0]
        assert_close(got[0], by_differences(pot, coords[0], cell, types), 1e-6)


def test_symmetry_and_sum_rule(pot, frames):
    got = pot.eval_hessian(*frames)
    scale = np.abs(got).max()
    assert scale > 1e-3
    assert np.abs(got - got.transpose(0, 2, 1)).max() < 1e-10 * scale
    # nothing changes when all atoms move together
    assert np.abs(got.reshape(2, 3 * N, N, 3).sum(axis=2)).max() < 1e-10 * scale


def test_is_the_same_from_every_file(saved, pot, frames, tmp_path):
    expected = pot.eval_hessian(*frames)
    stock = freeze(saved, tmp_path / "stock.pb").path
    native = freeze(stock, tmp_path / "native.pb", dialect="native").path
    again = freeze(native, tmp_path / "hessian.pb", hessian=True).path
    for path in (stock, native, again):
        with DeepPot(path) as other:
            assert_close(other.eval_hessian(*frames), expected)
            assert other.made_for_hessians == (path == again)
            assert not other.has_hessian


def test_block_of_atoms(pot, frames):
    full = pot.eval_hessian(*frames)
    atoms = [7, 0, 4]
    rows = np.array([3 * i + k for i in atoms for k in range(3)])
    assert_close(pot.eval_hessian(*frames, atoms=atoms), full[:, rows[:, None], rows])
    assert pot.eval_hessian(*frames, atoms=[]).shape == (2, 0, 0)


def test_products_with_vectors(pot, frames, rng):
    full = pot.eval_hessian(*frames)
    each = rng.normal(size=(2, 4, N, 3))
    expected = np.einsum("fab,fvb->fva", full, each.reshape(2, 4, -1)).reshape(each.shape)
    assert_close(pot.eval_hessian_vector(*frames, each), expected)
    shared = np.einsum("fab,vb->fva", full, each[0].reshape(4, -1)).reshape(each.shape)
    assert_close(pot.eval_hessian_vector(*frames, each[0].reshape(4, -1)), shared)
    assert_close(pot.eval_hessian_vector(*frames, each[0, 0]), shared[:, :1])


def test_comes_last_from_eval(pot, frames):
    plain = pot.eval(*frames, atomic=True)
    *others, hessian = pot.eval(*frames, atomic=True, hessian=True)
    for got, expected in zip(others, plain, strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(hessian, pot.eval_hessian(*frames))


def test_order_of_atoms(pot, frames, rng):
    coords, cells, types = frames
    order = rng.permutation(N)
    rows = (3 * order[:, None] + np.arange(3)).ravel()
    expected = pot.eval_hessian(*frames)[:, rows[:, None], rows]
    assert_close(pot.eval_hessian(coords[:, order], cells, types[order]), expected)


def test_images_of_atoms(pot, rng):
    coords, cells, types = water_like(rng, n_atoms=N, length=5.0)
    shift = rng.integers(-2, 3, (2, N, 3)) @ cells[0].reshape(3, 3)
    expected = pot.eval_hessian(coords, cells, types)
    assert_close(pot.eval_hessian(coords + shift, cells, types), expected)


@pytest.mark.parametrize("size", [1, 4 * N, False])
def test_size_of_blocks_does_not_matter(saved, pot, frames, size):
    with DeepPot(saved, auto_batch_size=size) as other:
        assert_close(other.eval_hessian(*frames), pot.eval_hessian(*frames))


def test_blocks_are_halved_when_memory_runs_out(saved, pot, frames, monkeypatch):
    with DeepPot(saved) as other:
        run, sizes = other._runner.evaluator.run_hessian, []

        def fussy(directions, *arguments):
            sizes.append(len(directions))
            if len(directions) > 10:
                raise MemoryError
            return run(directions, *arguments)

        monkeypatch.setattr(other._runner.evaluator, "run_hessian", fussy)
        assert_close(other.eval_hessian(*frames), pot.eval_hessian(*frames))
    assert sizes[0] == 2 * 3 * N and max(sizes[-3:]) <= 10


def test_virtual_atoms(pot, rng):
    coords, cells, types = water_like(rng, n_atoms=N, length=5.0)
    there = rng.permutation(np.arange(N + 3) < N)
    filled = rng.normal(size=(2, N + 3, 3))
    filled[:, there] = coords
    with_virtual = np.full(N + 3, -1)
    with_virtual[there] = types
    got = pot.eval_hessian(filled, cells, with_virtual)
    rows = np.repeat(there, 3)
    assert_close(got[:, rows][:, :, rows], pot.eval_hessian(coords, cells, types))
    assert not got[:, ~rows].any() and not got[:, :, ~rows].any()
    atoms = [np.flatnonzero(there)[-1], np.flatnonzero(~there)[0]]
    block = pot.eval_hessian(filled, cells, with_virtual, atoms=atoms)
    assert block[:, :3, :3].any() and not block[:, 3:].any() and not block[:, :, 3:].any()
    assert not pot.eval_hessian(np.zeros((1, 6)), None, [-1, -1]).any()


def test_frames_of_different_atoms(pot, rng):
    coords, cells, types = water_like(rng, n_atoms=N, length=5.0)
    mixed = np.stack([types, 1 - types])
    mixed[1, 2] = -1
    got = pot.eval_hessian(coords, cells, mixed, mixed_type=True)
    for i in range(2):
        assert_close(got[i : i + 1], pot.eval_hessian(coords[i], cells[i], mixed[i]))


def test_parameters(tmp_path, rng):
    prefix, _ = save_checkpoint(
        tmp_path, small_input(fitting_net={"numb_fparam": 2, "numb_aparam": 1})
    )
    coords, cells, types = water_like(rng, n_atoms=5, length=4.0)
    parameters = {"fparam": rng.normal(size=(2, 2)), "aparam": rng.normal(size=(2, 5, 1))}
    with DeepPot(prefix) as pot:
        got = pot.eval_hessian(coords, cells, types, **parameters)
        for i in range(2):
            own = {"fparam": parameters["fparam"][i], "aparam": parameters["aparam"][i]}
            expected = by_differences(pot, coords[i], cells[i], types, **own)
            assert_close(got[i], expected, 1e-6)
            assert_close(got[i], pot.eval_hessian(coords[i], cells[i], types, **own)[0])


def test_atoms_closer_than_the_table_reaches(saved, monkeypatch, caplog):
    coords = np.array([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 1.0, 0.0]])
    monkeypatch.setattr(table, "CONSTANT_TOLERANCE", dict.fromkeys(table.TOLERANCE, 1e-30))
    with DeepPot(saved) as exact:
        expected = exact.eval_hessian(coords, None, [0, 1, 1])
    monkeypatch.undo()
    with DeepPot(saved) as pot:
        assert_close(pot.eval_hessian(coords, None, [0, 1, 1]), expected, 1e-9)
    assert "without embedding tables" in caplog.text
    where = "(frame 0: atoms 0 and 1, counted from 0, are 0.3 Å apart; the smallest distance there"
    assert f"{where} is 0.8 Å)" in caplog.text


def test_single_precision(saved, pot, frames, monkeypatch):
    monkeypatch.setenv("DP_INTERFACE_PREC", "low")
    with DeepPot(saved) as low:
        got = low.eval_hessian(*frames)
    assert got.dtype == np.float64
    assert_close(got, pot.eval_hessian(*frames), 1e-3)


@pytest.mark.parametrize(
    ("atoms", "complaint"),
    [
        ([0, 9], "there is no atom 9; they are 0 to 8"),
        ([-1], "there is no atom -1"),
        ([3, 1, 3], "atom 3 is named twice"),
        ([0.5], "a list of positions"),
        (2, "a list of positions"),
        ([True] * 9, "a list of positions"),
    ],
)
def test_wrong_atoms(pot, frames, atoms, complaint):
    with pytest.raises(InputError, match=complaint):
        pot.eval_hessian(*frames, atoms=atoms)


@pytest.mark.parametrize("shape", [(4, N), (3, 4, N, 3), (2, 1, 4, N, 3), (), (3 * N + 1,)])
def test_wrong_vectors(pot, frames, shape):
    with pytest.raises(InputError, match=r"vectors has shape .*\(n_vectors, 9, 3\)"):
        pot.eval_hessian_vector(*frames, np.zeros(shape))
    with pytest.raises(InputError, match="not finite"):
        pot.eval_hessian_vector(*frames, np.full((1, N, 3), np.nan))


def test_atoms_in_the_same_place(pot, rng):
    coords, cells, types = water_like(rng, n_atoms=N, length=5.0)
    coords[1, 6] = coords[1, 2]
    with pytest.raises(FrameError, match=r"frame 1 .*2 and 6"):
        pot.eval_hessian(coords, cells, types)


def test_compressed_models_are_refused(saved, frames, tmp_path):
    freeze(saved, tmp_path / "model.pb")
    compress(tmp_path / "model.pb", tmp_path / "compressed.pb")
    with DeepPot(tmp_path / "compressed.pb") as pot:
        with pytest.raises(ModelFileError, match=r"compressed model.* no second derivatives"):
            pot.eval_hessian(*frames)
        assert not pot.made_for_hessians
        assert len(pot.eval(*frames)) == 3


def test_nothing_is_built_before_it_is_wanted(saved, frames):
    with DeepPot(saved) as pot:
        pot.eval(*frames)
        graph = pot._runner.evaluator._session.graph
        before = len(graph.get_operations())
        pot.eval(*frames, atomic=True)
        assert len(graph.get_operations()) == before
        pot.eval_hessian(*frames)
        once = len(graph.get_operations())
        assert once > before
        pot.eval_hessian(*frames)
        assert len(graph.get_operations()) == once
