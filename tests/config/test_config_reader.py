# SPDX-License-Identifier: BSD-3-Clause
"""Files: JSON and YAML, keys given twice, and everything that is not an input script."""

from __future__ import annotations

import json
import os
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmd_tf.config import Config, load_input, read_input, reader
from deepmd_tf.errors import DeepmdError, InputError

from .conftest import WATER


def test_json_and_yaml_are_the_same(tmp_path, script):
    (tmp_path / "input.json").write_text(json.dumps(script))
    (tmp_path / "input.yaml").write_text(yaml.safe_dump(script))
    (tmp_path / "input.yml").write_text(yaml.safe_dump(script))
    configs = [load_input(tmp_path / f"input.{suffix}") for suffix in ("json", "yaml", "yml")]
    assert configs[0] == configs[1] == configs[2] == Config.from_dict(script)
    assert read_input(tmp_path / "input.json") == script


def test_byte_order_mark(tmp_path, script):
    path = tmp_path / "input.json"
    path.write_text(json.dumps(script), encoding="utf-8-sig")
    assert load_input(path) == Config.from_dict(script)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E+3", 1e3),
        ("1.5e-3", 1.5e-3),
        (".5", 0.5),
        ("2", 2),
        ("-7", -7),
        ("3.", 3.0),
        ("1e-3x", "1e-3x"),
        ("auto:1.1", "auto:1.1"),
        ("max:256", "max:256"),
        ("true", True),
        ("null", None),
    ],
)
def test_numbers_in_yaml(tmp_path, text, value):
    path = tmp_path / "a.yaml"
    path.write_text(f"x: {text}\ny: [{text}]\n")
    read = read_input(path)
    assert read == {"x": value, "y": [value]}
    assert type(read["x"]) is type(value)


def test_yaml_anchors_and_merges(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_input(path)["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{<<: [*a, *b]}", {"seed": 1, "type": "a", "rcut": 6}),
        ("{<<: [*b, *a]}", {"seed": 2, "type": "a", "rcut": 6}),
        ("{<<: *a, seed: 3}", {"seed": 3, "type": "a"}),
        ("{seed: 3, <<: *a}", {"seed": 3, "type": "a"}),
        ("{<<: [{<<: *b, rcut: 7}, *a]}", {"seed": 2, "type": "a", "rcut": 7}),
        ("{<<: [*a, *a, *a]}", {"seed": 1, "type": "a"}),
        ("{'<<': 1}", {"<<": 1}),
        ("{=: 1}", {"=": 1}),
        ("&c {<<: *c, seed: 4}", {"seed": 4}),
    ],
)
def test_the_first_block_that_is_merged_wins(tmp_path, text, value):
    path = tmp_path / "a.yaml"
    path.write_text(f"a: &a {{seed: 1, type: a}}\nb: &b {{seed: 2, rcut: 6}}\nx: {text}\n")
    assert read_input(path)["x"] == value


@pytest.mark.parametrize("text", ["{<<: 1}", "{<<: [[]]}", "{<<: }"])
def test_only_blocks_are_merged(tmp_path, text):
    (tmp_path / "a.yaml").write_text(f"x: {text}\n")
    with pytest.raises(InputError, match=r"line 1, column \d+: not valid YAML: only blocks can be"):
        read_input(tmp_path / "a.yaml")


DUPLICATES = {
    "json": '{"a": {"rcut": 5, "rcut": 6, "_c": 1, "_c": 2}, "l": [{"x": 1, "x": 1}]}',
    "yaml": "a:\n  rcut: 5\n  rcut: 6\n  _c: 1\n  _c: 2\nl:\n- x: 1\n  x: 1\n",
}


@pytest.mark.parametrize("suffix", DUPLICATES)
def test_keys_given_twice(tmp_path, suffix):
    path = tmp_path / f"input.{suffix}"
    path.write_text(DUPLICATES[suffix])
    with pytest.raises(InputError) as caught:
        read_input(path)
    assert str(caught.value) == (
        f"{path}: 2 mistakes\n"
        "  a.rcut: given more than once (5, then 6); keep one\n"
        "  l[0].x: given more than once (1, then 1); keep one"
    )


