# SPDX-License-Identifier: BSD-3-Clause
"""Random input scripts, normalised by stock DeePMD-kit and by us."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from deepmd_tf.config import Config, convert_layout, read_input

pytestmark = pytest.mark.peer

PROGRAM = """
import copy, json, sys
from deepmd.utils.argcheck import normalize
from deepmd.utils.compat import update_deepmd_input
job = json.load(sys.stdin)
result = {"strict": [], "out": [], "compat": []}
for script in job["ours"]:
    result["strict"].append(normalize(copy.deepcopy(script)))
for script in job["theirs"]:
    converted = update_deepmd_input(script, warning=False, dump=job["dump"])
    with open(job["dump"]) as file:
        result["compat"].append(file.read())
    result["out"].append(json.dumps(normalize(converted), indent=4))
print(json.dumps(result))
"""

DESCRIPTOR = {
    "sel": [[46, 92], "auto", "auto:1.5", [0, 10]],
    "rcut": [5, 6.0, 4.7],
    "rcut_smth": [0.5, 0, 3.3],
    "neuron": [[10, 20], [25, 25], [7]],
    "axis_neuron|n_axis_neuron": [2, 4],
    "activation_function": ["tanh", "gelu", "silut:10.0", "relu6", "linear"],
    "resnet_dt": [True, False],
    "type_one_side": [True, False],
    "precision": ["default", "float32", "float64"],
    "trainable": [True, False],
    "seed": [1, 3458359619, None],
    "exclude_types": [[], [[0, 1]], [[0, 0], [1, 0]]],
    "env_protection": [0.0, 0],
    "set_davg_zero": [True, False],
}
FITTING = {
    "type": ["ener"],
    "neuron|n_neuron": [[10, 10], [24, 24]],
    "activation_function": ["tanh", "softplus", "none"],
    "precision": ["default", "float32"],
    "resnet_dt": [True, False],
    "trainable": [True, False, [True, False, True]],
    "rcond": [None, 1e-3],
    "seed": [1, 4266336533],
    "atom_ener": [[], [-1.5, None], [0.0, 2]],
    "layer_name": [["a", "a", "b"]],
    "numb_fparam": [0],
    "use_aparam_as_mask": [False],
}
MODEL = {
    "data_stat_nbatch": [1, 10],
    "data_stat_protect": [0.01, 0.1],
    "data_bias_nsample": [10, 3],
    "type": ["standard"],
}
RATES = {
    "type": ["exp"],
    "start_lr": [0.001, 1e-2],
    "stop_lr": [3.51e-8, 1e-5],
    "decay_steps": [5000, 10],
    "decay_rate": [0.95],
    "smooth": [True, False],
    "warmup_steps": [10, 0],
    "warmup_start_factor": [0.0, 0.3],
    "scale_by_worker": ["linear", "sqrt", "none"],
}
LOSS = {
    "type": ["ener", "ener_hess"],
    "start_pref_e": [0.02, 1],
    "limit_pref_e": [1, 0],
    "start_pref_f": [1000, 10.5],
    "limit_pref_f": [1],
    "start_pref_v": [0, 0.02],
    "limit_pref_v": [1],
    "start_pref_ae": [0],
    "intensive_ener_virial": [True, False],
    "huber_delta": [0.01, [0.1, 0.2, 0.3]],
    "use_huber": [False],
    "loss_func": ["mse"],
}
DATA = {
    "batch_size": ["auto", "auto:64", "max:100", "filter:200", 2, [1, 2]],
    "auto_prob|auto_prob_style": ["prob_uniform", "prob_sys_size", "prob_sys_size;0:1:0.5;1:2:0.5"],
    "sys_probs|sys_weights": [None, [0.5, -1]],
    "rglob_patterns": [None],
    "set_prefix": ["set"],
}
VALIDATION = {**DATA, "numb_btch|numb_batch": [1, 5]}
TRAINING = {
    "seed": [None, 7, 2**31],
    "disp_file": ["lcurve.out", "other"],
    "disp_freq": [100],
    "save_freq": [100, 0],
    "save_ckpt": ["model.ckpt", "out/m"],
    "max_ckpt_keep": [5, 1],
    "disp_training": [True, False],
    "time_training": [True],
    "change_bias_after_training": [False],
    "profiling": [False],
    "profiling_file": ["timeline.json"],
    "enable_profiler": [False],
    "tensorboard": [False],
    "tensorboard_log_dir": ["log"],
    "tensorboard_freq": [1],
}
VALIDATING = {
    "full_validation": [False],
    "validation_freq": [5000, 10],
    "save_best": [True],
    "validation_metric": ["E:MAE"],
    "full_val_file": ["val.log"],
    "full_val_start": [0.5, 0],
}
STEPS = ("numb_steps", "stop_batch", "numb_step", "num_step", "num_steps")
EPOCHS = ("numb_epoch", "num_epoch", "num_epochs", "numb_epochs")


def pick(rng, options, required=()):
    """Some of the options, in any order, under any of their names, with a comment among them."""
    result = {}
    for key in rng.permutation(list(options)):
        names = key.split("|")
        if names[0] in required or rng.random() < 0.5:
            values = options[key]
            result[names[rng.integers(len(names))]] = values[rng.integers(len(values))]
    if rng.random() < 0.5:
        result["_comment"] = "that is all"
    return result


def random_script(seed):
    """A valid script in the present layout."""
    rng = np.random.default_rng(seed)
    training = {
        "training_data": {"systems": ["a", "b"], **pick(rng, DATA)},
        **pick(rng, TRAINING),
    }
    if rng.random() < 0.6:
        training["validation_data"] = {"systems": "v", **pick(rng, VALIDATION)}
    names = STEPS if rng.random() < 0.7 else EPOCHS
    training[names[rng.integers(len(names))]] = 1000
    descriptor = {"type": rng.choice(["se_e2_a", "se_a"]).item(), **pick(rng, DESCRIPTOR)}
    script = {
        "model": {
            "type_map": ["O", "H"],
            "descriptor": descriptor,
            "fitting_net": pick(rng, FITTING, ("neuron",)),
            **pick(rng, MODEL),
        },
        "learning_rate": pick(rng, RATES, ("start_lr",)),
        "loss": pick(rng, LOSS, ("start_pref_f",)),
        "training": training,
    }
    if rng.random() < 0.3:
        script["validating"] = pick(rng, VALIDATING)
    if rng.random() < 0.3:
        script["optimizer"] = {"adam_beta1": 0.8}
    return {key: script[key] for key in rng.permutation(list(script))}


SCRIPTS = [random_script(seed) for seed in range(60)]


def as_v1(script):
    """The same input with the data sets in "training"."""
    script = copy.deepcopy(script)
    training = script["training"]
    training.pop("validation_data", None)
    for key in (*STEPS, *EPOCHS):
        training.pop(key, None)
    data = training.pop("training_data")
    for key in ("rglob_patterns", "sys_probs", "_comment"):  # of later versions
        data.pop(key, None)
    script["training"] = {**data, **training, "stop_batch": 20000, "numb_test": 4}
    rates = script["learning_rate"]
    rates.pop("stop_lr", None)
    rates |= {"decay_rate": 0.95, "decay_steps": 500}
    return script


def values(ours, theirs, path=""):
    """(path, our value, their value) of every key that we write."""
    for key, value in ours.items():
        where = f"{path}.{key}"
        assert key in theirs, f"{where} is not a key of DeePMD-kit"
        if isinstance(value, dict):
            yield from values(value, theirs[key], where)
        else:
            yield where, value, theirs[key]


def without_none(section):
    """A key that is null and a key that is not given are the same to stock."""
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in section.items()
        if value is not None
    }


def same_order(ours, theirs, given):
    """Keys that the user gave stand in the same order in both."""
    shared = [key for key in theirs if key in ours and key in given]
    assert [key for key in ours if key in shared] == shared
    for key in shared:
        if isinstance(ours[key], dict):
            same_order(ours[key], theirs[key], given[key])


@pytest.mark.parametrize("layout", ["present", "version 1"])
def test_random_scripts(stock, tmp_path, layout):
    """Our normalised script passes the strict check of stock and holds the numbers and defaults
    that stock would have written, in the same order; the converted one is the same file."""
    scripts = SCRIPTS if layout == "present" else [as_v1(script) for script in SCRIPTS[:20]]
    converted = [convert_layout(script) for script in scripts]
    configs = [Config.from_dict(script) for script in scripts]
    ours = [c.to_dict(like=layout) for c, layout in zip(configs, converted, strict=True)]
    job = {"ours": ours, "theirs": scripts, "dump": str(tmp_path / "input_v2_compat.json")}
    result = json.loads(stock(PROGRAM, json.dumps(job)))
    compared = set()
    for i, (mine, given) in enumerate(zip(ours, converted, strict=True)):
        theirs = json.loads(result["out"][i])
        if not theirs["validating"]:  # stock leaves out the defaults of a section not given
            for normal in (mine, theirs, result["strict"][i]):
                del normal["validating"]
        for path, a, b in values(mine, theirs):
            assert a == b, f"script {i}: {path}"
            compared.add(path)
        assert without_none(result["strict"][i]) == without_none(theirs)
        same_order(mine, theirs, given)
        assert json.dumps(given, indent=4) == result["compat"][i]
        # what either wrote is the same input again
        for text in (result["out"][i], result["compat"][i], json.dumps(mine)):
            path = tmp_path / "again.json"
            path.write_text(text)
            assert Config.from_dict(read_input(path)) == configs[i]
    assert len(compared) > 60
