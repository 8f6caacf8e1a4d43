# SPDX-License-Identifier: BSD-3-Clause
"""Validation over all frames: the numbers of dp test, best checkpoints, early stopping."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_training import add_hessians, steps_in, write_all_data, write_script

from deepmd_tf.config import Validating
from deepmd_tf.errors import InputError, TrainingError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.checkpoint import read_state
from deepmd_tf.inference.testing import run_test
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.evaluation import Evaluation
from deepmd_tf.training.trainer import Trainer
from deepmd_tf.training.validation import FullValidation, significant

pytestmark = pytest.mark.usefixtures("without_rewriting")

EVERY_FOUR = {
    "full_validation": True,
    "full_val_start": 0,
    "validation_freq": 4,
    "validation_metric": "F:RMSE",
    "max_best_ckpt": 2,
}
VALID = "data/valid/cell"


def write(folder: Path, validating: dict, **training) -> Path:
    return write_script(folder, training=training, validating=validating)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished training with full validation, not to be changed."""
    folder = tmp_path_factory.mktemp("validated")
    write_all_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(write(folder, EVERY_FOUR)) == 0
    return folder


def rows(path: Path) -> np.ndarray:
    return np.loadtxt(path, ndmin=2)


def files(folder: Path) -> dict[str, str]:
    return {
        path.name: str(path.readlink()) if path.is_symlink() else ""
        for path in folder.glob("best.ckpt*.index")
    }


@pytest.mark.parametrize("measure", ["mse", pytest.param("mae", marks=pytest.mark.slow)])
def test_three_ways_to_the_same_numbers(fresh, monkeypatch, measure):
    """The row of a batch that is all data, the full validation, and dp test of the frozen model."""
    seen = {}
    full, evaluate = FullValidation.errors, Trainer._evaluate_validation

    def errors(validation, predict):
        seen["full"] = full(validation, predict)
        return seen["full"]

    def validate(trainer, lr):
        seen["row"] = evaluate(trainer, lr)
        return seen["row"]

    monkeypatch.setattr(FullValidation, "errors", errors)
    monkeypatch.setattr(Trainer, "_evaluate_validation", validate)
    # one set, so that a batch can be all of it
    path = fresh / VALID
    for name in ("coord", "box", "energy", "force", "virial"):
        parts = [np.load(path / one / f"{name}.npy") for one in ("set.000", "set.001")]
        np.save(path / "set.000" / f"{name}.npy", np.concatenate(parts))
    shutil.rmtree(path / "set.001")
    validation = {"systems": VALID, "batch_size": 8, "numb_btch": 1}
    training = {"validation_data": validation, "numb_steps": 8}
    write_script(fresh, training=training, loss={"loss_func": measure}, validating=EVERY_FOUR)
    assert train("input.json") == 0
    tested = run_test(freeze(fresh / "model.ckpt", fresh / "frozen.pb").path, [VALID]).by_name
    full, row = seen["full"].by_name, seen["row"]
    for name in ("energy", "energy_per_atom", "force", "virial", "virial_per_atom", "stress"):
        one, other = full[name], tested[name]
        assert one.weight == other.weight > 0
        assert one.mae == pytest.approx(other.mae, rel=1e-10), name
        assert one.rmse == pytest.approx(other.rmse, rel=1e-10), name
    kind = {"mse": "rmse", "mae": "mae"}[measure]
    for name, error in (
        ("e", tested["energy_per_atom"]),
        ("f", tested["force"]),
        ("v", tested["virial_per_atom"]),
    ):
        assert row[f"{kind}_{name}"] == pytest.approx(getattr(error, kind), rel=1e-10)
    # and the files, to their digits
    table = rows(fresh / "val.log")[-1]
    expected = [tested["energy_per_atom"], tested["force"], tested["stress"]]
    numbers = [1000 * x for error in expected for x in (error.mae, error.rmse)]
    np.testing.assert_allclose(table[1:], numbers, rtol=1e-4)


