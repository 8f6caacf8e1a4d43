# SPDX-License-Identifier: BSD-3-Clause
"""Whenever a training dies, and whatever the disk refuses, it goes on to the same bits.

A folder is trained in until the last step, by processes of which each meets a fate of its own:
killed in a step of the file layer, or some milliseconds after one; killed together with everything
that was not synchronised; or told that the disk is full or broken. After each of them the
checkpoint that a restart would take is looked at.
"""

from __future__ import annotations

import collections
import errno
import itertools
import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from crashes import KILL, LOSE_POWER, SEED, STEPS, STOP, Crashes
from small_training import INPUT, write_all_data, write_script

from deepmd_tf.errors import CheckpointError
from deepmd_tf.graph.checkpoint_files import SUFFIXES, resolve

LAST = 24
SAVE_FREQ = 4
SCRIPT = {
    "model": {
        "type_map": ["O"],
        "data_stat_nbatch": 1,
        "descriptor": INPUT["model"]["descriptor"] | {"sel": [32], "neuron": [4]},
        "fitting_net": {"neuron": [4], "seed": 1},
    },
    "learning_rate": INPUT["learning_rate"],
    "loss": {"start_pref_v": 0, "limit_pref_v": 0},
    "training": INPUT["training"]
    | {"numb_steps": LAST, "disp_freq": 3, "save_freq": SAVE_FREQ, "max_ckpt_keep": 2},
    "validating": {
        "full_validation": True,
        "validation_freq": 5,
        "full_val_start": 0,
        "early_stop_patience": 9,
    },
}
KEPT = ("lcurve.out", "val.log", "checkpoint", "out.json", "input_v2_compat.json")
"""Files that must be the same to the last byte, besides checkpoints."""
NEAR, FAR = 110, 550
"""Steps of the file layer until the first checkpoint of a process, and of a whole training."""
FULL, BROKEN = errno.ENOSPC, errno.EIO


def new_folder(folder: Path) -> Path:
    """Input and data of one type of atoms."""
    write_all_data(folder)
    for path in folder.glob("data/*/*/type*.raw"):
        path.write_text("0\n" * 6 if path.name == "type.raw" else "O\n")
    write_script(folder, SCRIPT)
    return folder


@pytest.fixture(scope="module")
def crashes():
    with Crashes() as server:
        yield server


@pytest.fixture(scope="module")
def uninterrupted(crashes, tmp_path_factory) -> Path:
    """Folder of a training that nothing has happened to."""
    folder = new_folder(tmp_path_factory.mktemp("uninterrupted"))
    assert crashes.train(folder)["status"] == 0
    return folder


def fate(kind: str, rng: random.Random) -> dict:
    """What happens to a process."""
    at = rng.randint(1, rng.choice([NEAR, FAR]))
    if kind == "failure":
        return {"at": at, "what": rng.choice([FULL, BROKEN]), "lasting": rng.random() < 0.5}
    what = rng.choice([KILL, KILL, LOSE_POWER])
    return {"at": at, "what": what, **({"delay": 0.03 * rng.random()} if at % 3 == 0 else {})}


def newest(folder: Path) -> int:
    """Step that a restart goes on from, 0 if there is no checkpoint; all of it can be read."""
    try:
        prefix = resolve(folder / "model.ckpt")
    except CheckpointError as error:
        assert "there is none in that folder" in str(error)
        return 0
    return int(prefix.name.rpartition("-")[2])


def train_to_the_end(crashes, folder, kind, rng, counts, limit):
    """Train with a fate for each process while there are less than ``limit`` of them."""
    at = 0
    while True:
        plan = fate(kind, rng) if counts["processes"] < limit else {}
        arguments = ["--restart", "model.ckpt"] if at else []
        result = crashes.train(folder, *arguments, **plan)
        said = f"{plan}, from step {at}: {result}"
        if result["status"] == 0:
            return
        reached, at = at + result["steps"], newest(folder)
        if kind == "failure":
            assert result["status"] == 1, said
            message = result["stderr"].splitlines()[-1]
            assert message.startswith("dp: error: "), said
            assert os.strerror(plan["what"]) in message, said
            assert "Traceback" not in result["stderr"], said
            what = errno.errorcode[plan["what"]]
        else:
            assert result["status"] == -9, said
            what = f"{plan['what']} later" if "delay" in plan else plan["what"]
        counts["processes"] += 1
        counts[what] += 1
        if "delay" not in plan:
            counts[f"in {result['last']}"] += 1
        lost = reached - at
        assert 0 <= lost <= SAVE_FREQ, said
        counts["steps lost"] += lost
        for name in KEPT[-2:]:
            if (folder / name).exists():
                json.loads((folder / name).read_text())


