# SPDX-License-Identifier: BSD-3-Clause
"""Reading models of other writers and older versions, which lack something or have other names."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from saved_models import constants_graph, save_checkpoint, small_input

from deepmd_tf import names
from deepmd_tf.errors import ModelFileError
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.graph.saved import SavedModel

from .constants import replace, write


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        ("se_atten", {}),
        ("se_a_ebd_v2", {"neuron": [5]}),
        ("se_e2_a", {"neuron": [8]}),
        ("se_atten", {"neuron": [4, 8], "resnet_dt": True, "use_tebd_bias": True}),
        ("se_atten", {"use_econf_tebd": True}),
    ],
)
def test_type_embedding_that_the_script_leaves_out(tmp_path, kind, section):
    """Is read from the names and shapes of its weights."""
    keys = {"type": kind} | ({"sel": 40, "attn_layer": 0} if kind == "se_atten" else {})
    script = small_input(keys)
    given = {"neuron": [8], "activation_function": "linear"} | section
    script["model"]["type_embedding"] = given
    _, variables = save_checkpoint(tmp_path, script)
    del script["model"]["type_embedding"]
    graph = constants_graph(variables)
    graph = replace(graph, names.TRAINING_SCRIPT, json.dumps(script))
    for name in (names.SEL, names.ORIGINAL_SEL):
        graph = replace(graph, name, None)
    with tf.Graph().as_default():
        model = read_model(write(tmp_path / "m.pb", graph))
        assert model.model.embedding_of_types.to_dict().items() >= given.items()
        assert (model.model.type_embedding is None) == (kind == "se_atten" and not section)
        model.build("reference")


def test_numbered_normalisations(tmp_path):
    """As older files have those of the second layer of attention."""
    script = small_input({"type": "se_atten", "sel": 40, "attn_layer": 2, "attn": 4})
    _, variables = save_checkpoint(tmp_path, script)
    older = {}
    for name, value in variables.items():
        of_second = name.startswith("attention_layer_1/")
        old = name.replace("normalization/", "normalization_1/") if of_second else name
        older[old] = value
    assert older.keys() - variables.keys()
    model = read_model(write(tmp_path / "m.pb", constants_graph(older, script)))
    assert set(model.weights) == set(variables)


@pytest.mark.parametrize("kind", ["se_e2_r", "se_e3"])
def test_averages_of_types_without_data(tmp_path, kind):
    """They are 0/0 in files of DeePMD-kit, which are models nevertheless."""
    script = small_input({"type": kind})
    script["model"]["descriptor"].pop("axis_neuron")
    _, variables = save_checkpoint(tmp_path, script)
    for name in (names.T_AVG, names.T_STD):
        variables[name][1] = np.nan
    model = read_model(write(tmp_path / "m.pb", constants_graph(variables, script)))
    assert isinstance(model, SavedModel)
    expected = {names.T_AVG: 0.0, names.T_STD: 1 / 4.0}
    for name, value in expected.items():
        assert set(model.weights[name][1]) == {value}
        np.testing.assert_array_equal(model.weights[name][0], variables[name][0])


def test_selected_types_in_the_order_of_the_script(tmp_path):
    """As files of DeePMD-kit have those of dipole models."""
    script = small_input(fitting_net={"type": "dipole", "sel_type": [1, 0]})
    _, variables = save_checkpoint(tmp_path, script)
    graph = constants_graph(variables, script)
    model = read_model(write(tmp_path / "m.pb", replace(graph, names.SEL_TYPE, np.int32([1, 0]))))
    assert isinstance(model, SavedModel) and model.sel_type == (0, 1)
    for wrong in ([1, 1], [1], 1):
        path = write(tmp_path / "m.pb", replace(graph, names.SEL_TYPE, np.int32(wrong)))
        with pytest.raises(ModelFileError, match="sel_type"):
            read_model(path)
