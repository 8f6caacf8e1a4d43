# SPDX-License-Identifier: BSD-3-Clause
"""Models with a table of pair potentials on the water example: numbers of DeePMD-kit 3.2.0, and
what the example in ``zbl`` says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf.config import load_input
from deepmd_tf.data import write_system
from deepmd_tf.infer import DeepPot
from deepmd_tf.pair_table import read_pair_table
from deepmd_tf.pair_table.zbl import zbl_table
from deepmd_tf.training.entrypoint import train

WATER = Path(__file__).resolve().parents[2] / "examples" / "water"
SET = WATER / "data" / "data_0" / "set.000"
N_FRAMES = 4


@pytest.mark.slow
def test_first_weights_give_the_numbers_of_deepmd_kit(tmp_path, monkeypatch):
    """One batch of four frames for the statistics, no step; the switch begins in the bonds."""
    monkeypatch.chdir(tmp_path)
    keys = ("coord", "box", "energy", "force", "virial")
    labels = {key: np.load(SET / f"{key}.npy")[:N_FRAMES] for key in keys}
    coord, box = (labels[key].astype(float) for key in ("coord", "box"))
    types = np.loadtxt(WATER / "data" / "data_0" / "type.raw", dtype=int)
    labels["coord"] = coord.reshape(N_FRAMES, -1, 3)
    labels["box"] = box.reshape(N_FRAMES, 3, 3)
    write_system(tmp_path / "data", types=types, type_map=["O", "H"], **labels)
    r = 0.05 * np.arange(1, 101)
    columns = [
        a * np.exp(-r / b) * (1 - np.minimum(r / 4.5, 1)) ** 3
        for a, b in ((10, 0.3), (4, 0.25), (2, 0.2))
    ]
    np.savetxt("table.txt", np.stack([r, *columns], axis=1))
    descriptor = {"type": "se_e2_a", "sel": [16, 32], "rcut": 4.0, "rcut_smth": 0.5, "seed": 1}
    descriptor |= {"neuron": [4, 8], "axis_neuron": 2, "type_one_side": True}
    table = {"use_srtab": "table.txt", "smin_alpha": 0.1, "sw_rmin": 0.8, "sw_rmax": 1.0}
    script = {
        "model": {
            "type_map": ["O", "H"],
            "data_stat_nbatch": 1,
            "descriptor": descriptor,
            "fitting_net": {"neuron": [6, 6], "seed": 1},
            **table,
        },
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
    assert energy[0, 0] == pytest.approx(-10144.908194334770, rel=1e-13)
    assert force[0, 0, 0] == pytest.approx(-1.457579766860, abs=1e-10)
    assert virial[0, 0] == pytest.approx(84.291883129838, abs=1e-9)


@pytest.mark.parametrize("name", ["input.json", "input_quick.json"])
def test_the_example_is_se_e2_a_with_a_table(name):
    config = load_input(WATER / "zbl" / name).model
    plain = load_input(WATER / "se_e2_a" / name).model
    assert config.descriptor == plain.descriptor and config.fitting_net == plain.fitting_net
    table = read_pair_table(WATER / "zbl" / config.use_srtab, config.type_map, 2)
    expected = zbl_table(["O", "H"], rmin=0.01, rmax=2.0, step=0.01, rswitch=1.0)
    np.testing.assert_allclose(table.energies, expected.energies, rtol=1e-12, atol=1e-12)
    # the README: the closest atoms of the data are beyond the switch
    assert config.switch_to_table == (0.1, 0.6, 0.8)
