# SPDX-License-Identifier: BSD-3-Clause
"""Frozen graphs: the nodes, types and ops that runtimes expect, and the numbers of the model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import QUANTITIES, Frames, evaluate
from saved_models import AVG, INPUT, MIN_NBOR_DIST, save_checkpoint, small_input, water_like

from deepmd_tf import names
from deepmd_tf.cli.main import main
from deepmd_tf.config import Config
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.export.freeze import _check_stock, build_graph, freeze
from deepmd_tf.files import size_of_file
from deepmd_tf.graph.frozen import read_checkpoint, read_model
from deepmd_tf.graph.operations import ENVIRONMENTS, STOCK_OPS
from deepmd_tf.infer import DeepPot

DIALECTS = ("stock", "native")
OUTPUT_OF = dict(
    energy=names.O_ENERGY,
    force=names.O_FORCE,
    virial=names.O_VIRIAL,
    atom_energy=names.O_ATOM_ENERGY,
    atom_virial=names.O_ATOM_VIRIAL,
)


@pytest.fixture(scope="module")
def saved(checkpoint):
    """Prefix and variables."""
    return checkpoint


@pytest.fixture(scope="module", params=DIALECTS)
def dialect(request):
    return request.param


@pytest.fixture(scope="module")
def frozen(saved, dialect, tmp_path_factory):
    """Path of a frozen file."""
    path = tmp_path_factory.mktemp(dialect) / "model.pb"
    return freeze(saved[0], path, dialect=dialect).path


def nodes_of(path):
    graph = tf.GraphDef.FromString(path.read_bytes())
    return {node.name: node for node in graph.node}


def value(node):
    assert node.op == "Const"
    result = tf.make_ndarray(node.attr["value"].tensor)
    return result.item().decode() if result.dtype == object else result


def test_inputs(frozen):
    nodes = nodes_of(frozen)
    expected = {
        names.T_COORD: (tf.float64, [-1]),
        names.T_TYPE: (tf.int32, [-1]),
        names.T_NATOMS: (tf.int32, [4]),
        names.T_BOX: (tf.float64, [-1]),
        names.T_MESH: (tf.int32, [-1]),
    }
    for name, (dtype, shape) in expected.items():
        assert nodes[name].op == "Placeholder"
        assert nodes[name].attr["dtype"].type == dtype.as_datatype_enum
        assert [dim.size for dim in nodes[name].attr["shape"].shape.dim] == shape
    # programs take the mere presence of these for a demand
    assert names.T_FPARAM not in nodes and names.T_APARAM not in nodes
    assert {n for n, node in nodes.items() if node.op == "Placeholder"} == set(names.INPUTS)


def test_attributes(frozen):
    nodes = nodes_of(frozen)
    expected = {
        "model_type": "original_model",
        "model_attr/model_type": "ener",
        "model_attr/model_version": "1.1",
        "model_attr/tmap": "O H",
        "train_attr/min_nbor_dist": np.float64(MIN_NBOR_DIST),
        "descrpt_attr/rcut": np.float64(4.0),
        "descrpt_attr/ntypes": np.int32(2),
        "descrpt_attr/ndescrpt": np.int32(160),
        "descrpt_attr/sel": np.int32([14, 26]),
        "descrpt_attr/original_sel": np.int32([14, 26]),
        "fitting_attr/dfparam": np.int32(0),
        "fitting_attr/daparam": np.int32(0),
        "descrpt_attr/t_avg": np.tile(AVG, 40),
        "model_attr/model_attr/t_out_bias": np.zeros((1, 2, 1)),
        "model_attr/model_attr/t_out_std": np.ones((1, 2, 1)),
    }
    for name, want in expected.items():
        got = value(nodes[name])
        if isinstance(want, str):
            assert got == want, name
        else:
            assert got.dtype == want.dtype and got.shape == want.shape, name
            np.testing.assert_array_equal(got, want, err_msg=name)
    script = value(nodes["train_attr/training_script"])
    assert '"type_map": ["O", "H"]' in script  # ABACUS looks for this text
    assert Config.from_dict(json.loads(script)) == Config.from_dict(INPUT)
    # a node of this name breaks stock Python programs
    assert "o_hessian" not in nodes


def test_weights_are_those_of_the_training_to_the_last_bit(frozen, saved):
    nodes = nodes_of(frozen)
    for name, want in saved[1].items():
        got = value(nodes[name])
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want, err_msg=name)


def test_ops(frozen, dialect):
    nodes = nodes_of(frozen)
    ops = Counter(node.op for node in nodes.values())
    custom = STOCK_OPS & set(ops)
    ours = {op for op in ops if op.startswith("Dp")}
    if dialect == "stock":
        kind = ENVIRONMENTS["ProdEnvMatA"]
        assert custom == {"ProdEnvMatA", kind.force, kind.virial} and not ours
        assert all(ops[op] == 1 for op in custom)
        assert {*names.STOCK_OUTPUTS} <= set(nodes)
    else:
        assert ours and not custom
        assert {*names.DIAGNOSTICS.values()} <= set(nodes)
    assert not [node.name for node in nodes.values() if node.device]
    assert not [node.name for node in nodes.values() for key in node.attr if key.startswith("_")]
    assert not {"VariableV2", "VarHandleOp", "PyFunc"} & set(ops)
    graph = tf.GraphDef.FromString(frozen.read_bytes())
    assert not graph.library.function


def test_attributes_of_stock_ops(saved):
    graph, _ = build_graph(read_checkpoint(saved[0]), "stock")
    (node,) = (node for node in graph.node if node.op == "ProdEnvMatA")
    assert node.attr["rcut_a"].f == -1.0
    assert node.attr["rcut_r"].f == 4.0
    assert node.attr["rcut_r_smth"].f == 0.5
    assert list(node.attr["sel_a"].list.i) == [14, 26]
    assert list(node.attr["sel_r"].list.i) == [0, 0]
    for op in ("ProdForceSeA", "ProdVirialSeA"):
        (node,) = (node for node in graph.node if node.op == op)
        assert (node.attr["n_a_sel"].i, node.attr["n_r_sel"].i) == (40, 0)


def run(path, frames, flat):
    """Outputs of a frozen file, fed as Python (flat) or as C++ (a row per frame) feeds it."""
    feed = {
        names.T_COORD: frames.coord.reshape(len(frames.coord), -1),
        names.T_TYPE: np.tile(frames.types, (len(frames.coord), 1)),
        names.T_BOX: np.tile(np.eye(3).ravel(), (len(frames.coord), 1))
        if frames.box is None
        else frames.box,
    }
    if flat:
        feed = {name: array.ravel() for name, array in feed.items()}
    feed[names.T_NATOMS] = frames.natoms
    feed[names.T_MESH] = np.zeros(0 if frames.box is None else 6, np.int32)
    with tf.Graph().as_default(), tf.Session() as session:
        # placeholders without a shape, as C++ sessions do not look at the shape either
        given = {name: tf.placeholder(array.dtype, None) for name, array in feed.items()}
        graph = tf.GraphDef.FromString(path.read_bytes())
        fetches = [f"{name}:0" for name in OUTPUT_OF.values()]
        tensors = tf.import_graph_def(graph, input_map=given, return_elements=fetches, name="load")
        values = session.run(tensors, {given[name]: array for name, array in feed.items()})
    return dict(zip(OUTPUT_OF, values, strict=True))


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_outputs(frozen, saved, rng, periodic, flat):
    coords, cells, types = water_like(rng)
    frames = Frames(coords, cells if periodic else None, types)
    results = run(frozen, frames, flat)
    expected = evaluate(INPUT, saved[1], frames, "reference")
    shapes = {"energy": (2,), "force": (2, 72), "virial": (2, 9), "atom_energy": (2, 24)}
    for key in QUANTITIES:
        got = results[key]
        assert got.dtype == np.float64 and got.shape == shapes.get(key, (2, 216))
        np.testing.assert_allclose(
            got, expected[key], rtol=0, atol=1e-10 * abs(expected[key]).max()
        )
    total = results["atom_virial"].reshape(2, -1, 9).sum(axis=1)
    np.testing.assert_allclose(results["virial"], total, atol=1e-12)


def test_float32_interface(saved, dialect, monkeypatch):
    monkeypatch.setenv("DP_INTERFACE_PREC", "low")
    graph, _ = build_graph(read_checkpoint(saved[0]), dialect)
    nodes = {node.name: node for node in graph.node}
    assert value(nodes[names.RCUT]).dtype == np.float32
    assert value(nodes[names.MIN_NBOR_DIST]).dtype == np.float64
    for name in (names.T_COORD, names.T_BOX):
        assert nodes[name].attr["dtype"].type == tf.float32.as_datatype_enum
    with tf.Graph().as_default():
        outputs = tf.import_graph_def(graph, return_elements=[f"{n}:0" for n in names.OUTPUTS])
    energy, *others = (tensor.dtype for tensor in outputs)
    assert energy == tf.float64 and set(others) == {tf.float32}


def test_smallest_distance_stays_unknown(tmp_path):
    prefix, _ = save_checkpoint(tmp_path, min_nbor_dist=None)
    assert names.MIN_NBOR_DIST not in nodes_of(freeze(prefix, tmp_path / "m.pb").path)


def test_a_frozen_file_can_be_frozen_again(saved, tmp_path):
    """Native to stock and back; the files are the same to the last bit."""
    native = freeze(saved[0], tmp_path / "native.pb", dialect="native").path
    stock = freeze(saved[0], tmp_path / "stock.pb").path
    again = freeze(native, tmp_path / "again.pb").path
    assert again.read_bytes() == stock.read_bytes()
    assert read_model(native).dialect == "native"
    assert read_model(stock).dialect == "stock"


def test_the_script_of_a_stock_training_is_carried_on(saved, tmp_path):
    """Also where it asks for what this package lacks, and with the sel of the first training."""
    model = read_checkpoint(saved[0])
    script = model.script | {"loss": {"type": "ener", "start_pref_gf": 1.0}}
    graph, _ = build_graph(
        dataclasses.replace(model, script=script, original_sel={"": (10, 20)}), dialect="stock"
    )
    nodes = {node.name: node for node in graph.node}
    assert json.loads(value(nodes[names.TRAINING_SCRIPT])) == script
    np.testing.assert_array_equal(value(nodes[names.ORIGINAL_SEL]), [10, 20])


def test_some_nodes_only(saved, tmp_path):
    done = freeze(saved[0], tmp_path / "m.pb", node_names=["o_energy", "o_energy"])
    assert done.nodes == ("o_energy",)
    nodes = nodes_of(done.path)
    assert "o_energy" in nodes and "o_force" not in nodes
    with pytest.raises(InputError, match=r'"o_enrgy".*"o_energy"'):
        freeze(saved[0], tmp_path / "n.pb", node_names=["o_force", "o_enrgy"])
    assert not (tmp_path / "n.pb").exists()


@pytest.mark.parametrize("name", ["layer_1_type_0/idt", "filter_type_1/bias_2_0"])
def test_a_missing_weight_is_named(saved, name):
    model = read_checkpoint(saved[0])
    del model.weights[name]
    with pytest.raises(ModelFileError, match=f'"{name}" is missing'):
        build_graph(model)


def test_a_weight_of_another_shape_is_named(saved):
    model = read_checkpoint(saved[0])
    model.weights["layer_0_type_1/bias"] = np.zeros(11)
    with pytest.raises(ModelFileError, match="layer_0_type_1/bias"):
        build_graph(model)


@pytest.mark.parametrize(
    "options",
    [
        {"descriptor": {"type_one_side": True, "resnet_dt": True, "exclude_types": [[0, 1]]}},
        {"fitting_net": {"atom_ener": [-1.0, None], "layer_name": [None, "a", "b"]}},
        {"descriptor": {"precision": "float32"}, "fitting_net": {"precision": "float32"}},
    ],
)
def test_every_kind_of_model_freezes(tmp_path, dialect, options, rng):
    script = small_input(**options)
    prefix, weights = save_checkpoint(tmp_path, script)
    path = freeze(prefix, tmp_path / "m.pb", dialect=dialect).path
    nodes = nodes_of(path)
    for name, want in weights.items():
        if "/idt_1_" in name:  # no skip connection there, so it does nothing
            assert name not in nodes
        else:
            np.testing.assert_array_equal(value(nodes[name]), want)
    frames = Frames(*water_like(rng, n_atoms=8, n_frames=1))
    expected = evaluate(script, weights, frames, "reference")
    got = run(path, frames, flat=True)
    tolerance = 1e-5 if "precision" in options.get("descriptor", {}) else 1e-10
    for key in QUANTITIES:
        scale = np.abs(expected[key]).max()
        np.testing.assert_allclose(got[key], expected[key], rtol=0, atol=tolerance * scale)


def test_best_checkpoint_is_named(saved, tmp_path, caplog):
    """It is not taken: stock scripts mean the newest."""
    caplog.set_level("INFO", "deepmd_tf")
    for file in saved[0].parent.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "best.ckpt-60.index").touch()
    (tmp_path / "best.ckpt.index").symlink_to("best.ckpt-60.index")
    freeze(tmp_path, tmp_path / "m.pb")
    words = "the lowest validation error has best.ckpt-60: freeze that with -c"
    assert f"{words} {tmp_path / 'best.ckpt'}" in caplog.text
    assert "model.ckpt-100\n" in caplog.text
    caplog.clear()
    freeze(tmp_path / "model.ckpt-100", tmp_path / "m.pb")
    assert "lowest validation error" not in caplog.text


def test_command(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(saved[0].parent)
    output = tmp_path / "water.model"
    assert main(["--tf", "freeze", "-o", str(output)]) == 0
    said = capsys.readouterr().err
    assert "ops in the final graph." in said and "lowest validation error" not in said
    size = size_of_file(f"{output}.pb")
    assert f"water.model.pb ({size}), stock, an energy model, from {saved[0]}" in said
    assert read_model(tmp_path / "water.model.pb").dialect == "stock"
    assert main(["freeze", "-c", "model.ckpt-100", "-o", str(output), "--native"]) == 0
    assert read_model(tmp_path / "water.model.pb").dialect == "native"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["water.model.pb"]


def test_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["freeze", "-c", str(tmp_path), "-o", str(tmp_path / "m")]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"dp: error: {tmp_path}") and "Traceback" not in message
    assert main(["freeze", "-o", str(tmp_path / "no" / "m.pb")]) == 1
    assert "no directory" in capsys.readouterr().err


def test_output_is_checked_before_the_model_is_read(tmp_path):
    (tmp_path / "m.pb").mkdir()
    for output in (tmp_path / "m.pb", "/proc/m.pb"):
        with pytest.raises(ModelFileError, match=r"m\.pb: cannot be written"):
            freeze(tmp_path / "no_model", output)


@pytest.mark.parametrize("op", ["DpMoment", "TabulateFusionSeA", "PyFunc", "VarHandleOp"])
def test_ops_that_stock_runtimes_lack_never_get_into_a_stock_file(op):
    known = [tf.NodeDef(name=name, op=name) for name in ("Const", "MatMul", "ProdEnvMatA")]
    _check_stock(tf.GraphDef(node=known))
    with pytest.raises(ModelFileError, match=f'"x" \\({op}\\)'):
        _check_stock(tf.GraphDef(node=[*known, tf.NodeDef(name="x", op=op)]))


def test_hessian_outputs(saved, tmp_path, rng):
    """In the graph of the file: the full matrix, and products with vectors that are fed."""
    path = freeze(saved[0], tmp_path / "hessian.pb", hessian=True).path
    nodes = nodes_of(path)
    assert set(names.HESSIAN_OUTPUTS) <= set(nodes) and "o_hessian" not in nodes
    coords, cells, types = water_like(rng, n_atoms=6, length=4.0)
    frames = Frames(coords, cells, np.sort(types))
    with DeepPot(path) as pot:
        expected = pot.eval_hessian(coords, cells, frames.types)
    graph = tf.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph, name="")
        feed = {f"{name}:0": value for name, value in frames.values().items()}
        # what is not fetched needs no direction
        plain = session.run({key: f"{node}:0" for key, node in OUTPUT_OF.items()}, feed)
        matrix = session.run(f"{names.X_HESSIAN}:0", feed)
        vectors = rng.normal(size=(2, 18))
        feed[f"{names.X_DIRECTION}:0"] = vectors.ravel()
        product = session.run(f"{names.X_HESSIAN_VECTOR}:0", feed)
    tolerance = 1e-11 * np.abs(expected).max()
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        product, np.einsum("fab,fb->fa", expected, vectors), rtol=0, atol=18 * tolerance
    )
    for key, value_ in evaluate(INPUT, saved[1], frames).items():
        if key in plain:
            np.testing.assert_allclose(plain[key], value_, rtol=0, atol=1e-10)


def test_hessian_has_no_stock_dialect(saved, tmp_path):
    with pytest.raises(InputError, match="native dialect"):
        freeze(saved[0], tmp_path / "model.pb", dialect="stock", hessian=True)


def test_what_an_ordinary_file_lacks_is_said(saved, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", "deepmd_tf")
    first = freeze(saved[0], tmp_path / "first.pb").path
    assert "Hessian" not in caplog.text
    monkeypatch.chdir(tmp_path)
    freeze(first, tmp_path / "hessian.pb", hessian=True)
    assert "no output of them" not in caplog.text
    freeze(tmp_path / "hessian.pb", tmp_path / "ordinary.pb")
    assert "made for Hessians; the file has no output of them" in caplog.text
    main(["--tf", "freeze", "-c", "first.pb", "-o", "again.pb", "--hessian"])
    assert (tmp_path / "again.pb").read_bytes() == (tmp_path / "hessian.pb").read_bytes()
    # the same numbers: an ordinary file is an ordinary file
    assert first.read_bytes() == (tmp_path / "ordinary.pb").read_bytes()


def test_models_trained_on_hessians(saved):
    model = read_checkpoint(saved[0])
    for loss, expected in (
        ({"start_pref_h": 0.0, "limit_pref_h": 0}, False),
        ({"start_pref_h": 1.0}, True),
        ({"limit_pref_h": 1}, True),
    ):
        assert dataclasses.replace(model, script={"loss": loss}).made_for_hessians == expected
    assert not model.made_for_hessians
