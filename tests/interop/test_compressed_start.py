# SPDX-License-Identifier: BSD-3-Clause
"""A training that begins with a compressed model is that of DeePMD-kit, and goes on there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import stock_wheel
from saved_models import water_like
from small_training import write_all_data

from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

ANGULAR = {"type": "se_e2_a", "axis_neuron": 3}
CASES = {
    "se_e2_a": ANGULAR | {"exclude_types": [[0, 0]]},
    "se_e2_a without slots": ANGULAR | {"type_one_side": True, "sel": [0, 20]},
    "se_e2_r": {"type": "se_e2_r"},
}
COMMON = {"sel": [12, 20], "rcut": 4.0, "rcut_smth": 0.5, "neuron": [4, 8], "seed": 1}
TERMS = {f"{when}_pref_{what}": 1.0 for when in ("start", "limit") for what in "efv"}


def script(descriptor):
    return {
        "model": {
            "type_map": ["O", "H"],
            "descriptor": COMMON | descriptor,
            "fitting_net": {"neuron": [6, 6], "seed": 1},
        },
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 10},
        "loss": {"type": "ener", **TERMS},
        "training": {
            "training_data": {"systems": ["data/train/cell"], "batch_size": 1},
            "numb_steps": 5,
            "disp_freq": 1,
            "seed": 10,
        },
    }


@pytest.fixture(scope="module", params=CASES)
def compressed(request, tmp_path_factory):
    """Folder with data, a script, and compressed.pb by DeePMD-kit."""
    folder = tmp_path_factory.mktemp("compressed")
    write_all_data(folder)
    (folder / "input.json").write_text(json.dumps(script(CASES[request.param])))
    commands = [["train", "input.json"], ["freeze", "-o", "model.pb"]]
    commands.append(["compress", "-i", "model.pb", "-o", "compressed.pb"])
    stock_wheel.dp_each(commands, folder)
    return folder


def test_the_training_is_the_same(compressed, tmp_path, monkeypatch):
    start = str(compressed / "compressed.pb")
    for part in ("ours", "stock"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "data").symlink_to(compressed / "data")
        (tmp_path / part / "input.json").write_text((compressed / "input.json").read_text())
    monkeypatch.chdir(tmp_path / "ours")
    assert train("input.json", init_frz_model=start) == 0
    freeze("model.ckpt-5", "model.pb")
    commands = [["train", "input.json", "-f", start], ["freeze", "-o", "model.pb"]]
    commands.append(["freeze", "-c", "../ours", "-o", "../ours.pb"])
    stock_wheel.dp_each(commands, tmp_path / "stock")
    curves = [np.loadtxt(tmp_path / part / "lcurve.out") for part in ("ours", "stock")]
    np.testing.assert_allclose(*curves, rtol=1e-2)
    # files and checkpoints of both, here and there
    coords, cells, types = water_like(np.random.default_rng(5), n_frames=2)
    frames = coords, cells.reshape(-1, 3, 3), types
    files = {"ours": ["model.ckpt-5", "model.pb", "../ours.pb"], "stock": ["."]}
    paths = [tmp_path / part / "model.pb" for part in files]
    results = stock_wheel.evaluate_files(paths, tmp_path, [frames])
    for (part, others), (theirs,) in zip(files.items(), results, strict=True):
        for file in others:
            with DeepPot(tmp_path / part / file) as pot:
                found = dict(zip(stock_wheel.KEYS, pot.eval(*frames, atomic=True), strict=True))
            for key, array in found.items():
                want = np.ravel(theirs[key])
                assert np.abs(np.ravel(array) - want).max() <= 1e-10 * np.abs(want).max(), key
