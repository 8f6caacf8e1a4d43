# SPDX-License-Identifier: BSD-3-Clause
"""Input scripts with the keys of those that come with DeePMD-kit 3.2.0 for its TensorFlow backend
and are about energies: what becomes of each."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from deepmd_tf.config import Config
from deepmd_tf.errors import InputError

OUTCOMES = {
    "water/se_e2_a": "accepted",
    "water/se_e2_r": "accepted",
    "water/se_e3": "accepted",
    "water/hybrid": "accepted",
    "water/se_e2_a_tebd": "accepted",
    "water/se_atten": "accepted",
    "water/se_atten_compressible": "accepted",
    "water/se_atten_dpa1_compat": "accepted",
    "water/zbl": "accepted",
    "water/d3": "accepted",
    "water/linear": "accepted",
    "water/se_e2_a_mixed_prec": "training.mixed_precision",
    "fparam/train": "accepted",
    "fparam/train aparam": "accepted",
    "nopbc/train": "accepted",
    "nopbc/mixed": "accepted",
    "dprc/normal": "accepted",
    "dprc/pairwise": "accepted",
    "dprc/generalized_force": "accepted",
    "spin/se_e2_a": "accepted",
    "zinc_protein": "accepted",
}
"""Accepted, or the key for which it is refused. DeePMD-kit trains neither ``water/linear`` nor
``water/d3``, whose models it cannot make, nor the one in mixed precision.
"""

NETS = {"neuron": [25, 50, 100], "resnet_dt": False, "seed": 1}
SHELL = {"rcut": 6.0, "rcut_smth": 0.5}
WATER = SHELL | NETS | {"sel": [46, 92]}
SE_E2_A = WATER | {"type": "se_e2_a", "axis_neuron": 16, "type_one_side": True}
ATTENTION = WATER | {
    "type": "se_atten_v2",
    "sel": 120,
    "axis_neuron": 16,
    "attn": 128,
    "attn_layer": 2,
    "attn_dotr": True,
    "attn_mask": False,
    "precision": "float64",
}
FITTING = {"neuron": [240, 240, 240], "resnet_dt": True, "seed": 1}
TABLE = {"use_srtab": "pairs.txt", "smin_alpha": 0.1, "sw_rmin": 0.8, "sw_rmax": 1.0}
QM, MM = (0, 1, 2, 3), (4, 5)
"""Types of the solute and of the solvent."""
WITHIN = [list(p) for kinds in (QM, MM) for p in itertools.combinations_with_replacement(kinds, 2)]
ACROSS = [[a, b] for a in QM for b in MM]
SOLVENT = [list(p) for p in itertools.combinations_with_replacement(MM, 2)]
QM_ENERGIES = [None, None, None, None, 0.0, 0.0]
SINGLE = {"precision": "float32"}
DPRC = {
    "type_map": ["C", "P", "O", "H", "OW", "HW"],
    "type_embedding": SINGLE | {"neuron": [8]},
}
NEAR = SHELL | NETS | SINGLE | {"type": "se_atten_v2", "attn_layer": 0, "axis_neuron": 12}
HYBRID_DPRC = DPRC | {
    "descriptor": {
        "type": "hybrid",
        "list": [
            SHELL
            | NETS
            | SINGLE
            | {
                "type": "se_a_ebd_v2",
                "sel": [6, 1, 6, 11, 0, 0],
                "axis_neuron": 16,
                "exclude_types": ACROSS + SOLVENT,
            },
            NEAR | {"sel": 150, "rcut_smth": 5.8, "set_davg_zero": True, "exclude_types": WITHIN},
        ],
    },
    "fitting_net": FITTING | SINGLE | {"type": "ener", "atom_ener": QM_ENERGIES},
}
BERYLLIUM = SHELL | NETS | {"type": "se_a", "sel": [60], "rcut_smth": 1.8, "axis_neuron": 8}
SMALL_FITTING = FITTING | {"neuron": [120, 120, 120]}


def prefactors(**pairs: tuple[float, float]) -> dict[str, Any]:
    """Those of a loss, from start and limit of each."""
    words = ("start", "limit")
    return {
        f"{word}_pref_{k}": v
        for k, both in pairs.items()
        for word, v in zip(words, both, strict=True)
    }


ENERGIES = {"type": "ener"} | prefactors(e=(0.02, 1), f=(1000, 1), v=(0, 0))


def script(
    model: dict[str, Any], loss: dict[str, Any] | None = None, /, **training: Any
) -> dict[str, Any]:
    """An input script with this model; keys of ``training`` beside those that all have."""
    data = {"systems": ["data/a/", "data/b/"], "batch_size": "auto"}
    common = {"training_data": data, "numb_steps": 1000000, "seed": 10}
    common |= {"disp_file": "lcurve.out", "disp_freq": 100, "save_freq": 1000}
    return {
        "model": model,
        "learning_rate": {
            "type": "exp",
            "decay_steps": 5000,
            "start_lr": 0.001,
            "stop_lr": 3.51e-8,
        },
        "loss": loss or ENERGIES,
        "training": common | training,
    }


def water(descriptor: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A model of water."""
    return {"type_map": ["O", "H"], "descriptor": descriptor, "fitting_net": FITTING, **keys}


