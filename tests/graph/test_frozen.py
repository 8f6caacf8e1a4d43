# SPDX-License-Identifier: BSD-3-Clause
"""Reading models as data: what comes out is what was saved, and what is wrong is said in words."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import stat

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from saved_models import INPUT, MIN_NBOR_DIST, constants_graph, save_checkpoint, small_input

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.errors import CheckpointError, ModelFileError
from deepmd_tf.graph.checkpoint import read_step
from deepmd_tf.graph.frozen import (
    read_checkpoint,
    read_graph,
    read_model,
    read_variables,
    write_graph,
)

from .constants import replace, write


@pytest.fixture(scope="module")
def saved(checkpoint):
    """Prefix and variables."""
    return checkpoint


@pytest.fixture
def graph(saved):
    return constants_graph(saved[1])


def assert_is_the_saved_model(model, variables):
    assert model.model == Config.from_dict(INPUT).model
    assert model.script == Config.from_dict(INPUT).to_dict()
    assert model.type_map == ("O", "H")
    assert model.ntypes == 2
    assert model.min_nbor_dist == MIN_NBOR_DIST
    assert model.interface_dtype == np.float64
    assert set(model.weights) == set(variables)
    for name, array in variables.items():
        assert model.weights[name].dtype == array.dtype
        np.testing.assert_array_equal(model.weights[name], array)


def test_checkpoint_by_prefix_and_by_folder(saved):
    prefix, variables = saved
    for path in (prefix, prefix.parent):
        model = read_model(path)
        assert model.dialect == "checkpoint"
        assert_is_the_saved_model(model, variables)


def test_frozen_with_and_without_suffix(tmp_path, saved, graph):
    write(tmp_path / "model.pb", graph)
    for path in (tmp_path / "model.pb", tmp_path / "model"):
        assert_is_the_saved_model(read_model(path), saved[1])


def test_smallest_distance_that_was_not_measured(tmp_path, saved):
    graph = constants_graph(saved[1], min_nbor_dist=None)
    assert read_model(write(tmp_path / "m.pb", graph)).min_nbor_dist is None


def test_float32_interface(tmp_path, saved):
    weights = {name: array.astype(np.float32) for name, array in saved[1].items()}
    model = read_model(write(tmp_path / "m.pb", constants_graph(weights)))
    assert model.interface_dtype == np.float32
    assert model.weights[names.T_AVG].dtype == np.float32


def test_environment_decides_the_interface(tmp_path, graph, monkeypatch):
    model = read_model(write(tmp_path / "m.pb", graph))
    monkeypatch.delenv("DP_INTERFACE_PREC", raising=False)
    assert model.interface == tf.float64
    monkeypatch.setenv("DP_INTERFACE_PREC", "low")
    assert model.interface == tf.float32


REQUIRED = (
    names.MODEL_VERSION,
    names.MODEL_TYPE,
    names.RCUT,
    names.NTYPES,
    names.TYPE_MAP,
    names.TRAINING_SCRIPT,
    names.T_AVG,
    names.T_STD,
)


OPTIONAL = sorted({*names.ATTRIBUTES} - {*REQUIRED, *names.OF_SOME_MODELS})


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_node_that_is_missing_is_named(tmp_path, graph, name):
    path = write(tmp_path / "m.pb", replace(graph, name, None))
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert f'"{name}" is missing' in str(caught.value)


@pytest.mark.parametrize("name", OPTIONAL)
def test_other_attributes_may_be_missing(tmp_path, graph, name):
    whole = read_model(write(tmp_path / "whole.pb", graph))
    model = read_model(write(tmp_path / "m.pb", replace(graph, name, None)))
    assert model.weights.keys() == whole.weights.keys()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (names.MODEL_VERSION, "2.0", 'model version "2.0" is not compatible'),
        (names.MODEL_VERSION, "1.2", 'model version "1.2" is not compatible'),
        (names.MODEL_VERSION, "1", 'model version "1" is not compatible'),
        (names.MODEL_TYPE, "wfc", 'predicts "wfc"'),
        (names.MODEL_TYPE, "dipole", 'model_type" is "dipole", but the input script'),
        (names.TRAINING_SCRIPT, "{", "not JSON"),
        (names.TRAINING_SCRIPT, "[]", 'no "model"'),
        (names.TRAINING_SCRIPT, "{}", 'no "model"'),
        (names.TRAINING_SCRIPT, json.dumps(INPUT | {"model": {"descriptor": {}}}), "descriptor"),
        (names.RCUT, np.float64(4.1), "4.1, but the input script in the file says 4"),
        (names.SEL, np.int32([14, 27]), "[14, 27], but the input script in the file says [14, 26]"),
        (names.ORIGINAL_SEL, np.int32([9]), "original_sel"),
        (names.ORIGINAL_SEL, np.int32([0, 0]), "original_sel"),
        (names.NTYPES, np.int32(3), "ntypes"),
        (names.DFPARAM, np.int32(2), "dfparam"),
    ],
)
def test_an_attribute_that_cannot_be_right(tmp_path, graph, name, value, words):
    path = write(tmp_path / "m.pb", replace(graph, name, value))
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_sel_that_the_script_leaves_open(tmp_path, graph):
    auto = json.dumps(small_input(descriptor={"sel": "auto"}))
    graph = replace(graph, names.TRAINING_SCRIPT, auto)
    model = read_model(write(tmp_path / "m.pb", graph))
    assert model.model.descriptor.sel == [14, 26]
    path = write(tmp_path / "n.pb", replace(graph, names.SEL, None))
    with pytest.raises(ModelFileError, match='sel is "auto"'):
        read_model(path)


@pytest.mark.parametrize("kept", [None, np.int32([0, 0])], ids=["nothing", "zeros"])
def test_sel_that_only_the_operation_has(tmp_path, graph, kept):
    """As in checkpoints of DeePMD-kit: of se_e2_r it keeps zeros."""
    graph = replace(graph, names.SEL, kept)
    node = graph.node.add(name="ProdEnvMatA", op="ProdEnvMatA")
    node.attr["sel_a"].list.i.extend([14, 26])
    assert read_model(write(tmp_path / "m.pb", graph)).sel == (14, 26)


LEFT_OUT = {
    "descriptor": ("sel", "rcut", "neuron", "axis_neuron", "type_one_side", "resnet_dt"),
    "fitting_net": ("neuron", "resnet_dt", "numb_fparam", "numb_aparam"),
}


@pytest.mark.parametrize("one_side", [True, False])
def test_what_other_writers_leave_out(tmp_path, one_side):
    """Is read from the names and shapes of the weights; None: everything."""
    given = small_input(
        {"type_one_side": one_side, "resnet_dt": True, "exclude_types": [[0, 0]]},
        {"resnet_dt": False, "neuron": [7, 7], "numb_fparam": 2, "numb_aparam": 1},
    )
    graph = constants_graph(save_checkpoint(tmp_path, given)[1], given)
    for keys in (("type_one_side",), (*LEFT_OUT["descriptor"], "neuron"), None):
        script = copy.deepcopy(given)
        for section, names_of_keys in LEFT_OUT.items():
            for key in names_of_keys:
                if keys is None or key in keys:
                    script["model"][section].pop(key, None)
        changed = replace(graph, names.TRAINING_SCRIPT, json.dumps(script))
        model = read_model(write(tmp_path / "m.pb", changed))
        assert model.model == Config.from_dict(given).model, keys
    with tf.Graph().as_default():
        model.build("reference")


@pytest.mark.parametrize("one_side", [True, False])
def test_names_of_weights_say_what_is_shared(tmp_path, one_side):
    """Though the script says the contrary."""
    given = small_input({"type_one_side": one_side})
    graph = constants_graph(save_checkpoint(tmp_path, given)[1], given)
    given["model"]["descriptor"]["type_one_side"] = not one_side
    graph = replace(graph, names.TRAINING_SCRIPT, json.dumps(given))
    assert read_model(write(tmp_path / "m.pb", graph)).model.descriptor.type_one_side == one_side


def test_input_script_of_an_old_version(tmp_path, graph):
    old = small_input()
    old["training"] |= {"systems": ["data"], "set_prefix": "set", "stop_batch": 100}
    del old["training"]["training_data"], old["training"]["numb_steps"]
    graph = replace(graph, names.TRAINING_SCRIPT, json.dumps(old))
    model = read_model(write(tmp_path / "m.pb", graph))
    assert model.model == Config.from_dict(INPUT).model


def test_output_shift_of_stock_files_moves_into_the_bias(tmp_path, saved, graph):
    node = graph.node.add(name=names.OUT_BIAS, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([[[0.5], [-2.0]]], tf.float64))
    model = read_model(write(tmp_path / "m.pb", graph))
    np.testing.assert_array_equal(
        model.weights[names.BIAS_ATOM_E], saved[1][names.BIAS_ATOM_E] + [0.5, -2.0]
    )
    assert names.OUT_BIAS not in model.weights


def test_output_scale_of_stock_files_moves_into_last_layer_and_bias(tmp_path, saved, graph):
    for name, value in ((names.OUT_STD, [[[1.0], [2.0]]]), (names.OUT_BIAS, [[[0.25], [0.5]]])):
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.float64))
    model = read_model(write(tmp_path / "m.pb", graph))
    before = saved[1]
    scaled = {"final_layer_type_1/matrix", "final_layer_type_1/bias"}
    for name in model.weights.keys() - {names.BIAS_ATOM_E}:
        factor = 2.0 if name in scaled else 1.0
        np.testing.assert_array_equal(model.weights[name], factor * before[name], err_msg=name)
    np.testing.assert_array_equal(
        model.weights[names.BIAS_ATOM_E], before[names.BIAS_ATOM_E] * [1, 2] + [0.25, 0.5]
    )


def test_output_shift_of_another_number_of_types_is_refused(tmp_path, graph):
    node = graph.node.add(name=names.OUT_BIAS, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([[[1.0], [2.0], [3.0]]], tf.float64))
    with pytest.raises(ModelFileError, match="one number for"):
        read_model(write(tmp_path / "m.pb", graph))


def test_training_options_that_are_not_ours_are_no_hindrance(tmp_path, graph):
    """Loss, optimizer and data of the training are nothing to the finished model."""
    script = Config.from_dict(INPUT).to_dict()
    script["loss"] = {"type": "ener", "start_pref_gf": 1.0, "numb_generalized_coord": 2}
    script["optimizer"] = {"type": "HybridMuon", "muon_momentum": 0.9}
    script["training"]["mixed_precision"] = {"output_prec": "float32"}
    graph = replace(graph, names.TRAINING_SCRIPT, json.dumps(script))
    model = read_model(write(tmp_path / "m.pb", graph))
    assert model.script == script
    assert model.model == Config.from_dict(INPUT).model


def test_models_that_are_not_ours_are_refused_by_name(tmp_path, graph):
    script = Config.from_dict(INPUT).to_dict()
    script["model"]["modifier"] = {"type": "dipole_charge"}
    graph = replace(graph, names.TRAINING_SCRIPT, json.dumps(script))
    with pytest.raises(ModelFileError, match="a data modifier"):
        read_model(write(tmp_path / "m.pb", graph))


@pytest.mark.parametrize("atom_ener", [None, [-3.0, None]])
def test_bias_in_the_last_layer(tmp_path, graph, atom_ener):
    """As DeePMD-kit did up to 2.1: only given energies of lone atoms are added by the graph."""
    script = small_input(fitting_net={} if atom_ener is None else {"atom_ener": atom_ener})
    graph = replace(graph, names.TRAINING_SCRIPT, json.dumps(script))
    model = read_model(write(tmp_path / "m.pb", replace(graph, names.BIAS_ATOM_E, None)))
    expected = [0.0, 0.0] if atom_ener is None else [-3.0, 0.0]
    np.testing.assert_array_equal(model.weights[names.BIAS_ATOM_E], expected)


def test_sel_of_the_first_training(tmp_path, graph):
    whole = read_model(write(tmp_path / "m.pb", graph))
    assert whole.original_sel == {"": (14, 26)}
    graph = replace(graph, names.ORIGINAL_SEL, np.int32([9, 11]))
    assert read_model(write(tmp_path / "m.pb", graph)).original_sel == {"": (9, 11)}


def test_files_that_are_no_model(tmp_path, graph):
    data = graph.SerializeToString()
    contents = {
        "text.pb": b"this is not a model\n",
        "random.pb": bytes(np.random.default_rng(1).integers(0, 256, 1000, np.uint8)),
        "truncated.pb": data[: len(data) // 2],
        "empty.pb": b"",
        "other.pb": tf.GraphDef(node=[tf.NodeDef(name="x", op="NoOp")]).SerializeToString(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=name):
            read_model(tmp_path / name)
    with pytest.raises(ModelFileError, match="nowhere"):
        read_model(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match=r"nowhere\.pb: not found"):
        read_graph(tmp_path / "nowhere.pb")


def test_a_constant_that_claims_an_absurd_size(tmp_path, graph):
    for node in graph.node:
        if node.name == names.T_AVG:
            node.attr["value"].tensor.tensor_shape.dim[0].size = 10**12
    with pytest.raises(ModelFileError, match=f'"{names.T_AVG}" is damaged'):
        read_model(write(tmp_path / "m.pb", graph))


@pytest.mark.parametrize(
    ("name", "dtype"), [(names.T_AVG, 21), (names.MODEL_TYPE, 1), (names.SEL, 7)]
)
def test_a_constant_of_another_kind(tmp_path, graph, name, dtype):
    for node in graph.node:
        if node.name == name:
            node.attr["value"].tensor.dtype = dtype
    with pytest.raises(ModelFileError, match=f'"{name}" is damaged'):
        read_model(write(tmp_path / "m.pb", graph))


@pytest.mark.parametrize("name", [names.RCUT, names.NTYPES, names.MIN_NBOR_DIST])
def test_a_constant_that_is_not_one_number(tmp_path, graph, name):
    with pytest.raises(ModelFileError, match=f'"{name}" is damaged'):
        read_model(write(tmp_path / "m.pb", replace(graph, name, [2.0, 2.0])))


@pytest.mark.parametrize("name", [names.MODEL_TYPE, names.RCUT])
def test_a_constant_that_repeats_itself_too_often(tmp_path, graph, name):
    for node in graph.node:
        if node.name == name:
            node.attr["value"].tensor.tensor_shape.dim.add(size=2**27)
    with pytest.raises(ModelFileError, match=f'"{name}" is damaged'):
        read_model(write(tmp_path / "m.pb", graph))


def test_checkpoint_that_is_not_there(tmp_path, saved):
    with pytest.raises(CheckpointError, match="train first"):
        read_model(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint with"):
        read_checkpoint(saved[0].parent / "model.ckpt-7")
    # other programs write a file of this name too
    (tmp_path / "checkpoint").write_text("model.ckpt.jax\n")
    with pytest.raises(CheckpointError, match="give the prefix"):
        read_model(tmp_path)


@pytest.mark.parametrize("suffix", [".meta", ".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_damaged_checkpoint(tmp_path, saved, suffix, damage):
    source = saved[0]
    for file in source.parent.glob(f"{source.name}.*"):
        data = file.read_bytes()
        if file.name.endswith(suffix):
            if damage == "missing":
                continue
            data = data[: len(data) // 2]
        (tmp_path / file.name).write_bytes(data)
    with pytest.raises((CheckpointError, ModelFileError), match=str(tmp_path / source.name)):
        read_checkpoint(tmp_path / source.name)


@pytest.mark.parametrize(
    "read",
    [read_checkpoint, lambda prefix: read_variables(prefix, bool), read_step],
    ids=["model", "variables", "step"],
)
def test_index_that_asks_for_more_memory_than_there_is(tmp_path, saved, read):
    source = saved[0]
    for file in source.parent.glob(f"{source.name}.*"):
        shutil.copy(file, tmp_path)
    index = tmp_path / f"{source.name}.index"
    # a table of strings ends with offset and size of its two indices, seven bits to a byte
    index.write_bytes(index.read_bytes()[:-48] + (b"\0" + b"\xff" * 8 + b"\x7f") * 2 + bytes(28))
    index.write_bytes(index.read_bytes()[:-8] + (source.parent / index.name).read_bytes()[-8:])
    with pytest.raises(CheckpointError, match=str(tmp_path / source.name)):
        read(tmp_path / source.name)


def test_written_graph_is_read_back(tmp_path, graph):
    path = tmp_path / "m.pb"
    write_graph(graph, path)
    assert path.read_bytes() == graph.SerializeToString(deterministic=True)
    assert [file.name for file in tmp_path.iterdir()] == ["m.pb"]
    (tmp_path / "ordinary").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_leaves_what_was_there(tmp_path, graph, monkeypatch, step):
    path = tmp_path / "m.pb"
    path.write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"os.{step}", fail)
    with pytest.raises(ModelFileError, match="No space left"):
        write_graph(graph, path)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["m.pb"]


def test_killed_while_writing(tmp_path, graph):
    """A process that dies before the file has its name leaves the old one untouched."""
    path = tmp_path / "m.pb"
    path.write_text("before")
    child = os.fork()
    if child == 0:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write_graph(graph, path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_text() == "before"


def test_folder_that_does_not_exist(tmp_path, graph):
    with pytest.raises(ModelFileError, match="cannot be written"):
        write_graph(graph, tmp_path / "no" / "m.pb")


@pytest.mark.parametrize("name", [names.T_AVG, names.T_STD])
def test_statistics_that_differ_between_slots_are_refused(tmp_path, saved, graph, name):
    rows = saved[1][name].copy()
    rows[1, 4 * 7] += 1e-3
    path = write(tmp_path / "m.pb", replace(graph, name, rows))
    with pytest.raises(ModelFileError, match=f'"{name}" differs between the neighbours'):
        read_model(path)
