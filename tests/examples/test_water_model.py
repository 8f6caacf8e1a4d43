# SPDX-License-Identifier: BSD-3-Clause
"""The model of the water example on a frame of its data: three dialects, one result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from evaluation import QUANTITIES, Frames, evaluate, random_weights

from deepmd_tf.data import DataSystem
from deepmd_tf.environment import Cutoff, EnvironmentSpec, Selection
from deepmd_tf.fields import ENERGY
from deepmd_tf.model.energy import Statistics
from deepmd_tf.model.statistics import (
    energy_bias,
    environment_scale,
    environment_sums,
    neighbor_statistics,
)

WATER = Path(__file__).resolve().parents[2] / "examples" / "water"


def test_dialects_agree_on_an_example_frame():
    script = json.loads((WATER / "se_e2_a" / "input.json").read_text())
    descriptor = script["model"]["descriptor"]
    system = DataSystem(WATER / "data" / "data_3", type_map=["O", "H"], fields=(ENERGY,))
    batch = next(system.batches(max_atoms=system.natoms))
    cutoff = Cutoff(descriptor["rcut"], descriptor["rcut_smth"])
    spec = EnvironmentSpec(cutoff, Selection(tuple(descriptor["sel"])), 2)
    avg, std = environment_scale(environment_sums([batch], spec), cutoff.rcut)
    bias, _ = energy_bias([batch], ntypes=2)
    nearest = neighbor_statistics([batch], ntypes=2, rcut=cutoff.rcut).min_distance
    weights = random_weights(script, Statistics(avg, std, bias))
    arrays = batch.arrays
    frames = Frames(arrays["coord"], arrays["box"], arrays["type"][0])
    native = evaluate(script, weights, frames, "native", min_nbor_dist=nearest)
    stock = evaluate(script, weights, frames, "stock")
    reference = evaluate(script, weights, frames, "reference")
    assert not native["dropped"].any() and native["outside"] == 0
    for key in QUANTITIES:
        scale = np.abs(reference[key]).max()
        np.testing.assert_allclose(
            native[key], reference[key], rtol=0, atol=1e-10 * scale, err_msg=key
        )
        np.testing.assert_allclose(
            stock[key], reference[key], rtol=0, atol=1e-12 * scale, err_msg=key
        )
