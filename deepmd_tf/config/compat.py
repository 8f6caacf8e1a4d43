# SPDX-License-Identifier: BSD-3-Clause
"""Input scripts of earlier versions of DeePMD-kit, brought into the present layout.

Version 0 has all keys at the top level, version 1 has the data sets in ``training`` itself and
gives the decay rate; later versions moved warm-up and optimizer out of ``training``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from deepmd_tf.config.report import Report, show

V0_KEYS = (
    "use_smooth",
    "sel_a",
    "filter_neuron",
    "fitting_neuron",
    "n_neuron",
    "systems",
    "stop_batch",
)
"""Any of these at the top level, and no "model" or no "training", makes a version 0 script."""
V0_RATES = ("decay_steps", "decay_rate", "start_lr")
V0_LOSS = tuple(
    f"{when}_pref_{term}" for term in ("e", "f", "v", "ae") for when in ("start", "limit")
)
V0_TRAINING = (
    "seed",
    "systems",
    "set_prefix",
    "stop_batch",
    "batch_size",
    "disp_file",
    "disp_freq",
    "numb_test",
    "save_freq",
    "save_ckpt",
    "disp_training",
    "time_training",
    "profiling",
    "profiling_file",
)
V0_WITHOUT_EFFECT = {
    "coord_norm": True,
    "type_fitting_net": False,
    "load_ckpt": None,
    "restart": False,
    "num_threads": None,
}
"""Left out when they hold this value (None: any)."""

DATA_KEYS = (
    "systems",
    "set_prefix",
    "batch_size",
    "sys_prob",
    "auto_prob",
    "sys_weights",
    "auto_prob_style",
)
WITHOUT_EFFECT = {
    "numb_test": "validation is set by training.validation_data",
    "load_ckpt": "a checkpoint to begin with is given by --init-model or --restart",
}
"""Keys of version 1 in "training", and what serves instead."""
WARMUP_KEYS = ("warmup_steps", "warmup_ratio", "warmup_start_factor")
OPTIMIZER_KEYS = (
    "opt_type",
    "adam_beta1",
    "adam_beta2",
    "weight_decay",
    "kf_blocksize",
    "kf_start_pref_e",
    "kf_limit_pref_e",
    "kf_start_pref_f",
    "kf_limit_pref_f",
    "momentum",
    "muon_momentum",
    "lr_adjust",
    "lr_adjust_coeff",
    "muon_2d_only",
    "min_2d_dim",
)
STEPS_KEYS = ("stop_batch", "numb_steps", "numb_step", "num_steps", "num_step")
DEFAULT_DECAY_STEPS = 5000


def convert_layout(data: dict[str, Any], source: str = "input") -> dict[str, Any]:
    """The same input in the present layout: what ``input_v2_compat.json`` holds.

    Parameters
    ----------
    data
        Keys of a script of any version; not changed.
    source
        File name for messages.

    Raises
    ------
    InputError
        If something is given in the old place and in the new one.
    """
    report = Report(source)
    result = convert(data, report)
    report.notes.clear()
    report.finish()
    return result


def convert(data: Any, report: Report) -> Any:
    """As :func:`convert_layout`, with mistakes and remarks in ``report``; looks at layout only."""
    if not isinstance(data, dict):
        return data
    data = copy.deepcopy(data)
    if not {"model", "training"} <= data.keys() and any(key in data for key in V0_KEYS):
        report.note("this is an input of DeePMD-kit 0.x; it was converted to the present layout")
        data = _from_v0(data)
        _data_section(data, report)
    elif isinstance(data.get("training"), dict) and "systems" in data["training"]:
        report.note("this is an input of DeePMD-kit 1.x; it was converted to the present layout")
        _data_section(data, report)
    training = data.get("training")
    if isinstance(training, dict):
        for key, instead in WITHOUT_EFFECT.items():
            if training.pop(key, None) is not None:
                report.note(f"training.{key} is ignored: {instead}")
        _move(data, training, WARMUP_KEYS, "learning_rate", report)
        _move(data, training, OPTIMIZER_KEYS, "optimizer", report)
    model = data.get("model")
    if isinstance(model, dict) and isinstance(model.get("descriptor"), dict):
        model["descriptor"] = _from_se_ar(model["descriptor"], report)
    if isinstance(model, dict) and isinstance(model.get("models"), dict):
        model["models"] = [model["models"]]
    return data


def _take(data: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: data.pop(key) for key in keys if key in data}


def _from_v0(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 from version 0. Keys that are not known stay at the top level, to be reported.

    Late scripts of version 0 have the section "model" already.
    """
    data = {key: value for key, value in data.items() if not key.startswith("_")}
    for key, value in V0_WITHOUT_EFFECT.items():
        if key in data and value in (None, data[key]):
            del data[key]
    seed = {"seed": data["seed"]} if data.get("seed") is not None else {}
    sections = {"model": data.pop("model") if "model" in data else _model_from_v0(data, seed)}
    sections["learning_rate"] = {"type": "exp"} | _take(data, V0_RATES)
    sections["loss"] = _take(data, V0_LOSS)
    sections["training"] = seed | _take(data, V0_TRAINING)
    if not sections["training"].get("profiling"):
        sections["training"].pop("profiling_file", None)
    return sections | data


