# SPDX-License-Identifier: BSD-3-Clause
"""Every loader with damaged files: usable data or one error, see :mod:`fuzzing`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzzing.__main__ import MODULES
from fuzzing.run import FailureError, Loader, run

from deepmd_tf.errors import DataError

MANY = {
    "npy": 14_000,
    "system": 10_000,
    "mixed": 8_000,
    "hdf5": 4_000,
    "extxyz": 16_000,
    "json": 10_000,
    "yaml": 6_000,
    "curve": 10_000,
    "continued curve": 3_000,
    "list": 4_000,
    "structure": 6_000,
    "convert-data": 4_000,
    "statistics hdf5": 4_000,
    "statistics npy": 4_000,
    "frozen": 4_000,
    "imported": 1_500,
    "pbtxt": 2_000,
    "checkpoint": 3_000,
    "manifest": 3_000,
    "record": 3_000,
}
"""Cases of the long version."""
NEVER_REFUSED = ("manifest", "continued curve")
"""An older checkpoint takes the place of a damaged one; rows that are none are left out."""
ALONE = [name for name in MANY if MODULES[name] not in ("models", "checkpoints")]
WITH_TENSORFLOW = [name for name in MANY if name not in ALONE]


def fuzz(names: list[str], cases: int, folder: Path, seconds: float) -> dict[str, dict]:
    """Counts by loader, from a process of its own, so that a crash is a failure and no more."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path)),
        "TMPDIR": str(folder),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "fuzzing", *names, "--cases", str(cases)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"{names}: more than {seconds} s; {_where(folder)}\n{error.stdout}")
    if done.returncode:
        pytest.fail(f"exit status {done.returncode}: {_where(folder)}\n{done.stderr[-3000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = {line["loader"]: line for line in lines if "loader" in line}
    for name in names:
        counts = found[name]
        assert counts["read"] > 0 and (counts["refused"] > 0 or name in NEVER_REFUSED), counts
        assert counts["read"] + counts["refused"] == cases, counts
    return found


def _count(record_property, found: dict[str, dict]) -> None:
    cases = {name: one["read"] + one["refused"] for name, one in found.items()}
    cases["all loaders"] = sum(cases.values())
    record_property("counted", ("damaged files", cases))
    keys = ("read", "unjudged", "refused")
    ends = {key: sum(one[key] for one in found.values()) for key in keys}
    record_property("counted", ("damaged files, how they ended", ends))


def _where(folder: Path) -> str:
    """The case that was being tried last."""
    files = sorted(folder.glob("fuzzing-*/..case"), key=lambda path: path.stat().st_mtime)
    return files[-1].read_text().strip() if files else "no case was begun"


@pytest.mark.parametrize("names", [ALONE, WITH_TENSORFLOW], ids=["data", "models"])
def test_some_damaged_files(tmp_path, names, record_property) -> None:
    counts = fuzz(names, 25, tmp_path, 240)
    assert counts
    _count(record_property, counts)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MANY)
def test_many_damaged_files(tmp_path, name, record_property) -> None:
    counts = fuzz([name], MANY[name], tmp_path, 800)
    assert counts
    _count(record_property, counts)


def test_there_are_enough() -> None:
    assert MODULES.keys() == MANY.keys()
    assert sum(MANY.values()) >= 100_000


class _Number(Loader):
    """A loader with the mistakes that are looked for."""

    stands_alone = False

    def __init__(self, folder: Path, mistake: str) -> None:
        self._path = folder / "number"
        self._mistake = mistake
        self.files = {"number": [b"3.5\n"]}

    def load(self, file: str) -> bool:
        text = self._path.read_bytes()
        try:
            value = float(text)
        except ValueError as error:
            if self._mistake == "another exception":
                raise
            if self._mistake != "default":
                nothing = self._mistake == "no name"
                raise DataError("bad" if nothing else f"{self._path}: {text!r}") from error
            value = 0.0
        if not np.isfinite(value):
            raise DataError(f"{self._path}: is not finite")
        assert repr(value) in repr(float(text.decode())) if text.strip() else False
        return True


@pytest.mark.parametrize("mistake", ["default", "another exception", "no name"])
def test_mistakes_are_found(tmp_path, mistake) -> None:
    with pytest.raises(FailureError, match=r"number, seed 1, case \d+, .*number: "):
        run(_Number(tmp_path, mistake), tmp_path, range(200), "number", 1)


def test_a_sound_loader_passes(tmp_path) -> None:
    counts = run(_Number(tmp_path, ""), tmp_path, range(200), "number", 1)
    assert counts["read"] + counts["refused"] == 200 and counts["read"] > 0
