# SPDX-License-Identifier: BSD-3-Clause
"""``se_a_mask``: descriptor, derivatives, files and trainings of molecules with masked atoms."""

from __future__ import annotations

import itertools
import re
import shutil

import masks
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import Frames, build, evaluate, evaluate_graph, random_statistics, random_weights
from plain_session import plain_session
from saved_models import save_checkpoint
from scipy.spatial.transform import Rotation
from small_training import TYPES, write_script

from deepmd_tf.analysis.change_bias import change_bias
from deepmd_tf.analysis.show import show
from deepmd_tf.config import Config
from deepmd_tf.errors import DeepmdError, InputError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_checkpoint, read_graph, read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference.testing import run_test
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.hessian import full_hessian, hessian_vector_product
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.training.entrypoint import train

SCRIPT = masks.script({"exclude_types": [[0, 0]]})
WEIGHTS = random_weights(SCRIPT, random_statistics(np.random.default_rng(8)))
RESULTS = ("energy", "force", "atom_energy")


def some(seed: int = 3, nframes: int = 3) -> Frames:
    found = masks.frames(seed, nframes)
    return Frames(found["coord"], None, TYPES, aparam=found["aparam"][:, :, None])


def run(frames: Frames, dialect: str = "native", **options) -> dict[str, np.ndarray]:
    return evaluate(SCRIPT, WEIGHTS, frames, dialect, **options)


def changed(frames: Frames, coord=None, mask=None) -> Frames:
    return Frames(
        frames.coord if coord is None else coord,
        None,
        frames.types,
        aparam=frames.aparam if mask is None else mask,
    )


def test_dialects_agree():
    frames = some()
    expected = run(frames, "reference")
    for dialect, options in (("stock", {}), ("native", {}), ("native", {"use_table": False})):
        found = run(frames, dialect, **options)
        for key in RESULTS:
            scale = np.abs(expected[key]).max()
            tolerance = 1e-9 if dialect == "native" and not options else 1e-12
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=tolerance * scale)
        assert not found["virial"].any()
        assert found["atom_virial"].shape == (3, 54)
        assert not found["atom_virial"].any()


def test_descriptor_by_numpy():
    """Sums over the atoms that are there, divided by the number of all."""
    frames = some()
    with tf.Graph().as_default(), tf.Session() as session:
        inputs, outputs = build(SCRIPT, ConstantParameters(WEIGHTS), "native", use_table=False)
        found = session.run(outputs.descriptor, frames.feed(inputs))

    def net(s, center, neighbor):
        for layer in (1, 2):
            name = f"filter_type_{center}/{{}}_{layer}_{neighbor}"
            y = np.tanh(s @ WEIGHTS[name.format("matrix")] + WEIGHTS[name.format("bias")])
            s = y if layer == 1 else y + np.concatenate([s, s], axis=-1)
        return s

    expected = np.zeros((3, 6, 4, 8))
    for f, i, j in itertools.product(range(3), range(6), range(6)):
        pair = frames.types[i], frames.types[j]
        if i == j or pair == (0, 0) or not frames.aparam[f, [i, j]].all():
            continue
        x = frames.coord[f, j] - frames.coord[f, i]
        r = np.linalg.norm(x)
        row = np.array([1.0, *(x / r)]) / r
        expected[f, i] += row[:, None] * net(row[:1][None], *pair)
    expected /= 6
    expected = np.einsum("fiam,fian->fimn", expected, expected[..., :3]).reshape(3, 6, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dialect", ["native", "stock"])
def test_forces_are_derivatives(dialect):
    frames = some(nframes=2)
    frame = Frames(frames.coord[1], None, frames.types, aparam=frames.aparam[1:])

    def copies(times: int) -> np.ndarray:
        return np.tile(frame.aparam, (times, 1, 1))

    n, h = frame.coord.size, 1e-4
    steps = h * np.concatenate([np.eye(n), -np.eye(n)])
    moved = Frames(
        frame.coord.reshape(1, n) + steps,
        None,
        frame.types,
        aparam=copies(2 * n),
    )
    energy = run(moved, dialect)["energy"]
    force = run(frame, dialect)["force"]
    np.testing.assert_allclose(force[0], -(energy[:n] - energy[n:]) / (2 * h), atol=1e-7)
    np.testing.assert_allclose(force.reshape(-1, 3).sum(axis=0), 0, atol=1e-12)


def test_masked_atoms():
    """They add the energy of a lone atom, wherever they are, and feel no force."""
    frames = some()
    before = run(frames)
    off = frames.aparam[:, :, 0] == 0
    assert off.any()
    assert not before["force"].reshape(3, 6, 3)[off].any()
    moved = np.where(off[:, :, None], frames.coord + 7.7, frames.coord)
    alone = run(changed(frames, mask=np.zeros_like(frames.aparam)))["atom_energy"]
    after = run(changed(frames, coord=moved))
    for key in RESULTS:
        np.testing.assert_array_equal(after[key], before[key], err_msg=key)
    np.testing.assert_array_equal(before["atom_energy"][off], alone[off])
    assert not np.isclose(before["atom_energy"][~off], alone[~off]).any()


def test_symmetries():
    frames = some()
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.2]).as_matrix()
    order = np.array([1, 0, 4, 2, 5, 3])
    turned = frames.coord[:, order] @ turn.T + 3.0
    before = run(frames)
    after = run(changed(frames, turned, frames.aparam[:, order]))
    np.testing.assert_allclose(after["energy"], before["energy"], rtol=1e-12)
    force = before["force"].reshape(3, 6, 3)[:, order] @ turn.T
    np.testing.assert_allclose(after["force"].reshape(3, 6, 3), force, atol=1e-11)


