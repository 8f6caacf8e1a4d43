# SPDX-License-Identifier: BSD-3-Clause
"""Training that begins with a compressed model: its tables stay, the fitting net is trained."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from saved_models import save_checkpoint, water_like
from small_training import INPUT, write_all_data, write_script

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_graph, read_model
from deepmd_tf.graph.tables import read_tables
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.initial_state import find_initial_state

pytestmark = pytest.mark.usefixtures("without_rewriting")

STEPS = {"numb_steps": 4, "disp_freq": 1, "save_freq": 2}
RADIAL = {"type": "se_e2_r", "type_one_side": True, "precision": "float32"}


def make(folder, descriptor):
    script = copy.deepcopy(INPUT)
    script["model"]["descriptor"] |= descriptor
    if descriptor.get("type") == "se_e2_r":
        del script["model"]["descriptor"]["axis_neuron"]
    save_checkpoint(folder, script)
    compress(folder / "model.ckpt-100", folder / "compressed.pb")
    write_all_data(folder)
    return write_script(folder, script, training=STEPS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a training that began with compressed.pb, and its frozen file."""
    folder = tmp_path_factory.mktemp("compressed")
    path = make(folder, {"exclude_types": [[0, 0]]})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(path, init_frz_model="compressed.pb") == 0
    freeze(folder / "model.ckpt-4", folder / "model.pb")
    return folder


def tables(path):
    graph = read_graph(path)
    found = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph.node
             if node.op == "Const" and "/net_" in node.name}  # fmt: skip
    assert found
    return found


def assert_same(path, expected, frames, tolerance=1e-11):
    with DeepPot(path) as pot:
        for found, value in zip(pot.eval(*frames), expected, strict=True):
            np.testing.assert_allclose(found, value, rtol=0, atol=tolerance * np.abs(value).max())


@pytest.fixture
def frames(rng):
    return water_like(rng)


def test_tables_stay_and_the_rest_is_trained(trained):
    before, after = tables(trained / "compressed.pb"), tables(trained / "model.pb")
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    first = read_model(trained / "compressed.pb", compressed=True)
    last = read_model(trained / "model.ckpt")
    assert last.tables.keys() == first.tables.keys()
    assert not any(names.is_embedding_weight(name) for name in last.weights)
    for name in (names.T_AVG, names.T_STD):
        np.testing.assert_array_equal(last.weights[name], first.weights[name])
    changed = [name for name in first.weights if (last.weights[name] != first.weights[name]).any()]
    assert changed == [name for name in first.weights if names.weight_owner(name) == "fitting-net"]


def test_every_form_of_the_model_is_one_function(trained, frames, tmp_path):
    """What is evaluated from the tables, and the graph for DeePMD-kit, which is run as it is."""
    freeze(trained / "model.ckpt-4", tmp_path / "native.pb", dialect="native")
    freeze(trained / "model.ckpt-4", tmp_path / "reference.pb", dialect="reference")
    with DeepPot(trained / "model.pb") as pot:
        expected = pot.eval(*frames)
    for path in (trained / "model.ckpt-4", tmp_path / "native.pb", tmp_path / "reference.pb"):
        assert_same(path, expected, frames)


def test_hessians(trained, frames):
    coords, cells, types = frames[0][:1, :4], None, frames[2][:4]
    with DeepPot(trained / "model.ckpt-4") as pot:
        hessian = pot.eval_hessian(coords, cells, types)[0]
        moved = np.repeat(coords, 2, axis=0)
        moved[:, 1, 2] += (1e-4, -1e-4)
        force = pot.eval(moved, cells, types)[1].reshape(2, -1)
    np.testing.assert_allclose(hessian[5], (force[1] - force[0]) / 2e-4, atol=1e-6)


def test_restart_is_exact(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(trained / "data")
    (tmp_path / "input.json").write_text((trained / "input.json").read_text())
    assert train("input.json", restart=str(trained / "model.ckpt-2")) == 0
    new, old = (read_model(folder / "model.ckpt-4") for folder in (tmp_path, trained))
    assert new.tables.keys() == old.tables.keys()
    for name, array in old.weights.items():
        np.testing.assert_array_equal(new.weights[name], array)


def test_radial_one_sided_in_float32(tmp_path, monkeypatch, frames):
    monkeypatch.chdir(tmp_path)
    assert train(make(tmp_path, RADIAL), init_frz_model="compressed.pb") == 0
    freeze("model.ckpt-4", "model.pb")
    with DeepPot("model.pb") as pot:
        expected = pot.eval(*frames)
    assert_same(tmp_path / "model.ckpt-4", expected, frames, 1e-4)


def test_nothing_is_left_to_train(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    script = json.loads((trained / "input.json").read_text())
    script["model"]["fitting_net"]["trainable"] = False
    (tmp_path / "fixed.json").write_text(json.dumps(script))
    with pytest.raises(InputError, match=r"fitting_net\.trainable is false"):
        train(tmp_path / "fixed.json", init_frz_model="compressed.pb")


def test_what_needs_weights_is_refused(trained, tmp_path):
    with pytest.raises(InputError, match="was compressed already"):
        compress(trained / "model.ckpt-4", tmp_path / "twice.pb")
    with pytest.raises(ModelFileError, match="can only be evaluated"):
        read_model(trained / "compressed.pb")


@pytest.mark.parametrize("kind", ["se_e2_a", "se_e2_r", "se_a_ebd_v2", "se_atten_v2"])
def test_tables_of_mixed_nets_are_refused(kind):
    """They hold the vectors of the types, which a training would change."""
    script = copy.deepcopy(INPUT)
    script["model"] |= {
        "descriptor": {"type": kind, "sel": 40 if kind == "se_atten_v2" else [14, 26]},
        "type_embedding": {"neuron": [2]},
    }
    model = Config.from_dict(script).model
    with pytest.raises(ModelFileError, match=f'"{kind}" with a type embedding cannot be read; use'):
        read_tables(Path("model.pb"), tf.GraphDef(), model.nets[0])


@pytest.mark.parametrize("kind", ["se_e3", "hybrid"])
def test_tables_of_these_descriptors_are_refused(kind):
    script = copy.deepcopy(INPUT)
    members = [{"type": name, "sel": [14, 26]} for name in ("se_e2_a", "se_e3")]
    whole = {"type": "hybrid", "list": members}
    script["model"]["descriptor"] = whole if kind == "hybrid" else members[1]
    model = Config.from_dict(script).model
    with pytest.raises(ModelFileError, match=f'"{kind}" cannot be read; use the model before'):
        read_tables(Path("model.pb"), tf.GraphDef(), model.nets[0])


def test_tables_that_are_missing_for_all_centres():
    script = copy.deepcopy(INPUT)
    script["model"]["descriptor"] = {"type": "se_e2_a", "sel": [14, 26], "type_one_side": True}
    with pytest.raises(ModelFileError, match="has 0 tables for all centres, expected 2"):
        read_tables(Path("model.pb"), tf.GraphDef(), Config.from_dict(script).model.nets[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("filter_type_0/net_1/table", "has 0 tables for centres of type 0, expected 1"),
        ("filter_type_0/net_1/table_info", '"filter_type_0/net_1/table" is damaged'),
    ],
)
def test_damaged_tables(trained, tmp_path, name, words):
    graph = read_graph(trained / "compressed.pb")
    for node in graph.node:
        if node.name == name and name.endswith("info"):
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.zeros(6)))
        elif node.name == name:
            node.name = "elsewhere"
    model = tmp_path / "model.pb"
    model.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match=words):
        find_initial_state(init_frz_model=model)