def require_same(folder: Path, expected: Path) -> None:
    """Weights, state, curves: every byte."""
    for name in KEPT:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    files = [f"model.ckpt-{LAST}{suffix}" for suffix in SUFFIXES]
    files += [path.name for path in expected.glob("best.ckpt-*")]
    for name in files:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    # nothing half-written is left
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def run(crashes, folder, uninterrupted, kind, seed, limit) -> collections.Counter:
    rng = random.Random(seed)
    counts = collections.Counter()
    for number in itertools.count():
        if counts["processes"] >= limit:
            return counts
        work = new_folder(folder / f"{seed}-{number}")
        train_to_the_end(crashes, work, kind, rng, counts, limit)
        require_same(work, uninterrupted)
        counts["trainings"] += 1
        shutil.rmtree(work)


def told(kind: str, counts: collections.Counter) -> tuple[str, dict[str, int]]:
    """For the summary of all tests."""
    title = "trainings that died" if kind == "death" else "trainings whose disk failed"
    names = ["processes", KILL, f"{KILL} later", LOSE_POWER, f"{LOSE_POWER} later"]
    names += ["ENOSPC", "EIO", *(f"in {step}" for step in STEPS), "steps lost", "trainings"]
    return title, {name: counts[name] for name in names if counts[name]}


@pytest.mark.parametrize(("kind", "limit"), [("death", 3), ("failure", 2)])
def test_some_moments(crashes, uninterrupted, tmp_path, record_property, kind, limit):
    counts = run(crashes, tmp_path, uninterrupted, kind, SEED, limit)
    record_property("counted", told(kind, counts))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal(crashes, uninterrupted, tmp_path, number):
    """Wherever it is, the step is finished and saved; the status is that of shells."""
    folder = new_folder(tmp_path / "work")
    first = crashes.train(
        folder, at=random.Random(SEED).randint(45, NEAR), what=STOP, signal=number
    )
    assert first["status"] == 128 + number, first
    step = newest(folder)
    assert 0 < step == first["steps"] < LAST
    said = f"stopped by {number.name} after step {step}; go on with --restart model.ckpt"
    assert said in first["stderr"] and "Traceback" not in first["stderr"]
    assert crashes.train(folder, "--restart", "model.ckpt")["status"] == 0
    require_same(folder, uninterrupted)


def test_tensorflow_cannot_write(crashes, uninterrupted, tmp_path):
    """The system refuses what the saver writes, not the file layer: the same message."""
    folder = new_folder(tmp_path / "work")
    result = crashes.train(folder, saving=3)
    assert result["status"] == 1
    message = result["stderr"].splitlines()[-1]
    assert message.startswith("dp: error: model.ckpt-8: the checkpoint cannot be written (")
    assert "File too large" in message and "Traceback" not in result["stderr"]
    assert newest(folder) == 4
    assert crashes.train(folder, "--restart", "model.ckpt")["status"] == 0
    require_same(folder, uninterrupted)


@pytest.mark.parametrize("missing", [1, 2], ids=["one death", "two deaths"])
def test_death_between_the_last_checkpoint_and_its_links(crashes, uninterrupted, tmp_path, missing):
    """There is nothing left to train, but something to write."""
    folder = tmp_path / "work"
    shutil.copytree(uninterrupted, folder, symlinks=True)
    last = LAST - missing * SAVE_FREQ
    names = [f"model.ckpt-{last}", f"model.ckpt-{last - SAVE_FREQ}"]
    lines = [f'model_checkpoint_path: "{names[0]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in reversed(names)]
    (folder / "checkpoint").write_text("\n".join(lines) + "\n")
    before = (folder / f"model.ckpt-{LAST - SAVE_FREQ}.index").stat().st_mtime - 1
    os.utime(folder / "checkpoint", (before, before))
    (folder / ".model.ckpt-x.part").mkdir()
    result = crashes.train(folder, "--restart", "model.ckpt")
    assert result["status"] == 0 and "nothing is left to do" in result["stderr"]
    require_same(folder, uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["death", "failure"])
@pytest.mark.parametrize("part", range(4))
def test_200_moments(crashes, uninterrupted, tmp_path, record_property, kind, part):
    """Of each kind, in four parts of 50."""
    counts = run(crashes, tmp_path, uninterrupted, kind, SEED + 1 + part, 50)
    assert counts["processes"] == 50
    record_property("counted", told(kind, counts))
