# SPDX-License-Identifier: BSD-3-Clause
"""Every key of DeePMD-kit 3.2 that its TensorFlow backend may meet: an option of ours, refused by
name, or ignored with a remark. None is unknown, and none is silently dropped."""

from __future__ import annotations

import logging

import pytest

from deepmd_tf.config import Config
from deepmd_tf.config.section import about, walk
from deepmd_tf.errors import InputError

KEYS = {
    "": "model learning_rate optimizer loss training validating nvnmd",
    "model": """type type_map data_stat_nbatch data_stat_protect data_bias_nsample use_srtab
        smin_alpha sw_rmin sw_rmax srtab_add_bias type_embedding modifier compress spin
        finetune_head pair_exclude_types atom_exclude_types preset_out_bias descriptor
        fitting_net""",
    "model.type_embedding": """neuron activation_function resnet_dt precision trainable seed
        use_econf_tebd use_tebd_bias""",
    "model.descriptor": """type sel rcut rcut_smth neuron axis_neuron n_axis_neuron
        activation_function resnet_dt type_one_side precision trainable seed exclude_types
        env_protection set_davg_zero""",
    "model.fitting_net": """type numb_fparam numb_aparam default_fparam dim_case_embd neuron
        n_neuron activation_function precision resnet_dt trainable rcond seed atom_ener layer_name
        use_aparam_as_mask sel_type dipole_type pol_type fit_diag scale shift_diag numb_dos""",
    "learning_rate": """type start_lr stop_lr stop_lr_ratio warmup_steps warmup_ratio
        warmup_start_factor scale_by_worker decay_steps decay_rate smooth""",
    "optimizer": "type adam_beta1 adam_beta2 weight_decay",
    "loss": """type start_pref_e limit_pref_e start_pref_f limit_pref_f start_pref_v limit_pref_v
        start_pref_h limit_pref_h start_pref_ae limit_pref_ae start_pref_pf limit_pref_pf
        use_default_pf relative_f enable_atom_ener_coeff start_pref_gf limit_pref_gf
        numb_generalized_coord use_huber loss_func f_use_norm huber_delta
        intensive_ener_virial pref pref_atomic enable_atomic_weight start_pref_dos limit_pref_dos
        start_pref_cdf limit_pref_cdf start_pref_ados limit_pref_ados start_pref_acdf
        limit_pref_acdf""",
    "training": """training_data validation_data numb_steps stop_batch num_step num_steps numb_step
        numb_epoch num_epoch num_epochs numb_epochs seed disp_file disp_freq save_freq save_ckpt
        max_ckpt_keep disp_training time_training change_bias_after_training stat_file
        stat_file_mode profiling profiling_file enable_profiler tensorboard tensorboard_log_dir
        tensorboard_freq mixed_precision save_dir ckpt_keep_ratio enable_ema ema_decay
        ema_ckpt_keep disp_avg gradient_max_norm acc_freq zero_stage enable_compile
        enable_tf32 neighbor_graph_method data_dict model_prob num_epoch_dict""",
    "training.training_data": """systems rglob_patterns batch_size auto_prob auto_prob_style
        sys_probs sys_weights min_pair_dist set_prefix""",
    "training.validation_data": """systems rglob_patterns batch_size auto_prob auto_prob_style
        sys_probs sys_weights numb_btch numb_batch set_prefix""",
    "validating": """full_validation ema_full_validation validation_freq save_best save_best_dir
        max_best_ckpt validation_metric full_val_file full_val_start""",
}
"""Keys by section."""
TYPES = {
    "model": "frozen pairtab",
    "model.descriptor": """loc_frame se_a_tpe se_a_ebd dpa2 dpa3 se_e3_tebd""",
    "model.fitting_net": "property",
    "loss": "dens property",
    "optimizer": "AdamW LKF AdaMuon HybridMuon",
}
"""Values of "type" that ask for what this package does not have."""


def sections(path):
    """Classes that a section may be."""
    return [cls for where, cls in walk(Config) if where == path]


def block(script, path):
    """The section at ``path`` of a script, made if need be."""
    for name in filter(None, path.split(".")):
        script = script.setdefault(name, {})
    return script


@pytest.mark.parametrize(
    ("path", "key"), [(path, key) for path, keys in KEYS.items() for key in keys.split()]
)
def test_key_is_known(path, key, script, caplog):
    classes = sections(path)
    assert classes, path
    options = {
        name
        for cls in classes
        for n, f in cls.model_fields.items()
        for name in (n, *about(f)["aliases"])
    }
    if key in options:  # of some kind, at least
        return
    refused = [cls.refused[key] for cls in classes if key in cls.refused]
    ignored = [cls.ignored[key] for cls in classes if key in cls.ignored]
    assert bool(refused) + bool(ignored) == 1, f"{path}.{key}"
    block(script, path)[key] = {"odd": 1}
    where = f"{path}.{key}".lstrip(".")
    if refused:
        with pytest.raises(InputError, match=rf"{where}: read"):
            Config.from_dict(script)
    else:
        with caplog.at_level(logging.WARNING):
            Config.from_dict(script)
        assert where in caplog.text
        assert "ignored" in caplog.text


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, names in TYPES.items() for name in names.split()]
)
def test_type_is_refused_by_name(path, name, script):
    block(script, path)["type"] = name
    with pytest.raises(InputError) as caught:
        Config.from_dict(script)
    message = str(caught.value)
    assert f'{path}.type: "{name}" is ' in message
    assert "available: " in message
    assert message.count("\n") == 0, "what else the block holds is not judged"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.modifier", {"type": "dipole_charge"}),
        ("model.compress", {"model_file": "a.pb"}),
        ("model.descriptor.env_protection", 0.1),
        ("model.pair_exclude_types", [[0, 1]]),
        ("training.mixed_precision", {"compute_prec": "float16"}),
        ("optimizer.weight_decay", 0.1),
        ("nvnmd", {"version": 0}),
    ],
)
def test_features_that_are_not_here_are_refused_by_name(change, path, value):
    with pytest.raises(InputError) as caught:
        Config.from_dict(change(path, value))
    assert f"{path}: read" in str(caught.value)
