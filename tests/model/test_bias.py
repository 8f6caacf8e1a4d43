# SPDX-License-Identifier: BSD-3-Clause
"""Adjusted energy biases, where the answer is known."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from deepmd_tf.data import Batch
from deepmd_tf.errors import DataError
from deepmd_tf.model.bias import adjusted_bias

OLD = np.array([1.0, -2.0, 3.0])
COUNTS = [(2, 1, 0), (1, 3, 0), (4, 4, 0)]


def batch(counts, energy, find: float = 1.0) -> Batch:
    """Frames of these atoms; nothing but types and energies matters."""
    energy = np.atleast_1d(energy)
    types = np.tile(np.repeat(np.arange(len(counts)), counts), (len(energy), 1))
    arrays = {"type": types, "energy": energy, "find_energy": np.float32(find)}
    natoms = np.array([sum(counts), sum(counts), *counts], np.int32)
    return Batch(arrays, natoms, np.zeros(0, np.int32), 0, "set.000", np.arange(len(energy)))


def adjusted(batches, predict, mode, type_map=("O", "H", "C")):
    return adjusted_bias(OLD, batches, predict, type_map=type_map, mode=mode)


def test_what_the_model_lacks_is_added(caplog, rng):
    caplog.set_level(logging.INFO, "deepmd_tf")
    lacking = np.array([0.25, -0.5, 0.0])
    wanted = {id(c): rng.normal(size=2) for c in COUNTS}
    batches = [batch(c, wanted[id(c)]) for c in COUNTS]

    def predict(one):
        return (one.arrays["energy"] - one.natoms[2:] @ lacking)[:, None]

    new = adjusted(batches, predict, "change")
    np.testing.assert_allclose(new, OLD + lacking, atol=1e-12)
    assert new[2] == OLD[2]
    assert "energy bias of H: -2.500000 eV, was -2.000000 eV" in caplog.text


def test_set_is_the_regression_of_the_energies():
    energies = np.array([-10.0, -100.0, 0.0])
    batches = [batch(c, np.dot(c, energies)) for c in COUNTS]

    def predict(_):
        pytest.fail("the model is not asked")

    new = adjusted(batches, predict, "set", type_map=())
    np.testing.assert_allclose(new[:2], energies[:2])
    assert new[2] == OLD[2]  # no atoms of that type


def test_one_composition_is_shared_by_least_norm():
    new = adjusted([batch((1, 2, 0), 5.0)], lambda _: np.zeros(1), "change")
    np.testing.assert_allclose(new - OLD, [1.0, 2.0, 0.0])


def test_frames_without_energies_do_not_count():
    labelled = batch((1, 2, 0), 5.0)
    both = [batch((7, 1, 0), 1e9, find=0.0), labelled]
    one, other = (adjusted(b, lambda _: np.zeros(1), "change") for b in (both, [labelled]))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(DataError, match=r"energy\.npy"):
        adjusted(both[:1], lambda _: np.zeros(1), "change")
