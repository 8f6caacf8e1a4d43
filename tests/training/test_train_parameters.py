# SPDX-License-Identifier: BSD-3-Clause
"""Training of models with frame and atomic parameters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_training import INPUT, TYPES, add_parameters, steps_in, write_all_data, write_script

from deepmd_tf import names
from deepmd_tf.errors import CheckpointError, DataError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.evaluation import Evaluation

from .checkpoints import variables

pytestmark = pytest.mark.usefixtures("without_rewriting")

FITTING = INPUT["model"]["fitting_net"] | {"numb_fparam": 1, "numb_aparam": 2}
MODEL = {"fitting_net": FITTING, "data_stat_nbatch": 4}
# every frame once in the statistics
DATA = INPUT["training"]["training_data"] | {"batch_size": 2}


def write_data(folder):
    write_all_data(folder)
    add_parameters(folder)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with data, which is the working directory."""
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished training, not to be changed."""
    folder = tmp_path_factory.mktemp("parameters")
    write_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(script(folder)) == 0
    return folder


def script(folder, fitting_net=None, **training):
    model = MODEL | {"fitting_net": FITTING | (fitting_net or {})}
    return write_script(folder, model=model, training={"training_data": DATA, **training})


def load(folder, name, width):
    files = sorted(folder.glob(f"data/train/*/set.*/{name}.npy"))
    return np.concatenate([np.load(path).reshape(-1, width) for path in files])


def test_restart_and_statistics(copied):
    folder = copied
    curve = (folder / "lcurve.out").read_text()
    found = variables("model.ckpt-20")
    for name, width, mean, inverse in (
        ("fparam", 1, names.FPARAM_AVG, names.FPARAM_ISTD),
        ("aparam", 2, names.APARAM_AVG, names.APARAM_ISTD),
    ):
        values = load(folder, name, width)
        np.testing.assert_allclose(found[mean], values.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found[inverse], 1 / values.std(axis=0), rtol=1e-12)
    assert found["layer_0_type_1/matrix"].shape == (3 * 8 + 3, 10)

    assert train("input.json", restart="model.ckpt-10") == 0
    assert (folder / "lcurve.out").read_text() == curve
    again = variables("model.ckpt-20")
    assert all(again[name].tobytes() == found[name].tobytes() for name in found)

    # statistics are those of the checkpoint, not of the data
    for path in folder.glob("data/train/*/set.*/fparam.npy"):
        np.save(path, np.load(path) + 1.0)
    assert train(script(folder, numb_steps=1), init_model="model.ckpt-20") == 0
    assert variables("model.ckpt-1")[names.FPARAM_AVG] == found[names.FPARAM_AVG]


def test_parameters_are_learnt(folder):
    """The energy that they carry, which a model without them cannot know."""
    errors = {}
    keys = {"numb_steps": 150, "disp_freq": 150, "save_freq": 150}
    for name, options in (("with", {}), ("without", {"numb_fparam": 0, "numb_aparam": 0})):
        path = script(folder, options, disp_file=f"{name}.out", **keys)
        loss = {"start_pref_e": 10, "limit_pref_e": 10, "start_pref_f": 1, "limit_pref_f": 0.1}
        lr = {"start_lr": 0.02}
        write_script(folder, json.loads(path.read_text()), loss=loss, learning_rate=lr)
        assert train("input.json") == 0
        errors[name] = np.genfromtxt(f"{name}.out")[-1, 3]  # of the energy, validation
    assert errors["with"] < 0.5 * errors["without"]


def test_frozen_model_is_the_trained_one(folder, monkeypatch):
    """Energies from a training step and from both kinds of files, for unsorted atoms."""
    seen = []
    evaluate = Evaluation.evaluate

    def record(evaluation, batch, lr):
        errors = evaluate(evaluation, batch, lr)
        seen.append((batch, errors))
        return errors

    monkeypatch.setattr(Evaluation, "evaluate", record)
    assert train(script(folder, numb_steps=4, validation_data=None)) == 0
    batch, errors = seen[-1]
    assert steps_in(Path("lcurve.out"))[-1] == 4
    systems = [folder / "data/train/cell", folder / "data/train/free"]
    path = systems[batch.system] / batch.set_name
    given = {name: np.load(path / f"{name}.npy")[batch.frames] for name in ("coord", "energy")}
    parameters = {
        name: np.load(path / f"{name}.npy")[batch.frames] for name in ("fparam", "aparam")
    }
    cells = np.load(path / "box.npy")[batch.frames] if batch.periodic else None
    for dialect in ("stock", "native"):
        frozen = freeze("model.ckpt", f"{dialect}.pb", dialect=dialect).path
        with DeepPot(frozen) as pot:
            energy = pot.eval(given["coord"], cells, TYPES, **parameters)[0][:, 0]
        rmse = np.sqrt(np.mean((energy - given["energy"]) ** 2)) / len(TYPES)
        np.testing.assert_allclose(rmse, errors["rmse_e"], rtol=1e-9)


def test_missing_parameters_are_named(folder):
    (folder / "data/train/cell/set.001/aparam.npy").unlink()
    with pytest.raises(DataError, match=r"cell/set.001/aparam.npy:"):
        train(script(folder))


@pytest.mark.slow
def test_default_parameters(folder, caplog):
    """A system without the file trains as if the file held the default."""
    caplog.set_level("INFO")
    options = {"default_fparam": [3.5]}
    missing = sorted(folder.glob("data/*/free/set.*/fparam.npy"))
    for path in missing:
        np.save(path, np.full_like(np.load(path), 3.5))
    assert train(script(folder, options, numb_steps=8)) == 0
    curve = (folder / "lcurve.out").read_text()
    assert "is used there" not in caplog.text
    for path in missing:
        path.unlink()
    assert train("input.json") == 0
    assert (folder / "lcurve.out").read_text() == curve
    pattern = r"1 of 2 systems have no fparam\.npy .*: \[3\.5\] is used there; .*train/free"
    assert re.search(pattern, caplog.text)
    with DeepPot("model.ckpt") as pot:
        assert pot.get_default_fparam() == [3.5]
    # it is no part of the model, so that a restart may have another
    assert train(script(folder, {"default_fparam": [3.0]}), restart="model.ckpt-5") == 0
    with DeepPot("model.ckpt") as pot:
        assert pot.get_default_fparam() == [3.0]


def test_checkpoint_of_a_model_without_parameters(folder):
    assert train(script(folder, {"numb_fparam": 0}, numb_steps=1)) == 0
    with pytest.raises(CheckpointError, match="fitting_net/numb_fparam is 1"):
        train(script(folder), init_model="model.ckpt")


@pytest.mark.parametrize("name", ["stat", pytest.param("stat.h5", marks=pytest.mark.slow)])
def test_statistics_are_kept(folder, name):
    """Those of the first training, although the data have changed, if nothing else is allowed."""
    keys = {"numb_steps": 1, "stat_file": name}
    assert train(script(folder, **keys)) == 0
    first = variables("model.ckpt-1")
    for path in folder.glob("data/train/*/set.*/?param.npy"):
        np.save(path, 2 * np.load(path) + 1.0)
    script(folder, **keys, stat_file_mode="read")
    assert train("input.json") == 0
    second = variables("model.ckpt-1")
    script(folder, **keys)
    assert train("input.json") == 0
    third = variables("model.ckpt-1")
    for node in (names.FPARAM_AVG, names.APARAM_AVG):
        np.testing.assert_array_equal(second[node], first[node])
        np.testing.assert_allclose(third[node], 2 * first[node] + 1.0, rtol=1e-12)
    for node in (names.FPARAM_ISTD, names.APARAM_ISTD):
        np.testing.assert_array_equal(second[node], first[node])
        np.testing.assert_allclose(third[node], first[node] / 2, rtol=1e-12)


def test_start_from_a_frozen_model(copied):
    """Weights and statistics are those of the file, whatever the data are now."""
    folder = copied
    freeze("model.ckpt", "model.pb")
    first = variables("model.ckpt-20")
    for path in folder.glob("data/train/*/set.*/?param.npy"):
        np.save(path, 2 * np.load(path) + 1.0)
    for path in folder.glob("model.ckpt*"):
        path.unlink()
    keys = {"start_lr": 1e-12, "stop_lr": 1e-13}
    path = script(folder, numb_steps=1)
    write_script(folder, json.loads(path.read_text()), learning_rate=keys)
    assert train("input.json", init_frz_model="model.pb") == 0
    found = variables("model.ckpt-1")
    for name, value in first.items():
        if names.is_parameter(name):
            np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-10, err_msg=name)
