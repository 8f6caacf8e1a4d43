# SPDX-License-Identifier: BSD-3-Clause
"""Many inputs, begun by stock DeePMD-kit and by us: same first weights, statistics, data, losses.

The learning rate is so small that the first checkpoint holds the initial weights.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stock_wheel
import tensorflow.compat.v1 as tf
from small_training import INPUT, write_all_data

from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

PROGRAM = """
import os, sys
import tensorflow as tf
from deepmd.main import main
home = os.getcwd()
for folder in sys.argv[1:]:
    os.chdir(os.path.join(home, folder))
    tf.compat.v1.reset_default_graph()
    main(["--tf", "train", "input.json"])
"""
QUIET = {"start_lr": 1e-14, "stop_lr": 1e-15, "decay_steps": 1, "decay_rate": 0.5}

CASES: dict[str, dict[str, dict[str, Any]]] = {
    "two-sided": {},
    "one-sided": {"descriptor": {"type_one_side": True}},
    "steps in skip connections": {
        "descriptor": {"resnet_dt": True, "neuron": [4, 4, 8]},
        "fitting_net": {"resnet_dt": True, "neuron": [6, 6, 6]},
    },
    "unequal widths": {
        "descriptor": {"neuron": [2, 7, 14, 5], "resnet_dt": True, "type_one_side": True},
        "fitting_net": {"neuron": [9, 5, 5], "resnet_dt": False},
    },
    "one layer": {"descriptor": {"neuron": [3]}, "fitting_net": {"neuron": [4]}},
    "no seed of the descriptor": {"descriptor": {"seed": None}},
    "no seed of the fitting net": {"fitting_net": {"seed": None}},
    "no seed of the data": {"training": {"seed": None}},
    "large seeds": {
        "descriptor": {"seed": 3458359619},
        "fitting_net": {"seed": 4266336533},
        "training": {"seed": 2**32 + 5},
    },
    "float32": {"descriptor": {"precision": "float32"}, "fitting_net": {"precision": "float32"}},
    "probabilities of systems": {
        "training": {
            "training_data": {
                "systems": ["data/train"],
                "batch_size": "auto:9",
                "sys_probs": [0.3, -1],
            }
        }
    },
    "automatic sel": {"descriptor": {"sel": "auto:1.3"}},
    "energies of atoms": {
        "descriptor": {"set_davg_zero": True},
        "fitting_net": {"atom_ener": [0.25, None]},
    },
    "shared layers": {"fitting_net": {"neuron": [8, 8, 8], "layer_name": ["a", "b", "b", "c"]}},
    "excluded": {"descriptor": {"exclude_types": [[0, 1]]}},
    "excluded, one-sided": {
        "descriptor": {"exclude_types": [[0, 0], [1, 0]], "type_one_side": True}
    },
    "a type without atoms": {
        "model": {"type_map": ["O", "H", "C"]},
        "descriptor": {"sel": [12, 20, 3]},
    },
    "frozen half": {
        "descriptor": {"trainable": False, "activation_function": "gelu"},
        "fitting_net": {"trainable": [True, False, True], "activation_function": "softplus"},
    },
}
RANDOM = {
    "no seed of the descriptor": ("filter_type",),
    "no seed of the fitting net": ("layer_", "final_layer"),
}
"""What is drawn anew each time, by the beginning of the names."""


def script(case: dict[str, dict[str, Any]], data: Path) -> dict[str, Any]:
    """The input of a case."""
    result = copy.deepcopy(INPUT)
    model = result["model"]
    result["learning_rate"] = QUIET
    result["training"] |= {"numb_steps": 1, "disp_freq": 1, "save_freq": 1}
    for section, keys in case.items():
        block = model if section in ("descriptor", "fitting_net") else result
        block[section].update(keys)
    return json.loads(json.dumps(result).replace('"data/', f'"{data}/'))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs of all cases, run by stock in one process."""
    home = tmp_path_factory.mktemp("begun")
    write_all_data(home)
    for name, case in CASES.items():
        folder = home / name
        folder.mkdir()
        (folder / "input.json").write_text(json.dumps(script(case, home / "data")))
    stock_wheel.run(["-W", "ignore", "-c", PROGRAM, *CASES], home)
    return home


def variables(prefix: Path) -> dict[str, np.ndarray]:
    """Model variables of a checkpoint, without the state of the optimizer."""
    reader = tf.train.load_checkpoint(str(prefix))
    names = reader.get_variable_to_shape_map()
    return {n: reader.get_tensor(n) for n in names if "Adam" not in n and "_power" not in n}


@pytest.mark.parametrize("name", CASES)
def test_same_beginning(begun, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.json").write_text((begun / name / "input.json").read_text())
    assert train("input.json") == 0
    theirs = variables(begun / name / "model.ckpt-1")
    ours = variables(tmp_path / "model.ckpt-1")
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        assert value.dtype == theirs[key].dtype, key
        if key.startswith(RANDOM.get(name, "none")):
            assert not np.allclose(value, theirs[key]), key
        elif not (name == "no seed of the data" and "_attr/" in key):
            digits = 1e-6 if value.dtype == np.float32 else 1e-10
            np.testing.assert_allclose(value, theirs[key], rtol=digits, atol=digits, err_msg=key)

    curves = [(folder / "lcurve.out").read_text() for folder in (tmp_path, begun / name)]
    seeded = name not in RANDOM and name != "no seed of the data"
    assert (curves[0] == curves[1]) is seeded
    compat = [(f / "input_v2_compat.json").read_text() for f in (tmp_path, begun / name)]
    assert compat[0] == compat[1]
    out = [json.loads((folder / "out.json").read_text()) for folder in (tmp_path, begun / name)]
    assert out[0]["model"]["descriptor"].items() <= out[1]["model"]["descriptor"].items()
    assert (tmp_path / "out.json").read_text().startswith('{\n    "model": {\n        "type_map"')