VALID = {"validation_data": {"systems": ["data/c"], "batch_size": 1, "numb_btch": 3}}
OLD = {
    "save_ckpt": "model.ckpt",
    "disp_training": True,
    "time_training": True,
    "profiling": False,
    "profiling_file": "timeline.json",
}
ORGANIC = {"type_map": ["C", "H", "O"], "fitting_net": FITTING}
PARAMETERS = {"type_map": ["Be"], "data_stat_nbatch": 1, "descriptor": BERYLLIUM}
ONE_BY_ONE = {"training_data": {"systems": ["data/a"], "set_prefix": "set", "batch_size": 1}}

SCRIPTS = {
    "water/se_e2_a": script(water(SE_E2_A), **VALID),
    "water/se_e2_r": script(
        water(WATER | {"type": "se_e2_r", "neuron": [5, 10, 20]}, fitting_net=SMALL_FITTING),
        **VALID,
    ),
    "water/se_e3": script(
        water(WATER | {"type": "se_e3", "sel": "auto", "rcut": 5.8, "neuron": [2, 4, 8]}),
        **VALID,
        **OLD,
    ),
    "water/hybrid": script(
        water(
            {
                "type": "hybrid",
                "list": [
                    SE_E2_A | {"sel": [20, 40], "rcut": 4.0, "axis_neuron": 4},
                    WATER | {"type": "se_e2_r", "neuron": [5, 10, 20]},
                ],
            }
        ),
        **VALID,
    ),
    "water/se_e2_a_tebd": script(
        water(
            SE_E2_A | {"type": "se_a_ebd_v2"},
            type_embedding={"neuron": [2, 4, 8], "resnet_dt": False, "seed": 1},
        ),
        **VALID,
    ),
    "water/se_atten": script(water(ATTENTION), **VALID),
    "water/se_atten_compressible": script(water(ATTENTION | {"attn_layer": 0}), **VALID),
    "water/se_atten_dpa1_compat": script(
        water(ATTENTION | {"type": "se_atten", "stripped_type_embedding": False}), **VALID
    ),
    "water/zbl": script(water(SE_E2_A, **TABLE), **VALID),
    "water/d3": script(
        {
            "type": "linear_ener",
            "weights": "sum",
            "models": [
                water(SE_E2_A),
                {"type": "pairtab", "tab_file": "pairs.txt", "rcut": 10.0, "sel": 534},
            ],
        },
        **VALID,
    ),
    "water/linear": script(
        {
            "type": "linear_ener",
            "weights": "mean",
            "models": [{"type": "frozen", "model_file": f"{name}.pb"} for name in "ab"],
        },
        numb_steps=0,
    ),
    "water/se_e2_a_mixed_prec": script(
        water(SE_E2_A),
        mixed_precision={"compute_prec": "float16", "output_prec": "float32"},
        **VALID,
    ),
    "fparam/train": script(
        PARAMETERS | {"fitting_net": SMALL_FITTING | {"numb_fparam": 1}}, **ONE_BY_ONE, **OLD
    ),
    "fparam/train aparam": script(
        PARAMETERS | {"fitting_net": SMALL_FITTING | {"numb_aparam": 1}}, **ONE_BY_ONE, **OLD
    ),
    "nopbc/train": script(
        ORGANIC | {"descriptor": SE_E2_A | {"sel": [40, 80, 40], "rcut_smth": 1.0}},
        training_data={"systems": "data/", "batch_size": "auto"},
    ),
    "nopbc/mixed": script(
        ORGANIC | {"descriptor": WATER | {"type": "se_atten_v2", "sel": 120, "axis_neuron": 12}},
        training_data={"systems": "data/", "batch_size": "mixed:4"},
    ),
    "dprc/normal": script(HYBRID_DPRC),
    "dprc/pairwise": script(
        DPRC
        | {
            "type": "pairwise_dprc",
            "qm_model": {
                "descriptor": NEAR | {"sel": 24, "rcut": 9.0},
                "fitting_net": FITTING | SINGLE | {"type": "ener", "atom_ener": QM_ENERGIES},
            },
            "qmmm_model": {
                "descriptor": NEAR | {"sel": 27, "set_davg_zero": True, "exclude_types": WITHIN},
                "fitting_net": FITTING | SINGLE | {"type": "ener", "atom_ener": [0.0] * 6},
            },
        }
    ),
    "dprc/generalized_force": script(
        HYBRID_DPRC, ENERGIES | prefactors(gf=(10, 100)) | {"numb_generalized_coord": 1}
    ),
    "spin/se_e2_a": script(
        {
            "type_map": ["Ni", "O"],
            "descriptor": SE_E2_A | {"sel": [60, 60], "rcut_smth": 5.4, "rcut": 5.6},
            "fitting_net": FITTING,
            "spin": {"use_spin": [True, False], "virtual_len": [0.4], "spin_norm": [1.2737]},
        },
        {"type": "ener_spin"} | prefactors(e=(0.02, 1), fr=(1000, 1.0), fm=(10000, 10.0), v=(0, 0)),
        **VALID,
    ),
    "zinc_protein": script(
        {
            "type_map": ["C", "O", "N", "H", "S", "ZN"],
            "descriptor": {
                "type": "se_a_mask",
                "sel": [36, 16, 24, 64, 6, 1],
                "neuron": [32, 32, 64, 128],
                "resnet_dt": True,
                "axis_neuron": 16,
                "seed": 1,
            },
            "fitting_net": FITTING | {"numb_aparam": 1, "use_aparam_as_mask": True},
        },
        {"type": "ener"} | prefactors(e=(0.0, 0.0), f=(0.0, 0.0), pf=(1.0, 1.0)),
        tensorboard=True,
        tensorboard_log_dir="log4tensorboard",
        tensorboard_freq=100,
        **VALID,
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_is_accepted_or_refused_by_name(name):
    outcome = OUTCOMES[name]
    if outcome == "accepted":
        Config.from_dict(SCRIPTS[name])
        return
    with pytest.raises(InputError) as caught:
        Config.from_dict(SCRIPTS[name])
    message = str(caught.value)
    assert f"{outcome}: " in message and len(message) < 1500, message


@pytest.mark.peer
def test_deepmd_kit_knows_all_of_their_keys(stock):
    program = """
import json, sys
from deepmd.utils.argcheck import normalize
print(json.dumps([sorted(normalize(script)) for script in json.load(sys.stdin)]))
"""
    found = json.loads(stock(program, json.dumps(list(SCRIPTS.values()))))
    assert len(found) == len(SCRIPTS)
