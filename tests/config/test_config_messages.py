# SPDX-License-Identifier: BSD-3-Clause
"""Every mistake gets a line with its path, what was read, what is allowed, and the nearest key."""

from __future__ import annotations

import pytest

from deepmd_tf.config import Config, LossEner, ModelConfig
from deepmd_tf.config.reference import markdown
from deepmd_tf.errors import InputError

NAN = float("nan")

MISTAKES = [
    # unknown keys and blocks
    ("model.descriptor.rcutt", 5.0, 'unknown key; did you mean "rcut"?'),
    ("training.disp_frequency", 5, 'unknown key; did you mean "disp_freq"?'),
    ("training.validation_data.numb_batches", 5, 'did you mean "numb_btch"?'),
    ("training.batch_size", 4, "belongs in training.training_data or training.validation_data"),
    ("start_lr", 4, "belongs in learning_rate"),
    ("training.decay_steps", 4, "belongs in learning_rate"),
    ("model.rcut", 6.0, "belongs in model.descriptor"),
    (
        "learning_rate.decay_phase_ratio",
        0.1,
        'it belongs to type "wsd", and this is "exp"; remove the key, or choose that type',
    ),
    ("loss.wibble", 4, "unknown key; known here: type, start_pref_e"),
    ("model.descriptor", [1], "read [1]; expected a block of keys"),
    ("training.training_data", "data", 'read "data"; expected a block of keys'),
    ("optimizer", None, "expected a block of keys"),
    # required keys
    ("model", ..., "missing; expected a block of keys"),
    ("learning_rate", ..., "missing; expected a block of keys"),
    ("model.fitting_net", ..., "missing; expected a block of keys"),
    ("model.descriptor.type", ..., 'missing; expected one of "se_e2_a", "se_a_ebd_v2", "se_e2_r"'),
    ("learning_rate.start_lr", ..., "missing; expected a number > 0"),
    ("training.training_data.systems", ..., "missing; expected text in quotes or a non-empty list"),
    # distances that no table has
    ("model.sw_rmax", 1e300, "read 1e+300; expected a number > 0 and ≤ 1000, in Å, or null"),
    # two names of one key
    ("model.descriptor.n_axis_neuron", 4, 'the same as "axis_neuron"; give only one of them'),
    ("training.stop_batch", 4, 'the same as "numb_steps"'),
    # wrong kinds
    ("model.descriptor.rcut", "6,0", 'read "6,0"; expected a number > 0 and ≤ 1000, in Å'),
    ("model.descriptor.rcut", True, "read true; expected a number > 0"),
    ("model.descriptor.rcut", None, "read null; expected a number > 0"),
    ("model.descriptor.rcut", NAN, "read NaN; expected a number > 0"),
    ("model.descriptor.rcut", float("inf"), "read Infinity; expected a number"),
    (
        "model.descriptor.neuron",
        25,
        "read 25; expected a non-empty list, each entry an integer ≥ 1",
    ),
    ("model.descriptor.neuron", [], "read []; expected a non-empty list"),
    ("model.descriptor.neuron[1]", [25, "50"], 'read "50"; expected an integer ≥ 1'),
    ("model.descriptor.neuron[0]", [2.5], "read 2.5; expected an integer ≥ 1"),
    ("model.descriptor.neuron[0]", [True], "read true; expected an integer ≥ 1"),
    ("model.descriptor.resnet_dt", "yes", 'read "yes"; expected true or false'),
    ("model.descriptor.resnet_dt", 0, "read 0; expected true or false"),
    ("model.descriptor.seed", "one", 'read "one"; expected an integer, or null'),
    ("model.descriptor.seed", 10**30, "has too many digits"),
    ("training.numb_steps", "1e6", 'read "1e6"; expected an integer ≥ 0, in steps, or null'),
    ("training.disp_freq", 0, "read 0; expected an integer ≥ 1; take 1 for a line after every"),
    ("training.disp_file", "", 'read ""; expected text in quotes'),
    ("training.disp_file", " ", 'read " "; expected text in quotes'),
    ("training.save_ckpt", "a\nb", "has a character that cannot be printed"),
    ("training.save_ckpt", "a\0b", "has a character that cannot be printed"),
    ("training.training_data.systems", "a\nb", "has a character that cannot be printed"),
    ("training.training_data.systems", ["a", "a\nb"], "has a character that cannot be printed"),
    ("training.training_data.rglob_patterns[0]", ["a\tb"], "that cannot be printed"),
    ("training.training_data.systems", ["a", "\ud800"], "a non-empty list, each entry text"),
    # misspelt words
    ("model.descriptor.activation_function", "tanhh", '; did you mean "tanh"?'),
    ("model.descriptor.precision", "float46", '; did you mean "float64"?'),
    ("loss.loss_func", "msee", 'expected one of "mse", "mae"; did you mean "mse"?'),
    ("learning_rate.scale_by_worker", "liner", '; did you mean "linear"?'),
    ("training.stat_file_mode", "raed", '; did you mean "read"?'),
    ("validating.validation_metric", "E:RSME", '; did you mean "E:RMSE"?'),
    # what no machine can do
    ("model.descriptor.rcut", 1e300, "expected a number > 0 and ≤ 1000, in Å"),
    ("model.descriptor.sel", [10**12, 1], "1000000000000 neighbours; expected at most 100000"),
    ("model.descriptor.neuron[0]", [10**9], "expected an integer ≥ 1 and ≤ 100000"),
    # ranges
    ("model.descriptor.rcut", 0, "expected a number > 0"),
    ("model.descriptor.rcut_smth", -1, "expected a number ≥ 0, in Å"),
    ("model.descriptor.rcut_smth", 6.5, "must be smaller than rcut (6 Å)"),
    ("model.descriptor.rcut_smth", 6.0, "read 6.0; must be smaller than rcut (6 Å)"),
    ("model.descriptor.rcut_smth", 6.0, "otherwise energies jump where an atom passes the"),
    ("model.descriptor.rcut_smth", 6.0 - 1e-8, "also in single precision"),
    ("model.descriptor.axis_neuron", 101, "must not be larger than the last entry of neuron (100)"),
    ("model.data_stat_nbatch", 0, "expected an integer ≥ 1"),
    ("optimizer.adam_beta1", 1.0, "expected a number ≥ 0 and < 1"),
    ("loss.start_pref_e", -0.1, "expected a number ≥ 0"),
    ("training.disp_freq", -1, "expected an integer ≥ 1, in steps"),
    ("training.save_freq", -1, "expected an integer ≥ 0"),
    ("training.validation_data.numb_btch", 0, "expected an integer ≥ 1"),
    # loss
    ("loss.loss_func", "l1", 'expected one of "mse", "mae"'),
    ("loss.relative_f", 0, "expected a number > 0, in eV/Å, or null"),
    ("loss.huber_delta", [0.1, 0.2], "a list of three such numbers"),
    ("loss.f_use_norm", True, "the mean square is the same for components and for vectors"),
    ("loss.use_default_pf", True, "no effect, because start_pref_pf, limit_pref_pf are 0"),
    # types of atoms
    ("model.type_map", "OH", 'read "OH"; expected a non-empty list'),
    ("model.type_map", [], "read []; expected a non-empty list"),
    ("model.type_map[1]", ["O", False], "read false; expected a name in quotes without blanks"),
    ("model.type_map[0]", ["O w", "H"], 'read "O w"; expected a name in quotes without blanks'),
    ("model.type_map", ["O", "O"], "O stands there more than once"),
    ("model.descriptor.sel", [46], "has length 1, but there are 2 types"),
    ("model.descriptor.sel", [46, -1], '"auto", "auto:<factor>", or a list of integers ≥ 0'),
    ("model.descriptor.sel", 100, "or a list of integers ≥ 0, one per type"),
    ("model.descriptor.sel", [0, 0], "at least one type must have neighbours"),
    ("model.descriptor.sel", "automatic", 'expected "auto"'),
    ("model.descriptor.sel", "auto:x", 'the factor, as in auto:1.1, must be a number, not "x"'),
    ("model.descriptor.sel", "auto:-1", "the factor must be larger than 0"),
    ("model.descriptor.exclude_types", [[0, 2]], "the pair [0, 2] names a type beyond the last"),
    ("model.descriptor.exclude_types", [[0, 0], [1, 0], [1, 1]], "every pair of types is excluded"),
    ("model.descriptor.exclude_types[0]", [[0]], "expected a pair of type indices"),
    ("model.descriptor.exclude_types[0]", [0], "read 0; expected a pair of type indices"),
    ("model.fitting_net.atom_ener", [1.0], "has length 1, but there are 2 types"),
    ("model.fitting_net.atom_ener[1]", [1.0, "x"], 'read "x"; expected a number, or null'),
    # lengths by layers
    ("model.fitting_net.trainable", [True, False], "has length 2; expected 4, one per entry"),
    ("model.fitting_net.trainable", "all", "expected true or false or a list"),
    ("model.fitting_net.layer_name", ["a"], "has length 1; expected 4"),
    # names
    ("model.descriptor.activation_function", "tahn", 'read "tahn"; expected one of none, linear'),
    ("model.descriptor.activation_function", "silut:x", 'must be a number, not "x"'),
    ("model.descriptor.activation_function", "silut:inf", "must be a finite number"),
    ("model.fitting_net.activation_function", "tanh:3", "expected one of none"),
    ("model.descriptor.precision", "double", "expected one of default, float32, float64"),
    ("model.fitting_net.precision", "float16", "16-bit networks are not available"),
    ("model.descriptor.precision", "bfloat16", "16-bit networks are not available"),
    (
        "model.descriptor.type",
        "se_e2_b",
        '"se_atten_v2", "se_a_mask", "se_e3", "hybrid"; did you mean "se_e2_r"?',
    ),
    ("model.descriptor.type", 3, 'read 3; available: "se_e2_a"'),
    ("model.descriptor.type", "loc_frame", '"loc_frame" is an old descriptor of DeePMD-kit'),
    ("model.descriptor.type", "dpa2", '"dpa2" is part of other backends'),
    ("model.fitting_net.type", "property", '"property" is part of other backends'),
    ("optimizer.type", "LKF", '"LKF" is part of other backends'),
    ("loss.type", "property", '"property" is part of other backends'),
    ("learning_rate.type", "expo", 'available: "exp", "cosine", "wsd"; did you mean "exp"?'),
    # features that are still to come
    ("model.modifier", {"type": "dipole_charge"}, "data modifier (long-range electrostatics)"),
    ("model.type_embedding.use_econf_tebd", 1, "read 1; expected true or false"),
    ("model.use_srtab", 3, "read 3; expected text in quotes"),
    ("model.smin_alpha", 0.1, "belongs to use_srtab, which is not given; remove it"),
    ("model.smin_alpha", 0, "expected a number > 0 and ≤ 1000, in Å"),
    ("model.sw_rmin", -1.0, "expected a number ≥ 0 and ≤ 1000, in Å"),
    ("model.pair_exclude_types", [[0, 1]], "see descriptor.exclude_types"),
    ("model.model_dict", {}, "multi-task training is not available"),
    ("model.fitting_net.numb_fparam", -1, "expected an integer ≥ 0"),
    ("model.fitting_net.default_fparam", [0.0], "has length 1; expected 0, which is numb_fparam"),
    ("model.fitting_net.dim_case_embd", 2, "read 2; not available yet in this version, only 0"),
    (
        "model.fitting_net.dim_case_embd",
        10,
        "read 10; not available yet in this version, only 0 is accepted",
    ),
    (
        "loss.hessian_mode",
        "rows:2",
        'read "rows:2"; expected "auto", "full", "probe:<k>" or "columns:<k>", k directions of '
        "each frame, 1 to 100",
    ),
    (
        "loss.hessian_mode",
        "probe",
        'read "probe"; "probe" needs a number of directions from 1 to 100 after a colon, as in '
        '"probe:1"',
    ),
    ("optimizer.weight_decay", 0.1, "not available yet in this version, only 0.0 is accepted"),
    ("training.mixed_precision", {}, "16-bit training is not available yet"),
    ("training.stat_file_mode", "read", 'read "read"; stat_file is not given'),
    ("training.stat_file_mode", "write", 'expected one of "update", "read"'),
    ("training.tensorboard", 1, "read 1; expected true or false"),
    ("nvnmd", {}, "NVNMD"),
    # learning rate
    ("learning_rate.start_lr", 0, "expected a number > 0"),
    ("learning_rate.stop_lr", 0.01, "0.01 is larger than start_lr (0.001)"),
    ("learning_rate.decay_rate", 1.5, "expected a number > 0 and ≤ 1, or null"),
    ("learning_rate.decay_steps", 0, "expected an integer ≥ 1, in steps"),
    ("learning_rate.warmup_steps", 1000000, "must be smaller than training.numb_steps (1000000)"),
    ("learning_rate.warmup_ratio", 1.0, "expected a number ≥ 0 and < 1, or null"),
    ("learning_rate.scale_by_worker", "cubic", 'expected one of "linear", "sqrt", "none"'),
    # data
    ("training.training_data.systems", [], "expected text in quotes or a non-empty list"),
    ("training.training_data.systems", ["a", 1], "expected text in quotes or a non-empty list"),
    ("training.training_data.rglob_patterns[0]", [1], "read 1; expected text in quotes"),
    ("training.training_data.batch_size", 0, "expected an integer ≥ 1, a list with one such"),
    (
        "training.training_data.batch_size",
        [1, "2"],
        "expected an integer ≥ 1, a list with one such",
    ),
    ("training.training_data.batch_size", "mixed:", '"mixed" needs a number of frames'),
    ("training.training_data.batch_size", "max", '"max" needs a number of atoms'),
    ("training.training_data.auto_prob", "uniform", 'expected "prob_uniform", "prob_sys_size"'),
    ("training.training_data.auto_prob", "prob_sys_size;0:2", "must be <first>:<end>:<weight>"),
    ("training.training_data.sys_probs", [0.7, 0.7], "add up to 1.4, more than 1"),
    ("training.training_data.sys_probs[0]", [2.0], "expected a number ≤ 1"),
    ("training.validation_data.systems", None, "read null; expected text in quotes"),
]


