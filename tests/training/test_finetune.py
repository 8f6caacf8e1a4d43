# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuning: weights and statistics of a trained model, its energy bias adjusted to new data."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import stock_wheel
import tensorflow.compat.v1 as tf
from saved_models import save_checkpoint, small_input
from small_training import INPUT, pair_hessian, pair_potential, write_all_data, write_script

from deepmd_tf import names
from deepmd_tf.analysis.change_bias import change_bias
from deepmd_tf.cli.main import main
from deepmd_tf.data import write_system
from deepmd_tf.errors import DataError, InputError, ModelFileError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

pytestmark = pytest.mark.usefixtures("without_rewriting")

SHIFT = np.array([3.0, -1.5])
"""eV, what an atom of O and of H has more in the new data."""
SYSTEMS = {"four": [0, 1, 1, 0, 1, 1], "five": [1, 0, 1, 1, 1, 1]}
HALT = {"start_lr": 1e-14, "stop_lr": 1e-15, "decay_steps": 1}
"""A learning rate at which one step leaves the weights where they are."""
FREE = {f"{when}_pref_v": 0.0 for when in ("start", "limit")}


def write_new(folder, type_map=("O", "H"), seed=11):
    """New data: two compositions, energies shifted by element, a Hessian each."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid([0.0, 2.0], [0.0, 2.0, 4.0], [0.0]), axis=-1).reshape(-1, 3)
    for name, types in SYSTEMS.items():
        coord = lattice + rng.uniform(-0.4, 0.4, (6, len(types), 3))
        labels = pair_potential(coord, None)
        labels["energy"] = labels["energy"] + SHIFT[types].sum()
        del labels["virial"]
        hessian = pair_hessian(coord, None).reshape(6, -1)
        indices = [type_map.index("OH"[t]) for t in types]
        path = folder / "data" / "train" / name
        write_system(
            path, types=indices, coord=coord, type_map=list(type_map), hessian=hessian, **labels
        )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Folder of a training on O and H, frozen in both dialects, all of one checkpoint."""
    folder = tmp_path_factory.mktemp("first")
    write_all_data(folder)
    path = write_script(folder, training={"numb_steps": 6, "save_freq": 3, "disp_freq": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(path) == 0
    freeze(folder / "model.ckpt", folder / "model.pb")
    freeze(folder / "model.ckpt", folder / "native.pb", dialect="native")
    return folder


@pytest.fixture
def new(tmp_path, monkeypatch):
    """Folder with new data, and an input script that only says what is to be said."""
    write_new(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(folder, model=None, steps=1, learning_rate=HALT, **loss):
    """Write the input script."""
    sections = copy.deepcopy(INPUT)
    sections["model"] = {} if model is None else model
    sections["training"] |= {
        "training_data": {"systems": "data/train", "batch_size": 1},
        "validation_data": None,
        "numb_steps": steps,
        "disp_freq": steps,
        "save_freq": steps,
    }
    return write_script(folder, sections, learning_rate=learning_rate, loss=FREE | loss)


def missing_bias(energies, counts, present):
    """Least squares of energies [frames] against atoms of the types [frames, types], by the normal
    equations of the types that are there."""
    a = counts[:, present].astype(float)
    result = np.zeros(counts.shape[1])
    result[present] = np.linalg.solve(a.T @ a, a.T @ energies)
    return result


def lack(model, folder, limit, predict=None):
    """What the model lacks in energy, and the atoms of each type, of the first frames."""
    energies, counts = [], []
    for name, types in SYSTEMS.items():
        sets = folder / "data" / "train" / name / "set.000"
        coord = np.load(sets / "coord.npy")[:limit]
        if predict is None:
            with DeepPot(model) as pot:
                predicted = pot.eval(coord, None, types)[0]
        else:
            predicted = predict(coord, types)
        energies.append(np.load(sets / "energy.npy")[:limit] - np.ravel(predicted))
        counts.append(np.tile(np.bincount(types, minlength=2), (len(coord), 1)))
    return np.concatenate(energies), np.concatenate(counts)


@pytest.mark.parametrize(
    "begin",
    [
        "model.pb",
        "model.ckpt",
        pytest.param("native.pb", marks=pytest.mark.slow),
        pytest.param(".", marks=pytest.mark.slow),
    ],
)
def test_weights_stay_and_the_bias_follows_the_data(first, new, caplog, begin):
    caplog.set_level("INFO")
    path = script(new, {"data_bias_nsample": 4})
    assert train(path, finetune=str(first / begin)) == 0
    before, after = read_model(first / "model.pb"), read_model("model.ckpt")
    found = missing_bias(*lack(first / "model.pb", new, 4), [True, True])
    expected = before.weights[names.BIAS_ATOM_E] + found
    np.testing.assert_allclose(after.weights[names.BIAS_ATOM_E], expected, atol=1e-8)
    assert np.abs(found).min() > 1.0
    assert after.weights.keys() == before.weights.keys()
    for name, value in before.weights.items():
        if name != names.BIAS_ATOM_E:
            np.testing.assert_allclose(after.weights[name], value, atol=1e-10, err_msg=name)
    for name in (names.T_AVG, names.T_STD):
        np.testing.assert_array_equal(after.weights[name], before.weights[name])
    assert after.model.to_dict() | {"data_bias_nsample": 10} == before.model.to_dict()
    old = before.weights[names.BIAS_ATOM_E]
    for name, was, now in zip("OH", old, expected, strict=True):
        assert f"energy bias of {name}: {now:.6f} eV, was {was:.6f} eV" in caplog.text
    assert "RMSE of atomic energy after linear regression is" in caplog.text
    assert "initialize from pretrained model" in caplog.text


@pytest.mark.slow
def test_one_fitting_net_for_all_types(new):
    """With attention: the bias is that of each atom by its type, and change-bias finds the same."""
    section = {"type": "se_atten", "sel": 30, "attn_layer": 1, "attn": 4, "neuron": [3, 6]}
    prefix, before = save_checkpoint(new, small_input(section))
    freeze(prefix, "old.pb")
    assert train(script(new, {"data_bias_nsample": 4}), finetune="old.pb") == 0
    after = read_model("model.ckpt").weights
    expected = before[names.BIAS_ATOM_E] + missing_bias(*lack("old.pb", new, 4), [True, True])
    np.testing.assert_allclose(after[names.BIAS_ATOM_E], expected, atol=1e-8)
    matrix = "attention_layer_0/c_query/matrix"
    np.testing.assert_allclose(after[matrix], before[matrix], atol=1e-10)
    systems = [f"data/train/{name}" for name in SYSTEMS]
    changed = change_bias("old.pb", systems, n_frames=4, output="changed.pb")
    found = read_model(changed).weights
    np.testing.assert_allclose(found[names.BIAS_ATOM_E], expected, atol=1e-8)
    np.testing.assert_array_equal(found[matrix], before[matrix])


def test_training_goes_on_from_there(first, new):
    """From the trained forces, which another beginning would first have to learn."""
    errors, weights = {}, {}
    for name, options in (("tuned", {"finetune": str(first / "model.pb")}), ("scratch", {})):
        model = INPUT["model"] if name == "scratch" else {}
        path = script(new, model, steps=20, learning_rate=INPUT["learning_rate"])
        assert train(path, **options) == 0
        weights[name] = read_model("model.ckpt").weights["layer_0_type_0/matrix"]
        rows = [line for line in (new / "lcurve.out").read_text().splitlines() if line[0] != "#"]
        errors[name] = [float(row.split()[2]) for row in rows]
    assert errors["tuned"][0] < 0.2  # eV per atom: the shift alone is up to 1.5
    assert errors["tuned"][-1] < errors["tuned"][0] + 0.02
    begun = read_model(first / "model.pb").weights["layer_0_type_0/matrix"]
    assert np.abs(weights["tuned"] - begun).max() > 1e-4


def test_the_model_is_that_of_the_file(first, new, caplog):
    caplog.set_level("INFO")
    given = copy.deepcopy(INPUT["model"])
    given["type_map"] = ["H"]
    given["descriptor"] |= {"rcut": 3.0, "trainable": False}
    given["fitting_net"] |= {"neuron": [7], "trainable": [True, False, True]}
    path = script(new, given, steps=2, learning_rate=INPUT["learning_rate"])
    assert train(path, finetune=str(first / "model.pb")) == 0
    before, after = read_model(first / "model.pb"), read_model("model.ckpt")
    assert after.type_map == ("O", "H") and after.model.descriptor.rcut == 3.4
    assert "model/descriptor/rcut: 3.4 of the pretrained model replaces 3.0" in caplog.text
    assert 'model/type_map: ["O", "H"] of the pretrained model replaces ["H"]' in caplog.text
    # what says how it is trained is that of the input script
    assert after.model.descriptor.trainable is False
    for name, value in before.weights.items():
        moved = np.abs(after.weights[name] - value).max() > 1e-6
        kept = name.startswith("filter_type") or "layer_1" in name or "t_" in name.split("/")[-1]
        assert moved is np.True_ or kept or name == names.BIAS_ATOM_E, name
        assert not (kept and moved) or name == names.BIAS_ATOM_E, name
    # and the whole section of the file on request
    assert train(path, finetune=str(first / "model.pb"), use_pretrain_script=True) == 0
    written = json.loads((new / "out.json").read_text())
    assert written["model"] == before.model.to_dict()


def test_elements_that_are_not_there_keep_their_bias(first, new):
    hydrogen = np.array([1, 1, 1, 1, 1, 1])
    for name in SYSTEMS:
        types = new / "data" / "train" / name / "type.raw"
        np.savetxt(types, hydrogen, fmt="%d")
    assert train(script(new), finetune=str(first / "model.pb")) == 0
    bias = read_model("model.ckpt").weights[names.BIAS_ATOM_E]
    old = read_model(first / "model.pb").weights[names.BIAS_ATOM_E]
    assert bias[0] == old[0] and abs(bias[1] - old[1]) > 1e-3


@pytest.mark.slow
def test_another_order_of_types(first, new):
    """Types are translated by name; numbers without names would mean another element."""
    path = script(new)
    assert train(path, finetune=str(first / "model.pb")) == 0
    expected = (new / "lcurve.out").read_text()
    write_new(new, ("H", "O"))
    path = script(new, {"type_map": ["H", "O"]})
    assert train(path, finetune=str(first / "model.pb")) == 0
    assert (new / "lcurve.out").read_text() == expected
    (new / "data" / "train" / "five" / "type_map.raw").unlink()
    with pytest.raises(DataError, match=r"type_map\.raw.*\['H', 'O'\]"):
        train(path, finetune=str(first / "model.pb"))
    # numbers that mean the same are taken
    write_new(new)
    (new / "data" / "train" / "five" / "type_map.raw").unlink()
    assert train(script(new, {"type_map": ["O", "H"]}), finetune=str(first / "model.pb")) == 0
    assert (new / "lcurve.out").read_text() == expected


def test_refusals(first, new):
    begin = str(first / "model.pb")
    with pytest.raises(InputError, match=r"type_map.*\['C'\]"):
        train(script(new, {"type_map": ["O", "C"]}), finetune=begin)
    with pytest.raises(ModelFileError, match="no such model file"):
        train(script(new), finetune="nowhere.pb")
    (new / "data/train/four/type_map.raw").write_text("O C\n")
    with pytest.raises(DataError, match=r"elements \['C'\] of this system are not in"):
        train(script(new), finetune=begin)
    write_new(new)
    with pytest.raises(InputError, match="enable_atom_ener_coeff"):
        train(script(new, enable_atom_ener_coeff=True), finetune=begin)
    for path in new.glob("data/train/*/set.*/energy.npy"):
        path.unlink()
    with pytest.raises(DataError, match=r"energy\.npy.*--init-frz-model"):
        train(script(new, start_pref_e=0.0, limit_pref_e=0.0), finetune=begin)
    graph = tf.GraphDef.FromString((first / "model.pb").read_bytes())
    for node in graph.node:
        if node.name == names.MODEL_KIND:
            node.attr["value"].tensor.string_val[0] = b"compressed_model"
    (new / "compressed.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match=r"compressed\.pb:"):
        train(script(new), finetune="compressed.pb")


@pytest.mark.slow
def test_hessians_from_a_model_of_energies(first, new):
    """Each way to begin takes a Hessian loss."""
    path = script(new, start_pref_h=1.0, limit_pref_h=1.0, hessian_mode="full")
    assert train(path, finetune=str(first / "native.pb")) == 0
    tuned = columns(new)
    assert np.isfinite(tuned["rmse_h_trn"])
    path = script(new, INPUT["model"], start_pref_h=1.0, limit_pref_h=1.0, hessian_mode="full")
    found = []
    for options in ({"init_frz_model": "model.pb"}, {"init_model": "model.ckpt"}):
        assert train(path, **{key: str(first / value) for key, value in options.items()}) == 0
        found.append(columns(new))
    # the bias is in the energy only
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    for key in ("rmse_f_trn", "rmse_h_trn"):
        assert found[0][key] == pytest.approx(tuned[key], rel=1e-6)
    assert found[0]["rmse_e_trn"] > tuned["rmse_e_trn"] + 0.1


def columns(folder):
    """Last row of the learning curve, by column."""
    lines = (folder / "lcurve.out").read_text().splitlines()
    keys = next(line for line in lines if "step" in line).lstrip("#").split()
    return dict(zip(keys, map(float, lines[-1].split()), strict=True))


def test_option_of_the_command(first, new, capsys):
    path = str(script(new))
    assert main(["train", path, "-t", str(first / "model.pb")]) == 0
    assert main(["train", path, "--finetune", "a", "-i", "b"]) == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.peer
@pytest.mark.skipif(not stock_wheel.PYTHON, reason="DEEPMD_STOCK_PYTHON is not set")
def test_file_of_stock(new):
    """The peer trains and evaluates the pretrained model."""
    folder = new / "stock"
    folder.mkdir()
    write_all_data(folder)
    write_script(folder, training={"numb_steps": 6, "disp_freq": 3, "save_freq": 3})
    stock_wheel.dp(["train", "input.json"], folder)
    stock_wheel.dp(["freeze", "-o", "model.pb"], folder)

    def predict(coord, types):
        frames = (coord.reshape(len(coord), -1), None, np.array(types))
        return stock_wheel.evaluate(folder / "model.pb", folder, [frames])[0]["energy"]

    assert train(script(new), finetune="stock/model.pb") == 0
    old = read_model("stock/model.pb").weights[names.BIAS_ATOM_E]
    lacking = lack(None, new, 10, predict)
    bias = read_model("model.ckpt").weights[names.BIAS_ATOM_E]
    np.testing.assert_allclose(bias, old + missing_bias(*lacking, [True, True]), atol=1e-8)
