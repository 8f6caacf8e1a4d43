# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: file names, links, what is kept, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import CheckpointError
from deepmd_tf.graph import checkpoint_files as module
from deepmd_tf.graph.checkpoint import Checkpoints, read_state, read_step
from deepmd_tf.graph.checkpoint_files import SUFFIXES, listed_steps, resolve

STATE = {
    "random": {"key": np.arange(5, dtype=np.uint32), "pos": 3},
    "values": np.array([0.1, 1 / 3, np.pi], np.float32),
    "empty": np.zeros((0, 3)),
    "list": [1, 2.5, None, "text", (True, False)],
}


class Run:
    """A graph with a step counter and other variables, and its checkpoints."""

    def __init__(self, prefix, keep=5, shape=(2, 3), names=("layer/matrix",)):
        self.checkpoints = Checkpoints(prefix, keep)
        with tf.Graph().as_default():
            self.variables = [
                tf.Variable(tf.zeros(shape, tf.float64), name=name, use_resource=False)
                for name in names
            ]
            self.variables.append(tf.Variable(np.int64(0), name="global_step", use_resource=False))
            self.checkpoints.build(self.variables)
            self.session = tf.Session()
            self.session.run(tf.global_variables_initializer())
        self.checkpoints.prepare()

    def set(self, value):
        variable = self.variables[0]
        array = np.full(variable.shape.as_list(), value)
        self.session.run(variable.initializer, {variable.initializer.inputs[1]: array})

    def save(self, step):
        self.set(float(step))
        return self.checkpoints.save(self.session, step, STATE)

    def get(self):
        return self.session.run(self.variables[0])


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_files_links_and_record(tmp_path):
    run = Run(tmp_path / "model.ckpt", keep=2)
    for step in (100, 200, 300):
        assert run.save(step) == tmp_path / f"model.ckpt-{step}"
    expected = ["checkpoint"]
    for suffix in SUFFIXES:
        expected += [f"model.ckpt{suffix}", f"model.ckpt-200{suffix}", f"model.ckpt-300{suffix}"]
        assert os.readlink(tmp_path / f"model.ckpt{suffix}") == f"model.ckpt-300{suffix}"
    assert files(tmp_path) == sorted(expected)
    assert (tmp_path / "checkpoint").read_text() == (
        'model_checkpoint_path: "model.ckpt-300"\n'
        'all_model_checkpoint_paths: "model.ckpt-200"\n'
        'all_model_checkpoint_paths: "model.ckpt-300"\n'
    )
    assert tf.train.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-300")
    assert listed_steps(tmp_path / "model.ckpt") == [200, 300]


def test_all_are_kept_with_keep_zero(tmp_path):
    run = Run(tmp_path / "model.ckpt", keep=0)
    for step in range(7):
        run.save(step)
    assert listed_steps(tmp_path / "model.ckpt") == list(range(7))


def test_values_and_state_come_back(tmp_path):
    run = Run(tmp_path / "sub" / "model.ckpt")
    run.save(7)
    run.set(0.0)
    prefix = resolve(tmp_path / "sub" / "model.ckpt")
    assert prefix == (tmp_path / "sub" / "model.ckpt-7")
    run.checkpoints.restore(run.session, prefix)
    assert (run.get() == 7.0).all()
    state = read_state(prefix)
    assert state["step"] == 7
    assert state["list"] == [1, 2.5, None, "text", [True, False]]
    for got, want in (
        (state["random"]["key"], STATE["random"]["key"]),
        (state["values"], STATE["values"]),
        (state["empty"], STATE["empty"]),
    ):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        assert (got == want).all()


def test_metagraph_is_that_of_the_session(tmp_path):
    Run(tmp_path / "model.ckpt").save(1)
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(str(tmp_path / "model.ckpt-1.meta"))
        saver.restore(session, str(tmp_path / "model.ckpt-1"))
        assert (session.run("layer/matrix:0") == 1.0).all()


def test_restarted_run_goes_on_counting_and_removes_leftovers(tmp_path):
    run = Run(tmp_path / "model.ckpt", keep=2)
    for step in (1, 2, 3):
        run.save(step)
    leftover = tmp_path / ".model.ckpt-abc.part"
    leftover.mkdir()
    (leftover / "new.index").write_text("half")
    again = Run(tmp_path / "model.ckpt", keep=2)
    assert not leftover.exists()
    again.checkpoints.continue_from(2)
    again.save(3)
    assert listed_steps(tmp_path / "model.ckpt") == [2, 3]
    again.save(4)
    assert listed_steps(tmp_path / "model.ckpt") == [3, 4]


