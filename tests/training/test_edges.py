# SPDX-License-Identifier: BSD-3-Clause
"""Trainings at the edge of what makes sense: as DeePMD-kit does, or one message."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_training import INPUT, steps_in, write_script

from deepmd_tf import names
from deepmd_tf.cli.main import main
from deepmd_tf.data import write_system
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

from .checkpoints import assert_same_bits, variables

pytestmark = pytest.mark.usefixtures("without_rewriting")


def model(**parts):
    """Section ``model`` with keys of ``descriptor`` and ``fitting_net`` changed."""
    return {name: INPUT["model"][name] | keys for name, keys in parts.items()}


def test_no_step_at_all(fresh):
    """The model as it would begin, which can be frozen and used."""
    assert train(write_script(fresh, training={"numb_steps": 0})) == 0
    assert steps_in(fresh / "lcurve.out") == [0]
    assert main(["freeze", "-o", "frozen.pb"]) == 0
    with DeepPot("frozen.pb") as pot:
        assert pot.get_ntypes() == 2
    assert train(write_script(fresh, training={"numb_steps": 2}), restart="model.ckpt") == 0
    assert steps_in(fresh / "lcurve.out") == [0]
    assert train(write_script(fresh, training={"numb_steps": 0}), dry_run=True) == 0


def test_a_fitting_without_hidden_layers(fresh):
    script = write_script(
        fresh, model=model(fitting_net={"neuron": []}), training={"numb_steps": 3, "disp_freq": 1}
    )
    assert train(script) == 0
    assert steps_in(fresh / "lcurve.out") == [0, 1, 2, 3]


@pytest.fixture
def changed_checkpoint(fresh):
    """Make a checkpoint without steps, and write it with other variables, as another program."""

    def make(change, **parts):
        assert train(write_script(fresh, model=parts, training={"numb_steps": 0})) == 0
        values = change(variables("model.ckpt-0"))
        (fresh / "other").mkdir()
        shutil.copy("model.ckpt-0.meta", "other")
        with tf.Graph().as_default(), tf.Session() as session:
            stored = {name: tf.Variable(value) for name, value in values.items()}
            session.run(tf.global_variables_initializer())
            saver = tf.train.Saver(stored)
            saver.save(session, "other/model.ckpt-0", write_meta_graph=False)
        return "other/model.ckpt-0"

    return make


def test_checkpoint_with_numbered_normalisations(fresh, changed_checkpoint):
    """As older programs of DeePMD-kit wrote them, with the slots of the optimizer."""

    def numbered(values):
        return {
            name.replace("layer_normalization/", "layer_normalization_1/"): value
            for name, value in values.items()
        }

    parts = model(descriptor={"type": "se_atten", "sel": 20, "attn_layer": 1, "attn": 4})
    checkpoint = changed_checkpoint(numbered, **parts)
    before, there = variables("model.ckpt-0"), variables(checkpoint)
    assert before.keys() - there.keys()
    script = write_script(fresh, model=parts, training={"numb_steps": 0})
    assert train(script, restart=checkpoint) == 0
    assert_same_bits(variables("model.ckpt-0"), before)


def test_checkpoint_with_averages_of_no_atoms(fresh, changed_checkpoint):
    """DeePMD-kit has NaN for types that its training data did not have."""

    def without_hydrogen(values):
        for name in (names.T_AVG, names.T_STD):
            values[name][1] = np.nan
        return values

    parts = model(descriptor={"type": "se_e2_r"})
    del parts["descriptor"]["axis_neuron"]
    checkpoint = changed_checkpoint(without_hydrogen, **parts)
    script = write_script(fresh, model=parts, training={"numb_steps": 1})
    assert train(script, restart=checkpoint) == 0
    found = variables("model.ckpt-1")
    assert set(found[names.T_AVG][1]) == {0.0} and set(found[names.T_STD][1]) == {1 / 3.4}


@pytest.mark.parametrize("fitting", [False, [False, False, False]])
def test_nothing_trainable(fresh, fitting):
    parts = model(descriptor={"trainable": False}, fitting_net={"trainable": fitting})
    with pytest.raises(InputError, match="nothing is left to train; set one of them to true"):
        train(write_script(fresh, model=parts))


def test_only_the_last_layer_is_trainable(fresh):
    parts = model(descriptor={"trainable": False}, fitting_net={"trainable": [False, False, True]})
    assert train(write_script(fresh, model=parts, training={"numb_steps": 1})) == 0


def test_only_the_type_embedding_is_trainable(fresh):
    parts = model(descriptor={"trainable": False}, fitting_net={"trainable": False})
    parts["type_embedding"] = {"neuron": [2], "trainable": False}
    with pytest.raises(InputError, match=r"type_embedding\.trainable and model\.fitting_net"):
        train(write_script(fresh, model=parts))
    parts["type_embedding"]["trainable"] = True
    training = {"numb_steps": 2, "save_freq": 1}
    assert train(write_script(fresh, model=parts, training=training)) == 0
    before, after = (read_model(fresh / f"model.ckpt-{n}").weights for n in (1, 2))
    changed = [name for name in before if (before[name] != after[name]).any()]
    assert changed == ["type_embed_net/matrix_1"]


@pytest.fixture
def lone(fresh):
    """One atom in each frame."""
    write_system(
        fresh / "lone",
        types=[0],
        type_map=["O", "H"],
        coord=np.zeros((2, 1, 3)),
        box=None,
        energy=np.array([-1.0, -1.1]),
        force=np.zeros((2, 1, 3)),
    )
    return {"training_data": {"systems": "lone"}, "numb_steps": 2, "validation_data": None}


def test_lone_atoms(fresh, lone):
    loss = {"start_pref_v": 0, "limit_pref_v": 0}
    automatic = model(descriptor={"sel": "auto"})
    with pytest.raises(InputError, match=r"no two atoms .* closer than rcut, .* such as \[4, 4\]"):
        train(write_script(fresh, model=automatic, loss=loss, training=lone))
    assert train(write_script(fresh, loss=loss, training=lone)) == 0


def test_errors_are_counted_with_those_of_files_that_cannot_be_opened(fresh, caplog):
    caplog.set_level(logging.INFO, "deepmd_tf")
    for system in ("train/cell", "train/free"):
        energy = Path(f"data/{system}/set.000/energy.npy")
        np.save(energy, np.load(energy)[1:])
    with pytest.raises(DataError, match="2 mistakes"):
        train(write_script(fresh, training={"validation_data": None}))
    assert "0 errors" not in caplog.text
    assert "checked" not in caplog.text
    with pytest.raises(DataError, match="2 mistakes"):
        train(write_script(fresh))
    assert "in 1 systems" in caplog.text and ": 2 errors, 0 doubts" in caplog.text


def test_what_is_not_excluded_has_no_neighbors(fresh, lone):
    """An automatic sel has room for pairs that are excluded only; energies are those of atoms."""
    np.save(fresh / "lone/set.000/coord.npy", np.arange(12.0).reshape(2, 6))
    np.save(fresh / "lone/set.000/force.npy", np.zeros((2, 6)))
    (fresh / "lone/type.raw").write_text("1\n1\n")
    parts = model(descriptor={"sel": "auto", "rcut": 6.0, "exclude_types": [[1, 1], [0, 1]]})
    loss = {"start_pref_v": 0, "limit_pref_v": 0}
    assert train(write_script(fresh, model=parts, loss=loss, training=lone)) == 0
