# SPDX-License-Identifier: BSD-3-Clause
"""Trainings of tensors and of densities of states: restart, files, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved_models import water_like
from small_training import INPUT, add_tensors, tensor_sections, write_all_data, write_script

from deepmd_tf.errors import DeepmdError, InputError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepDipole, DeepPot, DeepPotential
from deepmd_tf.inference.testing import run_test
from deepmd_tf.training.entrypoint import train


def write(folder, kind: str, model: dict[str, Any] | None = None, **fitting_net: Any) -> None:
    """Data, and ``input.json`` of ten steps."""
    sections = tensor_sections(kind, **fitting_net)
    write_all_data(folder)
    add_tensors(folder)
    section = INPUT["model"] | {"fitting_net": sections["fitting_net"]} | (model or {})
    training = {"numb_steps": 10, "save_freq": 5, "disp_freq": 5}
    script = INPUT | {"model": section, "loss": sections["loss"]}
    write_script(folder, script, training=training)


def finish(folder: Path, kind: str) -> None:
    """Train ten steps, and freeze ``model.pb``."""
    write(folder, kind)
    assert train("input.json") == 0
    freeze("model.ckpt-10", "model.pb")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Folder of a finished training of dipole moments, not to be changed."""
    folder = tmp_path_factory.mktemp("dipole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        finish(folder, "dipole")
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(path: Any, rng: np.random.Generator) -> list[np.ndarray]:
    with DeepPotential(path) as model:
        call = getattr(model, "eval_full", model.eval)
        return [*call(*water_like(rng, n_atoms=12, n_frames=2), atomic=True)]


@pytest.mark.parametrize("kind", ["dipole", pytest.param("dos", marks=pytest.mark.slow)])
def test_restart_files_and_initial_models(finished, folder, kind: str) -> None:
    """A restart gives the same bits; all files of a model are that model."""
    if kind == "dipole":
        shutil.copytree(finished, folder, symlinks=True, dirs_exist_ok=True)
    else:
        finish(folder, kind)
    whole = (folder / "lcurve.out").read_text()
    found = evaluate("model.ckpt-10", np.random.default_rng(1))
    assert train("input.json", restart="model.ckpt-5") == 0
    assert (folder / "lcurve.out").read_text() == whole
    for got, want in zip(evaluate("model.ckpt-10", np.random.default_rng(1)), found, strict=True):
        np.testing.assert_array_equal(got, want)
    freeze("model.ckpt-10", "native.pb", dialect="native")
    compress("model.pb", "compressed.pb")
    for name, bound in (("model.pb", 0.0), ("native.pb", 0.0), ("compressed.pb", 1e-5)):
        for got, want in zip(evaluate(name, np.random.default_rng(1)), found, strict=True):
            limit = bound * np.abs(want).max()
            np.testing.assert_allclose(got, want, rtol=0, atol=limit, err_msg=name)
    rows = whole.splitlines()[-1].split()
    assert train("input.json", init_frz_model="model.pb") == 0
    first = (folder / "lcurve.out").read_text().splitlines()[2].split()
    assert float(first[2]) == pytest.approx(float(rows[2]), rel=0.5)


def test_shift_of_a_type_that_is_not_the_first(folder) -> None:
    """The mean of the diagonal is there with ``sel_type`` [1] too, where DeePMD-kit loses it."""
    write(folder, "polar", sel_type=[1])
    for path in folder.glob("data/*/*/set.*"):
        n = len(np.load(path / "coord.npy"))
        atoms = np.tile(5.0 * np.eye(3).ravel(), (n, 4, 1))
        np.save(path / "atomic_polarizability.npy", atoms.reshape(n, -1))
        np.save(path / "polarizability.npy", atoms.sum(axis=1))
    script = json.loads((folder / "input.json").read_text())
    write_script(folder, script, training={"numb_steps": 1})
    assert train("input.json") == 0
    total, *_ = evaluate("model.ckpt-1", np.random.default_rng(1))
    mean = np.trace(total.reshape(-1, 3, 3), axis1=1, axis2=2) / 3
    assert mean == pytest.approx(8 * 5.0, rel=0.2)


def test_dp_test(copied, caplog) -> None:
    caplog.set_level("INFO")
    for atomic in (False, True):
        caplog.clear()
        errors = run_test("model.ckpt-10", ["data/valid/cell"], detail_prefix="d", atomic=atomic)
        table = np.loadtxt("d.out").reshape(8, 2, -1)
        assert table.shape[2] == (6 if atomic else 3)
        rmse = np.sqrt(np.mean((table[:, 1] - table[:, 0]) ** 2))
        name = "atomic_dipole" if atomic else "dipole"
        assert errors.by_name[name].rmse == pytest.approx(rmse, rel=1e-8)
        lines = [record.getMessage() for record in caplog.records]
        assert f"Dipole  RMSE       : {errors.by_name[name].rmse:e}" in lines
        assert (f"Dipole  RMSE/N     : {rmse / 2:e}" in lines) != atomic
        assert "The unit of error is the same as the unit of provided label." in lines


def test_labels_of_all_atoms(copied) -> None:
    """Those of atoms that are not selected are not read."""
    expected = (copied / "lcurve.out").read_text()
    (copied / "lcurve.out").unlink()
    for path in copied.glob("data/*/*/set.*/atomic_dipole.npy"):
        some = np.load(path).reshape(-1, 2, 3)
        every = np.full((len(some), 6, 3), np.nan)
        every[:, [0, 3]] = some
        np.save(path.with_name("atom_dipole.npy"), every)
        path.unlink()
    assert train("input.json") == 0
    assert (copied / "lcurve.out").read_text() == expected


@pytest.mark.parametrize(
    ("descriptor", "fitting_net", "message"),
    [
        ({"type": "se_e2_r"}, {}, "which the descriptor se_e2_r does not keep"),
        ({"type": "se_e3"}, {}, "which the descriptor se_e3 does not keep"),
        ({}, {"numb_fparam": 1}, "inputs of the fitting nets ener and dos only"),
        ({}, {"sel_type": [2]}, "has the type 2, but there are 2 types"),
        ({}, {"sel_type": [0, 0]}, "more than once"),
        ({}, {"trainable": False}, "trainable"),
    ],
)
def test_what_cannot_be(folder, descriptor, fitting_net, message: str) -> None:
    keys = {k: v for k, v in INPUT["model"]["descriptor"].items() if k != "axis_neuron"}
    part = keys | descriptor if descriptor else INPUT["model"]["descriptor"]
    write(folder, "dipole", {"descriptor": part}, **fitting_net)
    with pytest.raises(InputError, match=message):
        train("input.json")


def test_what_is_about_energies(copied) -> None:
    with pytest.raises(InputError, match="adjusts the energy bias, which a dipole model does not"):
        train("input.json", finetune="model.pb")
    with pytest.raises(DeepmdError, match="open it with DeepDipole"):
        DeepPot("model.pb")
    with DeepDipole("model.pb") as model:
        assert model.get_sel_type() == [0]
        assert model.get_dim_fparam() == 0


def test_data(folder, caplog) -> None:
    """Wrong sizes name both that are right; polarisabilities that are not symmetric are doubts."""
    write(folder, "polar")
    path = folder / "data/train/cell/set.000/atomic_polarizability.npy"
    values = np.load(path)
    values.reshape(len(values), 2, 3, 3)[1, 1, 0, 1] += 1.0
    np.save(path, values)
    train("input.json")
    assert "frame 1, atom 3 (counted from 0) is not symmetric" in caplog.text
    np.save(path, values[:, :9])
    with pytest.raises(DeepmdError, match=r"expected 54 = 9 x 6 atoms, or 18 of the 2 atoms"):
        train("input.json")
    (folder / "data/train/cell/type.raw").write_text("1 1 1 1 1 1")
    for path in folder.glob("data/train/cell/set.*/atomic_pol*"):
        path.unlink()
    with pytest.raises(DeepmdError, match=r"has no atoms of the types in model.fitting_net.sel"):
        train("input.json")