@pytest.mark.parametrize(
    ("path", "value", "fragment"), MISTAKES, ids=[f"{p}={v!r}"[:60] for p, v, _ in MISTAKES]
)
def test_one_mistake_one_line(change, path, value, fragment):
    key = path.partition("[")[0]
    with pytest.raises(InputError) as caught:
        Config.from_dict(change(key, value), "input.json")
    message = str(caught.value)
    assert message.startswith(f"input.json: {path}: ")
    assert fragment in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "others", "fragment"),
    [
        ("use_huber", {"loss_func": "mae"}, 'loss_func is "mae", which is linear everywhere'),
        ("relative_f", {"start_pref_f": 0, "limit_pref_f": 0}, "start_pref_f, limit_pref_f, start"),
        (
            "enable_atom_ener_coeff",
            {"start_pref_e": 0, "limit_pref_e": 0},
            "no effect, because start_pref_e, limit_pref_e, start_pref_de, limit_pref_de are 0",
        ),
        (
            "f_use_norm",
            {"loss_func": "mae", "start_pref_f": 0, "limit_pref_f": 0},
            "no effect, because start_pref_f, limit_pref_f are 0; remove it",
        ),
        ("numb_generalized_coord", {"limit_pref_gf": 1}, "number of generalised coordinates"),
    ],
)
def test_options_of_the_loss_that_exclude_each_other(change, key, others, fragment):
    for other, value in others.items():
        change(f"loss.{other}", value)
    value = {"relative_f": 1.0, "numb_generalized_coord": 0}.get(key, True)
    with pytest.raises(InputError) as caught:
        Config.from_dict(change(f"loss.{key}", value), "input.json")
    message = str(caught.value)
    assert message.startswith(f"input.json: loss.{key}: ")
    assert fragment in message
    assert "\n" not in message


