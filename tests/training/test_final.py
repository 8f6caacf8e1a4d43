# SPDX-License-Identifier: BSD-3-Clause
"""What a training says at its end: the errors that dp test finds, the file, the next command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import spins
from small_training import INPUT, add_tensors, tensor_sections, write_all_data, write_script

from deepmd_tf.inference.testing import run_test
from deepmd_tf.training import final
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.open_data import OpenedData

VALIDATING = {
    "full_validation": True,
    "full_val_start": 0,
    "validation_freq": 2,
    "validation_metric": "F:RMSE",
}


@pytest.fixture
def folder(tmp_path, monkeypatch, caplog):
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(final, "FEWEST_STEPS", 2)
    caplog.set_level("INFO", "deepmd_tf")
    return tmp_path


def test_errors_of_dp_test(folder, caplog, monkeypatch):
    """Of a bounded number of atoms of each system."""
    monkeypatch.setattr(final, "MOST_ATOMS", 36)
    script = write_script(folder, training={"numb_steps": 4}, validating=VALIDATING)
    assert train(script) == 0
    rows = dict(re.findall(r"(training|validation) {2,}(\S.*)", caplog.text))
    heads = re.findall(r"[EFV], meV/\S+", caplog.text)
    assert heads == ["E, meV/atom", "F, meV/Å", "V, meV/atom"]
    assert "training errors are of 6 of 16 frames" in caplog.text
    assert "validation errors are of 6 of 8 frames" in caplog.text
    for name, systems, frames in (
        ("training", ["data/train/cell", "data/train/free"], 3),
        ("validation", ["data/valid/cell"], 6),
    ):
        errors = run_test("model.ckpt-4", systems, n_frames=frames).by_name
        expected = [errors[q].rmse for q in ("energy_per_atom", "force", "virial_per_atom")]
        found = [float(word) / 1000 for word in rows[name].split()]
        assert found == pytest.approx(expected, rel=1e-4)
    assert "the model is model.ckpt-4" in caplog.text
    said = re.search(r"the best by F:RMSE, \S+ meV/Å, is best\.ckpt-(\d)", caplog.text)
    prefix = "best.ckpt" if said else "model.ckpt"
    assert f"next: dp --tf freeze -c {prefix} -o model.pb, then dp --tf test" in caplog.text


def test_force_of_a_model_with_spins(folder, caplog, monkeypatch):
    """That on atoms, without their spins."""
    (folder / "spins").mkdir()
    monkeypatch.chdir(spins.write_data(folder / "spins"))
    Path("input.json").write_text(json.dumps(spins.script()))
    assert train("input.json") == 0
    heads = re.findall(r"[EFV], meV/\S+", caplog.text)
    assert heads == ["E, meV/atom", "F, meV/Å", "V, meV/atom"]
    shown = re.search(r"validation {2,}\S+ +(\S+)", caplog.text)[1]
    error = run_test("model.ckpt-6", ["data/valid"]).by_name["force_atom"]
    assert float(shown) / 1000 == pytest.approx(error.rmse, rel=1e-4)


def test_a_refused_frame_is_named(folder, caplog, monkeypatch):
    """Where the checks of before let it pass; the training is finished all the same."""
    monkeypatch.setattr("deepmd_tf.training.open_data.examine_once", lambda *_: None)
    path = folder / "data/valid/cell/set.001/coord.npy"
    coord = np.load(path)
    coord[2, 9:12] = coord[2, 3:6]
    np.save(path, coord)
    script = write_script(folder, training={"numb_steps": 4, "disp_training": False})
    assert train(script) == 0
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    place = "data/valid/cell/set.001/coord.npy: frame 2 has"
    assert [line for line in said if line.startswith(f"validation data: {place}")]
    assert "RMSE after step 4" in caplog.text
    assert "the model is model.ckpt-4" in caplog.text


def test_nothing_is_evaluated_that_is_not_shown(folder, caplog, monkeypatch):
    """Errors of tensors are not."""
    monkeypatch.setattr(final, "errors_of_some", None)
    add_tensors(folder)
    sections = tensor_sections("dipole")
    model = INPUT["model"] | {"fitting_net": sections["fitting_net"]}
    script = INPUT | {"model": model, "loss": sections["loss"]}
    assert train(write_script(folder, script, training={"numb_steps": 2})) == 0
    assert "the model is model.ckpt-2" in caplog.text
    assert "next: dp --tf freeze -c model.ckpt -o model.pb" in caplog.text


def test_nothing_of_a_training_that_is_tried_out(caplog):
    """Nor of one that was interrupted."""
    observer = final.FinalErrors(OpenedData(None, None, None), None)
    for step, steps in ((final.FEWEST_STEPS - 1,) * 2, (1000, 2000)):
        observer.ended(SimpleNamespace(step=step, num_steps=steps))
    assert caplog.text == ""
