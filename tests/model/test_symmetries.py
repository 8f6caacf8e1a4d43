# SPDX-License-Identifier: BSD-3-Clause
"""What the energy must not depend on, and what it must add up to."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation import Frames, evaluate, random_statistics, random_weights
from saved_models import small_input, water_like
from scipy.spatial.transform import Rotation

SCRIPT = small_input(descriptor={"sel": [30, 50]})


@pytest.fixture
def model(rng):
    coord, box, types = water_like(rng, n_frames=1)
    weights = random_weights(SCRIPT, random_statistics(rng))
    frames = Frames(coord, box, types)
    return frames, lambda frames: evaluate(SCRIPT, weights, frames)


def test_translation(model):
    frames, run = model
    moved = Frames(frames.coord + np.array([11.3, -27.1, 3.9]), frames.box, frames.types)
    before, after = run(frames), run(moved)
    np.testing.assert_allclose(after["energy"], before["energy"], rtol=1e-12)
    np.testing.assert_allclose(after["force"], before["force"], atol=1e-10)
    np.testing.assert_allclose(before["force"].reshape(-1, 3).sum(axis=0), 0, atol=1e-12)


def test_rotation(model):
    frames, run = model
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.2]).as_matrix()
    turned = Frames(
        frames.coord @ turn.T, (frames.box.reshape(3, 3) @ turn.T).reshape(1, 9), frames.types
    )
    before, after = run(frames), run(turned)
    np.testing.assert_allclose(after["energy"], before["energy"], rtol=1e-12)
    np.testing.assert_allclose(
        after["force"].reshape(-1, 3), before["force"].reshape(-1, 3) @ turn.T, atol=1e-11
    )
    np.testing.assert_allclose(
        after["virial"].reshape(3, 3), turn @ before["virial"].reshape(3, 3) @ turn.T, atol=1e-10
    )


def test_reflection(model):
    """A mirror changes the sign of the determinant of the cell, not the energy; the list takes
    both.
    """
    frames, run = model
    mirror = np.diag([1.0, 1.0, -1.0])
    box = (frames.box.reshape(3, 3) @ mirror)[[1, 0, 2]].reshape(1, 9)  # right-handed again
    image = Frames(frames.coord @ mirror, box, frames.types)
    np.testing.assert_allclose(run(image)["energy"], run(frames)["energy"], rtol=1e-12)


def test_permutation_of_equal_atoms(model, rng):
    frames, run = model
    oxygen = int((frames.types == 0).sum())
    order = np.concatenate([rng.permutation(oxygen), oxygen + rng.permutation(24 - oxygen)])
    shuffled = Frames(frames.coord[:, order], frames.box, frames.types)
    before, after = run(frames), run(shuffled)
    np.testing.assert_allclose(after["energy"], before["energy"], rtol=1e-12)
    np.testing.assert_allclose(
        after["force"].reshape(-1, 3), before["force"].reshape(-1, 3)[order], atol=1e-11
    )


def test_periodic_wrap(model, rng):
    frames, run = model
    cells = rng.integers(-3, 4, size=(24, 3)) @ frames.box.reshape(3, 3)
    before, after = run(frames), run(Frames(frames.coord + cells, frames.box, frames.types))
    for key in ("energy", "force", "virial"):
        np.testing.assert_allclose(after[key], before[key], atol=1e-10, err_msg=key)


def test_extensivity(model):
    frames, run = model
    box = frames.box.reshape(3, 3)
    copies = [frames.coord[0] + i * box[0] + j * box[2] for i in range(2) for j in range(2)]
    large = Frames(
        np.concatenate(copies)[None],
        (box * [[2], [1], [2]]).reshape(1, 9),
        np.tile(frames.types, 4),
    )
    one, four = run(frames), run(large)
    np.testing.assert_allclose(four["energy"], 4 * one["energy"], rtol=1e-12)
    np.testing.assert_allclose(four["virial"], 4 * one["virial"], atol=1e-10)


def test_energy_is_smooth_where_an_atom_enters_the_cutoff(rng):
    """Two atoms: energy, force and its slope are continuous at rcut, and constant beyond."""
    weights = random_weights(SCRIPT, random_statistics(rng))
    r = np.array([3.99, 3.9999, 4.0001, 4.5])
    coord = np.zeros((4, 2, 3))
    coord[:, 1, 0] = r
    result = evaluate(SCRIPT, weights, Frames(coord, None, [0, 1]))
    force, energy = result["force"].reshape(4, 2, 3)[:, 1, 0], result["energy"]
    assert energy[2] == energy[3]
    assert force[2] == force[3] == 0
    # w = O((rcut - r)^3): ten thousand times smaller steps towards the cutoff, a million times
    # smaller energy
    assert abs(energy[1] - energy[2]) < 1e-5 * abs(energy[0] - energy[2])
    assert abs(force[1]) < 1e-3 * abs(force[0])


def test_frames_do_not_see_each_other(rng):
    coord, box, types = water_like(rng, n_frames=3)
    box *= np.array([[1.0], [1.1], [1.3]])
    frames = Frames(coord, box, types)
    weights = random_weights(SCRIPT, random_statistics(rng))
    together = evaluate(SCRIPT, weights, frames)
    for i in range(3):
        alone = evaluate(SCRIPT, weights, Frames(frames.coord[i], box[i : i + 1], frames.types))
        for key in ("energy", "force", "virial", "atom_virial"):
            np.testing.assert_allclose(together[key][i], alone[key][0], rtol=1e-11, atol=1e-12)