def test_all_mistakes_in_one_message(change):
    change("model.descriptor.rcutt", 5.0)
    change("model.descriptor.rcut", "six")
    change("model.descriptor.axis_neuron", 1000)
    change("model.type_map", ["O", "H", "N"])
    change("learning_rate.start_lr", -1)
    change("model.fitting_net.dim_case_embd", 1)
    change("training.numb_epoch", 3)
    change("training.training_data.batch_size", "auto:")
    change("training.training_data.sistems", [])
    with pytest.raises(InputError) as caught:
        Config.from_dict(change("training.validation_data.numb_btch", "3"), "input.json")
    first, *lines = str(caught.value).splitlines()
    assert first == "input.json: 10 mistakes"
    assert [line.split(":")[0].strip() for line in lines] == [
        "learning_rate.start_lr",
        "model.descriptor.axis_neuron",
        "model.descriptor.rcut",
        "model.descriptor.rcutt",
        "model.descriptor.sel",
        "model.fitting_net.dim_case_embd",
        "training.numb_epoch",
        "training.training_data.batch_size",
        "training.training_data.sistems",
        "training.validation_data.numb_btch",
    ]


def test_a_misspelt_required_key_is_told_once(change):
    change("learning_rate.start_lr", ...)
    with pytest.raises(InputError) as caught:
        Config.from_dict(change("learning_rate.start_rl", 0.001))
    assert (
        str(caught.value) == 'input: learning_rate.start_rl: unknown key; did you mean "start_lr"?'
    )


