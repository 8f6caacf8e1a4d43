# SPDX-License-Identifier: BSD-3-Clause
"""Statistics, seeds and formulas together: energy, force and virial of models without a step of
training, by DeePMD-kit 3.2.0, on the water example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from small_training import write_script

from deepmd_tf.data import write_system
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

WATER = Path(__file__).resolve().parents[2] / "examples" / "water" / "data" / "data_0"
N_FRAMES = 4

NETS = {"rcut": 4.0, "rcut_smth": 0.5, "neuron": [4, 8], "seed": 1}
SE_E2_R = NETS | {"type": "se_e2_r", "sel": [16, 32], "type_one_side": True}
SE_E2_A = SE_E2_R | {"type": "se_e2_a", "axis_neuron": 2}
SE_E3 = NETS | {"type": "se_e3", "rcut": 3.0, "sel": [8, 16], "neuron": [2, 4]}
EBD = SE_E2_A | {"type": "se_a_ebd_v2"}
ATTENTION = NETS | {"type": "se_atten", "sel": 40, "axis_neuron": 2, "attn": 5, "attn_layer": 2}
V2 = ATTENTION | {"type": "se_atten_v2"}
TYPES: dict[str, Any] = {"type_embedding": {"neuron": [3], "seed": 5}}
ELECTRONS = TYPES["type_embedding"] | {"use_econf_tebd": True, "use_tebd_bias": True}
TWO_SIDED = {"type_one_side": False}
EACH: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[float, float, float]]] = {
    "se_e2_r": (SE_E2_R, {}, (-10192.846872556524, -0.005306544862, 2.400438532583)),
    "se_e2_r two-sided": (
        SE_E2_R | TWO_SIDED | {"exclude_types": [[0, 1]]},
        {},
        (-10186.442927992855, 0.008409948034, 2.857739410721),
    ),
    "se_e3": (SE_E3, {}, (-10066.042678996055, 0.420423895841, -5.985447157140)),
    "se_e2_a type embedding": (
        SE_E2_A,
        TYPES,
        (-10236.233274112506, -0.712169799103, 37.211810782557),
    ),
    "se_e2_a type embedding two-sided": (
        SE_E2_A | TWO_SIDED,
        TYPES,
        (-10265.532528465697, 0.007587333769, 3.645862183342),
    ),
    "se_a_ebd_v2": (EBD, TYPES, (-10265.207240948861, 0.072975304752, -5.519132757190)),
    "se_a_ebd_v2 two-sided": (
        EBD | TWO_SIDED,
        TYPES,
        (-10265.893983602235, 0.084666915349, -6.138291845351),
    ),
    "se_atten": (ATTENTION, TYPES, (-10262.968359751016, 0.057867270102, 2.055999296592)),
    "se_atten one-sided": (
        ATTENTION | {"type_one_side": True, "attn_mask": True, "attn_dotr": False},
        TYPES,
        (-10254.495273381110, -0.121126834739, 12.525376426643),
    ),
    "se_atten without attention": (
        ATTENTION | {"attn_layer": 0},
        TYPES,
        (-10275.188950467760, 0.130324132359, -22.181607899563),
    ),
    "se_atten excluded": (
        ATTENTION | {"exclude_types": [[0, 0]]},
        TYPES,
        (-10263.080400391134, 0.058538103169, 1.677244403750),
    ),
    "se_atten smooth": (
        ATTENTION
        | {"exclude_types": [[0, 0]], "smooth_type_embedding": True, "set_davg_zero": False},
        TYPES,
        (-10264.380855975072, 0.028050647092, -3.621462473789),
    ),
    "se_atten strip without attention": (
        ATTENTION | {"tebd_input_mode": "strip", "attn_layer": 0},
        TYPES,
        (-10263.304107995782, 0.048414884560, 2.136849097361),
    ),
    "se_atten strip": (
        ATTENTION | {"tebd_input_mode": "strip", "ln_eps": 1e-5},
        TYPES,
        (-10240.720273110643, -0.425011126125, 41.932268428744),
    ),
    "se_atten_v2 without attention": (
        V2 | {"attn_layer": 0},
        TYPES,
        (-10267.660169648185, -0.024034900275, 9.252315777233),
    ),
    "se_atten_v2": (V2, TYPES, (-10257.044042330586, -0.242476637893, 7.977496037653)),
    "electrons and biases": (
        V2 | {"attn_layer": 0},
        {"type_embedding": ELECTRONS},
        (-10256.029758717112, -0.042946055703, 10.713787258923),
    ),
    "hybrid": (
        {"type": "hybrid", "list": [SE_E2_A, SE_E2_R | {"seed": 3}, SE_E3 | {"seed": 4}]},
        {},
        (-10216.334192035107, -0.836953555579, 27.775139119835),
    ),
    "hybrid type embedding": (
        {
            "type": "hybrid",
            "list": [
                EBD | {"exclude_types": [[1, 1]]},
                V2 | {"attn_layer": 0, "seed": 2, "exclude_types": [[0, 1]]},
            ],
        },
        TYPES,
        (-10254.098489210228, 0.300046059367, -7.126772617838),
    ),
    # the switch begins in the bonds
    "pair table": (
        SE_E2_A,
        {"use_srtab": "table.txt", "smin_alpha": 0.1, "sw_rmin": 0.8, "sw_rmax": 1.0},
        (-10144.908194334770, -1.457579766860, 84.291883129838),
    ),
}
"""Section ``descriptor``, other keys of ``model``; energy, force on an atom, virial."""
QUICK = ("se_e3", "se_a_ebd_v2 two-sided")


@pytest.fixture(scope="module")
def water(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with four frames of the example, and a table of pair potentials."""
    folder = tmp_path_factory.mktemp("water")
    keys = ("coord", "box", "energy", "force", "virial")
    labels = {key: np.load(WATER / "set.000" / f"{key}.npy")[:N_FRAMES] for key in keys}
    labels["coord"] = labels["coord"].astype(float).reshape(N_FRAMES, -1, 3)
    labels["box"] = labels["box"].astype(float).reshape(N_FRAMES, 3, 3)
    types = np.loadtxt(WATER / "type.raw", dtype=int)
    write_system(folder / "data", types=types, type_map=["O", "H"], **labels)
    r = 0.05 * np.arange(1, 101)
    columns = [
        a * np.exp(-r / b) * (1 - np.minimum(r / 4.5, 1)) ** 3
        for a, b in ((10, 0.3), (4, 0.25), (2, 0.2))
    ]
    np.savetxt(folder / "table.txt", np.stack([r, *columns], axis=1))
    return folder


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EACH]
)
def test_numbers_of_deepmd_kit(water, monkeypatch, name):
    """One batch of four frames for the statistics."""
    monkeypatch.chdir(water)
    section, keys, expected = EACH[name]
    script = small.script()
    del script["loss"]
    script["model"] = {
        "type_map": ["O", "H"],
        "data_stat_nbatch": 1,
        "descriptor": section,
        "fitting_net": {"neuron": [6, 6], "seed": 1},
        **keys,
    }
    data = {"systems": ["data"], "batch_size": N_FRAMES}
    script["training"] = {"training_data": data, "numb_steps": 0, "seed": 10}
    assert train(write_script(water, script)) == 0
    frame = np.load("data/set.000/coord.npy")[:1], np.load("data/set.000/box.npy")[:1]
    with DeepPot("model.ckpt-0") as pot:
        energy, force, virial = pot.eval(*frame, np.loadtxt("data/type.raw", dtype=int))
    assert energy.item() == pytest.approx(expected[0], rel=1e-13)
    assert force[0, 0, 0] == pytest.approx(expected[1], abs=1e-10)
    assert virial[0, 0] == pytest.approx(expected[2], abs=1e-9)
