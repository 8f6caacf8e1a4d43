# SPDX-License-Identifier: BSD-3-Clause
"""Which checkpoint is taken when some are damaged, and how damage is found."""

from __future__ import annotations

import hashlib
import json
import logging
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import CheckpointError
from deepmd_tf.graph.checkpoint import Checkpoints
from deepmd_tf.graph.checkpoint_files import (
    DATA,
    INDEX,
    MANIFEST,
    META,
    STATE,
    SUFFIXES,
    damage,
    resolve,
    resolve_folder,
)


@pytest.fixture(scope="module")
def saving():
    """A function that writes checkpoints 10, 20, 30 with a prefix."""
    with tf.Graph().as_default():
        checkpoints = Checkpoints("", 3)
        variable = tf.Variable(np.arange(100.0), name="layer/matrix", use_resource=False)
        checkpoints.build([variable])
        session = tf.Session()
        session.run(tf.global_variables_initializer())

    def save(prefix):
        checkpoints.prefix = prefix
        checkpoints._steps = []
        for step in (10, 20, 30):
            checkpoints.save(session, step, {"list": list(range(20))})
        return prefix

    yield save
    session.close()


@pytest.fixture
def prefix(saving, tmp_path):
    return saving(tmp_path / "model.ckpt")


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def test_manifest_has_sizes_and_hashes(prefix):
    found = json.loads((prefix.parent / "model.ckpt-20.manifest.json").read_text())["files"]
    for suffix in (DATA, INDEX, META, STATE):
        data = (prefix.parent / f"model.ckpt-20{suffix}").read_bytes()
        assert found.pop(suffix) == [len(data), hashlib.sha256(data).hexdigest()]
    assert not found


@pytest.mark.parametrize("harm", [cut, flip, lose, empty])
@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != MANIFEST])
def test_newest_that_is_whole_is_taken(prefix, suffix, harm, caplog):
    """By prefix and by folder; the log says which is damaged, why, and which is used."""
    damaged = prefix.parent / f"model.ckpt-30{suffix}"
    harm(damaged)
    good = prefix.parent / "model.ckpt-20"
    for found in (lambda: resolve(prefix), lambda: resolve_folder(prefix.parent)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert found() == good
        (message,) = caplog.messages
        assert f"checkpoint {prefix}-30 is damaged: {damaged.name}" in message
        assert message.endswith(f"; {good} is used instead")
    if harm is lose and suffix == INDEX:
        return
    with pytest.raises(CheckpointError, match=r"model\.ckpt-20$") as error:
        resolve(f"{prefix}-30")
    assert damaged.name in str(error.value)


def nest(path):
    path.write_text("[" * 200_000)


def point_outside(path):
    """A file without an end under the name of a part."""
    manifest = json.loads(path.read_text())
    manifest["files"]["/../../../../../../../../../dev/zero"] = manifest["files"].pop(META)
    path.write_text(json.dumps(manifest))


def forget(path):
    path.write_text('{"files": {}}')


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def test_a_record_with_an_unknown_escape(prefix):
    (prefix.parent / "checkpoint").write_text('model_checkpoint_path: "model.ckpt\\p30"\n')
    with pytest.raises(CheckpointError, match="checkpoint: names no"):
        resolve_folder(prefix.parent)


def test_links_in_a_circle(prefix):
    for suffix in SUFFIXES:
        link = prefix.parent / f"model.ckpt{suffix}"
        link.unlink()
        link.symlink_to(link.name)
    assert resolve(prefix).name == "model.ckpt-30"


@pytest.mark.parametrize("harm", [cut, empty, nest, point_outside, forget, pipe])
def test_damaged_manifest(prefix, harm, caplog):
    harm(prefix.parent / "model.ckpt-30.manifest.json")
    assert resolve(prefix).name == "model.ckpt-20"
    assert "model.ckpt-30.manifest.json is damaged" in caplog.text


def test_two_damaged_ones(prefix, caplog):
    cut(prefix.parent / f"model.ckpt-30{DATA}")
    flip(prefix.parent / f"model.ckpt-20{META}")
    assert resolve(prefix).name == "model.ckpt-10"
    assert "model.ckpt-30 is damaged" in caplog.text
    assert "model.ckpt-20 is damaged" in caplog.text
    with pytest.raises(CheckpointError, match=r"take .*model\.ckpt-10$"):
        resolve(f"{prefix}-20")
    lose(prefix.parent / f"model.ckpt-10{STATE}")
    with pytest.raises(CheckpointError, match="no older one"):
        resolve(prefix)
    with pytest.raises(CheckpointError, match="no other one"):
        resolve(f"{prefix}-10")


@pytest.mark.parametrize("lost", ["checkpoint", "model.ckpt.index"])
def test_without_record_or_link(prefix, lost, caplog):
    (prefix.parent / lost).unlink()
    assert resolve(prefix).name == "model.ckpt-30"
    assert not caplog.messages


def test_other_trainings_come_last(prefix, saving, caplog):
    """What is not listed may be of an earlier training, though its step is larger."""
    for suffix in SUFFIXES:
        source = prefix.parent / f"model.ckpt-30{suffix}"
        (prefix.parent / f"model.ckpt-900{suffix}").write_bytes(source.read_bytes())
    assert resolve(prefix).name == "model.ckpt-30"
    cut(prefix.parent / f"model.ckpt-30{DATA}")
    assert resolve(prefix).name == "model.ckpt-20"


@pytest.mark.parametrize("suffix", [DATA, STATE])
def test_checkpoints_without_manifest(prefix, suffix, caplog):
    """As earlier versions wrote them."""
    for path in prefix.parent.glob("*.manifest.json"):
        path.unlink()
    assert resolve(prefix).name == "model.ckpt-30"
    assert not caplog.messages
    cut(prefix.parent / f"model.ckpt-30{suffix}")
    assert damage(prefix.parent / "model.ckpt-30") is not None
    assert resolve(prefix).name == "model.ckpt-20"


def test_checkpoints_of_other_programs(prefix, caplog):
    """They have neither manifest nor state."""
    for path in [*prefix.parent.glob("*.manifest.json"), *prefix.parent.glob("*.state.json")]:
        path.unlink()
    assert resolve(prefix).name == "model.ckpt-30"
    flip(prefix.parent / f"model.ckpt-30{DATA}")
    assert resolve(prefix).name == "model.ckpt-20"
    assert "model.ckpt-30 is damaged" in caplog.text


def test_stock_tools_find_the_files(prefix):
    assert tf.train.latest_checkpoint(str(prefix.parent)) == f"{prefix}-30"
    reader = tf.train.load_checkpoint(str(prefix))
    assert (reader.get_tensor("layer/matrix") == np.arange(100.0)).all()
