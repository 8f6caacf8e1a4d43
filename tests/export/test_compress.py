# SPDX-License-Identifier: BSD-3-Clause
"""Compressed models: their nodes, their numbers, and what the command says."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import QUANTITIES, Frames, evaluate_graph
from saved_models import MIN_NBOR_DIST, save_checkpoint, small_input, water_like

from deepmd_tf import names
from deepmd_tf.cli.main import main
from deepmd_tf.config import ModelConfig
from deepmd_tf.config.report import Report
from deepmd_tf.data import write_system
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.export import compress as compress_module
from deepmd_tf.export.comparison import Differences, compare, random_frames
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.graph.operations import ENVIRONMENTS
from deepmd_tf.infer import DeepPot

pytestmark = pytest.mark.usefixtures("without_rewriting")

MODELS = {
    "two-sided": {},
    "one-sided with timestep": {"type_one_side": True, "resnet_dt": True},
    "excluded": {"exclude_types": [[0, 0]]},
    "one-sided excluded": {"exclude_types": [[0, 1]], "type_one_side": True},
    "nobody's net": {"exclude_types": [[0, 1], [1, 1]], "type_one_side": True},
    "gelu, widths of no vector": {"activation_function": "gelu", "neuron": [3, 5]},
}
ALIKE = ("two-sided", "one-sided with timestep", "excluded")
"""Of which the contract of descriptors, or others here, have each part."""


@pytest.fixture(scope="module")
def compressed(saved, tmp_path_factory):
    """The small model, compressed; not to be changed."""
    return compress(saved, tmp_path_factory.mktemp("compressed") / "model.pb", check_frequency=7)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in MODELS]
)
def test_numbers_are_those_of_the_model(tmp_path, rng, name):
    """To 1e-11, with a table that has rows ten times as fine as the usual error needs."""
    prefix, _ = save_checkpoint(tmp_path, small_input(MODELS[name]))
    plain = freeze(prefix, tmp_path / "model.pb").path
    written = compress(plain, tmp_path / "compressed")
    assert written.path == tmp_path / "compressed.pb"
    assert written.differences.frames == 4 and written.differences.force < 1e-11
    coords, cells, types = water_like(rng)
    for box in (cells, None):
        frames = Frames(coords if box is not None else coords[:1], box, types)
        expected, got = evaluate_graph(plain, frames), evaluate_graph(written.path, frames)
        for key in QUANTITIES:
            scale = np.abs(expected[key]).max()
            np.testing.assert_allclose(got[key], expected[key], rtol=0, atol=1e-11 * scale)
    with DeepPot(written.path) as pot, DeepPot(plain) as exact:
        energies = pot.eval(coords, cells, types)[0], exact.eval(coords, cells, types)[0]
        np.testing.assert_allclose(*energies, rtol=1e-11)


def test_centres_of_a_type_without_slots(tmp_path):
    """Tables cover what they see, also with averages of their own."""
    script = small_input({"sel": [14, 0], "type_one_side": True})
    _, weights = save_checkpoint(tmp_path, script)
    weights[names.T_STD] = weights[names.T_STD] * np.array([[1.0], [0.1]])
    prefix, _ = save_checkpoint(tmp_path, script, weights=weights)
    # the comparison has atoms of both types
    assert 0 < compress(prefix, tmp_path / "compressed.pb").differences.force < 1e-10
    assert (next(random_frames(read_model(prefix))).natoms[2:] > 0).all()


def test_float32_nets(tmp_path):
    prefix, _ = save_checkpoint(tmp_path, small_input({"precision": "float32"}))
    written = compress(prefix, tmp_path / "compressed.pb")
    assert 0 < written.differences.force < 1e-4


def test_nodes(checkpoint, compressed):
    """What a compressed file of DeePMD-kit has, and nothing that its runtime does not know."""
    _, variables = checkpoint
    graph = tf.GraphDef.FromString(compressed.path.read_bytes())
    nodes = {node.name: node for node in graph.node}

    def value(name):
        return tf.make_ndarray(nodes[name].attr["value"].tensor)

    assert value(names.MODEL_KIND) == b"compressed_model"
    assert value(names.MIN_NBOR_DIST) == MIN_NBOR_DIST
    assert json.loads(value(names.TRAINING_SCRIPT).item())["model"]["descriptor"]["neuron"] == [
        4,
        8,
    ]
    attributes = set(names.ATTRIBUTES) - names.OF_SOME_MODELS
    for name in (*names.INPUTS, *names.OUTPUTS, *names.STOCK_OUTPUTS, *attributes):
        assert name in nodes
    assert not [name for name in nodes if names.is_embedding_weight(name)]
    kept = {name for name in variables if names.is_parameter(name)} & set(nodes)
    assert {name.partition("/")[0] for name in kept} >= {"layer_0_type_0", "final_layer_type_1"}
    for center in (0, 1):
        for neighbor in (0, 1):
            table = value(names.embedding_table(center, neighbor))
            info = value(names.embedding_table_info(center, neighbor))
            assert table.shape[1] == 48 and info.tolist()[3:] == [0.01, 0.1, 7]
            assert info[2] == 5 * info[1]
    custom = {node.op for node in graph.node if not hasattr(tf.raw_ops, node.op)} - {"Const"}
    kind = ENVIRONMENTS["ProdEnvMatA"]
    table = kind.tables[0]
    assert custom == {"ProdEnvMatA", kind.force, kind.virial, table, f"{table}Grad"}
    assert not any(key.startswith("_") for node in graph.node for key in node.attr)
    for node in graph.node:
        if node.op == "TabulateFusionSeA":
            assert set(node.attr) <= {"T", "last_layer_size"}
            assert node.attr["last_layer_size"].i == 8


def test_table_reaches_to_the_smallest_distance(saved, compressed, tmp_path):
    """0.8 Å in the file."""

    def upper(path):
        graph = tf.GraphDef.FromString(path.read_bytes())
        infos = [node for node in graph.node if node.name.endswith("/table_info")]
        return max(tf.make_ndarray(node.attr["value"].tensor)[1] for node in infos)

    near = compress(saved, tmp_path / "near", min_nbor_dist=0.3).path
    assert upper(near) > 2.2 * upper(compressed.path)


def test_coarse_tables_are_warned_of(tmp_path, caplog):
    prefix, _ = save_checkpoint(tmp_path, small_input({"activation_function": "relu6"}))
    with caplog.at_level("INFO"):
        found = compress(prefix, tmp_path / "coarse", step=1.0).differences
    assert found.force > compress_module.LARGE.force
    assert "differences are large" in caplog.text and "kinks of relu6" in caplog.text


@pytest.mark.parametrize("kind", ["ener", "dipole"])
def test_results_that_are_no_numbers_are_warned_of(tmp_path, caplog, kind):
    script = small_input(fitting_net={"type": kind})
    prefix, weights = save_checkpoint(tmp_path, script)
    weights["final_layer_type_0/bias"][:] = np.nan
    prefix, _ = save_checkpoint(tmp_path, script, weights=weights)
    with caplog.at_level("INFO"):
        compress(prefix, tmp_path / "compressed")
    assert "largest difference in" in caplog.text and "nan" in caplog.text
    assert "differences are large" in caplog.text


def test_refusals(saved, compressed, tmp_path):
    prefix, path = saved, compressed.path
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match="compressed model"):
        compress(path, tmp_path / "again")
    with pytest.raises(InputError, match="the step is -1"):
        compress(prefix, path, step=-1.0)
    with pytest.raises(InputError, match="GiB"):
        compress(prefix, path, step=1e-9)
    with pytest.raises(InputError, match="no directory"):
        compress(prefix, tmp_path / "no" / "file")
    assert path.read_bytes() == before
    model = dataclasses.replace(read_model(prefix), min_nbor_dist=None)
    with pytest.raises(InputError, match="smallest distance in"):
        compress(model, tmp_path / "again")
    assert not (tmp_path / "again.pb").exists()


def test_random_frames_are_what_a_model_may_meet(saved, tmp_path):
    model = read_model(saved)
    first, second = list(random_frames(model)), list(random_frames(model))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.arrays["coord"], other.arrays["coord"])
    graph = tf.GraphDef.FromString(freeze(model.path, tmp_path / "m.pb").path.read_bytes())
    assert compare((graph, graph), first) == Differences(len(first), 0.0, 0.0, 0.0)
    coord, box = first[0].arrays["coord"].reshape(-1, 3), first[0].arrays["box"][0, 0]
    x = coord[:, None] - coord[None]
    r = np.linalg.norm(x - box * np.round(x / box), axis=-1)
    r = r[r > 0]
    assert 0.3 * MIN_NBOR_DIST < r.min() < 1.3 * MIN_NBOR_DIST
    assert 0.3 < np.sum(r < 4.0) / len(coord) / 40 < 1.0


@pytest.mark.parametrize("as_member", [False, True], ids=["alone", "in a hybrid"])
def test_random_frames_with_one_selection(saved, as_member):
    """It is no share of a type: there are atoms of every type."""
    model = read_model(saved)
    script = model.model.to_dict()
    attention = {"type": "se_atten_v2", "sel": 30, "rcut": 5.0, "attn_layer": 0, "neuron": [4, 8]}
    members = {"type": "hybrid", "list": [script["descriptor"], attention]}
    script["descriptor"] = members if as_member else attention
    changed = ModelConfig.read(script, Report("test"))
    batch = next(random_frames(dataclasses.replace(model, model=changed)))
    types = batch.arrays["type"][0]
    counts = np.bincount(types, minlength=2)
    assert batch.natoms.tolist() == [len(types), len(types), *counts] and counts.min() > 20


def test_parameters_of_frames_and_atoms(tmp_path, rng, monkeypatch):
    """Where data are found they are read, and random frames get the averages."""
    fitting = {"numb_fparam": 1, "numb_aparam": 2}
    prefix, _ = save_checkpoint(tmp_path, small_input(fitting_net=fitting))
    monkeypatch.chdir(tmp_path)
    first = compress(prefix, tmp_path / "compressed.pb").differences
    coords, cells, types = water_like(rng)
    parameters = {"fparam": rng.normal(size=(2, 1)), "aparam": rng.normal(size=(2, 48))}
    write_system("data", coord=coords, box=cells, types=types, type_map=["O", "H"], **parameters)
    second = compress(prefix, tmp_path / "compressed.pb").differences
    assert (first.frames, second.frames) == (4, 2) and max(first.force, second.force) < 1e-11


@pytest.fixture
def data(tmp_path, rng):
    """A system that has the atoms of the model, and an input script beside it."""
    coords, cells, types = water_like(rng, n_frames=3)
    write_system(tmp_path / "data", coord=coords, box=cells, types=types, type_map=["O", "H"])
    script = tmp_path / "input.json"
    script.write_text(json.dumps(small_input()))
    return script


def test_command(tmp_path, data, capsys, monkeypatch):
    """Without a distance in the file it is measured; the data are found; lines as of stock."""
    prefix, _ = save_checkpoint(tmp_path, min_nbor_dist=None)
    freeze(prefix, tmp_path / "frozen_model.pb")
    monkeypatch.chdir(tmp_path)
    assert main(["--tf", "compress"]) == 1
    assert "give the input script" in capsys.readouterr().err
    assert main(["--tf", "compress", "-t", str(data), "-s", "0.02", "-e", "3", "-f", "-1"]) == 0
    said = capsys.readouterr().err
    places = [
        said.index(line)
        for line in (
            "stage 0: compute the min_nbor_dist",
            "stage 1: compress the model",
            "training data with lower boundary: [",
            "training data with upper boundary: [",
            "compressed against original, 3 frames of the training data: largest difference",
            "finished compressing",
            "stage 2: freeze the model",
        )
    ]
    assert places == sorted(places) and "Traceback" not in said
    assert (tmp_path / "frozen_model_compressed.pb").exists()
    assert not (tmp_path / "compress.json").exists()
    assert main(["--tf", "compress", "-t", "none.json"]) == 1
    # systems are found beside the script, too
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["--tf", "compress", "-i", "../frozen_model", "-t", str(data), "-c", "x"]) == 0
    assert "3 frames of the training data" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == [
        "frozen_model_compressed.pb"
    ]


def test_data_of_another_model_are_not_used(saved, tmp_path, rng, caplog, monkeypatch):
    coords, cells, types = water_like(rng)
    write_system(tmp_path / "data", coord=coords, box=cells, types=types, type_map=["C", "N"])
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO"):
        compress(saved, tmp_path / "compressed.pb")
    assert "4 frames at random" in caplog.text


def test_the_original_is_not_replaced(saved, tmp_path):
    plain = freeze(saved, tmp_path / "model.pb").path
    before = plain.read_bytes()
    with pytest.raises(InputError, match=r"model\.pb:"):
        compress(plain, tmp_path / "model")
    assert plain.read_bytes() == before
