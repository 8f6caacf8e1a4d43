# SPDX-License-Identifier: BSD-3-Clause
"""A loss or gradient that is not finite ends training at that step, and nothing bad is kept."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from small_training import steps_in, write_all_data, write_script

from deepmd_tf.data import DataSystem, DataSystems, write_system
from deepmd_tf.data.batch import merge
from deepmd_tf.errors import TrainingError
from deepmd_tf.fields import ENERGY, FORCE
from deepmd_tf.graph.checkpoint import read_state
from deepmd_tf.graph.checkpoint_files import listed_steps, resolve
from deepmd_tf.training.bad_batch import place, write_batch
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.graph import TrainingGraph

from .checkpoints import variables

pytestmark = pytest.mark.usefixtures("without_rewriting")

STEP = 8
"""The step that fails: neither displayed nor saved."""
NO_NUMBER = r"the loss is not a finite number \(rmse = nan, rmse_f = nan\)"
LENGTH = {"numb_steps": 20, "disp_freq": 5, "save_freq": 3, "seed": 3}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_script(tmp_path, training=LENGTH)
    return tmp_path


@pytest.fixture
def spoil(monkeypatch):
    """Lets the batch of step :data:`STEP` have this force on the last atom of its last frame."""
    batches = []
    get = DataSystems.get_batch

    def use(value):
        def get_batch(data, system=None):
            batch = get(data, system)
            if len(data) == 1 or system is not None:
                return batch  # validation, statistics
            batches.append(batch)
            # one is drawn and not used, and one is drawn ahead
            if len(batches) != STEP + 1:
                return batch
            force = batch.arrays["force"].copy()
            force[-1, -1] = value
            batches[-1] = dataclasses.replace(batch, arrays={**batch.arrays, "force": force})
            return batches[-1]

        monkeypatch.setattr(DataSystems, "get_batch", get_batch)
        return batches

    return use


@pytest.mark.parametrize(
    ("way", "value", "words"),
    [
        ("plain", np.nan, NO_NUMBER),
        pytest.param(
            "plain",
            1e200,
            r"the loss is not a finite number \(rmse = inf, rmse_f = inf\)",
            marks=pytest.mark.slow,
        ),
        (
            "large prefactor",
            1e148,
            r"the gradient of the loss is not finite \(in \d+ variables; one is \w+/",
        ),
        pytest.param("tensorboard", np.nan, NO_NUMBER, marks=pytest.mark.slow),
        pytest.param("tracing", np.nan, NO_NUMBER, marks=pytest.mark.slow),
    ],
)
def test_training_ends_at_that_step(way, value, words, folder, spoil, monkeypatch):
    before = []
    close = TrainingGraph.close

    def look(graph):
        before.append(graph.state.get_variables() | graph.state.get_local())
        before.append(graph.state.get_step())
        close(graph)

    monkeypatch.setattr(TrainingGraph, "close", look)
    if way == "tensorboard":
        write_script(folder, training={**LENGTH, "tensorboard": True, "tensorboard_freq": 1})
    elif way == "large prefactor":
        # the square of the gradient is larger than the loss by this factor
        loss = {"start_pref_f": 1e12, "limit_pref_f": 1e12}
        write_script(folder, training=LENGTH, loss=loss)
    elif way == "tracing":
        monkeypatch.setattr("deepmd_tf.training.tracing.WARM_UP", STEP - 1)
        write_script(folder, training={**LENGTH, "profiling": True})
    batches = spoil(value)
    with pytest.raises(TrainingError, match=words) as error:
        train("input.json")
    batch = batches[STEP]
    system = ("data/train/cell", "data/train/free")[batch.system]
    frames = ", ".join(map(str, batch.frames))
    text = str(error.value)
    assert text.startswith(f"step {STEP}: ") and "\n" not in text
    assert f"{system}, {batch.set_name}, frame" in text and f" {frames} (counted from 0)" in text
    assert "the newest is model.ckpt-6" in text
    # nothing of the step has been taken over
    values, step = before
    assert step == STEP - 1
    assert all(np.isfinite(array).all() for array in values.values())
    assert listed_steps(folder / "model.ckpt") == [3, 6]
    assert resolve("model.ckpt").name == "model.ckpt-6"
    assert steps_in(folder / "lcurve.out") == [0, 5]


def test_batch_is_kept_as_a_system(folder, spoil):
    batches = spoil(1e200)
    with pytest.raises(TrainingError, match=rf"the batch is in model\.ckpt-bad-batch-{STEP}\."):
        train("input.json")
    kept = folder / f"model.ckpt-bad-batch-{STEP}"
    batch = batches[STEP]
    origin = json.loads((kept / "origin.json").read_text())
    assert origin["set"] == batch.set_name and origin["frames"] == batch.frames.tolist()
    system = DataSystem(kept, ["O", "H"], fields=(ENERGY, FORCE))
    system.check()
    again = system.pick("set.000", range(batch.nframes))
    source = folder / origin["system"] / origin["set"]
    for name in ("coord", "energy", "force", *(["box"] if batch.periodic else [])):
        assert (again.arrays[name] == batch.arrays[name]).all(), name
    # and in the files that it comes from
    coord = np.load(source / "coord.npy").reshape(-1, 6, 3)[origin["frames"]][:, origin["atoms"]]
    assert (np.load(kept / "set.000" / "coord.npy").reshape(coord.shape) == coord).all()
    assert (kept / "set.000" / "virial.npy").exists() == (source / "virial.npy").exists()

    # and it can be trained on
    loss = {} if (kept / "set.000" / "virial.npy").exists() else {"limit_pref_v": 0}
    loss["start_pref_v"] = loss.get("limit_pref_v", 1)
    write_script(folder, training={**LENGTH, "training_data": {"systems": str(kept)}}, loss=loss)
    with pytest.raises(TrainingError, match=r"bad-batch-8, set\.000"):
        train("input.json", skip_neighbor_stat=True)


def test_frames_of_different_atoms(tmp_path, rng):
    """They are systems of their own, without what fills them up."""
    paths, frames = [tmp_path / "small", tmp_path / "large"], {}
    for path, types in zip(paths, ([1, 0], [0, 1, 0, 1]), strict=True):
        frames[path.name] = rng.normal(size=(3, len(types), 3))
        items = {"energy": rng.normal(size=3)} if len(types) == 2 else {}
        coord = frames[path.name]
        write_system(path, types=types, coord=coord, type_map=["O", "H"], **items)
    data = DataSystems(paths, 1, np.random.RandomState(1), fields=(ENERGY,))
    batch = merge([data.pick(0, "set.000", [2, 1]), data.pick(1, "set.000", [0])])
    expected = f"{paths[0]}, set.000, frames 2, 1; {paths[1]}, set.000, frame 0"
    assert place(data, batch) == expected
    write_batch(tmp_path / "kept", data, batch)
    small, large = (DataSystem(tmp_path / "kept" / name, fields=(ENERGY,)) for name in "01")
    assert (small.natoms, large.natoms) == (2, 4)
    coord = np.load(tmp_path / "kept" / "0" / "set.000" / "coord.npy").reshape(2, 2, 3)
    assert (coord == frames["small"][[2, 1]][:, [1, 0]]).all()
    assert small.has("energy") == [True] and large.has("energy") == [False]
    origin = json.loads((tmp_path / "kept" / "1" / "origin.json").read_text())
    assert (origin["frames"], origin["atoms"]) == ([0], [0, 2, 1, 3])


def test_a_batch_that_cannot_be_kept(folder, spoil):
    (folder / f"model.ckpt-bad-batch-{STEP}").write_text("in the way")
    spoil(np.nan)
    with pytest.raises(TrainingError, match=r"set\.00\d,.*model\.ckpt-bad"):
        train("input.json")


@pytest.mark.slow
def test_restart_after_the_data_were_mended(folder, spoil, monkeypatch):
    """As if nothing had been wrong."""
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        assert train("input.json") == 0
        expected = variables("model.ckpt-20"), (folder / "lcurve.out").read_bytes()
        state = read_state("model.ckpt-20")
    for path in folder.glob("model.ckpt*"):
        path.unlink()
    get_batch = DataSystems.get_batch
    spoil(np.nan)
    with pytest.raises(TrainingError):
        train("input.json")
    monkeypatch.setattr(DataSystems, "get_batch", get_batch)
    assert train("input.json", restart="model.ckpt") == 0
    found = variables("model.ckpt-20")
    assert all(found[name].tobytes() == array.tobytes() for name, array in expected[0].items())
    assert (folder / "lcurve.out").read_bytes() == expected[1]
    assert json.dumps(read_state("model.ckpt-20")["training_data"]) == json.dumps(
        state["training_data"]
    )
