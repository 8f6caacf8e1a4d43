# SPDX-License-Identifier: BSD-3-Clause
"""Trainings of sums of models: restarts, files, frozen members, messages."""

from __future__ import annotations

import copy
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import small
import tensorflow.compat.v1 as tf
from small_training import write_all_data, write_script

from deepmd_tf import names
from deepmd_tf.analysis.change_bias import change_bias
from deepmd_tf.analysis.show import card, show
from deepmd_tf.config import Config, LinearEnerConfig
from deepmd_tf.errors import CheckpointError, InputError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.pair_table.zbl import write_zbl_table
from deepmd_tf.training.entrypoint import train

from .checkpoints import assert_same_bits, evaluate, variables

SINGLE = small.script()["model"]
TRAINED = {key: SINGLE[key] for key in ("descriptor", "fitting_net", "data_stat_nbatch")}
RADIAL = copy.deepcopy(TRAINED)
RADIAL["descriptor"] |= {"type": "se_e2_r", "rcut": 3.0, "seed": 4}
RADIAL["descriptor"].pop("axis_neuron")
TABLE = {"type": "pairtab", "tab_file": "zbl.tab", "rcut": 3.0, "sel": "auto"}
FROZEN = {"type": "frozen", "model_file": "single.pb"}
SETTINGS = {
    "learning_rate": {"decay_steps": 2},
    "training": {"numb_steps": 4, "disp_freq": 1, "save_freq": 2, "stat_file": "stat"},
}


def sum_of(*models, weights="sum", **sections):
    script = small.script(**(SETTINGS | sections))
    keys = {"type": "linear_ener", "type_map": ["O", "H"], "weights": weights}
    script["model"] = keys | {"models": [copy.deepcopy(model) for model in models]}
    return script


SUM = sum_of(TRAINED, TABLE, FROZEN, RADIAL, weights=[0.5, 1.0, 0.25, 0.25])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("linear")
    write_all_data(folder)
    write_zbl_table(folder / "zbl.tab", ["O", "H"], rmin=0.01, rmax=3.0, step=0.01, rswitch=1.5)
    before = os.getcwd()
    os.chdir(folder)
    try:
        single = small.script(training={"numb_steps": 1, "save_ckpt": "single.ckpt"})
        assert train(write_script(folder, single)) == 0
        freeze("single.ckpt-1", "single.pb")
        assert train(write_script(folder, SUM)) == 0
        freeze("model.ckpt-4", "stock.pb")
    finally:
        os.chdir(before)
    return folder