def test_distances_are_not_cut_off():
    """Far atoms have s = 1/r, to hundreds of Å."""
    coord = np.zeros((2, 6, 3))
    coord[:, :, 0] = np.arange(6) * np.array([[50.0], [300.0]])
    mask = np.ones((2, 6, 1))
    for dialect in ("native", "stock"):
        found = run(Frames(coord, None, TYPES, aparam=mask), dialect)["force"]
        assert (np.abs(found.reshape(2, 6, 3)[:, :, 0]) > 0).all()


def test_hessians():
    frames = some(nframes=2)
    frame = Frames(frames.coord[1], None, frames.types, aparam=frames.aparam[1:])

    def copies(times: int) -> np.ndarray:
        return np.tile(frame.aparam, (times, 1, 1))

    n, h = frame.coord.size, 1e-4
    with tf.Graph().as_default(), plain_session() as session:
        model = EnergyModel(Config.from_dict(SCRIPT).model)
        parameters = ConstantParameters(WEIGHTS)
        inputs = model.make_inputs(tf.float64)
        outputs = model.build(inputs, parameters, "native")
        direction = tf.placeholder(tf.float64, [None, n])
        products = hessian_vector_product(outputs, direction)
        many = Frames(
            np.tile(frame.coord, (n, 1, 1)),
            None,
            frame.types,
            aparam=copies(n),
        )
        columns = session.run(products, {**many.feed(inputs), direction: np.eye(n)})
        whole = session.run(full_hessian(model, outputs, parameters), frame.feed(inputs))[0]
    scale = np.abs(columns).max()
    np.testing.assert_allclose(whole, columns, atol=1e-9 * scale)
    steps = h * np.concatenate([np.eye(n), -np.eye(n)])
    moved = Frames(
        frame.coord.reshape(1, n) + steps,
        None,
        frame.types,
        aparam=copies(2 * n),
    )
    force = run(moved)["force"]
    np.testing.assert_allclose(columns, -(force[:n] - force[n:]) / (2 * h), atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"descriptor": masks.SECTION | {"sel": "auto"}}, "must be a list of integers"),
        ({"descriptor": masks.SECTION | {"sel": 6}}, "must be a list of integers"),
        ({"descriptor": masks.SECTION | {"rcut": 3.0}}, "rcut: unknown key"),
        ({"descriptor": {"type": "hybrid", "list": [masks.SECTION]}}, "a descriptor by itself"),
        ({"fitting_net": {"numb_aparam": 1}}, "needs numb_aparam 1 and use_aparam_as_mask true; t"),
        ({"fitting_net": masks.MASK | {"numb_aparam": 2}}, "they are 2 and true"),
        ({"type_embedding": {}}, "se_a_mask cannot be used with model/type_embedding"),
    ],
)
def test_scripts(model, said):
    script = masks.script()
    script["model"] |= model
    with pytest.raises(InputError, match=re.escape(said)):
        Config.from_dict(script)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("mask"), SCRIPT, weights=WEIGHTS)[0]


