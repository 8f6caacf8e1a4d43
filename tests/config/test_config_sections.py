# SPDX-License-Identifier: BSD-3-Clause
"""What a valid input becomes: defaults, other names, normal form, derived values."""

from __future__ import annotations

import copy
import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmd_tf.config import Config, LossEner, ModelConfig, Validating
from deepmd_tf.config.section import about, variants, walk
from deepmd_tf.errors import InputError

from .conftest import WATER

MINIMAL = {
    "model": {"descriptor": {"type": "se_e2_a"}, "fitting_net": {}},
    "learning_rate": {"start_lr": 0.001},
    "training": {"training_data": {"systems": "data"}, "numb_steps": 10},
}


def test_attributes_are_named_as_keys(script):
    config = Config.from_dict(script)
    assert config.model.type_map == ["O", "H"]
    assert config.model.descriptor.rcut == 6.0
    assert config.training.training_data.systems == ["data_0", "data_1"]
    assert config.training.validation_data.numb_btch == 3
    assert config.learning_rate.stop_lr == 3.51e-8


@pytest.mark.parametrize(
    ("path", "default"),
    [
        ("model.data_stat_nbatch", 10),
        ("model.data_stat_protect", 0.01),
        ("model.data_bias_nsample", 10),
        ("model.descriptor.sel", "auto"),
        ("model.descriptor.rcut", 6.0),
        ("model.descriptor.rcut_smth", 0.5),
        ("model.descriptor.neuron", [10, 20, 40]),
        ("model.descriptor.axis_neuron", 4),
        ("model.descriptor.type_one_side", False),
        ("model.descriptor.set_davg_zero", False),
        ("model.fitting_net.neuron", [120, 120, 120]),
        ("model.fitting_net.resnet_dt", True),
        ("model.fitting_net.rcond", None),
        ("model.fitting_net.atom_ener", []),
        ("learning_rate.type", "exp"),
        ("learning_rate.stop_lr", 5e-8),
        ("learning_rate.decay_steps", 5000),
        ("optimizer.adam_beta1", 0.9),
        ("optimizer.adam_beta2", 0.999),
        ("loss.start_pref_e", 0.02),
        ("loss.limit_pref_e", 1.0),
        ("loss.start_pref_f", 1000.0),
        ("loss.limit_pref_f", 1.0),
        ("loss.start_pref_v", 0.0),
        ("loss.intensive_ener_virial", False),
        ("training.training_data.batch_size", "auto"),
        ("training.training_data.auto_prob", "prob_sys_size"),
        ("training.validation_data", None),
        ("training.disp_file", "lcurve.out"),
        ("training.disp_freq", 1000),
        ("training.save_freq", 1000),
        ("training.save_ckpt", "model.ckpt"),
        ("training.max_ckpt_keep", 5),
    ],
)
def test_defaults(path, default):
    value = Config.from_dict(MINIMAL)
    for key in path.split("."):
        value = getattr(value, key)
    assert value == default


@pytest.mark.parametrize(
    ("path", "key", "alias", "value"),
    [
        ("model.descriptor", "axis_neuron", "n_axis_neuron", 8),
        ("model.fitting_net", "neuron", "n_neuron", [7, 7]),
        ("training", "numb_steps", "stop_batch", 17),
        ("training", "numb_steps", "num_steps", 17),
        ("training", "numb_steps", "num_step", 17),
        ("training", "numb_steps", "numb_step", 17),
        ("training.training_data", "auto_prob", "auto_prob_style", "prob_uniform"),
        ("training.training_data", "sys_probs", "sys_weights", [0.5, 0.5]),
        ("training.validation_data", "numb_btch", "numb_batch", 9),
    ],
)
def test_other_names_of_keys(script, path, key, alias, value):
    block, section = script, None
    for name in path.split("."):
        block = block[name]
    block.pop(key, None)
    block[alias] = value
    section = Config.from_dict(script)
    for name in path.split("."):
        section = getattr(section, name)
    assert getattr(section, key) == value
    assert alias not in section.to_dict()


