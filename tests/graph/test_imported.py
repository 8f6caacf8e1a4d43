# SPDX-License-Identifier: BSD-3-Clause
"""Graphs from files are run only if every node is known to do nothing but arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import Frames, evaluate
from saved_models import INPUT, water_like

from deepmd_tf import names
from deepmd_tf.errors import ModelFileError
from deepmd_tf.export.freeze import build_graph
from deepmd_tf.graph import imported
from deepmd_tf.graph.frozen import open_model, read_model
from deepmd_tf.graph.imported import ALLOWED_OPS, ImportedModel
from deepmd_tf.infer import DeepPot


@pytest.fixture(scope="module")
def whole(saved):
    """A graph in the stock dialect without its input script, so that it cannot be rebuilt."""
    graph, _ = build_graph(read_model(saved), "stock")
    kept = [node for node in graph.node if node.name != names.TRAINING_SCRIPT]
    return tf.GraphDef(node=kept, versions=graph.versions)


@pytest.fixture
def graph(whole):
    copy = tf.GraphDef()
    copy.CopyFrom(whole)
    return copy


def write(path, graph):
    path.write_bytes(graph.SerializeToString())
    return path


def node_of(graph, name):
    return next(node for node in graph.node if node.name == name)


def constant(graph, name, value):
    node = graph.node.add(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def test_the_graph_gives_what_the_weights_give(tmp_path, saved, graph, rng):
    path = write(tmp_path / "m.pb", graph)
    model = open_model(path)
    assert isinstance(model, ImportedModel)
    assert (model.type_map, model.sel, model.rcut) == (("O", "H"), (14, 26), 4.0)
    coords, cells, types = water_like(rng)
    with DeepPot(path) as pot, DeepPot(saved) as expected:
        for frames in ((coords, cells, types), (coords, None, types)):
            got, want = (p.eval(*frames, atomic=True) for p in (pot, expected))
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max())
            np.testing.assert_allclose(
                pot.eval_descriptor(*frames), expected.eval_descriptor(*frames), atol=1e-12
            )
        assert pot.get_sel() == [14, 26]
        with pytest.raises(ModelFileError, match="no input script"):
            pot.get_model_def_script()


def test_it_has_no_weights_to_freeze_or_train(tmp_path, graph):
    path = write(tmp_path / "m.pb", graph)
    with pytest.raises(ModelFileError, match=r"training_script"):
        read_model(path)
    constant(graph, "x", 0.0)
    node_of(graph, names.MODEL_KIND).attr["value"].tensor.string_val[0] = b"compressed_model"
    with pytest.raises(ModelFileError, match=r"compressed model.*can only be evaluated"):
        read_model(write(path, graph))


def test_neighbors_beyond_sel_are_counted(tmp_path, saved, rng, caplog):
    model = read_model(saved)
    graph, _ = build_graph(model, "stock")
    kept = [node for node in graph.node if node.name != names.TRAINING_SCRIPT]
    coords, cells, types = water_like(rng, n_atoms=60)
    with DeepPot(write(tmp_path / "m.pb", tf.GraphDef(node=kept))) as pot:
        pot.eval(coords, cells, types)
    assert "more neighbours within the cutoff" in caplog.text


def test_atoms_in_the_same_place_are_named(tmp_path, graph, rng):
    coords, cells, types = water_like(rng)
    coords[1, 5] = coords[1, 2]
    with (
        DeepPot(write(tmp_path / "m.pb", graph)) as pot,
        pytest.raises(Exception, match="frame 1 has atoms 2 and 5"),
    ):
        pot.eval(coords, cells, types)


def add(graph, name, op, inputs=(), **types):
    node = graph.node.add(name=name, op=op, input=inputs)
    for key, dtype in types.items():
        node.attr[key].type = dtype.as_datatype_enum
    return node


def write_file(graph):
    constant(graph, "there", 1.0)
    add(graph, "evil", "WriteFile", ["there", "there"])


def py_func(graph):
    node = add(graph, "evil", "PyFunc", [names.T_COORD])
    node.attr["token"].s = b"pyfunc_0"


def call(graph):
    node = add(graph, "evil", "PartitionedCall", [names.T_COORD])
    node.attr["f"].func.name = "f"


def function_as_attribute(graph):
    node = add(graph, "evil", "Identity", [names.T_COORD], T=tf.float64)
    node.attr["f"].func.name = "f"


def text(graph):
    constant(graph, "evil", "/etc/passwd")


def text_in_disguise(graph):
    node = constant(graph, "evil", 1.0)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/passwd"))


def two_texts(graph):
    tensor = tf.make_tensor_proto(["O H", "/etc/passwd"])
    node_of(graph, names.TYPE_MAP).attr["value"].tensor.CopyFrom(tensor)


def text_as_attribute(graph):
    node = add(graph, "evil", "Identity", [names.T_COORD], T=tf.float64)
    node.attr["path"].s = b"/etc/passwd"


def resource(graph):
    add(graph, "evil", "Placeholder", dtype=tf.resource)


def another_input(graph):
    add(graph, "evil", "Placeholder", dtype=tf.float64)


def variable(graph):
    add(graph, "evil", "VariableV2", dtype=tf.float64)


def loop(graph):
    add(graph, "evil", "Enter", [names.T_COORD], T=tf.float64)


def unknown(graph):
    add(graph, "evil", "NoSuchOperation")


def huge(graph):
    node = constant(graph, "evil", np.zeros(1))
    node.attr["value"].tensor.tensor_shape.dim[0].size = 10**12


def many_large(graph):
    for i in range(5):
        node = constant(graph, f"evil{i}", np.zeros(1))
        node.attr["value"].tensor.tensor_shape.dim[0].size = 2**26


def same_name(graph):
    constant(graph, names.O_RMAT, 1.0)


def input_of_another_type(graph):
    node_of(graph, names.T_TYPE).attr["dtype"].type = tf.int64.as_datatype_enum


def input_that_is_a_constant(graph):
    node = node_of(graph, names.T_MESH)
    node.op = "Const"
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([0] * 16))


def mesh_of_its_own(graph):
    """Sixteen numbers are taken for addresses in memory."""
    constant(graph, "evil", np.arange(16, dtype=np.int32))
    for node in graph.node:
        if node.op == "ProdEnvMatA":
            node.input[4] = "evil"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (write_file, r'"evil" \(WriteFile\): an operation'),
        (py_func, r'"evil" \(PyFunc\): an operation'),
        (call, r'"evil" \(PartitionedCall\): an operation'),
        (function_as_attribute, r'"evil" \(Identity\): the attribute "f" is a function'),
        (text, r'"evil" \(Const\): works on string'),
        (text_in_disguise, r'"evil" \(Const\): declares another type than it has'),
        (two_texts, r'"model_attr/tmap" \(Const\): is not one text'),
        (text_as_attribute, r'"evil" \(Identity\): the attribute "path" is text'),
        (resource, r'"evil" \(Placeholder\): works on resource'),
        (another_input, r'"evil" \(Placeholder\): is not an input'),
        (variable, r'"evil" \(VariableV2\): an operation'),
        (loop, r'"evil" \(Enter\): an operation'),
        (unknown, r'"evil" \(NoSuchOperation\): an operation'),
        (huge, r'"evil" \(Const\): .*larger than 2 GiB'),
        (many_large, r'"evil\d" \(Const\): .*larger than 2 GiB'),
        (same_name, r'"o_rmat" \(Const\): there are two nodes of this name'),
        (input_of_another_type, r'"t_type" \(Placeholder\): is int64'),
        (input_that_is_a_constant, r'"t_mesh" \(Const\): is not an input'),
        (mesh_of_its_own, r'\(ProdEnvMatA\): its mesh is not "t_mesh"'),
    ],
)
def test_nodes_that_do_not_belong_there(tmp_path, graph, change, words):
    change(graph)
    path = write(tmp_path / "m.pb", graph)
    with pytest.raises(ModelFileError, match=words) as caught:
        DeepPot(path)
    assert str(path) in str(caught.value)


def test_function_library(tmp_path, graph):
    graph.library.function.add().signature.name = "f"
    with pytest.raises(ModelFileError, match="library of functions"):
        open_model(write(tmp_path / "m.pb", graph))


def test_number_of_nodes(tmp_path, graph, monkeypatch):
    monkeypatch.setattr(imported, "MAX_NODES", 100)
    with pytest.raises(ModelFileError, match="no model needs"):
        open_model(write(tmp_path / "m.pb", graph))


@pytest.mark.parametrize("name", [names.O_ATOM_VIRIAL, names.T_BOX])
def test_incomplete_models(tmp_path, graph, name):
    kept = [node for node in graph.node if node.name != name]
    with pytest.raises(ModelFileError, match=f'no node "{name}"'):
        open_model(write(tmp_path / "m.pb", tf.GraphDef(node=kept)))


def test_nodes_that_do_not_fit_together(tmp_path, graph, rng):
    node_of(graph, names.O_FORCE).input[0] = "nowhere"
    with pytest.raises(ModelFileError, match=r"do not fit together.*nowhere"):
        DeepPot(write(tmp_path / "m.pb", graph))


@pytest.mark.parametrize("cutoff", [1e6, float("nan"), -1.0])
def test_another_cutoff_than_the_attribute_says(tmp_path, graph, cutoff):
    next(node for node in graph.node if node.op == "ProdEnvMatA").attr["rcut_r"].f = cutoff
    with pytest.raises(ModelFileError, match=r"ProdEnvMatA has the cutoff"):
        open_model(write(tmp_path / "m.pb", graph))


def test_output_of_another_type(tmp_path, graph):
    node = node_of(graph, names.O_ENERGY)
    node.op = "Cast"
    del node.attr["T"]
    node.attr["SrcT"].type = tf.float64.as_datatype_enum
    node.attr["DstT"].type = tf.float32.as_datatype_enum
    with pytest.raises(ModelFileError, match=r'"o_energy".*float32,.*float64'):
        DeepPot(write(tmp_path / "m.pb", graph))


def test_operations_that_refuse_their_input(tmp_path, graph, rng):
    for node in graph.node:
        if node.op == "ProdForceSeA":
            node.attr["n_a_sel"].i = 7
    with (
        DeepPot(write(tmp_path / "m.pb", graph)) as pot,
        pytest.raises(ModelFileError, match=r"evaluated.*net_deriv"),
    ):
        pot.eval(*water_like(rng))


def test_where_a_node_should_run_is_not_looked_at(tmp_path, graph):
    node = node_of(graph, names.O_FORCE)
    node.device = "/device:GPU:3"
    node.attr["_class"].list.s.append(b"loc:@x")
    model = open_model(write(tmp_path / "m.pb", graph))
    assert not any(node.device for node in model.graph.node)
    assert not node_of(model.graph, names.O_FORCE).attr["_class"].list.s


def test_allowed_operations_have_no_state_and_touch_nothing_else():
    """What TensorFlow itself says of them."""
    from tensorflow.python.framework import op_def_registry

    for op in ALLOWED_OPS - imported.STOCK_OPS:
        definition = op_def_registry.get(op)
        assert definition is not None and not definition.is_stateful, op
        outputs = {arg.type for arg in definition.output_arg}
        assert not outputs & {t.as_datatype_enum for t in (tf.resource, tf.variant, tf.string)}, op
        assert all(attr.type != "func" for attr in definition.attr), op


def test_the_script_of_a_compressed_model(tmp_path, saved):
    graph, _ = build_graph(read_model(saved), "stock")
    node_of(graph, names.MODEL_KIND).attr["value"].tensor.string_val[0] = b"compressed_model"
    with DeepPot(write(tmp_path / "m.pb", graph)) as pot:
        assert pot.get_model_def_script() == read_model(saved).model.to_dict()
    node_of(graph, names.TRAINING_SCRIPT).attr["value"].tensor.string_val[0] = b"{"
    model = open_model(write(tmp_path / "m.pb", graph))
    assert model.script is None


def test_a_stock_program_in_the_same_process(tmp_path, graph, monkeypatch):
    """Its operations of the same names do not check what they are given."""
    from deepmd_tf.errors import InstallError
    from deepmd_tf.ops import library

    monkeypatch.setattr(library, "stock", lambda: library._RegisteredOps(tf, []))
    with pytest.raises(InstallError, match="import deepmd"):
        DeepPot(write(tmp_path / "m.pb", graph))


def test_slots_that_are_normalised_otherwise(tmp_path, saved, rng):
    """As DeePMD-kit does with those that come in with a larger sel."""
    graph, _ = build_graph(read_model(saved), "stock")
    node = node_of(graph, names.T_STD)
    std = tf.make_ndarray(node.attr["value"].tensor).copy()
    std[:, 4 * 12 : 4 * 14] = 1.0
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(std))
    path = write(tmp_path / "m.pb", graph)
    with pytest.raises(ModelFileError, match=r"with a larger sel .* can only be evaluated"):
        read_model(path)
    frames = water_like(rng)
    weights = read_model(saved).weights | {names.T_STD: std}
    expected = evaluate(INPUT, weights, Frames(*frames), "reference")["energy"]
    with DeepPot(path) as pot, DeepPot(saved) as other:
        np.testing.assert_allclose(pot.eval(*frames)[0].reshape(-1), expected.reshape(-1), 1e-12)
        assert not np.allclose(other.eval(*frames)[0].reshape(-1), expected.reshape(-1), 1e-12)


def test_a_constant_without_a_type(tmp_path, graph):
    node = constant(graph, "x", 0.0)
    node.attr["value"].tensor.dtype = 0
    del node.attr["dtype"]
    with pytest.raises(ModelFileError, match=r'"x".*type 0'):
        open_model(write(tmp_path / "m.pb", graph))


def test_a_cell_of_rank_two(tmp_path, saved, graph, rng):
    """As in graphs of version 0.12, which give it to the operation as it is."""
    sizes = node_of(graph, names.T_BOX).attr["shape"].shape
    del sizes.dim[:]
    sizes.dim.add(size=-1)
    sizes.dim.add(size=9)
    next(node for node in graph.node if node.op == "ProdEnvMatA").input[3] = names.T_BOX
    frames = water_like(rng)
    with DeepPot(write(tmp_path / "m.pb", graph)) as pot, DeepPot(saved) as expected:
        for got, want in zip(pot.eval(*frames), expected.eval(*frames), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())
