# SPDX-License-Identifier: BSD-3-Clause
"""The water example from the input script to a model that has learned something."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.checkpoint_files import listed_steps
from deepmd_tf.inference.testing import run_test

pytestmark = pytest.mark.slow

WATER = Path(__file__).resolve().parents[2] / "examples" / "water"
DP = [sys.executable, "-m", "deepmd_tf", "--tf", "train", "input.json"]


def make_run(folder: Path, **training: Any) -> Path:
    """A folder with the quick input, some keys of ``training`` changed."""
    (folder / "data").symlink_to(WATER / "data")
    run = folder / "run"
    run.mkdir()
    script = json.loads((WATER / "se_e2_a" / "input_quick.json").read_text())
    script["training"] |= training
    (run / "input.json").write_text(json.dumps(script))
    return run


def test_a_thousand_steps_learn_water(tmp_path: Path) -> None:
    """Errors on frames that were not trained on, far below the spread of the labels.

    The labels spread by 10 meV per atom and 0.9 eV/Å. Seeds differ by some ten per cent.
    """
    run = make_run(tmp_path, numb_steps=1000, disp_freq=500)
    subprocess.run(DP, cwd=run, check=True)
    freeze(run, run / "water.pb")
    errors = run_test(run / "water.pb", [str(WATER / "data" / "data_3")])
    assert errors.by_name["energy_per_atom"].rmse < 0.008
    assert errors.by_name["force"].rmse < 0.2
    assert errors.by_name["virial_per_atom"].rmse < 0.016


def test_killed_again_and_again(tmp_path: Path) -> None:
    """SIGKILL at ten random moments of one training: the learning curve is that of no kill."""
    length = {"numb_steps": 60, "disp_freq": 1, "save_freq": 2, "max_ckpt_keep": 2}
    quiet = make_run(tmp_path, **length)
    subprocess.run(DP, cwd=quiet, check=True)
    run = tmp_path / "killed"
    run.mkdir()
    shutil.copy(quiet / "input.json", run)

    restart: list[str] = []
    delays = [random.uniform(0.0, 1.0) for _ in range(10)]
    for delay in delays:
        began = listed_steps(run / "model.ckpt")
        process = subprocess.Popen([*DP, *restart], cwd=run)
        end = time.monotonic() + 120.0
        while listed_steps(run / "model.ckpt") == began and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        if process.wait() != -signal.SIGKILL:
            break  # it had come to its end
        restart = ["--restart", "model.ckpt"]
    subprocess.run([*DP, *restart], cwd=run, check=True)
    assert (run / "lcurve.out").read_text() == (quiet / "lcurve.out").read_text(), delays
