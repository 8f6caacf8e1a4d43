# SPDX-License-Identifier: BSD-3-Clause
"""Files of older versions: read, converted, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from old_graphs import AGES, age
from saved_models import water_like

from deepmd_tf import names
from deepmd_tf.cli.main import main
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.export.convert import convert
from deepmd_tf.export.freeze import build_graph
from deepmd_tf.graph.frozen import open_model, read_model
from deepmd_tf.graph.upgrade import detect, upgrade
from deepmd_tf.infer import DeepPot


@pytest.fixture(scope="module")
def present(saved):
    return build_graph(read_model(saved), "stock")[0]


def write(path, graph):
    path.write_bytes(graph.SerializeToString())
    return path


def test_old_graphs_lack_what_they_should(present):
    """What the fixture makes differs from the present form as it is known to."""
    ops = {version: {node.op for node in age(present, version).node} for version in AGES}
    assert {"DescrptNorot", "ProdForceNorot"} <= ops["0.12"]
    assert all("DescrptSeA" in ops[v] for v in ("1.0", "1.2", "1.3"))
    assert "ProdEnvMatA" in ops["2.0"]


@pytest.mark.parametrize("version", AGES)
def test_version_is_seen_in_the_file(present, version):
    assert detect(age(present, version)) == version
    assert detect(upgrade(age(present, version))) == "2.1"
    assert detect(present) == "2.1"
    assert detect(tf.GraphDef(node=[tf.NodeDef(name="x", op="ProdEnvMatR")])) is None


@pytest.mark.parametrize("version", AGES)
@pytest.mark.parametrize("given", ["auto", None])
def test_converted_files_give_the_numbers_of_the_model(
    tmp_path, saved, present, rng, version, given
):
    old = write(tmp_path / "old.pb", age(present, version))
    new = tmp_path / "new.pb"
    convert(given or version, old, new)
    graph = tf.GraphDef.FromString(new.read_bytes())
    nodes = {node.name: node for node in graph.node}
    assert {*names.INPUTS, *names.OUTPUTS, names.DFPARAM, names.DAPARAM} <= set(nodes)
    assert nodes[names.MODEL_VERSION].attr["value"].tensor.string_val[0] == b"1.1"
    typed = [n for n in graph.node if n.op in ("ProdEnvMatA", "ProdForceSeA", "ProdVirialSeA")]
    assert [n.attr["T"].type for n in typed] == [tf.float64.as_datatype_enum] * 3
    frames = water_like(rng)
    with DeepPot(saved) as pot:
        expected = pot.eval(*frames, atomic=True)
    # read as they are, too
    for path in (new, old):
        with DeepPot(path) as pot:
            for a, b in zip(pot.eval(*frames, atomic=True), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max())


def test_missing_names_mean_no_names(tmp_path, present):
    model = open_model(write(tmp_path / "old.pb", age(present, "0.12")))
    assert model.type_map == () and model.ntypes == 2
    assert model.parameter_inputs.dim_fparam == 0


def test_float32_interface_of_untyped_operations(present):
    graph = age(present, "1.2")
    for node in graph.node:
        if node.name == names.RCUT:
            node.attr["dtype"].type = tf.float32.as_datatype_enum
    typed = [n for n in upgrade(graph).node if n.op == "ProdForceSeA"]
    assert typed[0].attr["T"].type == tf.float32.as_datatype_enum


def test_another_version_than_given(tmp_path, present, caplog):
    convert("1.3", write(tmp_path / "m.pb", age(present, "1.0")), tmp_path / "new.pb")
    assert "converted from the form of 1.0, not of 1.3" in caplog.text
    caplog.clear()
    convert("1.1", write(tmp_path / "m.pb", age(present, "1.2")), tmp_path / "new.pb")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_text_and_back(tmp_path, present):
    binary = write(tmp_path / "m.pb", age(present, "1.3"))
    text = tmp_path / "m.pbtxt"
    convert("auto", binary, text)
    assert 'op: "DescrptSeA"' in text.read_text()
    convert("pbtxt", binary, tmp_path / "same.pbtxt")
    assert (tmp_path / "same.pbtxt").read_text() == text.read_text()
    convert("pbtxt", text, tmp_path / "again.pb")
    assert tf.GraphDef.FromString((tmp_path / "again.pb").read_bytes()) == age(present, "1.3")
    convert("auto", text, tmp_path / "new.pb")
    assert detect(tf.GraphDef.FromString((tmp_path / "new.pb").read_bytes())) == "2.1"


def test_what_cannot_be_converted(tmp_path, present):
    evil = age(present, "1.3")
    evil.node.add(name="evil", op="WriteFile")
    incomplete = tf.GraphDef(node=[n for n in present.node if n.name != names.O_FORCE])
    no_model = tf.GraphDef(node=[tf.NodeDef(name="x", op="NoOp")])
    (tmp_path / "no.pbtxt").write_text("this is not a graph")
    output = tmp_path / "out.pb"
    for graph, words in (
        (evil, '"evil" \\(WriteFile\\)'),
        (incomplete, 'no node "o_force"'),
        (no_model, "se_e2_a"),
    ):
        with pytest.raises(ModelFileError, match=words):
            convert("auto", write(tmp_path / "m.pb", graph), output)
    for name, words in (("no.pbtxt", "not a TensorFlow graph"), ("x.pbtxt", "not found")):
        with pytest.raises(ModelFileError, match=words):
            convert("auto", tmp_path / name, output)
    for arguments, words in (
        (("2.5", "m.pb", output), "0.12, 1.0"),
        (("auto", "m.pbtxt", tmp_path / "x.pbtxt"), "text already"),
        (("pbtxt", "m.pb", output), "reads or writes text"),
        (("auto", "m.pb", tmp_path / "no" / "x.pb"), "no directory"),
    ):
        with pytest.raises(InputError, match=words):
            convert(*arguments)
    assert not output.exists()


def test_command(tmp_path, present, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "frozen_model.pb", age(present, "1.0"))
    assert main(["--tf", "convert-from"]) == 0
    assert open_model("convert_out.pb").ntypes == 2
    assert main(["--tf", "convert-from", "1.0", "-i", "nowhere.pb"]) == 1
    assert "nowhere.pb: not found" in capsys.readouterr().err
