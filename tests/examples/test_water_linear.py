# SPDX-License-Identifier: BSD-3-Clause
"""Sums of models on the water example: numbers of DeePMD-kit 3.2.0, and what the example in
``linear`` says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf.config import load_input
from deepmd_tf.data import write_system
from deepmd_tf.infer import DeepPot
from deepmd_tf.pair_table import read_pair_table
from deepmd_tf.training.entrypoint import train

WATER = Path(__file__).resolve().parents[2] / "examples" / "water"
SET = WATER / "data" / "data_0" / "set.000"
N_FRAMES = 4
SIZES = {"sel": [16, 32], "rcut": 4.0, "rcut_smth": 0.5, "seed": 1, "type_one_side": True}
DESCRIPTORS = (
    SIZES | {"type": "se_e2_a", "neuron": [4, 8], "axis_neuron": 2},
    SIZES | {"type": "se_e2_r", "neuron": [4, 8]},
)


@pytest.mark.slow
def test_first_weights_give_the_numbers_of_deepmd_kit(tmp_path, monkeypatch):
    """One batch of four frames for the statistics, no step."""
    monkeypatch.chdir(tmp_path)
    keys = ("coord", "box", "energy", "force", "virial")
    labels = {key: np.load(SET / f"{key}.npy")[:N_FRAMES] for key in keys}
    coord, box = (labels[key].astype(float) for key in ("coord", "box"))
    types = np.loadtxt(WATER / "data" / "data_0" / "type.raw", dtype=int)
    labels["coord"] = coord.reshape(N_FRAMES, -1, 3)
    labels["box"] = box.reshape(N_FRAMES, 3, 3)
    write_system(tmp_path / "data", types=types, type_map=["O", "H"], **labels)
    common = {"type_map": ["O", "H"], "data_stat_nbatch": 1}
    fitting = {"fitting_net": {"neuron": [6, 6], "seed": 1}}
    models = [common | fitting | {"descriptor": descriptor} for descriptor in DESCRIPTORS]
    script = {
        "model": {"type": "linear_ener", "models": models, "weights": "mean"},
        "learning_rate": {"start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 10},
        "training": {
            "training_data": {"systems": ["data"], "batch_size": N_FRAMES},
            "numb_steps": 0,
            "seed": 10,
        },
    }
    Path("input.json").write_text(json.dumps(script))
    assert train("input.json") == 0
    with DeepPot("model.ckpt-0") as pot:
        energy, force, virial = pot.eval(coord[:1], box[:1], types)
    assert energy[0, 0] == pytest.approx(-10171.719231367655, rel=1e-13)
    assert force[0, 0, 0] == pytest.approx(-0.078911405563, abs=1e-10)
    assert virial[0, 0] == pytest.approx(-0.570032670058, abs=1e-9)


@pytest.mark.parametrize("name", ["input.json", "input_quick.json"])
def test_the_example_is_se_e2_a_and_a_table(name):
    model = load_input(WATER / "linear" / name).model
    plain = load_input(WATER / "se_e2_a" / name).model
    (net,), table = model.nets, model.members()[1].config
    assert (net.config.descriptor, net.config.fitting_net) == (plain.descriptor, plain.fitting_net)
    known = read_pair_table(WATER / "linear" / table.tab_file, model.type_map, 2)
    assert not known.energies[known.distances >= table.rcut].any()
