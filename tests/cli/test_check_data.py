# SPDX-License-Identifier: BSD-3-Clause
"""dp check-data: everything that is wrong, without training and without TensorFlow."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from small_training import write_all_data

from deepmd_tf.cli.main import main
from deepmd_tf.data.checks.examine import check_data
from deepmd_tf.errors import DataError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_good_data(capsys) -> None:
    assert main(["check-data", "-s", "data/train", "--validation", "data/valid"]) == 0
    table, lines = capsys.readouterr()
    assert "24 frames in 3 systems" in table and "0 errors, 0 doubts" in table
    assert "virial   in 1 of 2 training systems" in table
    assert "checked 24 frames in 3 systems" in lines
    assert ": 0 errors, 0 doubts" in lines
    assert "virial.npy: in 1 of 2 training systems, but not in data/train/free" in lines
    assert "WARNING" not in lines


def test_all_mistakes(folder, capsys) -> None:
    energy = folder / "data/train/cell/set.001/energy.npy"
    np.save(energy, np.full(4, np.nan))
    (folder / "data/train/free/type.raw").write_text("0 1 1 0 1 x")
    (folder / "data/valid/cell/set.000/box.npy").unlink()
    held_out = ["--validation", "data/train/cell", "data/valid"]
    given = ["-s", "data/none", "data/train", "data/neither"]
    assert main(["check-data", *given, *held_out, "-t", "O", "H"]) == 1
    lines = capsys.readouterr().err
    for text in (
        "data/none is not a directory that exists",
        "data/neither is not a directory that exists",
        "type.raw: atom 5 (counted from 0) has the type 'x'",
        "valid/cell/set.000/box.npy: not found",
        "train/cell/set.001/energy.npy: frame 0 (counted from 0) is nan",
        "validation frames are in the training data",
    ):
        assert text in lines


def test_names_that_contradict(folder) -> None:
    (folder / "data/valid/cell/type_map.raw").write_text("H O")
    with pytest.raises(DataError, match=r"type_map\.raw .* contradicts"):
        check_data(["data/train"], ["data/valid"])
    check_data(["data/train"], ["data/valid"], type_map=["O", "H"])
    with pytest.raises(DataError, match=r"the elements \['H'\]"):
        check_data(["data/train"], type_map=["O", "C"])


def test_without_tensorflow(folder) -> None:
    code = (
        "import sys; from deepmd_tf.cli.main import main; "
        "sys.exit(main(['check-data']) or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