def test_an_unavailable_type_hides_the_rest_of_its_block(change):
    change("model.descriptor", {"type": "loc_frame", "attn_layer": 2, "sel": 120})
    with pytest.raises(InputError, match=r"^input: model\.descriptor\.type: [^\n]*$"):
        Config.from_dict(change("model.type_map", ["O", "H"]))


def test_names_that_the_locale_does_not_know(change, monkeypatch):
    monkeypatch.setattr("os.fsencode", lambda name: name.encode("ascii"))
    script = change("training.training_data.systems", ["a", "wé"])
    with pytest.raises(InputError, match=r'systems: read "wé"; .* PYTHONUTF8=1'):
        Config.from_dict(script)


def test_the_name_in_the_file_is_told(change):
    change("training.numb_steps", ...)
    with pytest.raises(InputError) as caught:
        Config.from_dict(change("training.stop_batch", -5))
    assert "training.numb_steps: read -5; expected an integer ≥ 0" in str(caught.value)
    assert str(caught.value).endswith('(written as "stop_batch")')


def test_no_length_of_training(change):
    script = change("training.numb_steps", ...)
    with pytest.raises(InputError, match=r"numb_epoch:.*numb_steps.*numb_epoch"):
        Config.from_dict(script)
    with pytest.raises(InputError, match=r'training\.numb_step5:.*"numb_steps"\?$'):
        Config.from_dict(change("training.numb_step5", 1000))


