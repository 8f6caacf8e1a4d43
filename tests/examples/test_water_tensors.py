# SPDX-License-Identifier: BSD-3-Clause
"""The examples of dipole moments and polarisabilities: their labels and input scripts."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf.config import load_input
from deepmd_tf.data import DataSystem
from deepmd_tf.losses import make_loss

WATER = Path(__file__).resolve().parents[2] / "examples" / "water"
SET = WATER / "data" / "data_0" / "set.000"


@pytest.fixture(scope="module")
def labels() -> dict:
    return runpy.run_path(str(WATER / "generate" / "make_tensors.py"))


def test_labels_turn_with_the_frame(labels, rng) -> None:
    coord = np.load(SET / "coord.npy")[0].astype(float).reshape(-1, 3)
    cell = np.load(SET / "box.npy")[0].astype(float).reshape(3, 3)
    dipole, polar = labels["label_frame"](coord, cell)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = labels["label_frame"](coord @ turn.T, cell @ turn.T)
    np.testing.assert_allclose(turned[0], dipole @ turn.T, atol=1e-12)
    np.testing.assert_allclose(turned[1], turn @ polar @ turn.T, atol=1e-12)
    np.testing.assert_allclose(polar, polar.swapaxes(1, 2), atol=1e-13)


@pytest.mark.parametrize(("folder", "name"), [("dipole", "dipole"), ("polar", "polarizability")])
def test_scripts_and_data_fit(labels, tmp_path, folder: str, name: str) -> None:
    labels["write"](WATER / "data" / "data_0", tmp_path / "data", name)
    config = load_input(WATER / folder / "input.json")
    loss = make_loss(config.loss, config.model)
    data = DataSystem(tmp_path / "data", ["O", "H"], fields=loss.labels)
    batch = next(data.batches(limit=1))
    tensors = batch.arrays[f"atomic_{name}"].reshape(192, -1)
    assert tensors[:64].any(axis=1).all() and not tensors[64:].any()