def evaluated(path, frames):
    with DeepPot(path) as pot:
        found = pot.eval(frames.coord, None, frames.types, True, None, frames.aparam)
    return dict(zip(("energy", "force", "virial", "atom_energy"), found, strict=False))


@pytest.mark.parametrize("dialect", ["stock", "native"])
def test_files(checkpoint, tmp_path, dialect):
    frames = some()
    path = freeze(checkpoint, tmp_path / "a.pb", dialect=dialect).path
    expected, found = run(frames, "reference"), evaluated(path, frames)
    of_graph = evaluate_graph(path, frames)
    for key in RESULTS:
        for values in (found[key], of_graph[key]):
            np.testing.assert_allclose(np.ravel(values), expected[key].ravel(), atol=1e-9)
    nodes = {node.name: node for node in read_graph(path).node}
    assert tf.make_ndarray(nodes["descrpt_attr/rcut"].attr["value"].tensor) == -1.0
    assert tf.make_ndarray(nodes["fitting_attr/aparam_nall"].attr["value"].tensor)
    assert "descrpt_attr/t_avg" not in nodes
    of_stock = {"o_rmat", "o_rmat_deriv", "o_nlist"}
    assert of_stock & nodes.keys() == (of_stock if dialect == "stock" else set())
    assert "o_rij" not in nodes
    assert ("train_attr/min_nbor_dist" in nodes) == (dialect == "native")
    model = read_model(path)
    assert (model.dialect, model.rcut, model.sel) == (dialect, -1.0, (2, 4))


@pytest.mark.parametrize("dialect", ["stock", "native"])
def test_other_atoms_in_the_graph(checkpoint, tmp_path, dialect):
    """What programs feed that know nothing of the descriptor."""
    path = freeze(checkpoint, tmp_path / "a.pb", dialect=dialect).path
    frames = some()
    frames.types = np.array([0, 0, 0, 1, 1, 1], np.int32)
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.OpError), match=r"natoms"):
        evaluate_graph(path, frames)


def test_arguments(checkpoint):
    frames = some(nframes=1)
    coord, types, mask = frames.coord, frames.types, frames.aparam
    with DeepPot(checkpoint) as pot:
        assert (pot.get_rcut(), pot.get_dim_aparam()) == (-1.0, 1)
        whole = pot.eval(coord, None, types, aparam=mask)[0]
        assert pot.eval(coord, 3.0 * np.eye(3), types, aparam=mask)[0] == whole
        shuffled = np.array([3, 0, 5, 1, 2, 4])
        moved = pot.eval(coord[:, shuffled], None, types[shuffled], aparam=mask[:, shuffled])[0]
        np.testing.assert_allclose(moved, whole, rtol=1e-13)
        with pytest.raises(InputError, match="aparam is missing"):
            pot.eval(coord, None, types)
        with pytest.raises(InputError, match=r"atom 2 of frame 0 has 0\.5; it is the mask"):
            pot.eval(coord, None, types, aparam=np.where(np.arange(6) == 2, 0.5, 1.0))
        wrong = r"frame 0 has 1 O, 4 H, but the model is of 2 O, 4 H"
        with pytest.raises(InputError, match=wrong):
            pot.eval(coord[:, 1:], None, types[1:], aparam=mask[:, 1:])
        with pytest.raises(InputError, match=wrong):
            pot.eval(coord, None, [-1, *types[1:]], aparam=mask)


