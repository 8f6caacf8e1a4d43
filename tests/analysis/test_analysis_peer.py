# SPDX-License-Identifier: BSD-3-Clause
"""The commands that look at data and models, line by line with those of the stock wheel."""

from __future__ import annotations

import ast
import re
import shutil

import numpy as np
import pytest
import small_training
import stock_wheel
from stock_wheel import log_lines

from deepmd_tf.cli.main import main

pytestmark = stock_wheel.needs_stock


def ours(arguments: list[str], capsys) -> list[str]:
    """Messages of our ``dp``."""
    capsys.readouterr()
    assert main(["--tf", *arguments]) == 0
    return log_lines(capsys.readouterr().err)


@pytest.mark.parametrize("options", [[], ["-t", "H", "C", "O"], ["--mixed-type", "-t", "O", "H"]])
def test_neighbor_stat(folder, monkeypatch, capsys, options):
    monkeypatch.chdir(folder)
    arguments = ["neighbor-stat", "-s", "data", "-r", "3.4", *options]
    lines = ours(arguments, capsys)
    assert lines == stock_wheel.dp(arguments, folder)
    assert re.fullmatch(r"max_nbor_size: \[.*[1-9].*\]", lines[-1])


@pytest.mark.parametrize("options", [["--atomic", "--relative", "0.4"], ["--real_error"]])
def test_model_devi(folder, monkeypatch, tmp_path, options):
    monkeypatch.chdir(folder)
    arguments = ["model-devi", "-m", "1.pb", "2.pb", "-s", "data/valid", "-f", "3", *options]
    assert main([*arguments, "-o", str(tmp_path / "ours.out")]) == 0
    stock_wheel.dp([*arguments, "-o", str(tmp_path / "theirs.out")], folder)
    found, wanted = (tmp_path / name for name in ("ours.out", "theirs.out"))
    heads = [p.read_text().splitlines()[:2] for p in (found, wanted)]
    assert heads[0] == heads[1]
    assert [len(line) for line in found.read_text().splitlines()] == [
        len(line) for line in wanted.read_text().splitlines()
    ]
    # the last digit that is printed
    np.testing.assert_allclose(np.loadtxt(found), np.loadtxt(wanted), rtol=2e-6)


def test_eval_desc(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(folder)
    arguments = ["eval-desc", "-m", "1.pb", "-s", "data/valid", "-o"]
    ours_said = ours([*arguments, str(tmp_path / "ours")], capsys)
    theirs_said = stock_wheel.dp([*arguments, str(tmp_path / "theirs")], folder)
    assert [line.replace("ours", "theirs") for line in ours_said] == theirs_said
    found, wanted = (np.load(tmp_path / name / "cell.npy") for name in ("ours", "theirs"))
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_show(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    arguments = ["show", "1.pb", "type-map", "descriptor", "fitting-net"]
    assert ours(arguments, capsys) == stock_wheel.dp(arguments, folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that the stock wheel wrote."""
    root = tmp_path_factory.mktemp("trained")
    small_training.write_all_data(root)
    small_training.write_script(root)
    stock_wheel.dp(["train", "input.json"], root)
    return root


@pytest.mark.parametrize("mode", ["change", "set"])
def test_change_bias(trained, tmp_path, monkeypatch, capsys, mode):
    """The same numbers, and the peer evaluates both files of ours as its own."""
    theirs, mine = tmp_path / "theirs", tmp_path / "ours"
    for folder in (theirs, mine):
        shutil.copytree(trained, folder, symlinks=True)
    arguments = ["change-bias", "model.ckpt", "-s", "data/train", "-m", mode]
    said = stock_wheel.dp(arguments, theirs)
    monkeypatch.chdir(mine)
    assert numbers(ours(arguments, capsys)) == pytest.approx(numbers(said), rel=1e-6)
    written, expected = (
        {path.name for path in (folder / "model.ckpt_updated").iterdir()}
        for folder in (mine, theirs)
    )
    assert written == expected | {"model.ckpt.manifest.json"}
    # the stock file holds what was before; the bias of a copy of it is changed in place
    stock_wheel.dp(["freeze", "-o", "frozen.pb"], mine)
    assert main([arguments[0], "frozen.pb", *arguments[2:]]) == 0
    coords = np.random.default_rng(3).uniform(0, 5, (2, 6, 3))
    case = (coords, np.tile(7.0 * np.eye(3).reshape(1, 9), (2, 1)), small_training.TYPES)
    (wanted,) = stock_wheel.evaluate(theirs / "model.pb", theirs, [case])
    for name in ("model.pb", "frozen_updated.pb"):
        (found,) = stock_wheel.evaluate(mine / name, mine, [case])
        for key in stock_wheel.KEYS:
            np.testing.assert_allclose(found[key], wanted[key], rtol=1e-6, atol=1e-9)
    # the peer can go on from our checkpoint
    stock_wheel.dp(["freeze", "-c", "model.ckpt_updated", "-o", "again.pb"], mine)
    (found,) = stock_wheel.evaluate(mine / "again.pb", mine, [case])
    np.testing.assert_allclose(found["energy"], wanted["energy"], rtol=1e-9)


def test_models_of_the_peer(trained, tmp_path, monkeypatch, capsys):
    """Its checkpoint and its frozen file say the same; it cannot count the weights itself."""
    shutil.copytree(trained, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    stock_wheel.dp(["freeze", "-o", "frozen.pb"], tmp_path / "copy")
    words = ["type-map", "descriptor", "fitting-net", "size", "observed-type"]
    lines = ours(["show", "frozen.pb", *words], capsys)
    assert ours(["show", "model.ckpt", *words], capsys) == lines
    theirs = stock_wheel.dp(["show", "frozen.pb", *words[:3]], tmp_path / "copy")
    assert lines[:2] == theirs[:2]
    for line, other in zip(lines[2:4], theirs[2:4], strict=True):
        name, _, found = line.partition(" is ")
        other_name, _, wanted = other.partition(" is ")
        assert name == other_name
        assert ast.literal_eval(found) == ast.literal_eval(wanted)
    assert "Parameters in total: 954" in lines
    assert lines[-1] == "Observed types: ['O', 'H'] "


def numbers(lines: list[str]) -> list[float]:
    """What is in the line about the change, and before it in that about the error."""
    lines = [x for x in lines if x.startswith(("RMSE of atomic", "Change energy bias"))]
    return [float(n) for n in re.findall(r"-?\d+\.\d*(?:e[-+]\d+)?", " ".join(lines))]