def test_a_checkpoint_that_was_not_listed_any_more(tmp_path, monkeypatch):
    """The training died after the links had been moved."""
    run = Run(tmp_path / "model.ckpt", keep=2)
    for step in (1, 2):
        run.save(step)
    with monkeypatch.context() as patch:
        patch.setattr(run.checkpoints, "_record", lambda step: None)
        run.save(3)
    assert listed_steps(tmp_path / "model.ckpt") == [1, 2]
    assert resolve(tmp_path / "model.ckpt").name == "model.ckpt-3"
    again = Run(tmp_path / "model.ckpt", keep=2)
    again.checkpoints.continue_from(3)
    again.save(4)
    assert listed_steps(tmp_path / "model.ckpt") == [3, 4]
    assert not list(tmp_path.glob("model.ckpt-[12].*"))


@pytest.mark.parametrize("rename", range(2 * len(SUFFIXES) + 1))
def test_killed_between_any_two_renames(tmp_path, monkeypatch, rename):
    """Whatever is renamed last, the prefix without a step leads to one whole checkpoint."""
    run = Run(tmp_path / "model.ckpt", keep=1)
    run.save(1)

    class Killed(BaseException):
        pass

    done = []

    def replace(source, target):
        if len(done) == rename:
            raise Killed
        done.append(target)
        real(source, target)

    real = os.replace
    monkeypatch.setattr(module.os, "replace", replace)
    monkeypatch.setattr(module.shutil, "rmtree", lambda *args, **kwargs: None)
    with pytest.raises(Killed):
        run.save(2)
    monkeypatch.undo()

    prefix = resolve(tmp_path / "model.ckpt")
    step = int(prefix.name.rpartition("-")[2])
    assert step in (1, 2)
    assert read_state(prefix)["step"] == step
    fresh = Run(tmp_path / "model.ckpt")
    fresh.checkpoints.restore(fresh.session, prefix)
    assert (fresh.get() == step).all()
    assert tf.train.latest_checkpoint(tmp_path) is not None


def test_missing_variable(tmp_path):
    Run(tmp_path / "model.ckpt").save(1)
    other = Run(tmp_path / "other", names=("final_layer/matrix",))
    with pytest.raises(CheckpointError, match='"final_layer/matrix"'):
        other.checkpoints.restore(other.session, tmp_path / "model.ckpt-1")


def test_other_shape(tmp_path):
    Run(tmp_path / "model.ckpt").save(1)
    other = Run(tmp_path / "other", shape=(2, 4))
    with pytest.raises(CheckpointError, match=r"\[2, 3\],.*\[2, 4\]"):
        other.checkpoints.restore(other.session, tmp_path / "model.ckpt-1")


def test_weight_that_the_model_does_not_have(tmp_path):
    """It is refused; what is no weight, such as a slot of an optimizer, may be left over."""
    names = ("layer_1_type_0/bias", "layer_1_type_0/bias/Adam", "layer_1_type_0/idt")
    Run(tmp_path / "model.ckpt", names=names).save(1)
    other = Run(tmp_path / "other", names=names[:1])
    with pytest.raises(CheckpointError) as error:
        other.checkpoints.restore(other.session, tmp_path / "model.ckpt-1")
    assert ': variable "layer_1_type_0/idt" has no place in the model. ' in str(error.value)
    Run(tmp_path / "fewer", names=names[:2]).save(1)
    other.checkpoints.restore(other.session, tmp_path / "fewer-1")
    assert (other.get() == 1.0).all()


@pytest.mark.parametrize("step", [0, 2])
def test_output_shift_of_stock_checkpoints(step, tmp_path):
    """A shift of zero is left out; anything else would be a silent change of the energies."""
    names = ("layer/matrix", "model_attr/model_attr/t_out_bias")
    Run(tmp_path / "model.ckpt", names=names[::-1]).save(step)
    other = Run(tmp_path / "other", names=names[:1])
    prefix = tmp_path / f"model.ckpt-{step}"
    if step == 0:
        other.checkpoints.restore(other.session, prefix)
        return
    with pytest.raises(CheckpointError, match='t_out_bias"'):
        other.checkpoints.restore(other.session, prefix)