def test_commands(checkpoint, tmp_path, caplog):
    caplog.set_level("INFO")
    show(checkpoint, ["descriptor", "size", "observed-type"])
    assert "Observed types: ['O', 'H']" in caplog.text
    for model in (checkpoint, freeze(checkpoint, tmp_path / "a.pb").path):
        with pytest.raises(InputError, match='"se_a_mask" are not compressed'):
            compress(model, tmp_path / "b.pb", min_nbor_dist=0.5)
    masks.data(tmp_path)
    results = run_test(tmp_path / "a.pb", [str(tmp_path / "data/valid")])
    assert results


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a training of four steps."""
    folder = tmp_path_factory.mktemp("trained")
    masks.data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        training = {"numb_steps": 4, "save_freq": 2, "disp_freq": 1}
        path = write_script(folder, masks.script(training=training))
        assert train(path) == 0
    return folder


def test_training(trained, monkeypatch):
    """Goes on to the bit, from checkpoints and files; the smallest distance is that of atoms that
    are there."""
    monkeypatch.chdir(trained)
    curve = (trained / "lcurve.out").read_text().splitlines()
    saved = read_checkpoint("model.ckpt-4")
    found = [masks.frames(1, 8)[key] for key in ("coord", "aparam")]
    distances = [
        np.linalg.norm(coord[i] - coord[j])
        for coord, mask in zip(*found, strict=True)
        for i, j in itertools.combinations(np.flatnonzero(mask), 2)
    ]
    assert saved.min_nbor_dist == pytest.approx(min(distances), rel=1e-12)
    assert not any("t_avg" in name for name in saved.weights)
    assert train("input.json", restart="model.ckpt-2") == 0
    assert (trained / "lcurve.out").read_text().splitlines()[-2:] == curve[-2:]
    again = read_checkpoint("model.ckpt-4")
    for name, values in saved.weights.items():
        np.testing.assert_array_equal(values, again.weights[name], err_msg=name)


@pytest.mark.slow
def test_frozen_beginning(trained, tmp_path, monkeypatch):
    """The first errors are the last ones of the training before; ``sel`` stays."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "data", tmp_path / "data")
    path = write_script(tmp_path, masks.script(training={"numb_steps": 1, "disp_freq": 1}))
    frozen = freeze(trained / "model.ckpt-4", tmp_path / "a.pb").path
    assert train(path, init_frz_model=str(frozen)) == 0
    curves = [np.loadtxt(folder / "lcurve.out") for folder in (trained, tmp_path)]
    of_validation = [3, 5]  # energy and force; prefactors are others
    np.testing.assert_array_equal(curves[0][-1, of_validation], curves[1][0, of_validation])
    other = masks.script({"sel": [3, 3]}, training={"numb_steps": 1})
    with pytest.raises(DeepmdError, match="sel"):
        train(write_script(tmp_path, other), init_frz_model=str(frozen))
    change_bias(frozen, [str(tmp_path / "data/train")], output=tmp_path / "c.pb")
    assert read_model(tmp_path / "c.pb").weights.keys() == read_model(frozen).weights.keys()


def refused(folder, monkeypatch, script=None) -> str:
    monkeypatch.chdir(folder)
    with pytest.raises(DeepmdError) as caught:
        train(write_script(folder, script or masks.script(training={"numb_steps": 1})))
    return str(caught.value)


def test_wrong_data(tmp_path, monkeypatch):
    """Everything at once, before anything is computed."""
    masks.data(tmp_path)
    masks.write(tmp_path / "data/train/other", 3, types=np.array([0, 0, 0, 1, 1, 1]))
    shutil.move(tmp_path / "data/train/other", tmp_path / "data/other")
    path = tmp_path / "data/train/set.000/aparam.npy"
    mask = np.load(path)
    mask[1, 2] = 0.5
    np.save(path, mask)
    script = masks.script(training={"numb_steps": 1})
    script["training"]["training_data"]["systems"] = ["data/train", "data/other"]
    said = refused(tmp_path, monkeypatch, script)
    assert (
        "data/other: has 3 O, 3 H, expected 2 O, 4 H, the numbers in model.descriptor.sel" in said
    )
    assert "frame 1, atom 2 (counted from 0) is 0.5, it is the mask of atoms" in said


def test_missing_mask(tmp_path, monkeypatch):
    masks.data(tmp_path)
    (tmp_path / "data/train/set.001/aparam.npy").unlink()
    assert "aparam.npy" in refused(tmp_path, monkeypatch)


def test_mixed_batches(tmp_path, monkeypatch):
    masks.data(tmp_path)
    script = masks.script(training={"numb_steps": 1})
    script["training"]["training_data"]["batch_size"] = "mixed:4"
    assert "frames of several systems" in refused(tmp_path, monkeypatch, script)


def test_periodic_data(tmp_path, monkeypatch, caplog):
    """Cells have no effect, and it is said."""
    masks.data(tmp_path)
    for name in ("train", "valid"):
        (tmp_path / "data" / name / "nopbc").unlink()
        for path in (tmp_path / "data" / name).glob("set.*"):
            nframes = len(np.load(path / "coord.npy"))
            np.save(path / "box.npy", np.tile(np.eye(3).ravel(), (nframes, 1)))
    monkeypatch.chdir(tmp_path)
    training = {"numb_steps": 1, "disp_freq": 1}
    assert train(write_script(tmp_path, masks.script(training=training))) == 0
    assert "is periodic, but se_a_mask sees no periodic images" in caplog.text
