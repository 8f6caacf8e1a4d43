# SPDX-License-Identifier: BSD-3-Clause
"""The command: what it does with peers that are missing, suites that fail, and an interruption."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import bench
import pytest
from harness.programs import Program, ProgramError
from harness.report import OURS, STOCK, Row, Target
from harness.suites import Bench

VERSIONS = {"deepmd-kit": "3.2.0", "tensorflow": "2.21.0", "numpy": "2.4"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command with other suites and a peer that is said to be there."""
    monkeypatch.setattr(Program, "versions", lambda self: VERSIONS)
    suites: dict = {}
    monkeypatch.setattr(bench, "SUITES", suites)

    def call(*arguments: str, **given) -> int:
        suites.clear()
        suites.update(given)
        command = ["bench.py", "--stock-python", "/peer/python", "--output", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        return bench.main()

    return call


def good(_: Bench) -> Iterator[Row]:
    yield Row("train", "a step", {OURS: [1.0], STOCK: [3.0]}, targets=[Target(STOCK, 2.0)])


def slow(_: Bench) -> Iterator[Row]:
    yield Row("train", "a long step", {OURS: [2.0], STOCK: [3.0]}, targets=[Target(STOCK, 2.0)])


def broken(_: Bench) -> Iterator[Row]:
    yield Row("train", "what went well", {OURS: [1.0]})
    raise ProgramError("lmp: killed after 600 s", "all that it said")


def interrupted(_: Bench) -> Iterator[Row]:
    yield Row("train", "what was done", {OURS: [1.0]})
    raise KeyboardInterrupt


def test_all_is_well(run, tmp_path, capsys):
    assert run(good=good) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert "1 of 1 targets are met." in text
    assert "DeePMD-kit: deepmd-kit 3.2.0" in text
    assert "/peer" not in text
    assert "| a step (ms) | 1 | 3 | 3.00 |" in capsys.readouterr().out
    assert (tmp_path / "results.png").exists()


def test_a_missed_target_is_a_failure(run):
    assert run(slow=slow) == 1


def test_what_comes_before_and_after_a_failure_is_kept(run, tmp_path, capsys):
    assert run(broken=broken, good=good) == 1
    assert capsys.readouterr().err == "left out: broken: lmp: killed after 600 s\n"
    found = json.loads((tmp_path / "results.json").read_text())
    assert [row["what"] for row in found["rows"]] == ["what went well", "a step"]
    assert found["left_out"] == ["broken: lmp: killed after 600 s"]
    assert "all that it said" in (tmp_path / "failures.log").read_text()


def test_an_interruption_leaves_what_was_found(run, tmp_path):
    assert run(interrupted=interrupted, good=good) == 1
    text = (tmp_path / "RESULTS.md").read_text()
    assert "This run has not finished: interrupted, good." in text
    assert "| what was done (ms) | 1 |" in text


def test_a_peer_without_deepmd_kit_is_refused(run, monkeypatch, capsys):
    monkeypatch.setattr(Program, "versions", lambda self: {"tensorflow": "2.21.0"})
    assert run(good=good) == 2
    assert "--stock-python: /peer/python has no deepmd-kit" in capsys.readouterr().err


def test_a_missing_pytorch_is_left_out(run, monkeypatch, capsys):
    assert run("--pytorch-python", "/torch/python", good=good) == 1
    assert "stock, PyTorch: /torch/python has no torch" in capsys.readouterr().err


def test_rounds_are_at_least_one(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("--rounds", "0", good=good)
    assert "--rounds 0: expected 1 or more" in capsys.readouterr().err
