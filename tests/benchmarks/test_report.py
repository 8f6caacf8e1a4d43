# SPDX-License-Identifier: BSD-3-Clause
"""Rows, targets and the files of the benchmarks."""

from __future__ import annotations

import json

import pytest
from harness.floor import Rate
from harness.report import COMPRESSED, FLOOR, OURS, STOCK, Report, Row, Target, summary, table

RATE = Rate({"TensorFlow": 40.0, "NumPy": 50.0})


def make_row(*targets: Target) -> Row:
    """Ours takes 20 ms, stock five times as much, and the floor is 8 ms."""
    values = {OURS: [30.0, 20.0, 10.0], STOCK: [100.0], COMPRESSED: []}
    return Row("train", "a step", values, targets=targets, operations=0.4, rate=RATE)


def test_numbers_of_a_row():
    row = make_row()
    assert (row.median(OURS), row.median(COMPRESSED)) == (20.0, None)
    assert (row.ratio(STOCK), row.ratio(COMPRESSED)) == (5.0, None)
    assert (row.floor, row.share) == pytest.approx((8.0, 0.4))


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (Target(STOCK, 5.0), "≥ 5 × (stock): met"),
        (Target(STOCK, 5.1), "≥ 5.1 × (stock): **missed**, 5.00"),
        (Target(COMPRESSED, 2.0), "≥ 2 × (stock, compressed): **not measured**"),
        (Target(FLOOR, 0.4), "≥ 40% of the floor: met"),
        (Target(FLOOR, 0.5), "≥ 50% of the floor: **missed**, 40%"),
        (Target(OURS, 20.0), "≤ 20: met"),
        (Target(OURS, 1.2), "≤ 1.2: **missed**, 20.00"),
    ],
)
def test_verdicts(target, verdict):
    row = make_row(target)
    assert row.verdict(target) == verdict
    assert row.meets(target) == verdict.endswith(": met")


def test_without_our_time_nothing_is_met():
    row = Row("train", "a step", {STOCK: [100.0]}, operations=0.4, rate=RATE)
    assert row.floor == pytest.approx(8.0)
    for target in (Target(STOCK, 0.0), Target(FLOOR, 0.0), Target(OURS, 1e9)):
        assert not row.meets(target)


def test_table_has_the_programs_that_were_measured():
    flat = Row("evaluate", "time per atom", {OURS: [1.1]}, "", [Target(OURS, 1.2)])
    head, _, first, second = table([make_row(Target(STOCK, 4.0)), flat]).splitlines()
    assert head == "|  | ours | stock | stock / ours | target | floor, share |"
    assert first == "| a step (ms) | 20 | 100 | 5.00 | ≥ 4 × (stock): met | 8, 40% |"
    assert second == "| time per atom | 1.1 |  |  | ≤ 1.2: met |  |"


def test_summary_names_what_is_missed():
    rows = [make_row(Target(STOCK, 4.0), Target(FLOOR, 0.5)), make_row(Target(STOCK, 2.0))]
    text = summary(rows)
    assert text.startswith("2 of 3 targets are met.")
    assert text.endswith("- a step: ≥ 50% of the floor: **missed**, 40%")
    assert summary(rows[1:]) == "1 of 1 targets are met."


def test_files_have_all_numbers_and_the_words_written_by_hand(tmp_path):
    notes = tmp_path / "NOTES.md"
    notes.write_text("## What did not help\n\nWishes.\n")
    report = Report(tmp_path / "out", notes, ["today"], [make_row(Target(FLOOR, 0.5))])
    report.rates["float64", 2] = RATE
    report.unfinished, report.left_out = ["lammps"], ["stock: no such program"]
    report.profiles["float64"] = "| a | profile |"
    report.write(draws=True)
    text = (report.folder / "RESULTS.md").read_text()
    for part in (
        "today",
        "This run has not finished: lammps.",
        "0 of 1 targets are met.",
        "- stock: no such program",
        "| float64 | 50 (NumPy, TensorFlow 40) |",
        "### float64\n\n| a | profile |",
    ):
        assert part in text
    assert text.endswith("## What did not help\n\nWishes.\n")
    (row,) = json.loads((report.folder / "results.json").read_text())["rows"]
    assert row["programs"][OURS] == {
        "median": 20.0,
        "min": 10.0,
        "max": 30.0,
        "rounds": [30.0, 20.0, 10.0],
    }
    assert COMPRESSED not in row["programs"]
    assert row["targets"] == [
        {"of": FLOOR, "bound": 0.5, "reached": pytest.approx(0.4), "met": False}
    ]
    assert (report.folder / "results.png").read_bytes().startswith(b"\x89PNG")
    assert report.missed == 1
