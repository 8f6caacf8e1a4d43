# SPDX-License-Identifier: BSD-3-Clause
"""One pass finds all that is wrong."""

from __future__ import annotations

import logging
import tracemalloc

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystem, sets
from deepmd_tf.data.checks.examine import examine
from deepmd_tf.data.checks.findings import Findings
from deepmd_tf.progress import bar

LABELS = (fields.ENERGY, fields.FORCE)


def spoil(path, name, index, value) -> None:
    array = np.load(path / name)
    array[index] = value
    np.save(path / name, array)


def look(*paths, validation=()) -> Findings:
    findings = Findings()
    train, valid = ([DataSystem(p, fields=LABELS) for p in ps] for ps in (paths, validation))
    examine(train, valid, findings)
    return findings


def test_everything_is_reported_together(make, caplog) -> None:
    first, second, third = make("a", frames_per_set=2), make("b"), make("c", offset=7.0)
    spoil(first, "set.001/energy.npy", 1, np.nan)
    spoil(first, "set.001/force.npy", (0, 4), np.inf)
    spoil(first, "set.000/box.npy", 1, 0.0)
    spoil(third, "set.000/force.npy", (3, slice(2, 5)), np.nan)
    with caplog.at_level(logging.INFO):
        findings = look(first, second, validation=[third])
    assert [str(finding).partition(" (counted")[0] for finding in findings] == [
        f"{first}/set.000/box.npy: the cell of frame 1",
        f"{first}/set.001/energy.npy: frame 1",
        f"{first}/set.001/force.npy: frame 0, atom 1, component 1",
        f"{third}/set.000/force.npy: frame 3, atom 0, component 2",
    ]
    assert "(3 such" in str(list(findings)[-1])
    assert "checked 12 frames in 3 systems" in caplog.text


@pytest.mark.parametrize("nframes", [1, 7])
def test_frames_are_counted_over_chunks(make, monkeypatch, nframes) -> None:
    """However many frames are looked at together."""
    path = make(nframes=9)
    spoil(path, "set.000/force.npy", ([4, 8], [0, 1]), np.nan)
    one = DataSystem(path, fields=LABELS)._sets[0]
    chunks = list(one.chunks(nframes * (2 * 15 + 9 + 1) * 8))
    assert [chunk.nframes for chunk in chunks] == [nframes] * (9 // nframes) + [2] * (nframes == 7)
    findings = Findings()
    for chunk in chunks:
        findings.add(*one.check(chunk))
    (finding,) = findings
    assert "frame 4, atom 0, component 0" in str(finding) and finding.count == 2


def test_checked_numbers_are_not_checked_again(make, monkeypatch) -> None:
    system = DataSystem(make(), fields=LABELS)
    examine([system], [], Findings())
    monkeypatch.setattr("deepmd_tf.data.sets.FrameSet.check", None)
    assert next(system.batches()).nframes == 4


def test_progress(make, monkeypatch) -> None:
    """A bar of all frames, which is full in the end."""
    bars = []

    def keep():
        bars.append(bar())
        return bars[-1]

    monkeypatch.setattr("deepmd_tf.data.checks.examine.bar", keep)
    look(make("a", nframes=7, frames_per_set=3), validation=[make("b", offset=7.0)])
    ((task,),) = [one.tasks for one in bars]
    assert (task.description, task.completed, task.total) == ("checking data", 11, 11)


def test_memory_does_not_grow_with_the_data(make, monkeypatch) -> None:
    """Files of 15 MB in parts of 0.5 MB."""
    system = DataSystem(make(nframes=60_000), fields=LABELS)
    monkeypatch.setattr(sets.FrameSet.chunks, "__defaults__", (1 << 19,))
    tracemalloc.start()
    try:
        examine([system], [], Findings())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
