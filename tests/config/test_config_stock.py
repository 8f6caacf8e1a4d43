# SPDX-License-Identifier: BSD-3-Clause
"""Agreement with the stock wheel: normalised input, conversion of old layouts, learning rates."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from deepmd_tf.config import Config, convert_layout, schedule

pytestmark = pytest.mark.peer

NORMALIZE = """
import json, sys
from deepmd.utils.argcheck import normalize
from deepmd.utils.compat import update_deepmd_input
print(json.dumps([normalize(update_deepmd_input(d, warning=False)) for d in json.load(sys.stdin)]))
"""
STRICT = """
import json, sys
from deepmd.utils.argcheck import normalize
print(json.dumps([normalize(d) for d in json.load(sys.stdin)]))
"""
SCHEDULES = """
import json, sys
import numpy as np
from deepmd.dpmodel.utils.learning_rate import BaseLR
job = json.load(sys.stdin)
steps = [np.int64(step) for step in job["steps"]]
print(json.dumps([
    [float(np.asarray(lr.value(np.asarray(s)), dtype=np.float32)) for s in steps]
    for lr in (BaseLR(**p, num_steps=job["num_steps"]) for p in job["parameters"])
]))
"""

V0 = {
    "_comment": "version 0",
    "use_smooth": True,
    "sel_a": [46, 92],
    "rcut_smth": 5.8,
    "rcut": 6.0,
    "filter_neuron": [25, 50, 100],
    "filter_resnet_dt": False,
    "n_axis_neuron": 16,
    "fitting_neuron": [240, 240, 240],
    "fitting_resnet_dt": True,
    "coord_norm": True,
    "type_fitting_net": False,
    "systems": ["data"],
    "set_prefix": "set",
    "stop_batch": 1000000,
    "batch_size": [1],
    "start_lr": 0.001,
    "decay_steps": 5000,
    "decay_rate": 0.95,
    "start_pref_e": 0.02,
    "limit_pref_e": 1,
    "start_pref_f": 1000,
    "limit_pref_f": 1,
    "start_pref_v": 0,
    "limit_pref_v": 0,
    "seed": 1,
    "disp_file": "lcurve.out",
    "disp_freq": 100,
    "numb_test": 10,
    "save_freq": 1000,
    "save_ckpt": "model.ckpt",
    "disp_training": True,
    "time_training": True,
    "profiling": False,
    "profiling_file": "timeline.json",
}


def v1(script: dict) -> dict:
    """The same input as a version 1 script."""
    script = copy.deepcopy(script)
    training = script["training"]
    del training["validation_data"]
    training |= {**training.pop("training_data"), "numb_test": 5, "set_prefix": "set"}
    training["stop_batch"] = training.pop("numb_steps")
    del script["learning_rate"]["stop_lr"]
    script["learning_rate"]["decay_rate"] = 0.95
    return script


def v31(script: dict) -> dict:
    """The same input with warm-up and optimizer in ``training``."""
    script = copy.deepcopy(script)
    script["training"] |= {"warmup_steps": 500, "opt_type": "Adam", "adam_beta1": 0.8}
    return script


VARIANTS = [
    {},
    {"learning_rate": {"type": "cosine", "start_lr": 1e-3, "stop_lr_ratio": 1e-3}},
    {"learning_rate": {"type": "wsd", "start_lr": 1e-3, "warmup_ratio": 0.1}},
    {"learning_rate": {"start_lr": 1e-3}},
    {"optimizer": {"adam_beta2": 0.99}},
    {"loss": {"type": "ener_hess", "intensive_ener_virial": True, "huber_delta": [0.1, 0.2, 0.3]}},
    {"loss": {"loss_func": "mae", "f_use_norm": True, "limit_pref_ae": 1, "relative_f": 0.5}},
    {
        "loss": {
            "use_huber": True,
            "start_pref_pf": 2,
            "use_default_pf": True,
            "limit_pref_gf": 1,
            "numb_generalized_coord": 3,
            "enable_atom_ener_coeff": True,
        }
    },
    {
        "training": {
            "training_data": {"systems": "data", "sys_weights": [0.5, -1], "batch_size": [1, 2]},
            "numb_epochs": 3,
        }
    },
]


def normalised(stock, program: str, scripts: list[dict]) -> list[dict]:
    return json.loads(stock(program, json.dumps(scripts)))


def assert_same(ours: dict, theirs: dict) -> None:
    """Equal, but for the last digit of ``stop_lr``, which old layouts give through a power."""
    a, b = ours["learning_rate"].pop("stop_lr"), theirs["learning_rate"].pop("stop_lr")
    assert a == (None if b is None else pytest.approx(b, rel=1e-14))
    assert ours == theirs


def test_stock_accepts_what_we_write_and_means_the_same(stock, script):
    """Our normalised input through stock's strict check, and the user's input through the same."""
    scripts = [{**script, **variant} for variant in VARIANTS]
    scripts += [V0, v1(script), v31(script)]
    ours = [Config.from_dict(s).to_dict() for s in scripts]
    accepted = normalised(stock, STRICT, ours)
    expected = normalised(stock, NORMALIZE, scripts)
    for a, b in zip(accepted, expected, strict=True):
        if not b["validating"]:  # stock leaves out the defaults of a section that is not given
            del a["validating"], b["validating"]
        assert_same(a, b)


def test_every_default_is_stocks(stock, script):
    """Each key that we write has the value that stock would have put there."""
    script["validating"] = {}
    ours = Config.from_dict(script).to_dict()
    (theirs,) = normalised(stock, NORMALIZE, [script])

    def compare(a: dict, b: dict, path: str) -> None:
        for key, value in a.items():
            assert key in b, f"{path}.{key}"
            if isinstance(value, dict):
                compare(value, b[key], f"{path}.{key}")
            else:
                assert value == b[key], f"{path}.{key}"

    compare(ours, theirs, "")


def test_old_layouts_are_converted_as_stock_does(stock, script):
    scripts = [V0, v1(script), v31(script)]
    ours = [convert_layout(s) for s in scripts]
    theirs = normalised(stock, NORMALIZE, scripts)
    for a, b in zip(normalised(stock, NORMALIZE, ours), theirs, strict=True):
        assert_same(a, b)


PARAMETERS = [
    {"type": "exp", "start_lr": 1e-3, "stop_lr": 3.51e-8, "decay_steps": 500},
    {"type": "exp", "start_lr": 1e-3, "stop_lr": 3.51e-8, "decay_steps": 500, "smooth": True},
    {"type": "exp", "start_lr": 1e-3, "stop_lr": 3.51e-8},
    {"type": "exp", "start_lr": 1e-3, "stop_lr_ratio": 1e-2, "warmup_steps": 300},
    {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_rate": 0.9, "decay_steps": 70},
    {"type": "exp", "start_lr": 1e-3, "stop_lr": 0.0, "decay_steps": 10},
    {"type": "cosine", "start_lr": 2e-3, "stop_lr": 1e-6},
    {"type": "cosine", "start_lr": 2e-3, "stop_lr": 0.0, "warmup_ratio": 0.05},
    {"type": "wsd", "start_lr": 1e-3, "stop_lr": 1e-6},
    {"type": "wsd", "start_lr": 1e-3, "stop_lr": 1e-6, "decay_type": "cosine"},
    {"type": "wsd", "start_lr": 1e-3, "stop_lr": 1e-6, "decay_type": "linear"},
    {
        "type": "wsd",
        "start_lr": 1e-3,
        "stop_lr_ratio": 1e-3,
        "decay_phase_ratio": 1.0,
        "warmup_steps": 100,
        "warmup_start_factor": 0.2,
    },
]


@pytest.mark.parametrize("num_steps", [1, 7, 101, 2000, 20011])
def test_learning_rates_are_stocks_to_the_last_bit(stock, script, num_steps):
    steps = np.unique(np.linspace(0, num_steps * 1.1, 301).astype(int)).tolist()
    parameters = [p for p in PARAMETERS if p.get("warmup_steps", 0) < num_steps]
    job = {"steps": steps, "num_steps": num_steps, "parameters": parameters}
    theirs = json.loads(stock(SCHEDULES, json.dumps(job)))
    script["training"]["numb_steps"] = num_steps
    for p, expected in zip(parameters, theirs, strict=True):
        config = Config.from_dict({**script, "learning_rate": p}).learning_rate
        ours = schedule(config, num_steps)
        np.testing.assert_array_equal(ours(np.array(steps)), np.array(expected, np.float32), str(p))
        assert [float(ours(step)) for step in steps] == expected