def test_both_lengths(change):
    with pytest.raises(InputError, match="numb_steps"):
        Config.from_dict(change("training.numb_epoch", 2))


def test_defaults_are_checked_against_what_is_given(change):
    change("model.descriptor.rcut_smth", ...)
    with pytest.raises(InputError, match=r"rcut_smth:.*0\.5"):
        Config.from_dict(change("model.descriptor.rcut", 0.3))


def test_default_stop_lr_above_start_lr(change):
    change("learning_rate.stop_lr", ...)
    with pytest.raises(InputError, match=r"5e-08,.*start_lr"):
        Config.from_dict(change("learning_rate.start_lr", 1e-8))


def test_both_ends_of_the_learning_rate(change):
    with pytest.raises(InputError, match=r"learning_rate\.stop_lr: .*stop_lr_ratio"):
        Config.from_dict(change("learning_rate.stop_lr_ratio", 0.1))


def test_warmup_given_twice(change):
    change("learning_rate.warmup_ratio", 0.1)
    with pytest.raises(InputError, match=r"warmup_steps: .*warmup_ratio"):
        Config.from_dict(change("learning_rate.warmup_steps", 10))


def test_wsd_needs_a_positive_end(change):
    change("learning_rate", {"type": "wsd", "start_lr": 0.001})
    with pytest.raises(InputError, match=r"stop_lr: read 0;.*0"):
        Config.from_dict(change("learning_rate.stop_lr", 0))


def test_nothing_to_fit(change):
    for name in ("start_pref_e", "limit_pref_e", "start_pref_f", "limit_pref_f"):
        script = change(f"loss.{name}", 0)
    with pytest.raises(InputError, match=r"^input: loss: every weight"):
        Config.from_dict(script)
    with pytest.raises(InputError, match=r"^input: every weight"):
        LossEner.from_dict(script["loss"])
    assert Config.from_dict(change("loss.limit_pref_v", 1)).loss.limit_pref_v == 1


def test_number_of_types_from_sel_without_type_map(change):
    change("model.type_map", ...)
    with pytest.raises(InputError, match=r"atom_ener:.*2 types"):
        Config.from_dict(change("model.fitting_net.atom_ener", [1.0, 2.0, 3.0]))


