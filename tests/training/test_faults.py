# SPDX-License-Identifier: BSD-3-Clause
"""A frame that the operations refuse is named as it is in the files."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_training import write_all_data, write_script

from deepmd_tf.data import DataSystems
from deepmd_tf.errors import DataError
from deepmd_tf.model.energy import Statistics
from deepmd_tf.training import entrypoint
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.faults import NamedFaults


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spoil(path, change):
    coord = np.load(path)
    change(coord[2].reshape(-1, 3))
    np.save(path, coord)


def coincide(atoms):
    atoms[3] = atoms[1]


def far(atoms):
    atoms[4] = 1e13


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (coincide, r"atoms 1 and 3 \(counted from 0\) at the same place"),
        (far, r"atom 4 more than 1e9 lattice vectors"),
    ],
)
@pytest.mark.parametrize("stage", ["neighbours", "statistics or training", "validation"])
def test_place_of_a_refused_frame(stage, change, text, folder):
    data = "valid" if stage == "validation" else "train"
    spoil(folder / "data" / data / "cell" / "set.001" / "coord.npy", change)
    training = {"validation_data": {"systems": "data/valid", "batch_size": 4, "numb_btch": 2}}
    write_script(folder, training=training)
    skip = stage == "statistics or training"
    with pytest.raises(
        DataError, match=rf"{data}/cell/set\.001/coord\.npy: frame 2 has {text}"
    ) as e:
        train("input.json", skip_neighbor_stat=skip)
    assert "\n" not in str(e.value)
    assert "Node" not in str(e.value)


def test_frame_that_is_seen_in_a_step_only(folder, monkeypatch):
    """No statistics and no display come before."""
    spoil(folder / "data" / "train" / "cell" / "set.001" / "coord.npy", coincide)
    statistics = Statistics(avg=np.zeros((2, 4)), std=np.ones((2, 4)), bias=np.zeros(2))
    monkeypatch.setattr(entrypoint, "measure_statistics", lambda *_: statistics)
    write_script(folder, training={"disp_training": False, "save_freq": 0, "numb_steps": 50})
    with pytest.raises(DataError, match=r"frame 2.*atoms 1 and 3"):
        train("input.json", skip_neighbor_stat=True)


def test_faults_of_the_program_pass_unchanged(folder):
    data = DataSystems(["data/train/cell"], 1, np.random.RandomState(1))
    with pytest.raises(tf.errors.InvalidArgumentError), NamedFaults(data, data.get_batch()):
        raise tf.errors.InvalidArgumentError(None, None, "shapes do not agree")


@pytest.mark.parametrize(("frames", "advice"), [(1, "smaller systems"), (3, r'"max:6"')])
def test_too_little_memory(frames, advice, folder):
    """Size of the batch, and half of it."""
    data = DataSystems(["data/train/cell"], frames, np.random.RandomState(1))
    message = rf"batch of {frames} frames of 6 atoms of data/train/cell; .*{advice}"
    with pytest.raises(DataError, match=message), NamedFaults(data, data.get_batch()):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")