def _model_from_v0(data: dict[str, Any], seed: dict[str, Any]) -> dict[str, Any]:
    if data.pop("use_smooth", False):
        descriptor = {**seed, "type": "se_a"}
        if "sel_a" in data:
            descriptor["sel"] = data.pop("sel_a")
        descriptor |= _take(data, ("rcut", "rcut_smth"))
        if "rcut" in descriptor:
            descriptor.setdefault("rcut_smth", descriptor["rcut"])
        if "filter_neuron" in data:
            descriptor["neuron"] = data.pop("filter_neuron")
        descriptor |= _take(data, ("axis_neuron", "n_axis_neuron"))
        descriptor["resnet_dt"] = data.pop("filter_resnet_dt", False)
    else:
        descriptor = {"type": "loc_frame"}
        descriptor |= _take(data, ("sel_a", "sel_r", "rcut", "rcut_a", "rcut_r", "axis_rule"))
    fitting = {**seed}
    if "fitting_neuron" in data:
        fitting["neuron"] = data.pop("fitting_neuron")
    fitting |= _take(data, ("n_neuron",)) | {"resnet_dt": True}
    for key in ("resnet_dt", "fitting_resnet_dt"):
        if key in data:
            fitting["resnet_dt"] = data.pop(key)
    return {"descriptor": descriptor, "fitting_net": fitting}


def _from_se_ar(descriptor: dict[str, Any], report: Report) -> dict[str, Any]:
    """``hybrid`` from ``se_ar``, which was it in version 1 for one descriptor of each kind."""
    angular, radial = descriptor.get("a"), descriptor.get("r")
    if not (isinstance(angular, dict) and isinstance(radial, dict)):
        return descriptor
    if descriptor.get("type") != "se_ar":
        return descriptor
    report.note('model.descriptor: "se_ar" was converted to a "hybrid" of its two descriptors')
    rest = {key: value for key, value in descriptor.items() if key not in ("type", "a", "r")}
    members = [{"type": "se_a"} | angular, {"type": "se_r"} | radial]
    return {"type": "hybrid", "list": members, **rest}


def _data_section(data: dict[str, Any], report: Report) -> None:
    """Version 2 from version 1: ``training.training_data``, ``stop_lr`` for ``decay_rate``."""
    training = data["training"]
    if "training_data" in training:
        report.problem(
            "training.systems", "training.training_data is given too; give the systems only there"
        )
        for key in DATA_KEYS:
            training.pop(key, None)
    else:
        moved = _take(training, [key for key in training if key in DATA_KEYS])
        training["training_data"] = moved
    rates = data.get("learning_rate")
    if isinstance(rates, dict) and rates.get("decay_rate") is not None:
        steps = next((training[key] for key in STEPS_KEYS if key in training), None)
        rate, start = rates["decay_rate"], rates.get("start_lr")
        every = rates.get("decay_steps", DEFAULT_DECAY_STEPS)
        # Anything else is left as it is, for the checks of the section to name.
        if all(_positive(number) for number in (steps, rate, start, every)):
            rates["stop_lr"] = float(np.exp(np.log(rate) * (steps / every)) * start)
            del rates["decay_rate"]


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _move(
    data: dict[str, Any],
    training: dict[str, Any],
    keys: Iterable[str],
    section: str,
    report: Report,
) -> None:
    """Move keys from ``training`` to the section where they belong now."""
    moved = _take(training, keys)
    target = data.setdefault(section, {}) if moved else None
    if not isinstance(target, dict):
        return
    for key, value in moved.items():
        name = "type" if key == "opt_type" else key
        if name in target and target[name] != value:
            report.problem(
                f"training.{key}",
                f"read {show(value)}, but {section}.{name} is {show(target[name])}; give it only "
                "there",
            )
        target.setdefault(name, value)
    report.note(f"{', '.join(moved)}: belongs in {section}, not in training")
