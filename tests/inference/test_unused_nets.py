# SPDX-License-Identifier: BSD-3-Clause
"""Nets of sections without slots: files of DeePMD-kit may lack them, and nothing needs them."""

from __future__ import annotations

import numpy as np
import pytest
from saved_models import constants_graph, save_checkpoint, small_input, water_like

from deepmd_tf.errors import ModelFileError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.initial_state import find_initial_state


def write(folder, descriptor, lacks):
    """A checkpoint, and a frozen file without what ``lacks`` names."""
    script = small_input({"sel": [0, 30]} | descriptor)
    prefix, weights = save_checkpoint(folder, script)
    kept = {name: array for name, array in weights.items() if not lacks(name)}
    assert len(kept) < len(weights)
    path = folder / "lacking.pb"
    path.write_bytes(constants_graph(kept, script).SerializeToString())
    return prefix, path


def of_the_first_section(name):
    return name.startswith("filter_") and name.endswith("_0")


DESCRIPTORS = {
    "two-sided": {},
    "one-sided": {"type_one_side": True},
    "excluded": {"exclude_types": [[0, 1]]},
}


@pytest.mark.parametrize("descriptor", DESCRIPTORS.values(), ids=DESCRIPTORS)
def test_they_may_be_missing(tmp_path, descriptor):
    prefix, path = write(tmp_path, descriptor, of_the_first_section)
    freeze(path, tmp_path / "frozen.pb")
    compress(path, tmp_path / "compressed.pb")
    frames = water_like(np.random.default_rng(3), n_frames=1)
    with DeepPot(prefix) as whole:
        expected = whole.eval(*frames)
    for file in (path, tmp_path / "frozen.pb", tmp_path / "compressed.pb"):
        with DeepPot(file) as lacking:
            for found, value in zip(lacking.eval(*frames), expected, strict=True):
                np.testing.assert_allclose(found, value, rtol=1e-7, atol=1e-7)


def test_a_training_draws_them_anew(tmp_path):
    """So that they are not zero where a larger sel needs them."""
    _, path = write(tmp_path, {}, of_the_first_section)
    weights = find_initial_state(init_frz_model=path).variables({"": [0, 30]})
    assert not any(of_the_first_section(name) for name in weights)


def test_a_net_that_is_needed_is_missed(tmp_path):
    _, path = write(tmp_path, {}, lambda name: name == "filter_type_0/matrix_1_1")
    with pytest.raises(ModelFileError, match='"filter_type_0/matrix_1_1" is missing'):
        DeepPot(path)
