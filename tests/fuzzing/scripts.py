# SPDX-License-Identifier: BSD-3-Clause
"""Random input scripts of valid keys, drawn from the sections of the input script themselves.

Every key has a value that it may have on its own; whether such values go together is for the reader
to say. A new key is drawn like the others from its type and range. One whose values are not known
from these needs an entry in :data:`VALUES`, or :class:`UnknownValueError` says so.
"""

from __future__ import annotations

import copy
import random
import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import fragmented

from deepmd_tf.config import Config
from deepmd_tf.config.report import Report
from deepmd_tf.config.section import (
    Section,
    about,
    item_kinds,
    type_name,
    type_names,
    variants,
)
from deepmd_tf.config.values import choices

USUAL = 0.4
"""How often a section is of its first kind, and of any kind otherwise."""
GIVEN = 0.15
"""How often an optional key is given."""
ALWAYS = ("descriptor", "fitting_net", "loss", "type", "axis_neuron", "numb_generalized_coord")
"""Optional keys that are given in any case: their defaults are not for small or for all models."""
TOGETHER = {"use_srtab": ("smin_alpha", "sw_rmin", "sw_rmax")}
"""Keys that go with another one, and are refused without it."""
OTHER_NAME = 0.1
"""How often under another of its names."""
MENDED = 0.9
"""How often what contradicts is left out, so that more scripts are trained than refused."""
ROUNDS = 5
LOSSES = {"dipole": "tensor", "polar": "tensor", "dos": "dos"}
"""The loss that goes with a fitting net, of those that are not of energies."""
WITHOUT_DIRECTIONS = ("se_e2_r", "se_r", "se_e3", "se_at", "se_a_3be", "se_t", "se_a_mask")
SYSTEMS = ("data/cell", "data/free", "data/mixed", "data/lone", "data/bare", "data/frame")
"""Of :func:`fuzzing.trainings.write_data`."""
FILES = ("{key}", "new/{key}", "{key}.h5", "{key} é")
"""Names of files and folders."""
Draw = Callable[[random.Random], Any]


def _one_of(*values: Any) -> Draw:
    return lambda rng: rng.choice(values)


def _systems(rng: random.Random) -> Any:
    found = rng.sample(SYSTEMS[:3], rng.choice((1, 1, 2)))
    if rng.random() < 0.1:
        found.append(rng.choice(SYSTEMS))
    return found[0] if len(found) == 1 and rng.random() < 0.3 else found


VALUES: dict[str, Draw] = {
    # what has a notation of its own
    "systems": _systems,
    "sel": _one_of([12, 20], [3, 5], [0, 4], [4, 4], [30, 30], [20], 30, "auto", "auto:1.5"),
    "exclude_types": _one_of([], [[0, 0]], [[0, 1]], [[1, 1], [0, 1]], [[0, 0], [1, 1]]),
    "batch_size": _one_of(
        1, 2, 100, [1], [2, 1], "auto", "auto:7", "max:12", "filter:5", "filter:9", "mixed:2"
    ),
    "auto_prob": _one_of(
        "prob_uniform", "prob_sys_size", "prob_sys_size;0:1:0.5", "prob_sys_size;0:1:1;1:2:0"
    ),
    "sys_probs": _one_of([1.0], [0.5, 0.5], [0.0, 1.0], [-1.0, 0.3], [1, -1.0]),
    "sel_type": _one_of(0, [0], [1], [0, 1], [1, 0], [2]),
    "scale": _one_of(2.0, 0.5, [1.0, 2.0], [0.0, 1.0], [1.0, 2.0, 3.0]),
    "numb_dos": _one_of(1, 3, 20),
    "hessian_mode": _one_of("auto", "full", "probe:1", "columns:2", "columns:100"),
    "type_map": _one_of(["O", "H"], ["H", "O"], ["O", "H", "C"], ["C", "O", "H"], ["O"]),
    "rglob_patterns": _one_of(["."], ["."], ["*"], ["nothing"]),
    "huber_delta": _one_of(0.01, 1.0, 1e-6, [0.1, 0.2, 0.3]),
    "use_spin": _one_of([True, False], [True, False], [False, True], [True]),
    "spin_norm": _one_of([1.2737], [1.2737], [1.0, 2.0]),
    "virtual_len": _one_of([0.4], [0.4], [0.2]),
    "use_srtab": _one_of("data/zbl.tab", "data/zbl.tab", "new/zbl.tab"),
    "tab_file": _one_of("data/zbl.tab", "data/zbl.tab", "new/zbl.tab"),
    "model_file": _one_of("new/single.pb", "data"),
    "weights": _one_of("sum", "sum", "mean", [1.0], [0.5, -0.5], [1, 0, 2.5]),
    "smin_alpha": _one_of(0.1, 0.02, 1.0),
    "sw_rmin": _one_of(0.0, 0.5, 1.5),
    "sw_rmax": _one_of(1.0, 2.0, 3.0),
    # whose range holds what takes long or much memory
    "rcut": _one_of(1.5, 3.4, 3.4, 5.0),
    "rcut_smth": _one_of(0.0, 0.5, 1.4, 3.39),
    "numb_steps": _one_of(0, 1, 2, 2, 2, 2, 2, 2),
    "numb_epoch": _one_of(0.01, 0.3, 1.0),
    "start_lr": _one_of(1e-3, 1e-2, 1e-5, 1e-7),
    "stop_lr": _one_of(1e-4, 1e-8, 0.0, 1e-3),
    "stop_lr_ratio": _one_of(1.0, 1e-3, 1e-6),
    "warmup_steps": _one_of(0, 1, 2),
    # which data must fit
    "numb_fparam": _one_of(0, 1),
    "numb_aparam": _one_of(0, 2),
    "numb_generalized_coord": _one_of(2, 2, 2, 0),
    "default_fparam": _one_of(None, [0.5]),
    "atom_ener": _one_of([], [-1.0, None], [0.0, 0.5], [None, None]),
    "layer_name": _one_of(None, [None, "a", "a"], ["a", "b", None], ["one", None], ["x"]),
    "trainable": _one_of(True, True, False, [True, False, True], [False, True]),
    "neuron": _one_of([4], [3, 3], [2, 4], [4, 8], [1], []),
    "axis_neuron": _one_of(1, 2, 3),
    "attn": _one_of(1, 4),
    "attn_layer": _one_of(0, 0, 1, 2),
}
"""Values of keys, where type and range do not tell enough."""


