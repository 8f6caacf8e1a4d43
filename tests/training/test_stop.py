# SPDX-License-Identifier: BSD-3-Clause
"""A training that is stopped by a signal goes on as if nothing had happened; what it says."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_training import steps_in, write_all_data, write_script

from deepmd_tf.graph.checkpoint_files import listed_steps

STEPS = 300
LENGTH = {"numb_steps": STEPS, "disp_freq": 3, "save_freq": 2, "max_ckpt_keep": 3}
VALIDATING = {"full_validation": True, "validation_freq": 20, "full_val_start": 0}
DP = [sys.executable, "-m", "deepmd_tf", "--tf", "train", "input.json"]
PATIENCE = 120.0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """Folder of a training from the first step to the last."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_all_data(folder)
    write_script(folder, training=LENGTH, validating=VALIDATING)
    run(folder)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """The same input and data, nothing trained."""
    write_all_data(tmp_path)
    write_script(tmp_path, training=LENGTH, validating=VALIDATING)
    return tmp_path


def wait_for(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "training ended too early"
        assert time.monotonic() < end, "training does not get there"
        time.sleep(0.01)


def start(folder: Path, *arguments: str, **keys) -> subprocess.Popen:
    return subprocess.Popen([*DP, *arguments], cwd=folder, **keys)


def run(folder: Path, *arguments: str) -> None:
    """Train to the end in a process of its own.

    Numbers repeat with the same number of threads only, and a process has those that its first
    session asked for: here another test might have been first.
    """
    assert start(folder, *arguments, stderr=subprocess.DEVNULL).wait(PATIENCE) == 0


def finish(folder: Path) -> None:
    run(folder, "--restart", "model.ckpt")


@pytest.mark.slow
def test_stopped_on_a_terminal(uninterrupted, folder):
    """SIGTERM ends training with a checkpoint of the step; a terminal shows a bar meanwhile."""
    outside, inside = pty.openpty()
    process = start(folder, stderr=inside, stdout=inside)
    os.close(inside)
    seen = []
    os.set_blocking(outside, False)

    def read() -> None:
        with contextlib.suppress(OSError):  # nothing to read, or the other end is closed
            seen.append(os.read(outside, 1 << 16))

    def has_rows() -> bool:
        read()
        curve = folder / "lcurve.out"
        return curve.exists() and len(steps_in(curve)) > 30

    wait_for(has_rows, process)
    process.terminate()
    while process.poll() is None:
        read()
        time.sleep(0.01)
    read()
    os.close(outside)
    assert process.returncode == 128 + signal.SIGTERM
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(seen).decode(errors="replace"))
    assert re.search(r"training .*\d+/300 .*\d/s .*f \d\.\de[-+]\d\d", text)
    assert re.search(r"stopped by SIGTERM after step \d+; go on with --restart model\.ckpt", text)
    assert "Traceback" not in text

    step = listed_steps(folder / "model.ckpt")[-1]
    assert steps_in(folder / "lcurve.out")[-1] == step - step % LENGTH["disp_freq"]
    finish(folder)
    assert (folder / "lcurve.out").read_bytes() == (uninterrupted / "lcurve.out").read_bytes()


def test_a_file_gets_plain_lines(folder):
    """Standard error that is not a terminal holds our messages, one per line, and nothing else."""
    write_script(folder, training={**LENGTH, "numb_steps": 12})
    result = subprocess.run(
        [*DP, "-l", "train.log"], cwd=folder, capture_output=True, text=True, check=True
    )
    stamp = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] DEEPMD INFO    "
    lines = result.stderr.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if not re.match(stamp, line)] == []
    assert result.stdout == ""
    assert len((folder / "train.log").read_text().splitlines()) == len(lines)
