# SPDX-License-Identifier: BSD-3-Clause
"""Learning curves of several programs, cut off and continued, as numbers and as pictures."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from deepmd_tf.analysis.learning_curve import labels_of, prefactors, read_curve, read_run
from deepmd_tf.cli.main import main
from deepmd_tf.errors import InputError
from deepmd_tf.losses import Prefactor
from deepmd_tf.training.record import Record, header

HINT = "# If there is no available reference data, rmse_*_{val,trn} will print nan\n"
OURS = (
    "# step       rmse_val    rmse_trn    rmse_e_val  rmse_e_trn    rmse_v_val  rmse_v_trn   lr\n"
    + HINT
    + "      0      2.53e+01    2.55e+01      6.64e-01    6.63e-01           nan         nan"
    + "    1.0e-03\n"
    + "    100      1.25e+01    1.35e+01      1.64e-01    1.63e-01           nan    2.00e-02"
    + "    8.0e-04\n"
)


def write(folder: Path, text: str, name: str = "lcurve.out") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_the_training_writes(tmp_path):
    columns = ("rmse", "rmse_f", "mae_e")
    records = [
        Record(step, lr, dict.fromkeys(columns, 2.0 / step), dict.fromkeys(columns, 3.0 / step))
        for step, lr in ((1, 0.1), (10, 0.01))
    ]
    text = header(columns, True) + "".join(record.row() + "\n" for record in records)
    run = read_run(write(tmp_path, text), "name")
    assert run.steps.tolist() == [1, 10]
    assert list(run.errors) == list(columns)
    assert run.errors["mae_e"]["val"].tolist() == [3.0, 0.3]
    assert run.errors["mae_e"]["trn"].tolist() == [2.0, 0.2]
    assert run.lr.tolist() == [0.1, 0.01] and run.prefactors == {}


def test_columns_that_are_nan_throughout_are_left_out(tmp_path):
    run = read_run(write(tmp_path, OURS), "")
    assert list(run.errors["rmse_v"]) == ["trn"]
    np.testing.assert_array_equal(run.errors["rmse_v"]["trn"], [np.nan, 0.02])


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_last_row_that_is_cut_off_does_not_count(tmp_path, cut):
    steps, table = read_curve(write(tmp_path, OURS[:-cut]))
    assert steps.tolist() == [0] and table["lr"].tolist() == [0.001]


def test_rows_of_before_a_restart_do_not_count(tmp_path):
    row = "{:7d}      {:.2e}    1.0e-03\n"
    head = "# step       rmse_trn   lr\n"
    steps = [(0, 5), (10, 4), (20, 3), (30, 2), (20, 7), (40, 6)]
    text = head + "".join(row.format(*pair) for pair in steps)
    found, table = read_curve(write(tmp_path, text))
    assert found.tolist() == [0, 10, 20, 40]
    assert table["rmse_trn"].tolist() == [5, 4, 7, 6]


def test_a_head_in_the_middle(tmp_path):
    text = (
        "# step  rmse_trn  lr\n      0  1.0  0.1\n"
        "# step  rmse_trn  rmse_f_trn  lr\n      5  0.5  0.25  0.1\n"
    )
    steps, table = read_curve(write(tmp_path, text))
    assert steps.tolist() == [0, 5]
    np.testing.assert_array_equal(table["rmse_f_trn"], [np.nan, 0.25])
    assert table["lr"].tolist() == [0.1, 0.1]


def test_old_and_other_heads(tmp_path):
    old = "# batch      l2_tst    l2_trn    l2_e_tst  l2_e_trn         lr\n"
    old += "      0  1  2  3  4  5e-3\n"
    run = read_run(write(tmp_path, old), "")
    assert {name: set(parts) for name, parts in run.errors.items()} == {
        "l2": {"val", "trn"},
        "l2_e": {"val", "trn"},
    }
    torch = "# step       rmse_val    rmse_trn    rmse_e_val  rmse_e_trn   lr      \n" + HINT
    run = read_run(write(tmp_path, torch + "      1  1e0  2e0  3e-1  4e-1  1.0e-03\n"), "")
    assert run.errors["rmse_e"]["val"].tolist() == [0.3]


@pytest.mark.parametrize(
    "text",
    [
        "# step  rmse_val_water  rmse_trn_water  lr\n  1  2.0  2.0  0.1\n",
        "# step  rmse_trn  lr\n  1  nan  0.1\n",
    ],
)
def test_curves_without_errors(tmp_path, text):
    with pytest.raises(InputError, match="has no errors"):
        read_run(write(tmp_path, text), "")


def test_prefactors_are_those_of_the_loss(tmp_path):
    script = {
        "learning_rate": {"start_lr": 0.004},
        "loss": {"start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "relative_f": None},
    }
    lr = np.array([0.004, 0.002, 0.0])
    found = prefactors(script, lr, {"e", "f", "v"})
    assert list(found) == ["e"]
    expected = [float(Prefactor(0.02, 1)(x, 0.004)) for x in lr]
    np.testing.assert_allclose(found["e"], expected, rtol=1e-5)  # float32 there
    # beside the curve, and given by name
    (tmp_path / "out.json").write_text(json.dumps(script))
    assert list(read_run(write(tmp_path, OURS), "").prefactors) == ["e"]
    assert read_run(write(tmp_path / "else", OURS), "").prefactors == {}
    run = read_run(write(tmp_path / "else", OURS), "", tmp_path / "out.json")
    assert list(run.prefactors) == ["e"]
    (tmp_path / "out.json").write_text("{")
    assert read_run(write(tmp_path, OURS), "").prefactors == {}
    with pytest.raises(InputError, match=r"out\.json:"):
        read_run(write(tmp_path, OURS), "", tmp_path / "out.json")


def test_names_of_runs(tmp_path):
    for name in ("a/run/lcurve.out", "b/run/lcurve.out", "b/run/other.out"):
        write(tmp_path, OURS, name)
    a, b, other = (tmp_path / n for n in ("a/run", "b/run/lcurve.out", "b/run/other.out"))
    assert labels_of([a]) == ["lcurve.out"]
    assert labels_of([a, b]) == ["a/run", "b/run"]
    assert labels_of([b, other]) == ["lcurve.out", "other.out"]


def test_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, OURS, "one/lcurve.out")
    write(tmp_path, OURS.replace("rmse_v", "rmse_f"), "two/lcurve.out")
    (tmp_path / "one/out.json").write_text(
        json.dumps(
            {"learning_rate": {"start_lr": 1e-3}, "loss": {"start_pref_e": 1, "limit_pref_e": 2}}
        )
    )
    assert main(["--tf", "plot", "one", "two/lcurve.out", "-o", "a.svg", "--log-steps"]) == 0
    assert "wrote a.svg" in capsys.readouterr().err
    assert ElementTree.parse("a.svg").getroot().tag.endswith("svg")
    monkeypatch.chdir(tmp_path / "one")
    assert main(["plot"]) == 0
    assert imread("lcurve.png").ndim == 3
    assert main(["plot", "lcurve.out", "-o", "a.PDF"]) == 0
    assert Path("a.PDF").read_bytes().startswith(b"%PDF")
    names = {"lcurve.out", "out.json", "lcurve.png", "a.PDF"}
    assert {path.name for path in Path().iterdir()} == names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.out"], "none.out: cannot be read"),
        (["none.out", "-o", "a.gif"], 'not ".gif"'),
        (["lcurve.out", "-o", "no/a.png"], "there is no directory no"),
        (["lcurve.out", "--label", "a", "b"], "2 names for 1 learning curves"),
        (["lcurve.out", "-i", "none.json"], "none.json: cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, OURS)
    assert main(["plot", *arguments]) == 1
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["lcurve.out"]


@pytest.mark.parametrize("value", ["1e-3", [1], True, float("nan"), 10**400, {}])
def test_scripts_of_other_programs_with_strange_numbers(value):
    lr = np.array([1e-3, 1e-4])
    loss = {"start_pref_e": 0.02, "limit_pref_e": 1.0}
    assert prefactors({"loss": loss, "learning_rate": {"start_lr": value}}, lr, {"e"}) == {}
    script = {"loss": loss | {"limit_pref_e": value}, "learning_rate": {"start_lr": 1e-3}}
    assert prefactors(script, lr, {"e"}) == {}


def test_curves_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "lcurve.out")
    with pytest.raises(InputError, match=r"lcurve\.out:"):
        read_curve(tmp_path / "lcurve.out")
