# SPDX-License-Identifier: BSD-3-Clause
"""A dry run: all that a training does before its first step, told on the terminal, and no file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from small_training import INPUT, steps_in, write_all_data, write_script

from deepmd_tf.cli.main import main
from deepmd_tf.export.freeze import freeze
from deepmd_tf.training.entrypoint import train

pytestmark = pytest.mark.usefixtures("without_rewriting")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A training of 10 of its 20 steps."""
    folder = tmp_path_factory.mktemp("trained")
    write_all_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stat_file = {"stat_file": "stat"}
        assert train(write_script(folder, training={"numb_steps": 10} | stat_file)) == 0
        write_script(folder, training=stat_file)
        freeze("model.ckpt", "frozen.pb")
    return folder


@pytest.fixture(autouse=True)
def folder(trained, monkeypatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def contents(folder: Path) -> dict[Path, tuple]:
    """What must not change: names, contents, and times of change."""
    return {
        p: (p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else None)
        for p in folder.rglob("*")
    }


def told(capsys, *options: str) -> dict[str, str]:
    """The first words of the lines that a dry run prints, and what follows them."""
    before = contents(Path())
    capsys.readouterr()
    assert main(["train", "input.json", "--dry-run", *options]) == 0
    assert contents(Path()) == before
    out = capsys.readouterr().out
    return {line[:16].strip(): line[17:] for line in out.splitlines()}


@pytest.mark.parametrize(
    ("options", "begins", "steps", "rate"),
    [
        ((), "random weights", 20, 0.005),
        (
            ("--restart", "model.ckpt"),
            "the training that wrote model.ckpt-10",
            10,
            0.005 * 0.02**0.5,
        ),
        (("--init-model", "model.ckpt"), "the weights of model.ckpt-10", 20, 0.005),
        (("--init-frz-model", "frozen.pb"), "the weights of frozen.pb", 20, 0.005),
    ],
)
def test_numbers(capsys, options, begins, steps, rate):
    rows = told(capsys, *options)
    assert rows["begins with"] == begins
    assert rows["model"] == "se_e2_a, rcut 3.4 Å, sel 12 20, types O H"
    # 4 embedding nets and 2 fitting nets; energy bias, mean and spread of the environment
    trained = 4 * (1 * 4 + 4 + 4 * 8 + 8) + 2 * (24 * 10 + 10 + 10 * 10 + 10 + 10 + 10 + 1)
    total = trained + 2 + 2 * (2 * 4 * 32)
    assert rows["parameters"] == f"{total}, {trained} of them trained"
    assert rows["training data"].startswith("2 systems, 16 frames, 12 batches; ")
    assert rows["validation data"].startswith("1 systems, 8 frames")
    assert rows["steps"].startswith(f"{steps} of 20, ")
    first, _, last = rows["learning rate"].partition(" to ")
    assert float(first) == pytest.approx(rate, rel=0.01)
    assert float(last) == pytest.approx(1e-4, rel=0.01)
    assert re.fullmatch(
        r"[\d.e+]+ ms per step \(mean of 5, .*\), about .* for all steps, .*", rows["time"]
    )
    assert re.fullmatch(r"\d[\d.]* [MG]B, the most that this process has had; .*", rows["memory"])
    # about 1 MB and 3 numbers for each weight
    assert re.match(
        r"1\.0\d MB each, 4 at a time: 4\.\d+ MB; .* are free in \.", rows["checkpoints"]
    )


def test_files_are_named(capsys):
    before = steps_in(Path("lcurve.out"))
    assert main(["train", "input.json", "--dry-run"]) == 0
    found = capsys.readouterr()
    listed = found.out.partition("files that the training writes:\n")[2]
    assert re.search(r"^  lcurve.out +learning curve \(is there already\)$", listed, re.M)
    assert re.search(r"^  model.ckpt-<step>.\* +checkpoints \(is there already\)$", listed, re.M)
    assert re.search(r"^  stat +statistics \(is there already\)$", listed, re.M)
    assert (
        "which this one replaces by its own of the same name: lcurve.out, model.ckpt" in found.err
    )
    assert steps_in(Path("lcurve.out")) == before


def test_nothing_is_made_in_an_empty_folder(tmp_path, monkeypatch, capsys):
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    validating = {"full_validation": True}
    files = {"disp_file": "new/lcurve.out", "save_ckpt": "new/model.ckpt", "stat_file": "stat.h5"}
    others = {"tensorboard": True, "profiling": True}
    write_script(tmp_path, training=files | others, validating=validating)
    rows = told(capsys)
    assert rows["begins with"] == "random weights"


def test_mistakes_are_those_of_a_training(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_all_data(tmp_path)
    energy = tmp_path / "data" / "train" / "cell" / "set.000" / "energy.npy"
    np.save(energy, np.full(4, np.nan))
    write_script(tmp_path)
    assert main(["train", "input.json", "--dry-run"]) == 1
    found = capsys.readouterr()
    assert "energy.npy" in found.err and not found.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "input.json"]


def test_dropped_neighbors_are_told(capsys):
    descriptor = INPUT["model"]["descriptor"] | {"sel": [12, 2]}
    path = write_script(Path(), model={"descriptor": descriptor})
    try:
        rows = told(capsys, "--skip-neighbor-stat")
    finally:
        write_script(path.parent, training={"stat_file": "stat"})
    assert re.fullmatch(r"\d+ neighbours beyond sel in these steps", rows["left out"])
