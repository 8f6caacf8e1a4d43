# SPDX-License-Identifier: BSD-3-Clause
"""Training that begins with a frozen model: the numbers of one that begins with its checkpoint."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_training import INPUT, write_all_data, write_script

from deepmd_tf import names
from deepmd_tf.cli.main import main
from deepmd_tf.errors import CheckpointError, InputError, ModelFileError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.initial_state import find_initial_state

pytestmark = pytest.mark.usefixtures("without_rewriting")

SHORT = {"numb_steps": 3, "disp_freq": 1, "save_freq": 3}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Folder of a training whose rows have no mean, and its frozen model."""
    folder = tmp_path_factory.mktemp("first")
    write_all_data(folder)
    script = copy.deepcopy(INPUT)
    script["model"]["descriptor"]["set_davg_zero"] = True
    path = write_script(folder, script, training=SHORT | {"numb_steps": 6})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(path) == 0
    freeze(folder / "model.ckpt", folder / "model.pb")
    return folder


@pytest.fixture
def again(first, tmp_path, monkeypatch):
    """Train once more in a folder of its own, with keys of the model changed; the curve."""

    def run(name, descriptor=None, model=None, **options):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / "data").symlink_to(first / "data")
        script = json.loads((first / "input.json").read_text())
        script["training"] |= SHORT
        script["model"]["descriptor"] |= descriptor or {}
        if model is not None:
            script["model"] = model
        assert train(write_script(folder, script), **options) == 0
        return (folder / "lcurve.out").read_text()

    return run


def test_weights_of_a_frozen_model(first, again, caplog):
    caplog.set_level("INFO")
    """The first row: after it, the optimizer of the checkpoint goes on with its moments."""
    expected = again("checkpoint", init_model=first / "model.ckpt").splitlines()
    got = again("frozen", init_frz_model=first / "model.pb").splitlines()
    assert got[:3] == expected[:3]
    assert "initialize from frozen model" in caplog.text
    assert again("scratch").splitlines()[2] != got[2]


@pytest.mark.slow
def test_another_sel(first, again, tmp_path):
    """With no mean, and all neighbours within either sel, the same function of the coordinates."""
    expected = again("same", init_frz_model=first / "model.pb")
    got = again("other", {"sel": [20, 24]}, init_frz_model=first / "model.pb")
    np.testing.assert_allclose(curve(got), curve(expected), rtol=2e-2)
    assert read_model(first / "model.pb").original_sel == {"": (12, 20)}
    model = read_model(tmp_path / "other" / "model.ckpt")
    assert model.sel == (20, 24) and model.original_sel == {"": (12, 20)}
    assert model.weights[names.T_STD].shape == (2, 4 * 44)
    # and it is kept from there on
    frozen = freeze(tmp_path / "other" / "model.ckpt", tmp_path / "other.pb").path
    assert read_model(frozen).original_sel == {"": (12, 20)}
    again("onwards", {"sel": [20, 24]}, init_model=tmp_path / "other" / "model.ckpt")
    assert read_model(tmp_path / "onwards" / "model.ckpt").original_sel == {"": (12, 20)}


def curve(text):
    return np.array([line.split() for line in text.splitlines()[1:] if line[0] != "#"], float)


@pytest.mark.slow
def test_section_model_of_the_file(first, again, tmp_path):
    for name, options in (
        ("frozen", {"init_frz_model": first / "model.pb"}),
        ("checkpoint", {"init_model": first / "model.ckpt"}),
    ):
        expected = again(f"{name} given", **options)
        got = again(name, model={}, use_pretrain_script=True, **options)
        assert got == expected
        written = json.loads((tmp_path / name / "out.json").read_text())
        assert written["model"] == read_model(first / "model.pb").model.to_dict()


def test_other_models_are_refused(first, again):
    with pytest.raises(ModelFileError, match=r"descriptor/rcut.*3\.5"):
        again("rcut", {"rcut": 3.5}, init_frz_model=first / "model.pb")
    with pytest.raises(ModelFileError, match="set_davg_zero"):
        changes = {"sel": [20, 24], "set_davg_zero": False}
        again("sel", changes, init_frz_model=first / "model.pb")
    with pytest.raises(CheckpointError, match=r"descriptor/sel is \[20, 24\]"):
        again("checkpoint", {"sel": [20, 24]}, init_model=first / "model.ckpt")


def test_files_that_have_no_weights(first, tmp_path):
    with pytest.raises(InputError, match=r"is a checkpoint.*--init-model"):
        find_initial_state(init_frz_model=first / "model.ckpt")
    with pytest.raises(ModelFileError, match="no such model file"):
        find_initial_state(init_frz_model=tmp_path / "nowhere.pb")
    graph = tf.GraphDef.FromString((first / "model.pb").read_bytes())
    kept = [node for node in graph.node if node.name != "layer_1_type_0/idt"]
    (tmp_path / "less.pb").write_bytes(tf.GraphDef(node=kept).SerializeToString())
    with pytest.raises(ModelFileError, match='"layer_1_type_0/idt"'):
        find_initial_state(init_frz_model=tmp_path / "less.pb")
    for node in graph.node:
        if node.name == names.MODEL_KIND:
            node.attr["value"].tensor.string_val[0] = b"compressed_model"
    (tmp_path / "compressed.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match=r"compressed\.pb:"):
        find_initial_state(init_frz_model=tmp_path / "compressed.pb")


def test_no_model_to_take_the_section_from(first, again):
    for options in ({}, {"restart": first / "model.ckpt"}):
        with pytest.raises(InputError, match="--use-pretrain-script:"):
            again(f"{len(options)}", use_pretrain_script=True, **options)


def test_options_of_the_command(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(first / "data")
    path = write_script(tmp_path, {**INPUT, "model": {}}, training=SHORT)
    assert main(["train", str(path), "-f", str(first / "model.pb"), "--use-pretrain-script"]) == 0
    assert main(["train", str(path), "-f", "a", "-i", "b"]) == 2