def test_numb_epoch_and_its_other_names(change):
    change("training.numb_steps", ...)
    for name in ("numb_epoch", "num_epoch", "num_epochs", "numb_epochs"):
        script = copy.deepcopy(change("training", WATER["training"]))
        del script["training"]["numb_steps"]
        script["training"][name] = 2.5
        config = Config.from_dict(script)
        assert (config.training.numb_epoch, config.training.numb_steps) == (2.5, None)
        assert "numb_steps" not in config.to_dict()["training"]


def test_other_names_of_types(change):
    assert Config.from_dict(change("model.descriptor.type", "se_a")).to_dict()["model"][
        "descriptor"
    ]["type"] == ("se_e2_a")
    assert Config.from_dict(change("loss.type", "ener_hess")).loss.type == "ener"


def test_keys_with_underscore_are_comments(change):
    change("_anything", {"nested": float("nan")})
    change("model._x", 1)
    assert Config.from_dict(change("training.training_data._y", [])) == Config.from_dict(WATER)


def test_whole_numbers_may_have_an_exponent(change):
    assert Config.from_dict(change("training.numb_steps", 1e6)).training.numb_steps == 1000000


def test_normal_form_is_plain_json_and_a_fixed_point(script):
    config = Config.from_dict(script)
    text = config.to_json()
    assert json.loads(text) == config.to_dict()
    assert text.splitlines()[1].startswith('    "model"')
    assert Config.from_dict(json.loads(text)) == config


def test_relative_energy_is_no_key_of_model_files(script, change):
    """DeePMD-kit, which does not know it, reads them."""
    assert not [
        key for key in Config.from_dict(script).to_dict()["loss"] if key.endswith("pref_de")
    ]
    config = Config.from_dict(change("loss.start_pref_de", 0.5))
    written = config.to_dict()["loss"]
    assert written == {**config.to_dict(stored=True)["loss"], "start_pref_de": 0.5}
    assert Config.from_dict(config.to_dict()) == config


def test_the_given_dictionary_is_not_changed(script):
    before = copy.deepcopy(script)
    Config.from_dict(script)
    assert script == before


def test_a_section_is_read_on_its_own(script):
    model = ModelConfig.from_dict(script["model"])
    assert model == Config.from_dict(script).model
    assert LossEner.from_dict({}) == Config.from_dict(MINIMAL).loss


def test_with_sel_and_with_numb_steps(change):
    change("model.descriptor.sel", "auto:1.5")
    change("training.numb_steps", ...)
    config = Config.from_dict(change("training.numb_epoch", 3))
    resolved = config.with_sel({"": [8, 16]}).with_numb_steps(120)
    assert resolved.model.descriptor.sel == [8, 16]
    written = resolved.to_dict()["training"]
    assert written["numb_steps"] == 120
    assert "numb_epoch" not in written
    assert config.training.numb_epoch == 3, "the original is as it was"
    assert Config.from_dict(resolved.to_dict()) == resolved


def test_some_pairs_of_types_are_excluded(change):
    config = Config.from_dict(change("model.descriptor.exclude_types", [[0, 1], [1, 1], [1, 0]]))
    assert config.model.descriptor.exclude_types == [[0, 1], [1, 1], [1, 0]]


@pytest.mark.parametrize(
    ("keys", "ntypes"),
    [({}, 2), ({"type_map": ...}, 2), ({"type_map": ..., "descriptor.sel": "auto"}, None)],
)
def test_number_of_types(change, keys, ntypes):
    for key, value in keys.items():
        script = change(f"model.{key}", value)
    assert Config.from_dict(script if keys else WATER).model.ntypes == ntypes


@pytest.mark.parametrize("name", ["TanH", "silut", "silut:10.0", "gelu_tf", "None"])
def test_activation_names_are_case_insensitive(change, name):
    config = Config.from_dict(change("model.descriptor.activation_function", name))
    assert config.model.descriptor.activation_function == name.lower()


