# SPDX-License-Identifier: BSD-3-Clause
"""The learning curve on disk holds each step once, whatever happened to the training before."""

from __future__ import annotations

import pytest

from deepmd_tf.errors import TrainingError
from deepmd_tf.training.lcurve import LearningCurve
from deepmd_tf.training.record import Record, header

COLUMNS = ("rmse", "rmse_f")
HEAD = header(COLUMNS, validation=False)


def record(step):
    return Record(step, 1e-3, {"rmse": 1.0 + step, "rmse_f": 2.0})


def write(path, steps, after_step=None, columns=COLUMNS):
    curve = LearningCurve(path, columns, validation=False)
    curve.table.open(after_step)
    for step in steps:
        curve.write(record(step))
    curve.close()


def steps_in(path):
    return [int(line.split()[0]) for line in path.read_text().splitlines() if line[0] != "#"]


def test_new_curve_replaces_an_old_one(tmp_path):
    path = tmp_path / "lcurve.out"
    path.write_text("something else\n")
    write(path, [0, 10])
    assert path.read_text() == HEAD + record(0).row() + "\n" + record(10).row() + "\n"


def test_row_is_on_disk_at_once(tmp_path):
    path = tmp_path / "lcurve.out"
    curve = LearningCurve(path, COLUMNS, validation=False)
    curve.table.open()
    curve.write(record(0))
    assert steps_in(path) == [0]
    curve.close()


def test_continuation_drops_rows_after_the_checkpoint(tmp_path):
    path = tmp_path / "lcurve.out"
    write(path, [0, 10, 20, 30])
    before = path.read_text().splitlines()
    write(path, [30, 40], after_step=20)
    assert steps_in(path) == [0, 10, 20, 30, 40]
    assert path.read_text().splitlines()[: len(before)] == before
    assert [p.name for p in tmp_path.iterdir()] == ["lcurve.out"]


def test_continuation_drops_a_row_that_was_cut_off(tmp_path):
    path = tmp_path / "lcurve.out"
    write(path, [0, 10])
    with path.open("a") as file:
        file.write("     1")  # the beginning of "     15"
    write(path, [20], after_step=15)
    assert steps_in(path) == [0, 10, 20]


def test_continuation_after_an_older_checkpoint_than_the_last(tmp_path):
    """Rows that stand twice, as after a program that only appends: the later ones count."""
    path = tmp_path / "lcurve.out"
    write(path, [0, 10, 20, 30])
    with path.open("a") as file:
        file.writelines(
            record(step).row().replace("2.00e+00", "3.00e+00") + "\n" for step in (20, 30)
        )
    write(path, [40], after_step=35)
    assert steps_in(path) == [0, 10, 20, 30, 40]
    assert [line.split()[2] for line in path.read_text().splitlines()[2:]] == [
        *["2.00e+00"] * 2,
        *["3.00e+00"] * 2,
        "2.00e+00",
    ]


def test_continuation_drops_what_is_no_row(tmp_path):
    """A file system may leave zeros where there was no time to write."""
    path = tmp_path / "lcurve.out"
    write(path, [0, 10])
    with path.open("a") as file:
        file.write("\0\0\0\n     15 \0\0\n")
    write(path, [20], after_step=15)
    assert steps_in(path) == [0, 10, 20]


def test_continuation_without_a_file_begins_one(tmp_path):
    path = tmp_path / "new" / "lcurve.out"
    write(path, [30], after_step=20)
    assert path.read_text() == HEAD + record(30).row() + "\n"


def test_continuation_with_other_columns_says_so(tmp_path):
    path = tmp_path / "lcurve.out"
    write(path, [0])
    write(path, [10], after_step=5, columns=("rmse", "rmse_e"))
    lines = path.read_text().splitlines(keepends=True)
    assert lines[3:5] == header(("rmse", "rmse_e"), validation=False).splitlines(keepends=True)
    assert steps_in(path) == [0, 10]


def test_unwritable_file(tmp_path):
    (tmp_path / "lcurve.out").mkdir()
    with pytest.raises(TrainingError, match=r"lcurve\.out:"):
        write(tmp_path / "lcurve.out", [0])
