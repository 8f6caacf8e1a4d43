# SPDX-License-Identifier: BSD-3-Clause
"""Where operations run, as ``DEEPMD_TF_DEVICE`` says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import paper_gpu
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError
from deepmd_tf.ops import device, library
from deepmd_tf.ops.threads import open_session

pytestmark = pytest.mark.cpu("processes of their own with other devices")

RUN = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
import numpy as np
import tensorflow.compat.v1 as tf
from deepmd_tf.graph.session import session_config
from deepmd_tf.ops import library
from deepmd_tf.ops.threads import open_session

if PAPER:
    from tensorflow.python.framework import load_library
    load_library.load_pluggable_device_library(PAPER)
for config in (None, session_config()):
    with tf.Graph().as_default(), open_session(config=config) as session:
        found = library.native().dp_gather_pairs(
            tf.constant([[1.0], [3.0]]), tf.constant([0]), tf.constant([1]), []
        )
        kinds = {d.device_type for d in session.list_devices()}
        print(session.run(found).item(), *sorted(kinds))
"""


def run(folder: Path, device: str | None, *, paper: bool = False, **variables: str) -> list[str]:
    """Lines that a process prints which opens two sessions and runs an operation in each."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DEEPMD_TF_")}
    environment |= variables | ({} if device is None else {"DEEPMD_TF_DEVICE": device})
    code = f"PAPER = {str(paper_gpu.library()) if paper else None!r}\n{RUN}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def no_driver(tmp_path: Path) -> str:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "libcuda.so.1").write_text("not a library")
    return str(tmp_path / "none")


@pytest.mark.parametrize("word", ["GPU", "cuda", " gpu"])
def test_another_word(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPMD_TF_DEVICE", word)
    message = f'environment variable DEEPMD_TF_DEVICE is "{word}", it must be cpu or gpu'
    with pytest.raises(InputError, match=message), tf.Graph().as_default():
        open_session()
    with pytest.raises(InputError, match=message):
        library.native.__wrapped__()


def test_processor_without_a_wish(tmp_path: Path) -> None:
    assert run(tmp_path, "") == ["2.0 CPU"] * 2


def test_cpu_hides_every_gpu(tmp_path: Path) -> None:
    assert run(tmp_path, "cpu", paper=True) == ["2.0 CPU"] * 2
    assert run(tmp_path, None, paper=True) == ["2.0 CPU GPU"] * 2


def test_gpu_without_a_driver(tmp_path: Path, no_driver: str) -> None:
    """One line in the log, and it runs."""
    assert run(tmp_path, "gpu", LD_LIBRARY_PATH=no_driver) == [
        "WARNING operations run on the processor: DEEPMD_TF_DEVICE is gpu, but there is no NVIDIA "
        "driver (libcuda.so.1)",
        *["2.0 CPU"] * 2,
    ]


@pytest.mark.skipif(tf.test.is_built_with_cuda(), reason="a TensorFlow for GPUs")
def test_gpu_with_a_tensorflow_for_processors(tmp_path: Path) -> None:
    fake = paper_gpu.build("use_cuda") / "fake_cuda"
    assert run(tmp_path, "gpu", LD_LIBRARY_PATH=str(fake)) == [
        "WARNING operations run on the processor: DEEPMD_TF_DEVICE is gpu, but this TensorFlow is "
        'one for processors: pip install "tensorflow[and-cuda]"',
        *["2.0 CPU"] * 2,
    ]


@pytest.mark.gpu("there is none otherwise")
def test_gpu() -> None:
    assert device.why_not_gpu(tf) is None


@pytest.mark.cpu("there is one")
def test_no_gpu() -> None:
    library.native()
    assert device.why_not_gpu(tf) == "DEEPMD_TF_DEVICE is not set"
