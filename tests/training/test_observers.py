# SPDX-License-Identifier: BSD-3-Clause
"""Observers follow a training: what they are told, and that it is the same without them."""

from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf
from small_training import write_all_data, write_script

from deepmd_tf.graph.checkpoint import read_state
from deepmd_tf.training import entrypoint
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.observer import CheckpointWriter, Observer
from deepmd_tf.training.trainer import Trainer

LENGTH = {"numb_steps": 4, "disp_freq": 2, "save_freq": 3}


class Recorder(Observer):
    """Remembers names of events; its state is their number."""

    state_key = "recorder"

    def __init__(self):
        self.events, self.given = [], None

    def state(self):
        return {"events": len(self.events)}

    def open(self, training, after_step=None, state=None):
        self.given = after_step, state


for _name in ("began", "updated", "evaluated", "displayed", "step_ended", "sync", "save", "ended"):
    setattr(Recorder, _name, lambda self, *_, name=_name: self.events.append(name))


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Train with these observers besides, or in place of, the usual ones."""
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(*observers, alone=False, **options):
        def make(*arguments):
            usual = () if alone else arguments[5]
            return Trainer(*arguments[:5], (*usual, *observers), *arguments[6:])

        monkeypatch.setattr(entrypoint, "Trainer", make)
        assert train(write_script(tmp_path, training=LENGTH), **options) == 0

    return run


def test_events_and_state(watched):
    recorder = Recorder()
    watched(recorder)
    shown = ["evaluated", "evaluated", "evaluated", "displayed"]  # one batch, and two of validation
    step = ["updated", "step_ended"]
    # before the first checkpoint its batch is evaluated, which has not been displayed
    expected = [*shown, "began", *step, "updated", *shown, "step_ended"]
    expected += [*step, "evaluated", "sync", "save", "updated", *shown, "step_ended"]
    assert recorder.events == [*expected, "sync", "save", "ended"]
    assert recorder.given == (None, None)
    number = read_state("model.ckpt-3")["recorder"]["events"]
    again = Recorder()
    watched(again, restart="model.ckpt-3")
    assert again.given == (3, {"events": number})
    assert again.events == ["began", "updated", *shown, "step_ended", "sync", "save", "ended"]


@pytest.mark.slow
def test_training_without_any(watched, tmp_path):
    """As processes will train beside the one that writes."""
    watched()
    weights = tf.train.load_checkpoint("model.ckpt-4")
    (tmp_path / "lcurve.out").unlink()
    watched(CheckpointWriter(), alone=True)
    assert not (tmp_path / "lcurve.out").exists()
    alone = tf.train.load_checkpoint("model.ckpt-4")
    for name in weights.get_variable_to_shape_map():
        assert (alone.get_tensor(name) == weights.get_tensor(name)).all(), name