def test_duplicates_are_told_with_the_other_mistakes(tmp_path, script):
    text = json.dumps(script).replace('"rcut": 6.0', '"rcut": 6.0, "rcut": 6.0, "rcutt": 1')
    path = tmp_path / "input.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_input(path)
    assert "model.descriptor.rcut: given more than once" in str(caught.value)
    assert 'model.descriptor.rcutt: unknown key; did you mean "rcut"?' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("", ["the file is empty"]),
        ("   \n", ["the file is empty"]),
        ('{"a": 1,}', ["line 1", "a comma must stand between two entries"]),
        ('{"a": [1, 2,]}', ["a comma must stand between two entries"]),
        ('{\n "a": 1 // rcut\n}', ["line 2", "JSON has no comments"]),
        ('{\n# note\n"a": 1}', ["line 2", "JSON has no comments"]),
        ("{'a': 1}", ['text stands in double quotes: "…"']),
        ('{"a": 1\n "b": 2}', ["line 2", "is a comma missing before this?"]),
        ('{"a": 1', ["line 1", "not valid JSON"]),
        ("[1, 2]", ["expected a block of keys"]),
        ("3", ["expected a block of keys"]),
        ("[" * 100000, ["blocks are inside blocks without end"]),
        ('{"a": ' + "9" * 5000 + "}", ["not valid JSON"]),
    ],
)
def test_json_that_is_not_an_input(tmp_path, text, fragments):
    path = tmp_path / "input.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_input(path)
    assert str(caught.value).startswith(f"{path}: ")
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "expected a block of keys"),
        ("- 1\n- 2\n", "expected a block of keys"),
        ("a: [1, 2\nb: 3\n", "line 2, column 2: not valid YAML"),
        ("a: b: c\n", "line 1, column 5: not valid YAML"),
        ("\tmodel: 1\n", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("? [1, 2]\n: 3\n", "not valid YAML"),
        ("a: &x [*x]\n", "not valid YAML"),
        ("a: 2024-99-99\n", "not valid YAML"),
    ],
)
def test_yaml_that_is_not_an_input(tmp_path, text, fragment):
    path = tmp_path / "input.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_input(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert fragment in str(caught.value)


def test_a_chemical_symbol_that_yaml_takes_for_no(tmp_path, script):
    path = tmp_path / "input.yaml"
    script["model"]["type_map"] = ["O", "NOBELIUM"]
    path.write_text(yaml.safe_dump(script).replace("NOBELIUM", "No"))
    with pytest.raises(InputError, match=r"model\.type_map\[1\]:"):
        load_input(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"input\.json:"):
        load_input(tmp_path / "input.json")
    (tmp_path / "d.json").mkdir()
    with pytest.raises(InputError, match=r"d\.json: cannot be read"):
        load_input(tmp_path / "d.json")
    with pytest.raises(InputError, match=r'"\.json".*"\.yaml"'):
        load_input(tmp_path / "input.toml")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        load_input(tmp_path / "b.json")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
PLACES = [
    "model",
    "model.type_map",
    "model.descriptor",
    "model.descriptor.type",
    "model.descriptor.sel",
    "model.descriptor.rcut",
    "model.descriptor.neuron",
    "model.descriptor.exclude_types",
    "model.descriptor.activation_function",
    "model.fitting_net.trainable",
    "model.fitting_net.atom_ener",
    "model.fitting_net.layer_name",
    "model.spin",
    "learning_rate",
    "learning_rate.type",
    "learning_rate.decay_rate",
    "learning_rate.warmup_steps",
    "loss.huber_delta",
    "loss.type",
    "optimizer",
    "training",
    "training.systems",
    "training.stop_batch",
    "training.opt_type",
    "training.numb_epoch",
    "training.training_data",
    "training.training_data.batch_size",
    "training.training_data.auto_prob",
    "training.training_data.sys_probs",
    "training.training_data.systems",
    "validating",
]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.sampled_from(PLACES), junk=JUNK)
def test_anything_anywhere_is_read_or_refused_in_words(path, junk):
    data = json.loads(json.dumps(WATER))
    *blocks, key = path.split(".")
    block = data
    for name in blocks:
        block = block[name]
    block[key] = junk
    try:
        config = Config.from_dict(data)
    except DeepmdError as error:
        assert str(error).startswith("input: ")
    else:
        assert Config.from_dict(config.to_dict()) == config