def test_damaged_data(tmp_path):
    run = Run(tmp_path / "model.ckpt")
    prefix = run.save(1)
    data = prefix.with_name(prefix.name + module.DATA)
    data.write_bytes(data.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="cannot be read") as error:
        run.checkpoints.restore(run.session, prefix)
    assert "Graph execution error" not in str(error.value)


def test_no_checkpoint_lists_what_there_is(tmp_path):
    with pytest.raises(CheckpointError, match="there is none"):
        resolve(tmp_path / "model.ckpt")
    Run(tmp_path / "model.ckpt").save(5)
    with pytest.raises(CheckpointError, match=r"model\.ckpt, model\.ckpt-5"):
        resolve(tmp_path / "modl.ckpt")


@pytest.mark.parametrize("prefix", [".", "..", "/"])
def test_a_folder_is_no_prefix(prefix):
    with pytest.raises(CheckpointError, match="no checkpoint with"):
        resolve(prefix)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_of_a_checkpoint_stands_for_its_prefix(tmp_path, suffix):
    prefix = Run(tmp_path / "model.ckpt").save(5)
    assert resolve(f"{prefix}{suffix}") == resolve(f"{tmp_path}/model.ckpt{suffix}") == prefix


def test_a_frozen_model_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="frozen model by"):
        resolve(tmp_path / "graph.pb")


def test_step_of_a_checkpoint(tmp_path):
    prefix = Run(tmp_path / "model.ckpt").save(5)
    assert read_step(prefix) == 0  # Run never counts
    Path(f"{prefix}{module.INDEX}").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"model\.ckpt-5:") as e:
        read_step(prefix)
    assert "Graph execution error" not in str(e.value)


def test_old_index_is_gone_before_new_data_appear(tmp_path, monkeypatch):
    run = Run(tmp_path / "model.ckpt")
    prefix = run.save(5)
    real = os.replace

    def replace(source, target):
        if str(target) == f"{prefix}{module.DATA}":
            assert not os.path.exists(f"{prefix}{module.INDEX}")
            seen.append(target)
        real(source, target)

    seen = []
    monkeypatch.setattr(module.os, "replace", replace)
    run.save(5)
    assert seen
    assert resolve(tmp_path / "model.ckpt") == prefix


def test_state_of_other_programs_is_none_and_a_damaged_one_is_an_error(tmp_path):
    prefix = Run(tmp_path / "model.ckpt").save(5)
    path = prefix.with_name(prefix.name + module.STATE)
    path.write_text(path.read_text()[:-5])
    with pytest.raises(CheckpointError, match=r"model\.ckpt-5\.state\.json:"):
        read_state(prefix)
    path.unlink()
    assert read_state(prefix) is None


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made"):
        Checkpoints(tmp_path / "file" / "model.ckpt", 5).prepare()


@pytest.mark.parametrize("ahead", [True, False])
def test_description_is_made_once(ahead, tmp_path):
    run, calls = Run(tmp_path / "model.ckpt"), []

    def describe():
        calls.append(None)
        with tf.Graph().as_default():
            tf.constant(3.0, name="three")
            return tf.train.export_meta_graph()

    with run.session.graph.as_default():
        run.checkpoints.build(run.variables, describe=describe)
    if ahead:
        run.checkpoints.describe_ahead()
    for step in (1, 2):
        path = run.save(step)
        meta = tf.MetaGraphDef.FromString(Path(f"{path}.meta").read_bytes())
        assert [node.name for node in meta.graph_def.node] == ["three"]
    assert len(calls) == 1


def test_description_that_fails_is_told_by_save(tmp_path):
    def fail():
        raise tf.errors.ResourceExhaustedError(None, None, "no room for the description")

    run = Run(tmp_path / "model.ckpt")
    with run.session.graph.as_default():
        run.checkpoints.build(run.variables, describe=fail)
    run.checkpoints.describe_ahead()
    with pytest.raises(CheckpointError, match=r"model.ckpt-1:"):
        run.save(1)
    assert files(tmp_path) == []
