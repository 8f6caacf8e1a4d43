# SPDX-License-Identifier: BSD-3-Clause
"""dp test and dp model-devi on several processes of an MPI."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from many_processes import launcher, run, start, stop_all
from saved_models import save_checkpoint, water_like

from deepmd_tf.data import write_system

pytestmark = pytest.mark.slow
MODEL = ["-m", "1/model.ckpt-100"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two models, and two systems with labels."""
    launcher()
    folder, rng = tmp_path_factory.mktemp("evaluation"), np.random.default_rng(2)
    for name in "12":
        (folder / name).mkdir()
        save_checkpoint(folder / name)
    for name, n_frames in (("a", 9), ("b", 2)):
        coords, cells, types = water_like(rng, n_frames=n_frames)
        write_system(
            folder / "data" / name,
            types=types,
            type_map=["O", "H"],
            coord=coords,
            box=cells,
            energy=rng.normal(size=n_frames),
            force=rng.normal(size=(n_frames, 3 * len(types))),
        )
    return folder


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A test that fails leaves no process behind."""
    yield
    stop_all()


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r": (\d\.\d{6}e[+-]\d\d)", text)]


def test_files_and_words_are_those_of_one_process(data):
    said = {}
    for ranks, name in ((0, "one"), (2, "two")):
        status, said[name] = run(data, ranks, "test", *MODEL, "-s", "data", "-d", name)
        assert status == 0, said[name]
        models = [MODEL[1], "2/model.ckpt-100"]
        arguments = ["-m", *models, "-s", "data", "-o", f"{name}.devi"]
        status, told = run(data, ranks, "model-devi", *arguments)
        assert status == 0, told
        assert told.count("data/a ") == 1 and "11 frames of 2 systems appended" in told
    assert "2 processes with 1+1 threads" in said["two"]
    assert len(numbers(said["one"])) > 10
    assert numbers(said["two"]) == pytest.approx(numbers(said["one"]), rel=1e-6)
    assert said["two"].count("# testing system") == 2
    for suffix in ("e.out", "f.out", "v.out", "devi"):
        one, two = (np.loadtxt(data / f"{name}.{suffix}") for name in ("one", "two"))
        np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-12)


def test_a_refused_frame_is_told_once(data, tmp_path):
    coords, cells, types = water_like(np.random.default_rng(5), n_frames=4)
    coords[3, 4] = coords[3, 20]
    write_system(tmp_path / "bad", types=types, type_map=["O", "H"], coord=coords, box=cells)
    arguments = ["-s", str(tmp_path / "bad"), "-d", str(tmp_path / "x")]
    status, said = run(data, 2, "test", *MODEL, *arguments)
    assert status != 0
    assert said.count("dp: error") == 1 and "coord.npy: frame 3" in said and "rank 1 (" in said
    assert not list(tmp_path.glob("x.*"))


def test_errors_of_all_are_told_once(data):
    status, said = run(data, 3, "test", "-m", "none.pb", "-s", "data")
    assert status != 0
    assert said.count("dp: error") == 1 and "none.pb" in said
    status, said = run(data, 2, "test", *MODEL, "-s", "data", "--head", "x")
    assert status != 0 and said.count("dp: error: --head") == 1


@pytest.mark.parametrize("command", ["test", "model-devi"])
def test_without_mpi4py(data, tmp_path, command):
    (tmp_path / "mpi4py.py").write_text("raise ImportError('not here')\n")
    paths = os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])
    status, said = run(data, 2, command, *MODEL, "-s", "data", PYTHONPATH=paths)
    assert status != 0
    assert said.count("dp: error") == 1
    assert "cannot work together without mpi4py" in said and "pip install mpi4py mpich" in said


@pytest.mark.parametrize("victim", [0, 1])
def test_any_rank_may_die(data, tmp_path, victim):
    """All end soon; the files of before stay."""
    coords, cells, types = water_like(np.random.default_rng(6), n_frames=4000)
    labels = {"energy": np.zeros(4000)}
    write_system(
        tmp_path / "many", types=types, type_map=["O", "H"], coord=coords, box=cells, **labels
    )
    (tmp_path / "x.e.out").write_text("of before")
    arguments = ["-s", str(tmp_path / "many"), "-d", str(tmp_path / "x")]
    process = start(data, 2, "test", *MODEL, *arguments, DP_TEST_CHUNK_ATOMS="24")
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("*x.e*"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    ranks = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(tmp_path / "many").encode() in words and words[0].endswith(b"python"):
            ranks.append(int(path.name))
    os.kill(sorted(ranks)[victim], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "go on with --restart" not in said
    assert (tmp_path / "x.e.out").read_text() == "of before"
