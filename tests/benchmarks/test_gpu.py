# SPDX-License-Identifier: BSD-3-Clause
"""Tables of what the benchmark of the GPU prints."""

from __future__ import annotations

from pathlib import Path

import on_gpu
import pytest
from harness.gpu import FAMILIES, MISSING, PARTS, Found, agreement, parts, report, sizes, targets

ROOT = Path(__file__).resolve().parents[2]
LINES = """\
card\tbandwidth\t4e12
card\tpeak float32\t6e13
check\tmoment\tmoment\tfloat64\t2e-15\t1e-10
check\tmoment\tmoment_rows\tfloat64\t2e-09\t1e-10
check\tgelu\tgelu\tfloat32\t1e-07\t1e-04
step\tmd\t99999\tfloat32\t0.02\t150000000\t9000000
stage\tmd\t99999\tfloat32\tgather\t0.001\t4e8\t6e9
stage\tmd\t99999\tfloat32\tmoment\t0.01\t4e8\t6e10
step\ttrain\t12288\tfloat32\t0.004\t1\t1
anything else
"""


@pytest.fixture
def found() -> Found:
    result = Found()
    result.read(LINES.splitlines())
    return result


def test_targets(found):
    rows = targets(found).splitlines()[2:]
    assert rows[0].endswith(f"| {MISSING} | {MISSING} |")
    assert rows[1].endswith("| 0.2 µs | **missed** |")
    assert rows[4].endswith("| 4 ms | met |")
    assert rows[5].endswith("| 1.5 kB | met |")


def test_shares_of_the_floor(found):
    # 0.1 ms of the bandwidth, and 1 ms of the peak
    assert "| 99,999 | float32 | 20 | 0.2 | 0.011 | 6% | 90 | 1.5 |" in sizes(found)
    table = parts(found, "md", 100_000)
    assert "| gather | 1 | 10% | 10% | not yet measured |" in table
    assert "| moment | 10 | 1% | 10% |" in table


def test_worst_result_of_a_family(found):
    table = agreement(found)
    assert "| `moment` | **2.0e-09 (moment_rows), more than 1e-10** | not yet measured |" in table
    assert "| `gelu` | not yet measured | 1.0e-07 (gelu) |" in table


def test_failures_are_shown(found):
    found.read(["failed\tmd 1000000, float64\tthere is no memory"])
    assert "- md 1000000, float64: there is no memory" in report(found, [])


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_all_parts_are_run(tmp_path, monkeypatch, capsys):
    """With programs that only say what the real ones do."""
    (tmp_path / "lines").write_text(LINES + "card\tcard\tPaper 100\n")
    program = script(tmp_path / "gpu_bench", f"[ $1 = md ] && exec sleep 30; cat {tmp_path}/lines")
    said = "echo '========= ERROR SUMMARY: 1 error'; [ $4 != racecheck ] || exit 9"
    sanitizer = script(tmp_path / "compute-sanitizer", said)
    output = tmp_path / "found.md"
    options = ["--program", program, "--sanitizer", sanitizer, "--output", output]
    options += ["--seconds", "3", "--peak64", "30"]
    monkeypatch.setattr(on_gpu.sys, "argv", ["on_gpu.py", *map(str, options)])
    assert on_gpu.main() == 1
    text = output.read_text()
    assert "- card: Paper 100" in text
    assert "- peak float64: 30.0 TFLOP/s" in text
    assert "- md 10000: given up after" in text
    assert "| memcheck | ERROR SUMMARY: 1 error (0 of" in text
    assert "| racecheck | **ERROR SUMMARY: 1 error (0 of 17 families)**, status 9 |" in text
    assert (tmp_path / "found.racecheck.log").exists()
    assert text in capsys.readouterr().out


def test_nothing_is_written_without_a_gpu(tmp_path, monkeypatch, capsys):
    program = script(
        tmp_path / "gpu_bench", "printf 'failed\\tall\\tthere is no driver\\n'; exit 1"
    )
    output = tmp_path / "found.md"
    options = ["--program", program, "--output", output]
    monkeypatch.setattr(on_gpu.sys, "argv", ["on_gpu.py", *map(str, options)])
    assert on_gpu.main() == 1
    assert not output.exists()
    assert "there is no driver" in capsys.readouterr().err


def test_names_are_those_of_the_program():
    sources = "".join(path.read_text() for path in (ROOT / "benchmarks" / "gpu").glob("*.[ch]*"))
    for name in {*FAMILIES, *PARTS["md"], *PARTS["train"]}:
        assert f'"{name}"' in sources


def test_what_is_not_measured_is_said_so():
    """Until the file is written on a GPU."""
    text = (ROOT / "benchmarks" / "RESULTS-gpu.md").read_text()
    assert MISSING not in text or text == on_gpu.blank()
