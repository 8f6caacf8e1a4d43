# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints are read below any folder and under any name, whatever TensorFlow makes of it."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import CheckpointError
from deepmd_tf.graph.checkpoint import Checkpoints, read_step
from deepmd_tf.graph.checkpoint_files import listed_steps, resolve_folder
from deepmd_tf.graph.frozen import find_checkpoint, read_model
from deepmd_tf.graph.rewrite import _save

NAMES = [
    "neuron=[30-30]",
    "a\\b",
    "st*r",
    "wh?t",
    "a b ",
    "l\nine",
    "quo'\"te",
    "日本",
    "{x}$y",
    "[0]",
]
NOT_UTF_8 = os.fsdecode(b"caf\xe9")


def write(folder, name, steps=(3, 4)):
    """Checkpoints whose one weight is the step."""
    prefix = folder / f"{name}.ckpt"
    checkpoints = Checkpoints(prefix, keep=5)
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable("weight", [], tf.float64)
        step = tf.train.get_or_create_global_step()
        checkpoints.build([weight, step])
        checkpoints.prepare()
        for number in steps:
            weight.load(number, session)
            step.load(number, session)
            checkpoints.save(session, number, {"number": number})
    return prefix


def restored(prefix):
    checkpoints = Checkpoints("unused", keep=1)
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable("weight", [], tf.float64)
        checkpoints.build([weight, tf.train.get_or_create_global_step()])
        checkpoints.restore(session, prefix)
        return session.run(weight)


@pytest.mark.parametrize("name", NAMES)
def test_written_and_read(tmp_path, name):
    folder = tmp_path / name
    prefix = write(folder, name)
    assert find_checkpoint(prefix) == resolve_folder(folder) == folder / f"{name}.ckpt-4"
    assert listed_steps(prefix) == [3, 4]
    for step in (3, 4):
        (folder / f"{name}.ckpt-{step}.manifest.json").unlink()  # TensorFlow reads it as a check
        assert find_checkpoint(folder / f"{name}.ckpt-{step}").name == f"{name}.ckpt-{step}"
        assert restored(folder / f"{name}.ckpt-{step}") == step
        assert read_step(folder / f"{name}.ckpt-{step}") == step
    assert sorted(os.listdir(tmp_path)) == [name]


@pytest.mark.parametrize("name", [*NAMES, NOT_UTF_8])
def test_models(saved, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(saved.parent, folder)
    weights = read_model(saved).weights
    for path in (folder / saved.name, folder):
        for key, found in read_model(path).weights.items():
            np.testing.assert_array_equal(found, weights[key])
    _save({names.BIAS_ATOM_E: np.ones(2)}, folder / "new")
    assert (folder / "new.index").is_file()


def test_one_that_is_damaged_is_told_by_its_name(tmp_path):
    prefix = write(tmp_path / "[a]", "model")
    (tmp_path / "[a]/model.ckpt-4.index").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"\[a\]/model.ckpt-4: the checkpoint cannot be read"):
        restored(prefix.with_name("model.ckpt-4"))


def test_a_folder_of_the_same_name_is_no_hindrance(tmp_path):
    prefix = write(tmp_path, "model", [4])
    (tmp_path / "model.ckpt-4").mkdir()
    assert restored(prefix.with_name("model.ckpt-4")) == 4
