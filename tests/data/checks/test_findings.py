# SPDX-License-Identifier: BSD-3-Clause
"""Findings are counted, grouped, capped, and end in one message."""

from __future__ import annotations

import logging

import pytest

from deepmd_tf.data.checks.findings import PLACES_SHOWN, Finding, Findings, FindingsError
from deepmd_tf.errors import DataError, InputError


def test_nothing_found() -> None:
    findings = Findings()
    findings.raise_errors()
    assert list(findings) == []


def test_one_error_is_one_line() -> None:
    findings = Findings()
    findings.add(Finding("finite", "f.npy", "frame 0 is nan", "expected a number"))
    with pytest.raises(DataError) as caught:
        findings.raise_errors()
    assert str(caught.value) == "f.npy: frame 0 is nan, expected a number"


def test_the_same_mistake_in_a_file_is_counted() -> None:
    findings = Findings()
    for frame, count in ((3, 2), (9, 5)):
        findings.add(Finding("finite", "f.npy", f"frame {frame} is nan", "", count, "such"))
    findings.add(Finding("finite", "g.npy", "frame 1 is nan", "", 1, "such"))
    findings.add(Finding("cell", "f.npy", "frame 1 is flat"))
    assert [finding.count for finding in findings] == [7, 1, 1]
    with pytest.raises(DataError) as caught:
        findings.raise_errors()
    assert str(caught.value).splitlines() == [
        "3 mistakes:",
        "  f.npy: frame 3 is nan (7 such in the file)",
        "  g.npy: frame 1 is nan (1 such in the file)",
        "  f.npy: frame 1 is flat",
    ]


def test_a_thousand_files_are_not_a_thousand_lines(caplog) -> None:
    findings = Findings()
    for number in range(1000):
        findings.add(Finding("finite", f"{number}.npy", "is nan"))
        findings.add(Finding("close", f"{number}.npy", "looks odd", doubt=True))
    findings.add(Finding("cell", "7.npy", "is flat"))
    assert len(findings.errors) == 1001 and len(findings.doubts) == 1000
    with pytest.raises(DataError) as caught:
        findings.raise_errors()
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + PLACES_SHOWN + 1 + 1
    assert f"and {1000 - PLACES_SHOWN} more of this kind (finite)" in lines[-2]
    assert lines[-1] == "  7.npy: is flat"
    findings.warn(logging.getLogger("deepmd_tf"))
    assert len(caplog.records) == PLACES_SHOWN + 1
    assert all(record.levelname == "WARNING" for record in caplog.records)


def test_doubts_do_not_raise() -> None:
    findings = Findings()
    findings.add(Finding("close", "f.npy", "looks odd", doubt=True))
    findings.raise_errors()
    assert not findings.errors


def test_exceptions_are_collected() -> None:
    inner, outer = Findings(), Findings()
    inner.add(Finding("finite", "f.npy", "is nan"), Finding("cell", "f.npy", "is flat"))
    with outer.collect():
        inner.raise_errors()
    with outer.collect():
        raise DataError("g: no such directory")
    with pytest.raises(FindingsError) as caught:
        outer.raise_errors()
    assert [str(finding) for finding in caught.value.findings] == [
        "f.npy: is nan",
        "f.npy: is flat",
        "g: no such directory",
    ]
    assert not isinstance(caught.value, InputError)
    with pytest.raises(ZeroDivisionError), outer.collect():
        raise ZeroDivisionError


def test_what_the_input_script_asks_for_is_an_error_of_the_input() -> None:
    findings = Findings()
    findings.add(Finding("labels", "", "no virial", error=InputError))
    with pytest.raises(InputError):
        findings.raise_errors()