class UnknownValueError(Exception):
    """A key whose values cannot be told from its type."""


def draw_script(rng: random.Random) -> dict[str, Any]:
    """An input script; of most the keys are left out that do not go together with the others."""
    script = _section(rng, Config)
    if not script["training"].keys() & {"numb_steps", "numb_epoch", "num_steps", "stop_batch"}:
        script["training"]["numb_steps"] = 2
    if rng.random() < MENDED:
        _give_needed(rng, script)
        for _ in range(ROUNDS):
            report = Report()
            Config.read(script, report)
            if not report.problems:
                break
            for path, _ in report.problems:
                _leave_out(script, path, report.spelled)
    return script


def _give_needed(rng: random.Random, script: dict[str, Any]) -> None:
    """Give a script what its descriptor and fitting net need of other sections, without which they
    are left out.
    """
    model = script["model"]
    if model.get("type") == "pairwise_dprc":
        _give_pair(rng, script)
        return
    if model.get("type") == "linear_ener":
        model.setdefault("type_map", ["O", "H"])
        if not any("descriptor" in member for member in model["models"]):
            model["models"].append({"descriptor": {"type": "se_e2_a", "sel": "auto"}})
        for member in model["models"]:
            if "descriptor" in member:
                member.setdefault("fitting_net", {"neuron": [3]})
                member.pop("type_map", None)
        return
    kind = model["descriptor"]["type"]
    if kind in WITHOUT_DIRECTIONS and model["fitting_net"]["type"] in ("dipole", "polar"):
        model["fitting_net"] = {"type": "ener", "neuron": [4]}
    loss = LOSSES.get(model["fitting_net"]["type"], "ener")
    if "spin" in model and (kind not in ("se_e2_a", "se_a", "se_e2_r", "se_r") or loss != "ener"):
        del model["spin"]
    if "spin" in model:
        loss, model["type_map"] = "ener_spin", ["Ni", "O"]
        for key in ("type_embedding", "use_srtab", *TOGETHER["use_srtab"]):
            model.pop(key, None)
        for part in ("training_data", "validation_data"):
            if script["training"].get(part):
                script["training"][part]["systems"] = "data/spin"
    others = {"ener", "ener_spin", *LOSSES.values()} - {loss}
    while script["loss"].get("type") in others:
        script["loss"] = draw_value(rng, Config, "loss")
    if kind.startswith(("se_atten", "dpa1", "se_a_ebd", "se_a_tpe", "hybrid")):
        model.setdefault("type_map", ["O", "H"])
    if kind == "se_a_mask":
        model["descriptor"]["sel"] = [2, 4]
        model["fitting_net"] |= {"numb_aparam": 1, "use_aparam_as_mask": True}
        script["training"]["training_data"]["systems"] = "data/masked"
        for key in ("type_embedding", "use_srtab", *TOGETHER["use_srtab"]):
            model.pop(key, None)


def _give_pair(rng: random.Random, script: dict[str, Any]) -> None:
    """Descriptors, types and data of a model of a quantum region and fragments."""
    drawn = script["model"]
    script["model"] = model = copy.deepcopy(fragmented.MODEL)
    for name in ("qm_model", "qmmm_model"):
        model[name]["fitting_net"] |= {"seed": drawn[name]["fitting_net"].get("seed", 1)}
    for part in ("training_data", "validation_data"):
        if script["training"].get(part):
            script["training"][part]["systems"] = "data/fragments"
    while script["loss"].get("type", "ener") != "ener":
        script["loss"] = draw_value(rng, Config, "loss")