def test_paths_of_a_section_on_its_own(script):
    script["model"]["descriptor"]["rcut"] = -1
    with pytest.raises(InputError, match=r"^frozen\.pb: descriptor\.rcut: "):
        ModelConfig.from_dict(script["model"], "frozen.pb")


@pytest.mark.parametrize("data", [[], "text", None, 3])
def test_not_a_block_at_all(data):
    with pytest.raises(InputError, match="expected a block of keys"):
        Config.from_dict(data)


def test_keys_that_are_not_text(change):
    with pytest.raises(InputError, match=r"loss\.3:"):
        Config.from_dict(change("loss", {3: 4}))


def test_long_values_are_shortened(change):
    with pytest.raises(InputError) as caught:
        Config.from_dict(change("model.descriptor.rcut", "x" * 1000))
    assert len(str(caught.value)) < 200


def test_what_is_not_excluded_has_no_neighbors(change):
    change("model.descriptor.sel", [0, 4])
    assert Config.from_dict(change("model.descriptor.exclude_types", [[1, 1]]))
    with pytest.raises(InputError, match=r"exclude_types: .* none has neighbours in sel \[0, 4\]"):
        Config.from_dict(change("model.descriptor.exclude_types", [[1, 1], [0, 1]]))


def test_one_selection_of_all_types_does_not_count_them(change):
    """The mistake is the missing ``type_map``, not the length of another ``sel``."""
    change("model.type_map", ...)
    parts = [{"type": "dpa1", "sel": [120]}, {"type": "se_e2_a", "sel": [46, 92]}]
    with pytest.raises(InputError) as caught:
        Config.from_dict(change("model.descriptor", {"type": "hybrid", "list": parts}))
    assert "model/type_map" in str(caught.value) and "has length" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "key", "said"),
    [
        (
            {"type": "se_atten", "sel": 1.5},
            "sel",
            'read 1.5; expected "auto", "auto:<factor>", or an in',
        ),
        ({"type": "se_a_mask", "sel": ...}, "sel", "missing; expected a list of integers ≥ 0, the"),
        ({"sel": 120, "attn_layer": 0, "type": ...}, "type", 'missing; expected one of "se_e2_a"'),
        ({"typ": "se_atten", "sel": 120, "type": ...}, "typ", 'unknown key; did you mean "type"?'),
    ],
)
@pytest.mark.parametrize("member", [False, True])
def test_what_is_expected_is_that_of_the_kind(change, section, key, said, member):
    if member and section["type"] == "se_a_mask":
        return
    section = {name: value for name, value in section.items() if value is not ...}
    path = "model.descriptor.list[0]." if member else "model.descriptor."
    with pytest.raises(InputError) as caught:
        Config.from_dict(
            change("model.descriptor", {"type": "hybrid", "list": [section]} if member else section)
        )
    assert str(caught.value).startswith(f"input: {path}{key}: {said}")
    assert "\n" not in str(caught.value)
    if key == "type":
        assert '"se_atten"' in str(caught.value)
        assert ('"hybrid"' in str(caught.value)) is not member


@pytest.mark.parametrize(
    ("keys", "ignored"),
    [
        ({"type": "se_atten_v2"}, True),
        ({"type": "se_atten", "tebd_input_mode": "strip"}, True),
        ({"type": "se_atten"}, False),
        ({"type": "se_a_ebd_v2", "sel": [4, 8]}, False),
        ({"type": "se_atten_v2", "type_one_side": False}, False),
    ],
)
def test_one_sided_nets_that_take_both_types_all_the_same(change, caplog, keys, ignored):
    member = {"type_one_side": True, "sel": 120} | keys
    Config.from_dict(change("model.descriptor", {"type": "hybrid", "list": [member]}))
    said = "input: model.descriptor.list[0]: type_one_side is ignored: "
    assert (said in caplog.text) is ignored
    caplog.clear()
    Config.from_dict(change("model.descriptor", member))
    assert ("input: model.descriptor: type_one_side is ignored: " in caplog.text) is ignored


def test_pages_say_where_one_net_serves_all_types():
    page = markdown().replace("\\", "")
    assert "Does nothing: the net of the types takes those of neighbour and centre" in page
    assert "models of stripped nets (tebd_input_mode strip, or se_atten_v2) can be" in page
    assert "those of se_e2_r and se_e3 stay as they are" in page
