# SPDX-License-Identifier: BSD-3-Clause
"""Trainings that begin with what stock DeePMD-kit trained: the rows that it writes itself."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
import stock_wheel
from saved_models import water_like
from small_training import INPUT, write_all_data, write_script

from deepmd_tf.graph.frozen import open_model
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

SCRIPT = copy.deepcopy(INPUT)
SCRIPT["model"]["descriptor"]["set_davg_zero"] = True
# whose batches come from the same random numbers, and stock looks at them once more at a restart
del SCRIPT["training"]["validation_data"]
TRAINING = {"numb_steps": 6, "disp_freq": 3, "save_freq": 3}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Folder of a training of the peer, with its frozen file."""
    folder = tmp_path_factory.mktemp("first")
    write_all_data(folder)
    write_script(folder, SCRIPT, training=TRAINING)
    stock_wheel.dp(["train", "input.json"], folder)
    stock_wheel.dp(["freeze", "-o", "model.pb"], folder)
    return folder


@pytest.mark.parametrize(
    ("option", "begin"),
    [("restart", "model.ckpt"), ("init_model", "model.ckpt"), ("init_frz_model", "model.pb")],
)
def test_same_curve_from_there(first, tmp_path, monkeypatch, option, begin):
    """Neither has the state of the data, so both draw the batches from the beginning."""
    curves = []
    for name in ("ours", "stock"):
        folder = tmp_path / name
        shutil.copytree(first, folder, symlinks=True)
        write_script(folder, SCRIPT, training=TRAINING | {"numb_steps": 12})
        if name == "ours":
            monkeypatch.chdir(folder)
            assert train("input.json", **{option: begin}) == 0
        else:
            flag = f"--{option.replace('_', '-')}"
            stock_wheel.dp(["train", "input.json", flag, begin], folder)
        curves.append((folder / "lcurve.out").read_text())
    ours, stock = map(rows, curves)
    if option == "restart":
        # stock repeats the row of the checkpoint, on another batch
        assert stock.pop(3).split()[0] == "6"
    assert ours == stock
    assert len(ours) == 5


def rows(curve):
    return [line for line in curve.splitlines() if line[0] != "#"]


@pytest.mark.parametrize("sel", [[10, 14], [30, 50]], ids=["smaller", "larger"])
def test_sel_that_stock_changed(first, tmp_path, rng, sel):
    """The descriptor stays divided by the first number of slots. New slots are normalised in
    another way, so that such a graph can only be run as it is."""
    shutil.copytree(first, tmp_path / "stock", symlinks=True)
    script = copy.deepcopy(SCRIPT)
    script["model"]["descriptor"]["sel"] = sel
    write_script(tmp_path / "stock", script, training=TRAINING)
    stock_wheel.dp(["train", "input.json", "-f", "model.pb"], tmp_path / "stock")
    stock_wheel.dp(["freeze", "-o", "changed.pb"], tmp_path / "stock")
    path = tmp_path / "stock" / "changed.pb"
    model = open_model(path)
    assert isinstance(model, ImportedModel if sel > [12, 20] else SavedModel)
    if isinstance(model, SavedModel):
        assert model.original_sel == {"": (12, 20)}
    frames = water_like(rng)
    (stock,) = stock_wheel.evaluate(path, tmp_path, [frames])
    with DeepPot(path) as pot:
        for key, value in zip(stock_wheel.KEYS, pot.eval(*frames, atomic=True), strict=True):
            want = stock[key].reshape(value.shape)
            np.testing.assert_allclose(value, want, rtol=0, atol=1e-10 * np.abs(want).max())