@pytest.mark.parametrize("hessians", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_atoms_closer_than_the_embedding_table_reaches(fresh, monkeypatch, caplog, hessians):
    """Errors are those of the nets, as dp test gives them, and not of tables in straight lines."""
    monkeypatch.setattr("deepmd_tf.model.atomic.USUAL_NODES", 0)  # tables in a system so small
    for part in Path(VALID).glob("set.*/coord.npy"):
        coord = np.load(part)
        coord[:, 3:6] = coord[:, :3] + [0.2, 0.1, 0.2]
        np.save(part, coord)
    loss = {}
    if hessians:
        add_hessians(fresh)
        loss = {"start_pref_h": 1.0, "limit_pref_h": 1.0}
    write_script(fresh, training={"numb_steps": 4}, loss=loss, validating=EVERY_FOUR)
    assert train("input.json") == 0
    assert "closer than the embedding table reaches; such batches are evaluated" in caplog.text
    assert "is extrapolated" not in caplog.text
    tested = run_test(freeze("model.ckpt", "frozen.pb").path, [VALID]).by_name
    expected = [tested["energy_per_atom"], tested["force"], tested["stress"]]
    numbers = [1000 * x for error in expected for x in (error.mae, error.rmse)]
    np.testing.assert_allclose(rows(Path("val.log"))[-1][1:7], numbers, rtol=1e-4)


def test_files(finished):
    lines = (finished / "val.log").read_text().splitlines()
    assert lines[0].split() == [
        "#",
        "step",
        *("E_MAE(meV/atom)", "E_RMSE(meV/atom)", "F_MAE(meV/Å)", "F_RMSE(meV/Å)"),
        *("S_MAE(meV/Å³)", "S_RMSE(meV/Å³)"),
    ]
    table = rows(finished / "val.log")
    assert table[:, 0].tolist() == [4, 8, 12, 16, 20]
    ranked = [int(table[k, 0]) for k in np.argsort(table[:, 4])]
    links = files(finished)
    assert links == {
        "best.ckpt.index": f"best.ckpt-{ranked[0]}.index",
        **{f"best.ckpt-{step}.index": "" for step in ranked[:2]},
    }
    assert re.search(r"# saved best checkpoint: best\.ckpt-\d+ \(F:RMSE = \S+ meV/Å\)", lines[3])


def test_best_checkpoint_is_an_ordinary_one(finished, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    table = rows(folder / "val.log")
    errors = run_test(freeze("best.ckpt", "best.pb").path, [VALID])
    assert 1000 * errors.by_name["force"].rmse == pytest.approx(table[:, 4].min(), rel=1e-4)
    # the next to last one, so that something is left to do
    step = sorted(int(p.stem.split("-")[1]) for p in folder.glob("best.ckpt-*.index"))[0]
    assert train("input.json", restart=f"best.ckpt-{step}") == 0
    assert (folder / "lcurve.out").read_bytes() == (finished / "lcurve.out").read_bytes()
    assert (folder / "val.log").read_bytes() == (finished / "val.log").read_bytes()


def test_training_gives_the_same_numbers_without_it(finished, default_training):
    plain = default_training
    assert (plain / "lcurve.out").read_bytes() == (finished / "lcurve.out").read_bytes()
    one, other = (tf.train.load_checkpoint(str(f / "model.ckpt")) for f in (plain, finished))
    for name in one.get_variable_to_shape_map():
        assert (one.get_tensor(name) == other.get_tensor(name)).all(), name
    assert not list(plain.glob("best*")) and not (plain / "val.log").exists()


@pytest.mark.parametrize("step", [5, pytest.param(10, marks=pytest.mark.slow)])
def test_restart_goes_on_with_record_and_files(step, finished, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    monkeypatch.chdir(folder)
    assert train("input.json", restart=f"model.ckpt-{step}") == 0
    assert (folder / "val.log").read_bytes() == (finished / "val.log").read_bytes()
    assert files(folder) == files(finished)
    key = "full_validation"
    assert read_state("model.ckpt")[key] == read_state(finished / "model.ckpt")[key]


def test_folder_start_and_frequency(fresh):
    validating = EVERY_FOUR | {
        "save_best_dir": "best/here",
        "full_val_start": 0.5,
        "validation_freq": 3,
        "full_val_file": "errors.txt",
        "max_best_ckpt": 1,
        "validation_metric": "v:mae",
    }
    write(fresh, validating)
    assert train("input.json") == 0
    table = rows(fresh / "errors.txt")
    assert table[:, 0].tolist() == [10, 13, 16, 19]
    assert "V_MAE(meV/atom)" in (fresh / "errors.txt").read_text()
    best = int(table[np.argmin(table[:, 5]), 0])
    assert files(fresh / "best/here").keys() == {"best.ckpt.index", f"best.ckpt-{best}.index"}
    assert read_state(fresh / "best/here" / "best.ckpt")["step"] == best


def values_given(monkeypatch, values):
    """Let the metric take these values, one after the other."""
    given = iter(values)
    monkeypatch.setattr(FullValidation, "_value", lambda self, errors: next(given))


STOPPING = EVERY_FOUR | {
    "validation_freq": 2,
    "early_stop_patience": 2,
    "early_stop_min_delta": 0.1,
    "max_best_ckpt": 1,
}


def test_early_stopping(fresh, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    # 0.95 is not 0.1 below 1.0, but 0.7 is; then two without an improvement
    values_given(monkeypatch, [1.0, 0.95, 0.7, 0.69, 0.72])
    write(fresh, STOPPING)
    assert train("input.json") == 0
    assert rows(fresh / "val.log")[:, 0].tolist() == [2, 4, 6, 8, 10]
    assert read_state("model.ckpt")["step"] == 10
    assert read_state("best.ckpt")["step"] == 8
    assert "finished training" in caplog.messages
    (message,) = (one for one in caplog.messages if one.startswith("early stopping after step 10"))
    assert "F:RMSE" in message and "step 6, 700.00 meV/Å" in message and "best.ckpt-8" in message
    before = {path: path.lstat().st_mtime_ns for path in fresh.iterdir()}
    assert train("input.json", restart="model.ckpt") == 0
    assert "nothing is left to do: early stopping has ended" in caplog.text
    assert {path: path.lstat().st_mtime_ns for path in fresh.iterdir()} == before
    # more patience
    values_given(monkeypatch, [0.8, 0.8, 0.8])
    write(fresh, STOPPING | {"early_stop_patience": 4})
    assert train("input.json", restart="model.ckpt") == 0
    assert rows(fresh / "val.log")[:, 0].tolist() == [2, 4, 6, 8, 10, 12, 14]


@pytest.mark.slow
def test_patience_is_counted_over_a_restart(fresh, monkeypatch):
    values_given(monkeypatch, [1.0, 1.0, 1.0])
    write(fresh, STOPPING, save_freq=4)
    assert train("input.json") == 0
    assert read_state("model.ckpt")["step"] == 6
    values_given(monkeypatch, [1.0])
    assert train("input.json", restart="model.ckpt-4") == 0
    assert read_state("model.ckpt")["step"] == 6
    assert steps_in(fresh / "lcurve.out") == [0, 4]


def test_metric_that_is_no_number(fresh, monkeypatch):
    values_given(monkeypatch, [float("nan")])
    write(fresh, EVERY_FOUR, save_freq=3)
    with pytest.raises(TrainingError, match="step 4"):
        train("input.json")
    assert files(fresh) == {}
    assert read_state("model.ckpt")["step"] == 3


@pytest.mark.parametrize(
    ("metric", "drop"), [("V:MAE", "virial"), ("S:RMSE", "virial"), ("F:MAE", "force")]
)
def test_metric_without_labels(fresh, metric, drop):
    for path in fresh.glob(f"data/valid/*/set.*/{drop}.npy"):
        path.unlink()
    write(fresh, EVERY_FOUR | {"validation_metric": metric})
    with pytest.raises(InputError, match=rf"{metric}, but no .*validation system has {drop}\.npy"):
        train("input.json")
    assert not (fresh / "out.json").exists()


def test_forces_and_virials_are_compared_without_terms_in_the_loss(fresh):
    validating = EVERY_FOUR | {"validation_metric": "V:MAE"}
    no_forces = {"start_pref_f": 0, "limit_pref_f": 0, "start_pref_v": 0, "limit_pref_v": 0}
    write_script(fresh, training={"numb_steps": 4}, loss=no_forces, validating=validating)
    assert train("input.json") == 0
    assert np.isfinite(rows(fresh / "val.log")).all()


def test_nothing_but_predictions_is_evaluated(fresh, monkeypatch):
    monkeypatch.setattr(Evaluation, "predict", lambda *a: pytest.fail("must not be called"))
    write(fresh, EVERY_FOUR | {"full_val_start": 1}, numb_steps=4)
    assert train("input.json") == 0
    assert Validating.from_dict({}).start_step(10) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (123.456789, "123.46"),
        (1.0, "1.0000"),
        (0.000123456, "0.00012346"),
        (123456.7, "123460"),
        (0.0, "0"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1.23456e-13, "1.2346e-13"),
        (99999.6, "100000"),
    ],
)
def test_significant_digits(value, text):
    assert significant(value) == text


@pytest.mark.slow
def test_best_checkpoints_of_an_earlier_training_are_not_touched(fresh, monkeypatch):
    values_given(monkeypatch, [1.0, 0.5])
    write(fresh, EVERY_FOUR | {"max_best_ckpt": 1}, numb_steps=8)
    assert train("input.json") == 0
    assert files(fresh) == {"best.ckpt.index": "best.ckpt-8.index", "best.ckpt-8.index": ""}
    values_given(monkeypatch, [3.0, 2.0])
    write(fresh, EVERY_FOUR | {"max_best_ckpt": 1, "validation_freq": 3}, numb_steps=8)
    assert train("input.json", init_model="best.ckpt") == 0
    assert files(fresh) == {
        "best.ckpt.index": "best.ckpt-6.index",
        "best.ckpt-6.index": "",
        "best.ckpt-8.index": "",
    }


def test_link_is_to_a_checkpoint_that_is_there(fresh, monkeypatch):
    """Also when the best one of the record has been removed by the user."""
    values_given(monkeypatch, [1.0])
    write(fresh, EVERY_FOUR, numb_steps=5)
    assert train("input.json") == 0
    for path in fresh.glob("best.ckpt-4.*"):
        path.unlink()
    values_given(monkeypatch, [2.0, 3.0])
    write(fresh, EVERY_FOUR, numb_steps=12)
    assert train("input.json", restart="model.ckpt") == 0
    assert files(fresh) == {"best.ckpt.index": "best.ckpt-8.index", "best.ckpt-8.index": ""}
