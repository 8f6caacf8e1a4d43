# SPDX-License-Identifier: BSD-3-Clause
"""TensorBoard, time line and profiler: what they write, and that training does not notice."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_training import write_script

from deepmd_tf.errors import InputError, TrainingError
from deepmd_tf.training import tracing
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.step import TrainingStep
from deepmd_tf.training.tensorboard import EventFile

pytestmark = pytest.mark.usefixtures("without_rewriting")

COLUMNS = ("rmse", "rmse_e", "rmse_f", "rmse_v")


def test_events_on_a_full_disk(tmp_path):
    """The limit of the size of a file stands for it: the system refuses to write."""
    file = EventFile(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(TrainingError) as error:
            for step in range(1000):
                file.add(summary=tf.Summary(), step=step)
                file.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    text = str(error.value)
    assert text.startswith(f"{tmp_path}: events for TensorBoard cannot be written (")
    assert "File too large" in text and "\n" not in text
    file.close()


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Points by tag and step, without those that a restart took back, as TensorBoard reads them."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.Event.FromString(record.numpy())
            if event.session_log.status == tf.SessionLog.START:
                for points in found.values():
                    for step in [s for s in points if s >= event.step]:
                        del points[step]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_events(fresh):
    tensorboard = {"tensorboard": True, "tensorboard_freq": 3, "tensorboard_log_dir": "runs/one"}
    full = {"full_validation": True, "validation_freq": 5, "full_val_start": 0}
    write_script(fresh, training=tensorboard | {"numb_steps": 10}, validating=full)
    (fresh / "runs/one/train").mkdir(parents=True)
    (fresh / "runs/one/train/events.out.tfevents.1.of_before").write_text("")
    (fresh / "runs/one/notes.txt").write_text("mine")
    assert train("input.json") == 0
    assert (fresh / "runs/one/notes.txt").exists()
    assert len(list(fresh.glob("runs/one/train/*"))) == 1
    found = scalars(fresh / "runs/one/train")
    assert set(found) == {*COLUMNS, "lr"}
    assert list(found["rmse_f"]) == [0, 3, 6, 9]
    assert found["lr"][0] == np.float32(0.005)
    # before the first update, on the first batch: what the learning curve says of step 0
    curve = np.genfromtxt("lcurve.out", names=True)
    for column in COLUMNS:
        np.testing.assert_allclose(found[column][0], curve[f"{column}_trn"][0], rtol=5e-3)
    found = scalars(fresh / "runs/one/test")
    for column in COLUMNS:
        assert list(found[column]) == [0, 4, 8]
        np.testing.assert_allclose(list(found[column].values()), curve[f"{column}_val"], rtol=5e-3)
    table = np.loadtxt("val.log", ndmin=2)
    assert list(found["F:RMSE"]) == table[:, 0].tolist()
    np.testing.assert_allclose(list(found["F:RMSE"].values()), table[:, 4] / 1000, rtol=1e-4)


@pytest.mark.slow
def test_restart_takes_back_what_came_later(fresh):
    monitored = {"tensorboard": True, "numb_steps": 12}
    write_script(fresh, training=monitored)
    assert train("input.json") == 0
    expected = scalars(fresh / "log/train"), scalars(fresh / "log/test")
    curve = (fresh / "lcurve.out").read_bytes()
    assert train("input.json", restart="model.ckpt-5") == 0
    assert len(list(fresh.glob("log/train/*"))) == 2
    found = scalars(fresh / "log/train"), scalars(fresh / "log/test")
    np.testing.assert_equal(found, expected)  # nan is nan
    assert list(expected[0]["rmse"]) == list(range(12))
    assert (fresh / "lcurve.out").read_bytes() == curve


def test_training_gives_the_same_numbers_with_all_of_it(fresh, monkeypatch):
    monkeypatch.setattr(tracing, "PROFILED", 4)
    write_script(fresh, training={"profiling": True, "enable_profiler": True, "tensorboard": True})
    assert train("input.json") == 0
    with_all = (fresh / "lcurve.out").read_bytes()
    weights = tf.train.load_checkpoint("model.ckpt")
    trace = json.loads((fresh / "timeline.json").read_text())
    operations = [e["args"]["op"] for e in trace["traceEvents"] if e.get("ph") == "X"]
    assert any("MatMul" in operation for operation in operations)
    assert list(fresh.glob("log/plugins/profile/*/*.xplane.pb"))

    for name in ("train_and_measure", "train_and_trace"):
        monkeypatch.setattr(TrainingStep, name, lambda *a: pytest.fail("not asked for"))
    write_script(fresh, training={"save_ckpt": "plain/model.ckpt"})
    assert train("input.json") == 0
    assert (fresh / "lcurve.out").read_bytes() == with_all
    plain = tf.train.load_checkpoint("plain/model.ckpt")
    for name in plain.get_variable_to_shape_map():
        assert (plain.get_tensor(name) == weights.get_tensor(name)).all(), name


@pytest.mark.slow
def test_a_short_training_is_traced_in_its_last_step(fresh, caplog):
    caplog.set_level("INFO")
    write_script(fresh, training={"profiling": True, "numb_steps": 3})
    assert train("input.json") == 0
    assert "wrote the time line of step 3 to timeline.json" in caplog.messages


def test_what_cannot_be_written_is_told_before_training(fresh):
    (fresh / "log").mkdir()
    (fresh / "log" / "train").write_text("a file")
    write_script(fresh, training={"tensorboard": True})
    with pytest.raises(TrainingError, match="log/train:"):
        train("input.json")
    write_script(fresh, training={"profiling": True, "profiling_file": "no/timeline.json"})
    with pytest.raises(InputError, match="no directory no"):
        train("input.json")
    assert not (fresh / "model.ckpt.index").is_symlink()