def test_all_files_agree_without_those_of_the_members(copied):
    """The frozen file has the table and the weights of the frozen member."""
    expected = evaluate(copied / "model.ckpt-4")
    for name in ("zbl.tab", "single.pb"):
        (copied / name).unlink()
    freeze("model.ckpt-4", "native.pb", dialect="native")
    freeze("stock.pb", "again.pb")
    compress("stock.pb", "small.pb", systems=["data/train/cell"])
    for name, tolerance in (("stock", 1e-12), ("native", 0), ("again", 1e-12), ("small", 1e-6)):
        for one, other in zip(evaluate(copied / f"{name}.pb"), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


def test_a_stock_graph_has_the_names_of_deepmd_kit(finished):
    graph = tf.GraphDef.FromString((finished / "stock.pb").read_bytes())
    found = {node.name for node in graph.node}
    expected = """o_energy o_energy_model0 o_atom_virial_model3 descrpt_attr/rcut
        descrpt_attr/ntypes descrpt_attr_model0/t_avg descrpt_attr_model3/sel fitting_attr/dfparam
        fitting_attr_model0/t_bias_atom_e layer_0_type_1_model3/matrix o_nlist_model0
        model_attr_model0/model_attr_model0/t_out_bias model_attr_model1/t_tab_data
        model_attr/tmap model_attr_model0/tmap filter_type_0_model0/matrix_1_1"""
    assert set(expected.split()) <= found
    script = json.loads(_script(graph))
    kinds = [member["type"] for member in script["model"]["models"]]
    assert kinds == ["standard", "pairtab", "standard", "standard"]
    assert not script["model"]["models"][2]["fitting_net"]["trainable"]


def _script(graph):
    (node,) = (node for node in graph.node if node.name == names.TRAINING_SCRIPT)
    return tf.make_ndarray(node.attr["value"].tensor).item()


def test_the_frozen_member_stays_as_it_is(finished):
    single = read_model(finished / "single.pb").weights
    after = read_model(finished / "model.ckpt-4").weights
    for name, array in single.items():
        np.testing.assert_array_equal(after[names.in_model(name, "_model2")], array)
    first = read_model(finished / "model.ckpt-2").weights
    moved = names.in_model(names.fitting_matrix(0, 1), "_model0")
    assert np.abs(after[moved] - first[moved]).max() > 0
    out = json.loads((finished / "out.json").read_text())
    assert out["model"]["models"][2] == FROZEN
    assert len(out["model"]["models"][1]["sel"]) == 2


def test_restart_to_the_bit(copied):
    script = copy.deepcopy(SUM)
    expected = variables(copied / "model.ckpt-4")
    for path in copied.glob("model.ckpt-4.*"):
        path.unlink()
    assert train(write_script(copied, script), restart="model.ckpt-2") == 0
    assert_same_bits(variables(copied / "model.ckpt-4"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["init_model", "init_frz_model"])
def test_initial_weights(copied, option):
    script = copy.deepcopy(SUM)
    script["training"] |= {"numb_steps": 0, "save_ckpt": "next.ckpt"}
    start = {"init_model": "model.ckpt-4", "init_frz_model": "stock.pb"}[option]
    expected = read_model(start).weights
    assert train(write_script(copied, script), **{option: start}) == 0
    found = read_model("next.ckpt-0").weights
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_another_sum_is_refused(copied):
    script = copy.deepcopy(SUM)
    script["model"]["weights"] = "sum"
    script["model"]["models"][3]["descriptor"]["neuron"] = [4, 4]
    with pytest.raises(CheckpointError) as caught:
        train(write_script(copied, script), restart="model.ckpt-2")
    assert "weights is [1.0, 1.0, 1.0, 1.0] in the input script" in str(caught.value)
    assert "models[3].descriptor/neuron is [4, 4] in the input script" in str(caught.value)


def test_what_is_not_there_is_said(copied, caplog):
    with pytest.raises(InputError, match="each with an energy bias of its own"):
        change_bias("stock.pb", bias=[1.0, 2.0])
    with pytest.raises(InputError, match="--finetune: adjusts the energy bias"):
        train(write_script(copied, SUM), finetune="stock.pb")
    with pytest.raises(InputError, match="which are not trained; add a model with a descriptor"):
        train(write_script(copied, sum_of(FROZEN, TABLE)))
    nested = copy.deepcopy(SUM)
    nested["model"]["models"][2]["model_file"] = "stock.pb"
    with pytest.raises(InputError, match=r"stock\.pb is a sum of models itself"):
        train(write_script(copied, nested))
    absent = copy.deepcopy(SUM)
    absent["model"]["models"][2]["model_file"] = "none.pb"
    with pytest.raises(InputError, match=r"models\[2\].model_file: none.pb: there is no such"):
        train(write_script(copied, absent))
    (copied / "zbl.tab").unlink()
    with pytest.raises(InputError, match=r"zbl.tab: there is no such file; model.models\[1\]"):
        train(write_script(copied, SUM))
    with caplog.at_level(logging.INFO):
        show("stock.pb", ["descriptor", "fitting-net", "size", "observed-type", "type-map"])
    assert "of models[3], weight 0.25, is" in caplog.text
    said = dict(card("stock.pb"))
    assert said["models[1]"] == "pairtab, weight 1.0" and said["table"].startswith("pairtab, cut")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"weights": [1.0]}, "has length 1, but there are 4 models"),
        ({"type_map": ["H", "O"]}, "all need the same ones, in the same order"),
        ({"models": [TABLE]}, "only tables of pair potentials"),
        ({"models": [TRAINED | {"descriptor": {"type": "se_a_mask", "sel": [1, 1]}}]}, "se_a_mask"),
    ],
)
def test_sections_that_cannot_be(keys, said):
    script = copy.deepcopy(SUM)
    script["model"]["models"][0]["type_map"] = ["O", "H"]
    if "models" in keys:
        script["model"]["weights"] = "sum"
    script["model"] |= keys
    with pytest.raises(InputError, match=said):
        Config.from_dict(script)


def test_one_model_may_stand_without_a_list():
    script = sum_of(TRAINED)
    script["model"]["models"] = TRAINED
    model = Config.from_dict(script).model
    assert isinstance(model, LinearEnerConfig) and model.factors == (1.0,)


def test_frozen_models_alone_are_put_together(copied, monkeypatch):
    """No step of training: types and numbers are those of the files, each read once."""
    read = []
    monkeypatch.setattr(
        "deepmd_tf.training.read_members.read_model",
        lambda path: read.append(path) or read_model(path),
    )
    script = sum_of(FROZEN, FROZEN, weights=[0.25, 0.5], training={"numb_steps": 0})
    del script["model"]["type_map"]
    assert train(write_script(copied, script)) == 0
    assert len(read) == 2
    freeze("model.ckpt-0", "ensemble.pb")
    for found, single in zip(evaluate("ensemble.pb"), evaluate("single.pb"), strict=True):
        np.testing.assert_allclose(found, 0.75 * single, rtol=1e-12, atol=1e-12)
