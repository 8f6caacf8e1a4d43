# SPDX-License-Identifier: BSD-3-Clause
"""A GPU that has too little memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paper_gpu
import pytest
import small
from small_training import write_all_data

from deepmd_tf.errors import DataError
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

pytestmark = pytest.mark.gpu("memory of the device runs out")


def test_batches_of_an_evaluation_are_halved(saved, caplog):
    rng = np.random.default_rng(1)
    lattice = np.stack(np.meshgrid(*[np.arange(3) * 2.4] * 3), axis=-1).reshape(-1, 3)
    coord = (lattice + rng.uniform(-0.2, 0.2, (64, 27, 3))).reshape(64, -1)
    box = np.tile((7.2 * np.eye(3)).reshape(1, 9), (64, 1))
    types = [0, 1, 1] * 9
    with DeepPot(str(saved), auto_batch_size=10**6) as potential:
        whole = potential.eval(coord, box, types)
        with paper_gpu.limit(2**18):
            parts = potential.eval(coord, box, types)
    assert "out of memory with 64 frames at once, going on with 32" in caplog.text
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_a_training_says_what_may_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_all_data(tmp_path)
    Path("input.json").write_text(json.dumps(small.script()))
    with paper_gpu.limit(512), pytest.raises(DataError, match="not enough memory for a batch of"):
        train("input.json")
