# SPDX-License-Identifier: BSD-3-Clause
"""Old layouts of the input script."""

from __future__ import annotations

import copy
import logging
import math

import pytest

from deepmd_tf.config import Config, convert_layout
from deepmd_tf.errors import InputError

V0 = {
    "use_smooth": True,
    "sel_a": [10, 20],
    "rcut_smth": 1.0,
    "rcut": 5.0,
    "filter_neuron": [8, 16],
    "filter_resnet_dt": True,
    "axis_neuron": 4,
    "fitting_neuron": [30, 30],
    "resnet_dt": False,
    "coord_norm": True,
    "type_fitting_net": False,
    "load_ckpt": "model.ckpt",
    "systems": ["data"],
    "set_prefix": "set",
    "stop_batch": 2000,
    "batch_size": 2,
    "start_lr": 0.002,
    "decay_steps": 100,
    "decay_rate": 0.95,
    "start_pref_e": 0.1,
    "start_pref_ae": 0,
    "seed": 3,
    "disp_freq": 7,
    "numb_test": 10,
}


def as_v1(script: dict) -> dict:
    script = copy.deepcopy(script)
    training = script["training"]
    training |= training.pop("training_data")
    return script


def test_version_0():
    config = Config.from_dict(V0)
    descriptor, fitting = config.model.descriptor, config.model.fitting_net
    assert (descriptor.sel, descriptor.rcut, descriptor.rcut_smth) == ([10, 20], 5.0, 1.0)
    assert (descriptor.neuron, descriptor.axis_neuron, descriptor.resnet_dt) == ([8, 16], 4, True)
    assert (fitting.neuron, fitting.resnet_dt) == ([30, 30], False)
    assert descriptor.seed == fitting.seed == config.training.seed == 3
    assert config.loss.start_pref_e == 0.1
    assert config.training.training_data.systems == ["data"]
    assert config.training.training_data.batch_size == 2
    assert (config.training.numb_steps, config.training.disp_freq) == (2000, 7)
    assert config.learning_rate.stop_lr == pytest.approx(0.002 * 0.95**20, rel=1e-13)
    assert config.learning_rate.decay_rate is None


def test_version_0_switches_at_the_cutoff_by_default():
    """Which jumps, so that a smaller radius must be given."""
    data = {key: value for key, value in V0.items() if key != "rcut_smth"}
    with pytest.raises(InputError, match=r"rcut_smth:.*5\.0"):
        Config.from_dict(data)


def test_version_0_without_smooth_descriptor_is_refused_by_name():
    with pytest.raises(InputError, match='"loc_frame"'):
        Config.from_dict({**V0, "use_smooth": False})


def test_version_0_keeps_unknown_keys_for_the_message():
    with pytest.raises(InputError, match="decay_stepz: unknown key"):
        Config.from_dict({**V0, "decay_stepz": 3})
    with pytest.raises(InputError, match="coord_norm: unknown key"):
        Config.from_dict({**V0, "coord_norm": False})


def test_version_0_with_a_section_model(script, caplog):
    """Late scripts of version 0: the model in a section, everything else at the top level."""
    keys = ("use_smooth", "sel_a", "rcut", "rcut_smth", "coord_norm", "type_fitting_net")
    networks = ("filter_neuron", "filter_resnet_dt", "axis_neuron", "fitting_neuron", "resnet_dt")
    rest = {key: value for key, value in V0.items() if key not in keys + networks}
    data = {"_comment": "parameters", "model": {"_comment": 1, **script["model"]}, **rest}
    with caplog.at_level(logging.WARNING):
        config = Config.from_dict(data)
    assert config.model == Config.from_dict(script).model
    assert (config.training.numb_steps, config.training.seed) == (2000, 3)
    assert config.loss.start_pref_e == 0.1
    assert config.learning_rate == Config.from_dict(V0).learning_rate
    assert "input of DeePMD-kit 0.x" in caplog.text


def test_version_0_of_the_local_frame_is_refused_by_name():
    data = {
        **{key: value for key, value in V0.items() if key not in ("use_smooth", "sel_a")},
        **{"sel_a": [16, 32], "sel_r": [30, 60], "rcut_a": -1, "rcut_r": 6.0, "num_threads": 4},
        "axis_rule": [0, 1, 0, 0, 1, 1],
    }
    for key in ("filter_neuron", "filter_resnet_dt", "axis_neuron", "rcut_smth"):
        del data[key]
    with pytest.raises(InputError) as caught:
        Config.from_dict(data)
    assert str(caught.value).startswith('input: model.descriptor.type: "loc_frame" is an old')