def test_ignored_keys_give_one_warning(change, caplog):
    change("training.save_dir", "ckpt")
    change("training.enable_ema", True)
    change("validating.tf32_infer", True)
    change("training.zero_stage", 0)
    with caplog.at_level(logging.WARNING):
        config = Config.from_dict(change("training.training_data.min_pair_dist", 0.5))
    (record,) = caplog.records
    for path in (
        "training.save_dir",
        "training.enable_ema",
        "validating.tf32_infer",
        "training.training_data.min_pair_dist",
    ):
        assert path in record.message
    assert "zero_stage" not in record.message, "its default asks for nothing"
    assert config == Config.from_dict(WATER)


def test_a_valid_input_is_accepted_in_silence(script, caplog):
    Config.from_dict(script)
    assert not caplog.records


def test_every_option_is_documented():
    for path, cls in walk(Config):
        for name, field in cls.model_fields.items():
            assert field.description and field.description.endswith("."), f"{path}.{name}"
            assert set(about(field)) == {"unit", "aliases", "later", "omit_none", "stored", "ours"}
            if not variants(field.annotation):
                assert not set(cls.refused) & {name, *about(field)["aliases"]}


def test_no_tensorflow_is_loaded():
    program = (
        "import sys, deepmd_tf.config as c, deepmd_tf.config.reference; "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


POSITIVE = st.floats(1e-6, 1e6)
LAYERS = st.lists(st.integers(1, 300), min_size=1, max_size=4)
NAMES = st.text(st.characters(whitelist_categories=("L", "N")), min_size=1, max_size=3)
SEED = st.none() | st.integers(-(10**12), 10**12)


@st.composite
def scripts(draw):
    """Valid inputs of many kinds."""
    types = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    n = len(types)
    rcut = draw(st.floats(0.5, 20))
    neuron = draw(LAYERS)
    pair = st.lists(st.integers(0, n - 1), min_size=2, max_size=2)
    counts = st.lists(st.integers(1, 200), min_size=n, max_size=n)
    fitting = draw(LAYERS)
    per_layer = {"min_size": len(fitting) + 1, "max_size": len(fitting) + 1}
    start = draw(st.floats(1e-5, 1.0))
    end = draw(
        st.sampled_from([{}, {"stop_lr": start / 100}, {"stop_lr_ratio": 0.01}, {"stop_lr": None}])
    )
    kinds = [
        {"type": "exp", "smooth": True},
        {"decay_rate": 0.9},
        {"type": "cosine"},
        {"type": "wsd", "decay_type": "linear"},
    ]
    atom_energy = st.lists(st.none() | st.floats(-1e4, 1e4), min_size=n, max_size=n)
    length = draw(
        st.sampled_from(
            [{"numb_steps": 5000}, {"stop_batch": 5000}, {"numb_epoch": 2}, {"num_epochs": 0.5}]
        )
    )
    return {
        "model": {
            "type_map": types,
            "descriptor": {
                "type": draw(st.sampled_from(["se_e2_a", "se_a"])),
                "sel": draw(st.sampled_from(["auto", "auto:1.3"]) | counts),
                "rcut": rcut,
                "rcut_smth": draw(st.floats(0, 0.99 * rcut)),
                "neuron": neuron,
                "axis_neuron": draw(st.integers(1, neuron[-1])),
                "exclude_types": draw(st.lists(pair, max_size=n * (n + 1) // 2 - 1)),
                "seed": draw(SEED),
            },
            "fitting_net": {
                "neuron": fitting,
                "trainable": draw(st.booleans() | st.lists(st.booleans(), **per_layer)),
                "layer_name": draw(st.none() | st.lists(st.none() | NAMES, **per_layer)),
                "atom_ener": draw(st.just([]) | atom_energy),
                "rcond": draw(st.none() | st.floats(0, 1)),
            },
        },
        "learning_rate": {
            "start_lr": start,
            "warmup_steps": draw(st.integers(0, 4000)),
            **end,
            **draw(st.sampled_from(kinds)),
        },
        "loss": {f"{w}_pref_{x}": draw(POSITIVE) for w in ("start", "limit") for x in "efv"},
        "training": {
            "training_data": {
                "systems": draw(NAMES | st.lists(NAMES, min_size=1, max_size=3)),
                "batch_size": draw(
                    st.integers(1, 9)
                    | st.lists(st.integers(1, 9), min_size=1, max_size=3)
                    | st.sampled_from(["auto", "auto:64", "max:100", "filter:100"])
                ),
                "sys_probs": draw(st.sampled_from([None, [1.0], [0.25, -1, -1]])),
                "auto_prob": draw(
                    st.sampled_from(["prob_uniform", "prob_sys_size", "prob_sys_size;0:2:1;2:9:3"])
                ),
            },
            "seed": draw(SEED),
            **length,
        },
    }


@settings(max_examples=60, deadline=None)
@given(scripts())
def test_reading_what_was_written_changes_nothing(script):
    config = Config.from_dict(script)
    written = json.loads(config.to_json())
    assert Config.from_dict(written) == config
    assert Config.from_dict(written).to_dict() == written


@pytest.mark.parametrize("text", ["e:mae", "F:RMSE", " s:mae ", "V:rmse"])
def test_validation_metrics_are_read_in_any_case(change, text):
    config = Config.from_dict(change("validating.validation_metric", text))
    assert config.validating.validation_metric == text.strip().upper()


@pytest.mark.parametrize(
    ("start", "first"), [(0, 0), (0.5, 50), (0.999, 99), (1, None), (1.0, None), (37.5, 37)]
)
def test_where_full_validation_begins(start, first):
    section = Validating(full_validation=True, full_val_start=float(start))
    assert section.start_step(100) == first
    assert Validating(full_val_start=float(start)).start_step(100) is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"validation_metric": "E:MSE"}, "expected one of E:MAE, E:RMSE"),
        ({"early_stop_patience": 2}, "early stopping needs full_validation: true"),
        ({"full_validation": True}, "full_validation needs training.validation_data"),
        ({"max_best_ckpt": 0}, "expected an integer ≥ 1"),
        ({"early_stop_pacience": 3}, 'did you mean "early_stop_patience"?'),
    ],
)
def test_validation_that_cannot_be(script, keys, message):
    script["training"].pop("validation_data", None)
    script["validating"] = keys
    with pytest.raises(InputError, match=r"validating") as error:
        Config.from_dict(script)
    assert message in str(error.value)


def test_the_bias_of_reaction_energies_is_not_adjusted(script):
    script["loss"] = {"enable_atom_ener_coeff": True}
    script["training"]["change_bias_after_training"] = True
    with pytest.raises(InputError, match=r"training.*labels are energies of reactions"):
        Config.from_dict(script)


def test_validation_is_not_part_of_the_script_in_model_files(change):
    config = Config.from_dict(change("validating.full_validation", True))
    assert "validating" in config.to_dict()
    stored = config.to_dict(stored=True)
    assert "validating" not in stored
    assert {**stored, "validating": config.validating.to_dict()} == config.to_dict()


def test_only_one_selection_needs_names_of_types():
    """The numbers of se_a_ebd_v2 say how many types there are; DeePMD-kit takes it, too."""
    sections = {"fitting_net": {}, "descriptor": {"type": "se_a_ebd_v2", "sel": [8, 16]}}
    assert ModelConfig.from_dict(sections).ntypes == 2
    member = {"type": "se_atten", "sel": 24}
    sections["descriptor"] = {"type": "hybrid", "list": [sections["descriptor"], member]}
    with pytest.raises(InputError, match="se_atten makes one net for all types"):
        ModelConfig.from_dict(sections)
