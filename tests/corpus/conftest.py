# SPDX-License-Identifier: BSD-3-Clause
"""What the cases begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_training import write_all_data, write_script

from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.training.entrypoint import train


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Path:
    """Data, an input script of four steps, checkpoints of steps 1 and 2, models made of them."""
    folder = tmp_path_factory.mktemp("good")
    write_all_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        script = write_script(folder, training={"numb_steps": 2, "disp_freq": 2, "save_freq": 1})
        assert train(script.name) == 0
        freeze("model.ckpt", "frozen.pb")
        freeze("model.ckpt", "native.pb", dialect="native")
        compress("frozen.pb", "compressed.pb")
        write_script(folder, training={"numb_steps": 4, "disp_freq": 2, "save_freq": 2})
    for path in folder.glob("compressed.pb.*"):
        path.unlink()
    return folder