def test_version_1_names_the_checkpoint_on_the_command_line(script, caplog):
    data = as_v1(script)
    data["training"]["load_ckpt"] = "model.ckpt"
    with caplog.at_level(logging.WARNING):
        assert Config.from_dict(data) == Config.from_dict(script)
    assert "training.load_ckpt is ignored: a checkpoint to begin with is given by --init-model" in (
        caplog.text
    )


def test_comments_everywhere(script):
    def commented(section):
        inner = {k: commented(v) if isinstance(v, dict) else v for k, v in section.items()}
        return {"_comment": " that's all", **inner, "_comment1": ["more"], "_x": {"y": 1}}

    assert Config.from_dict(commented(script)) == Config.from_dict(script)


def test_seeds_of_32_bits(script):
    script["training"]["seed"] = 4266336533
    script["model"]["descriptor"]["seed"] = 3458359619
    config = Config.from_dict(script)
    assert (config.training.seed, config.model.descriptor.seed) == (4266336533, 3458359619)


def test_version_1(script, caplog):
    with caplog.at_level(logging.WARNING):
        assert Config.from_dict(as_v1(script)) == Config.from_dict(script)
    assert "input of DeePMD-kit 1.x" in caplog.text


def test_decay_rate_of_version_1_becomes_stop_lr(script):
    script["learning_rate"] = {"start_lr": 0.001, "decay_rate": 0.9, "decay_steps": 1000}
    converted = convert_layout(as_v1(script))["learning_rate"]
    assert "decay_rate" not in converted
    expected = 0.001 * math.exp(math.log(0.9) * 1000)
    assert converted["stop_lr"] == pytest.approx(expected, rel=1e-12)
    kept = convert_layout(script)["learning_rate"]
    assert kept["decay_rate"] == 0.9, "the present layout knows decay_rate"


def test_systems_in_both_places(script):
    script["training"]["systems"] = ["data"]
    with pytest.raises(InputError, match=r"training\.systems: training\.training_data"):
        Config.from_dict(script)


def test_warmup_and_optimizer_leave_training(script, caplog):
    script["training"] |= {"warmup_steps": 50, "opt_type": "Adam", "adam_beta1": 0.8}
    with caplog.at_level(logging.WARNING):
        config = Config.from_dict(script)
    assert config.learning_rate.warmup_steps == 50
    assert config.optimizer.adam_beta1 == 0.8
    assert "warmup_steps: belongs in learning_rate, not in training" in caplog.text
    assert "opt_type, adam_beta1: belongs in optimizer, not in training" in caplog.text


def test_conflict_between_old_and_new_place(script):
    script["training"]["warmup_steps"] = 50
    script["learning_rate"]["warmup_steps"] = 60
    with pytest.raises(InputError) as caught:
        Config.from_dict(script)
    assert "training.warmup_steps: read 50, but learning_rate.warmup_steps is 60" in str(
        caught.value
    )


def test_numb_test_and_set_prefix_are_dropped_with_a_remark(script, caplog):
    script["training"]["numb_test"] = 5
    script["training"]["validation_data"]["set_prefix"] = "set"
    with caplog.at_level(logging.WARNING):
        config = Config.from_dict(script)
    assert "numb_test" in caplog.text
    assert "training.validation_data.set_prefix" in caplog.text
    assert "set_prefix" not in config.to_json()


def test_converted_script_says_the_same_and_stays_as_it_is(script):
    for data in (V0, as_v1(script), script):
        converted = convert_layout(data)
        assert Config.from_dict(converted) == Config.from_dict(data)
        assert convert_layout(converted) == converted


def test_the_given_dictionary_is_not_changed(script):
    data = as_v1(script)
    before = copy.deepcopy(data)
    convert_layout(data)
    assert data == before


def test_a_forgotten_model_is_not_an_old_layout(script):
    del script["model"]
    with pytest.raises(InputError, match=r"^input: model: missing"):
        Config.from_dict(script)


def test_two_descriptors_of_version_1(script, caplog):
    """``se_ar`` had one descriptor of each kind."""
    script["model"]["descriptor"] = {
        "type": "se_ar",
        "a": {"sel": [46, 92], "rcut": 6.0, "neuron": [25, 50], "axis_neuron": 4, "seed": 1},
        "r": {"sel": [46, 92], "rcut": 5.0, "neuron": [5, 10], "seed": 2},
    }
    config = Config.from_dict(as_v1(script))
    angular, radial = config.model.descriptor.list
    assert (angular.type, angular.axis_neuron, angular.rcut) == ("se_e2_a", 4, 6.0)
    assert (radial.type, radial.seed, radial.rcut) == ("se_e2_r", 2, 5.0)
    assert '"se_ar" was converted to a "hybrid"' in caplog.text
