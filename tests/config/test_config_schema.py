# SPDX-License-Identifier: BSD-3-Clause
"""The JSON schema accepts what is accepted, the tree holds every key, the text every path."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import small_training
import spins
from saved_models import small_input

from deepmd_tf.cli.main import main
from deepmd_tf.config import Config, DescriptorConfig, FittingConfig, load_input
from deepmd_tf.config.schema import json_schema
from deepmd_tf.config.section import (
    ABSENT,
    about,
    item_kinds,
    type_name,
    type_names,
    variants,
    walk,
)
from deepmd_tf.config.tree import arguments, rst
from deepmd_tf.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("**/input*.json"))
BLOCKS = [
    json.loads(body)
    for page in sorted((ROOT / "doc").glob("**/*.md"))
    for body in re.findall(r"^```json\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
]
GIVEN = [
    *(json.loads(path.read_text()) for path in EXAMPLES),
    *BLOCKS,
    small_training.INPUT,
    small_input(),
]
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def accepted(script) -> bool:
    return VALIDATOR.is_valid(script)


def test_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert len(EXAMPLES) >= 2 and len(BLOCKS) >= 1
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("script", GIVEN)
def test_inputs_and_what_they_become_are_valid(script):
    assert [error.message for error in VALIDATOR.iter_errors(script)] == []
    assert accepted(Config.from_dict(script).to_dict())


def places():
    """(path, class) of the sections of an input that has the usual types."""
    for path, cls in walk(Config):
        kind = type_name(cls) in ("cosine", "wsd", "hybrid", "linear_ener", "pairwise_dprc")
        unusual = kind or any(part in path for part in ("[]", "qm_model", "qmmm_model"))
        if not unusual:
            yield path, cls


def section(script, path):
    """The block at a path, made if it is not there."""
    for key in filter(None, path.split(".")):
        script = script.setdefault(key, copy.deepcopy(spins.SPIN) if key == "spin" else {})
    return script


def complete():
    """An input with every section."""
    script = copy.deepcopy(small_training.INPUT)
    for path, _ in places():
        section(script, path)
    script["loss"]["type"] = "ener"
    del script["model"]["spin"]  # which does not go with all others
    return script


def of_kind(block, cls):
    """Make the block one of a class, with ``sel`` for its types."""
    if block.get("type") in {type_name(kind) for kind in DescriptorConfig.kinds()}:
        block["type"] = type_name(cls)
        for key in block.keys() - cls.model_fields.keys():
            del block[key]
    if issubclass(cls, FittingConfig):
        block["type"] = type_name(cls)
    if getattr(cls, "one_selection", False):
        block["sel"] = 40


@pytest.mark.parametrize(
    ("path", "cls", "name", "alias"),
    [
        (path, cls, name, alias)
        for path, cls in places()
        for name, field in cls.model_fields.items()
        for alias in about(field)["aliases"]
    ],
)
def test_every_spelling(path, cls, name, alias):
    script = complete()
    block = section(script, path)
    of_kind(block, cls)
    if getattr(cls, "masked", False):
        script["model"]["fitting_net"] |= {"numb_aparam": 1, "use_aparam_as_mask": True}
        del script["model"]["type_embedding"]
    script["model"]["type_map"] = ["O", "H"]
    usual = section(Config.from_dict(copy.deepcopy(script)).to_dict(), path)
    block[alias] = block.pop(name, usual.get(name))
    if name == "numb_epoch":
        block[alias] = 3.5
        del block["numb_steps"]
    Config.from_dict(script)
    assert accepted(script)


@pytest.mark.parametrize(("path", "cls"), list(places()))
def test_comments_and_keys_without_effect(path, cls):
    script = complete()
    block = section(script, path)
    of_kind(block, cls)
    block["_comment"] = {"anything": ["at all"]}
    for key in cls.ignored:
        block[key] = "whatever"
    for key, foreign in cls.refused.items():
        if foreign.default is not ABSENT:
            block[key] = foreign.default
    VALIDATOR.validate(script)
    block["no_such_key"] = 1
    assert not accepted(script)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (path, name)
        for path, cls in places()
        for name, field in cls.model_fields.items()
        if not variants(field.annotation)
    ],
)
def test_what_is_no_value_at_all_is_refused(path, name):
    script = complete()
    section(script, path)[name] = {"a block": 1}
    assert not accepted(script)
    with pytest.raises(InputError):
        Config.from_dict(script)


@pytest.mark.parametrize(
    ("path", "key", "value", "valid"),
    [
        ("model.descriptor", "rcut", 0, False),
        ("model.descriptor", "rcut", "6", False),
        ("model.descriptor", "sel", "auto:1.2", True),
        ("model.descriptor", "type", "se_a", True),
        ("model.descriptor", "type", "se_e3_tebd", False),
        ("model.descriptor", "exclude_types", [[0, 1]], True),
        ("model.descriptor", "exclude_types", [[0, 1, 2]], False),
        ("model.descriptor", "neuron", [], False),
        ("model.descriptor", "precision", "float16", False),
        ("model.descriptor", "activation_function", "silut:3.0", True),
        ("model", "type_map", None, True),
        ("learning_rate", "type", "cosine", False),  # it has no decay_steps
        ("learning_rate", "type", "wsd", False),
        ("learning_rate", "type", "none", False),
        ("learning_rate", "stop_lr", None, True),
        ("training", "numb_steps", 1e6, True),
        ("training", "numb_steps", 1.5, False),
        ("training", "validation_data", None, True),
        ("training", "max_ckpt_keep", True, False),
    ],
)
def test_values(path, key, value, valid):
    script = copy.deepcopy(small_training.INPUT)
    section(script, path)[key] = value
    assert accepted(script) == valid
    if valid:
        Config.from_dict(script)
    else:
        with pytest.raises(InputError):
            Config.from_dict(script)


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [
        ("rcut", 5.0, True),
        ("_comment", [], True),
        ("type", "se_r", True),
        ("type", "hybrid", False),
        ("neuron", [], False),
        ("list", [], False),
    ],
)
def test_entries_of_a_list(key, value, valid):
    script = copy.deepcopy(small_training.INPUT)
    one = {"type": "se_e2_r", "sel": "auto"}
    script["model"]["descriptor"] = {"type": "hybrid", "list": [one, one | {key: value}]}
    assert accepted(script) == valid
    if valid:
        Config.from_dict(script)
    else:
        with pytest.raises(InputError, match=r"model\.descriptor\.list\[1\]"):
            Config.from_dict(script)


@pytest.mark.parametrize("missing", ["model", "model.descriptor", "training.training_data"])
def test_what_is_missing(missing):
    script = copy.deepcopy(small_training.INPUT)
    parent, _, key = missing.rpartition(".")
    del section(script, parent)[key]
    assert not accepted(script)


def test_other_schedules():
    script = copy.deepcopy(small_training.INPUT)
    for kind in ("cosine", "wsd"):
        script["learning_rate"] = {"type": kind, "start_lr": 1e-3}
        assert accepted(script)


def places_of_keys(cls, path="", inside=""):
    """(place, field) of all keys, as the tree names them; the key type belongs to all kinds."""
    for name, field in cls.model_fields.items():
        where = f"{path if name == 'type' else inside}/{name}".lstrip("/")
        yield where, field
        kinds = variants(field.annotation) or item_kinds(field.annotation)
        for kind in kinds:
            within = f"{where}[{type_name(kind)}]" if len(kinds) > 1 else where
            yield from places_of_keys(kind, where, within)


def test_tree_and_text_hold_every_key(capsys):
    tree = {argument["name"]: argument for argument in arguments()}
    assert list(tree) == list(Config.model_fields)
    assert main(["doc-train-input", "--out-type", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == list(tree.values())
    assert main(["doc-train-input"]) == 0
    text = capsys.readouterr().out
    assert text == rst() + "\n"
    for where, field in places_of_keys(Config):
        assert f"argument path: ``{where}``" in text
        for alias in about(field)["aliases"]:
            assert f"*{alias}*" in text
    choices = tree["learning_rate"]["sub_variants"]["type"]
    assert list(choices["choice_dict"]) == ["exp", "cosine", "wsd"]
    assert choices["default_tag"] == "exp"
    descriptor = tree["model"]["sub_variants"]["type"]["choice_dict"]["standard"]["sub_fields"][
        "descriptor"
    ]
    assert descriptor["sub_variants"]["type"]["choice_alias"] == {
        "se_a": "se_e2_a",
        "se_a_tpe_v2": "se_a_ebd_v2",
        "se_r": "se_e2_r",
        **dict.fromkeys(("se_at", "se_a_3be", "se_t"), "se_e3"),
        "dpa1": "se_atten",
    }
    angular = descriptor["sub_variants"]["type"]["choice_dict"]["se_e2_a"]
    assert angular["sub_fields"]["rcut"]["type"] == ["float"]
    assert angular["sub_fields"]["rcut"]["default"] == 6.0
    members = descriptor["sub_variants"]["type"]["choice_dict"]["hybrid"]["sub_fields"]["list"]
    assert members["repeat"] and members["type"] == ["list"]
    assert "hybrid" not in members["sub_variants"]["type"]["choice_dict"]


def test_text_is_restructuredtext():
    core = pytest.importorskip("docutils.core")
    settings = {"halt_level": 2, "report_level": 2, "file_insertion_enabled": False}
    assert core.publish_doctree(rst(), settings_overrides=settings).children


def test_schema_is_printed(capsys):
    assert main(["doc-train-input", "--out-type", "json_schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    assert main(["doc-train-input", "--multi-task"]) == 2
    assert "multi-task training is not available" in capsys.readouterr().err


def test_names_of_types():
    found = {name for _, cls in walk(Config) for name in type_names(cls)}
    assert {"se_e2_a", "se_a", "exp", "ener", "ener_hess"} <= found


def test_examples_can_be_loaded():
    assert all(load_input(path) for path in EXAMPLES)