def _anchors(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, levels)]
    return "\n".join(lines)


def _merges(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}]}}" for k in range(1, levels)]
    return "\n".join(lines)


def _chain(blocks: int) -> str:
    """Each block has the keys of the one before, and one more."""
    return "a0: &a0 {}\n" + "".join(
        f"a{k}: &a{k} {{<<: *a{k - 1}, k{k}: 1}}\n" for k in range(1, blocks)
    )


def test_merging_the_same_keys_again_and_again(tmp_path):
    (tmp_path / "a.yaml").write_text(_merges(10))
    assert read_input(tmp_path / "a.yaml")["a9"] == {"x": 1}


@pytest.mark.parametrize(
    ("suffix", "text", "message"),
    [
        ("yaml", _anchors(10), "has more than 1000000 values"),
        ("yaml", _chain(3000), "too many keys"),
        ("yaml", "[" * 100_000, "without end"),
        ("json", "[" * 100_000, "without end"),
        ("yaml", "a: !!timestamp x", "not valid YAML"),
        ("yaml", "a: !!binary é", "not valid YAML"),
        ("json", f'{{"a": {"1" * 10_000}}}', "not valid JSON: a number has too many digits"),
    ],
)
def test_files_that_are_more_than_they_seem(tmp_path, suffix, text, message):
    path = tmp_path / f"input.{suffix}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_input(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "input.json")
    with pytest.raises(InputError, match=r"input\.json:"):
        read_input(tmp_path / "input.json")


def test_keys_given_twice_in_a_block_that_is_given_twice(tmp_path):
    path = tmp_path / "input.json"
    path.write_text('{"a": {"x": 1, "x": 2}, "a": {"y": 3, "y": 4}, "a": 5}')
    with pytest.raises(InputError) as caught:
        read_input(path)
    assert str(caught.value).splitlines()[1:] == [
        "  a: given more than once ({ … }, then { … }, then 5); keep one",
        "  a.x: given more than once (1, then 2); keep one",
        "  a.y: given more than once (3, then 4); keep one",
    ]


HOSTILE = {
    "repeated.yaml": (_anchors(10) + "\nx: *a9\nx: *a9", "has more than 1000000 values"),
    "self.yaml": ("model: &m {descriptor: *m}\n", "line 1, column 8: not valid YAML: "),
    "code.yaml": ("a: !!python/object/apply:os.getcwd []", "line 1, column 4: not valid YAML: "),
    "tab.yaml": ("model:\n\ttype: standard", "line 2, column 1: not valid YAML: "),
    "octal.yaml": ("training: {numb_steps: 0100}", "0100 is a number in YAML only; write it as in"),
    "sixty.yaml": ("training:\n  seed: 1:30", "1:30 is a number in YAML only; write it as in JSON"),
    "alias.yaml": ("model: *m", "line 1, column 8: not valid YAML: "),
    "two.yaml": ("model: 1\n---\nmodel: 2", "line 2, column 1: not valid YAML: "),
}
"""What PyYAML refuses it calls by words that another release may change."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, name):
    text, words = HOSTILE[name]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(words)):
        read_input(path)


def test_a_file_that_is_cut_off_after_a_line(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n')
    with pytest.raises(InputError, match=r"a\.json: line 2, column 1:"):
        read_input(tmp_path / "a.json")


def test_integers_in_yaml(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: [0, 10, -7, +8, 1_000]\n")
    assert read_input(path) == {"a": [0, 10, -7, 8, 1000]}


def test_size(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "LARGEST_FILE", 10)
    (tmp_path / "large.json").write_text(" " * 11)
    with pytest.raises(InputError, match=r"large\.json: has 0.*most 0"):
        read_input(tmp_path / "large.json")