def _leave_out(script: dict[str, Any], path: str, spelled: dict[str, str]) -> None:
    """Remove the key at ``path``, if it is there."""
    path = re.sub(r"(\[\d+\])+$", "", path)
    *blocks, key = path.split(".")
    block: Any = script
    for names in blocks:
        name, *places = re.findall(r"[^\[\]]+", names)
        block = block.get(name, {})
        for place in places:
            block = block[int(place)]
    block.pop(spelled.get(path, key), None)


def keys(cls: type[Section] = Config) -> list[tuple[type[Section], str]]:
    """All sections with all their keys."""
    found = [(cls, name) for name in cls.model_fields]
    for field in cls.model_fields.values():
        for inner in [*variants(field.annotation), *item_kinds(field.annotation)]:
            found += keys(inner)
    return found


def _section(rng: random.Random, cls: type[Section]) -> dict[str, Any]:
    result = {}
    for name, field in cls.model_fields.items():
        if about(field)["later"] or any(name in others for others in TOGETHER.values()):
            continue
        if field.is_required() or name in ALWAYS or rng.random() < GIVEN:
            aliases = about(field)["aliases"]
            key = rng.choice(aliases) if aliases and rng.random() < OTHER_NAME else name
            result[key] = draw_value(rng, cls, name)
    others = [name for key in result for name in TOGETHER.get(key, ())]
    items = [*result.items(), *((name, draw_value(rng, cls, name)) for name in others)]
    rng.shuffle(items)
    return dict(items)


def draw_value(rng: random.Random, cls: type[Section], name: str) -> Any:
    """A value that a key may have.

    Raises
    ------
    UnknownValueError
        If nobody says which it may have.
    """
    field = cls.model_fields[name]
    if name == "type":
        names = type_names(cls) if type_name(cls) else None
        if names:
            return rng.choice(names)
    if inner := variants(field.annotation):
        return _section(rng, inner[0] if rng.random() < USUAL else rng.choice(inner))
    if inner := item_kinds(field.annotation):
        return [_section(rng, rng.choice(inner)) for _ in range(rng.choice((1, 2, 2, 3)))]
    if name in VALUES:
        return VALUES[name](rng)
    try:
        value = _value(rng, field.annotation, field.metadata)
    except UnknownValueError:
        raise UnknownValueError(
            f"{cls.__name__}.{name}: its values are not known from its type; add it to "
            "fuzzing.scripts.VALUES"
        ) from None
    return value.format(key=name) if isinstance(value, str) else value


def _value(rng: random.Random, annotation: Any, marks: list[Any] | tuple[Any, ...]) -> Any:
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        return _value(rng, annotation, [*inner, *marks])
    if words := choices(annotation, marks):
        return rng.choice(words)
    if get_origin(annotation) in (Union, types.UnionType):
        return _value(rng, rng.choice(get_args(annotation)), marks)
    if get_origin(annotation) is list:
        low, high = _bounds(marks, ("min_length", "max_length"), 0, 3)
        (item,) = get_args(annotation)
        return [_value(rng, item, ()) for _ in range(rng.randint(int(low), int(high)))]
    if get_origin(annotation) is Literal:
        return rng.choice(get_args(annotation))
    if annotation is type(None):
        return None
    if annotation is bool:
        return rng.random() < 0.5
    if annotation is str:
        return rng.choice(FILES)
    if annotation is int:
        low, high = _bounds(marks, ("ge", "le"), -1, 2**31)
        return int(min(high, low + rng.choice((0, 0, 1, 2, 3, 10))))
    if annotation is float:
        return _number(rng, marks)
    raise UnknownValueError(annotation)


def _number(rng: random.Random, marks: list[Any] | tuple[Any, ...]) -> float:
    low, high = _bounds(marks, ("ge", "le"), -1e3, 1e3)
    above, below = _bounds(marks, ("gt", "lt"), -1e3, 1e3)
    fits = [
        number
        for number in (low, high, 0.0, 1e-9, 1e-3, 0.1, 0.5, 0.99, 1.0, 1, 3.5, 100.0)
        if low <= number <= high and above < number < below
    ]
    return rng.choice(fits)


def _bounds(
    marks: list[Any] | tuple[Any, ...], names: tuple[str, str], low: float, high: float
) -> tuple[float, float]:
    """The bounds that these marks set, or else ``low`` and ``high``."""
    found = [low, high]
    for mark in marks:
        if isinstance(mark, annotated_types.GroupedMetadata):
            found[:] = _bounds(list(mark), names, *found)
        for k, name in enumerate(names):
            bound = getattr(mark, name, None)
            found[k] = found[k] if bound is None else bound
    return found[0], found[1]
