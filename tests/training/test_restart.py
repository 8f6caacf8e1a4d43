# SPDX-License-Identifier: BSD-3-Clause
"""dp train from a checkpoint: it goes on as if nothing had been, or says why it cannot."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_training import INPUT, steps_in, write_script

from deepmd_tf.data import DataSystems
from deepmd_tf.errors import CheckpointError, InputError
from deepmd_tf.graph.checkpoint import read_state
from deepmd_tf.training.entrypoint import train

from .checkpoints import assert_same_bits, variables, without

LAST = INPUT["training"]["numb_steps"]


@pytest.mark.parametrize("step", [5, pytest.param(10, marks=pytest.mark.slow)])
def test_restart_reproduces_the_uninterrupted_training(step, finished, copied):
    for name in ("model.ckpt-15", "model.ckpt-20"):
        for path in copied.glob(f"{name}.*"):
            path.unlink()
    assert train("input.json", restart=f"model.ckpt-{step}") == 0
    assert (copied / "lcurve.out").read_bytes() == (finished / "lcurve.out").read_bytes()
    assert_same_bits(variables("model.ckpt"), variables(finished / "model.ckpt-20"))
    assert (
        read_state("model.ckpt")["training_data"]
        == (read_state(finished / "model.ckpt-20")["training_data"])
    )


def test_restart_when_the_newest_checkpoint_is_damaged(finished, copied, caplog):
    """The one before is taken, with a message; the end is the same."""
    data = copied / f"model.ckpt-{LAST}.data-00000-of-00001"
    data.write_bytes(bytes(data.stat().st_size))
    assert train("input.json", restart="model.ckpt") == 0
    assert f"checkpoint model.ckpt-{LAST} is damaged: {data.name} is not what" in caplog.text
    assert "model.ckpt-15 is used instead" in caplog.text
    assert data.read_bytes() == (finished / data.name).read_bytes()
    assert (copied / "lcurve.out").read_bytes() == (finished / "lcurve.out").read_bytes()


@pytest.mark.slow
def test_checkpoints_in_folders_of_any_name(finished, copied):
    """What TensorFlow takes for patterns, and bytes that are no text."""
    folder = os.fsdecode(b"o[u]t*a\\bcaf\xe9")
    Path(folder).mkdir()
    for path in finished.glob("model.ckpt-15.*"):
        shutil.copy(path, folder)
    prefix = f"{folder}/model.ckpt-15"
    assert train("input.json", init_model=prefix) == 0
    assert train("input.json", restart=prefix) == 0
    assert_same_bits(variables("model.ckpt"), variables(finished / "model.ckpt-20"))


def test_restart_of_a_longer_training(copied):
    write_script(copied, training={"numb_steps": 24})
    assert train("input.json", restart="model.ckpt") == 0
    assert steps_in(copied / "lcurve.out") == [0, 4, 8, 12, 16, 20, 24]
    assert variables("model.ckpt")["global_step"] == 24


def test_restart_without_state_warns(copied, caplog):
    without(copied, ".state.json")
    assert train("input.json", restart="model.ckpt-15") == 0
    assert "the order of the data begins anew" in caplog.text
    assert steps_in(copied / "lcurve.out") == [0, 4, 8, 12, 16, 20]


def test_restart_with_other_data_warns(copied, caplog):
    shutil.rmtree(copied / "data" / "train" / "free" / "set.001")
    assert train("input.json", restart="model.ckpt-15") == 0
    assert "the data have changed" in caplog.text
    assert variables("model.ckpt")["global_step"] == LAST


def test_init_model(finished, copied):
    shutil.copy("lcurve.out", "old.out")
    write_script(copied, training={"numb_steps": 2, "save_ckpt": "next/model.ckpt"})
    assert train("input.json", init_model="model.ckpt-20") == 0
    assert steps_in(copied / "lcurve.out") == [0]
    assert variables("next/model.ckpt")["global_step"] == 2
    # the weights are those of the end of training, so the validation errors are as small
    first, old = np.genfromtxt("lcurve.out"), np.genfromtxt("old.out")
    np.testing.assert_allclose(first[5], old[-1, 5], rtol=0.2)
    assert variables("next/model.ckpt")["beta1_power"] == pytest.approx(0.9 ** (LAST + 3))


@pytest.mark.parametrize("described", [True, False])
def test_checkpoint_of_another_model(described, copied):
    write_script(
        copied,
        model={"fitting_net": {"neuron": [12, 10], "seed": 1}},
        training={"numb_steps": 30},
    )
    if not described:
        without(copied, ".meta")
    match = "fitting_net/neuron is" if described else 'variable "layer_0_type_0/'
    with pytest.raises(CheckpointError, match=match) as error:
        train("input.json", restart="model.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("start", ["init_model", "restart"])
def test_checkpoint_of_another_model_with_the_same_shapes(start, copied):
    write_script(copied, model={"type_map": ["H", "O"]}, training={"numb_steps": 30})
    before = sorted(copied.iterdir())
    with pytest.raises(CheckpointError, match=r'type_map is \["H", "O"\]') as error:
        train("input.json", **{start: "model.ckpt"})
    assert "descriptor" not in str(error.value)
    assert sorted(copied.iterdir()) == before


def test_weights_are_of_the_types_that_the_data_name(copied):
    """Also when the input script leaves out the names."""
    for path in copied.glob("data/*/*/type_map.raw"):
        path.write_text("H\nO\n")
    write_script(copied, model={"type_map": None}, training={"numb_steps": 30})
    with pytest.raises(CheckpointError, match=r'type_map is \["H", "O"\]'):
        train("input.json", init_model="model.ckpt", skip_neighbor_stat=True)


def test_restart_with_another_sel(copied):
    descriptor = INPUT["model"]["descriptor"] | {"sel": [20, 12]}
    write_script(copied, model={"descriptor": descriptor}, training={"numb_steps": 30})
    with pytest.raises(CheckpointError, match=r"descriptor/sel is \[20, 12\] .* \[12, 20\]"):
        train("input.json", restart="model.ckpt")
    without(copied, ".meta")  # the state of the checkpoint has it as well
    with pytest.raises(InputError, match=r"\[20, 12\],.*\[12, 20\]"):
        train("input.json", restart="model.ckpt")


def test_restart_with_another_number_of_types(copied):
    without(copied, ".meta")
    model = {
        "type_map": ["O", "H", "C"],
        "descriptor": INPUT["model"]["descriptor"] | {"sel": "auto"},
    }
    write_script(copied, model=model, training={"numb_steps": 30})
    with pytest.raises(InputError, match=r"have 3.*has 2"):
        train("input.json", restart="model.ckpt")


def test_restart_of_a_finished_training_writes_nothing(copied, caplog):
    before = {path: path.lstat().st_mtime_ns for path in copied.iterdir()}
    assert train("input.json", restart=".") == 0
    assert re.search(
        r"nothing is left to do: model\.ckpt-20 is of step 20, .* 20 steps", caplog.text
    )
    assert {path: path.lstat().st_mtime_ns for path in copied.iterdir()} == before


def test_order_of_the_training_data_survives_other_validation_data(finished, copied, caplog):
    shutil.rmtree(copied / "data" / "valid" / "cell" / "set.001")
    state = read_state("model.ckpt-15")
    write_script(copied, training={"numb_steps": 16, "save_freq": 1})
    assert train("input.json", restart="model.ckpt-15") == 0
    assert "the order of the validation data begins anew" in caplog.text
    assert "the order of the training data begins anew" not in caplog.text
    got = read_state("model.ckpt-16")["next_batch"]
    assert state["next_batch"]["frames"]
    expected = DataSystems(
        [copied / "data" / "train" / "cell", copied / "data" / "train" / "free"],
        [2, 1],
        np.random.RandomState(),
        type_map=["O", "H"],
    )
    expected.set_state(state["training_data"])
    batch = expected.get_batch()
    assert (got["system"], got["set_name"]) == (batch.system, batch.set_name)
    assert got["frames"] == batch.frames.tolist()


def test_missing_checkpoint(copied):
    with pytest.raises(CheckpointError, match=r"checkpoints there: model\.ckpt"):
        train("input.json", restart="model.ckpt-7")
