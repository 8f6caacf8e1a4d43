# SPDX-License-Identifier: BSD-3-Clause
"""Programs that are measured: what they print, and how they fail."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from harness.programs import Program, ProgramError, environment, run
from harness.report import Report
from harness.suites import Bench

PYTHON = Program("this", sys.executable)


def evaluate(text: str, folder: Path, timeout: float = 60.0) -> object:
    return Program("this", sys.executable, timeout=timeout).evaluate(text, folder, threads=1)


def test_result_of_a_program_text(tmp_path):
    text = """
import json, os, sys
print("RESULT [0]\\nwords", flush=True)
print("RESULT " + json.dumps([os.getcwd(), os.environ["OMP_NUM_THREADS"]]))
print("more words", file=sys.stderr)
"""
    assert evaluate(text, tmp_path) == [str(tmp_path), "1"]


def test_failures_are_one_line_and_keep_the_output(tmp_path):
    with pytest.raises(ProgramError) as caught:
        evaluate("print('begun')\nraise ValueError('this is wrong')", tmp_path)
    assert str(caught.value).endswith("exit status 1: ValueError: this is wrong")
    assert "\n" not in str(caught.value)
    assert "begun" in caught.value.output


def test_a_program_that_is_ended(tmp_path):
    with pytest.raises(ProgramError, match="ended by signal 9: nothing was printed"):
        evaluate("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", tmp_path)


def test_a_missing_program(tmp_path):
    with pytest.raises(ProgramError, match="none cannot be started: No such file"):
        run([str(tmp_path / "none")], tmp_path, os.environ)


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path):
    text = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])
"""
    begin = time.monotonic()
    with pytest.raises(ProgramError, match="killed after 1 s"):
        evaluate(text, tmp_path, timeout=1.0)
    assert time.monotonic() - begin < 30.0


def test_only_ours_gets_this_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    peer = environment(str(tmp_path / "bin" / "python"), 2)
    assert "PYTHONPATH" not in peer
    assert peer["PATH"].split(":")[0] == str(tmp_path / "bin")
    assert (Path(environment(sys.executable, 2)["PYTHONPATH"]) / "deepmd_tf").is_dir()


def make_bench(folder: Path, rounds: int) -> Bench:
    report = Report(folder, folder / "NOTES.md", [])
    return Bench(PYTHON, PYTHON, None, folder, rounds, quick=True, report=report)


def test_programs_take_turns(tmp_path):
    order = []
    calls = {name: lambda name=name: order.append(name) or len(order) for name in "abc"}
    found = make_bench(tmp_path, 3).turns("what", calls, once="b")
    assert order == ["a", "b", "c", "a", "c", "a", "c"]
    assert found == {"a": [1, 4, 6], "b": [2], "c": [3, 5, 7]}


def test_one_that_fails_is_left_out_and_the_others_go_on(tmp_path, capsys):
    bench, numbers = make_bench(tmp_path, 3), iter(range(9))

    def fail_later() -> int:
        if (number := next(numbers)) == 1:
            raise ProgramError("it broke", "all that it said")
        return number

    found = bench.turns("a step", {"good": lambda: 7, "bad": fail_later})
    assert found == {"good": [7, 7, 7], "bad": [0]}
    assert bench.report.left_out == ["a step, bad: it broke"]
    assert capsys.readouterr().err == "left out: a step, bad: it broke\n"
    assert "all that it said" in (tmp_path / "failures.log").read_text()
