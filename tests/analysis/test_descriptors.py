# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors in files."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from deepmd_tf.cli.main import main
from deepmd_tf.data import DataSystem
from deepmd_tf.infer import DeepPot


@pytest.mark.parametrize("dtype", ["native", "fp32", "fp64"])
def test_files(folder, tmp_path, monkeypatch, dtype):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("deepmd_tf.analysis.descriptors.ATOMS_AT_ONCE", 18)
    output = tmp_path / "a" / "desc"
    assert (
        main(["eval-desc", "-m", "1", "-s", "data/train", "-o", str(output), "--dtype", dtype]) == 0
    )
    assert sorted(p.name for p in output.iterdir()) == ["cell.npy", "free.npy"]
    with DeepPot(folder / "1.pb") as pot:
        for name in ("cell", "free"):
            data = DataSystem(folder / "data" / "train" / name, ["O", "H"], sort_atoms=False)
            arrays = [batch.arrays for batch in data.batches()]
            coord = np.concatenate([a["coord"] for a in arrays])
            box = np.concatenate([a["box"] for a in arrays]) if data.pbc else None
            wanted = pot.eval_descriptor(coord, box, data.types, dtype=dtype)
            found = np.load(output / f"{name}.npy")
            assert found.shape == (8, 6, 24)
            assert found.dtype == wanted.dtype == ("f4" if dtype == "fp32" else "f8")
            np.testing.assert_allclose(
                found, wanted, rtol=0, atol=1e-6 if dtype == "fp32" else 1e-13
            )


def test_place_is_taken_before_it_is_filled(folder, tmp_path, monkeypatch, capsys):
    """What is mapped into memory would be a hole first, and a bus error where the disk is full."""

    def full(handle, begin, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "posix_fallocate", full)
    output = tmp_path / "desc"
    assert main(["eval-desc", "-m", "1", "-s", "data/train/cell", "-o", str(output)]) == 1
    assert "cell.npy: cannot be written (No space left on device)" in capsys.readouterr().err
    assert list(output.iterdir()) == []


def test_list_of_systems(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (tmp_path / "list").write_text("data/valid/cell\n\n")
    arguments = ["-m", "1.pb", "-f", str(tmp_path / "list"), "-o", str(tmp_path / "desc")]
    assert main(["eval-desc", *arguments]) == 0
    assert [p.name for p in (tmp_path / "desc").iterdir()] == ["cell.npy"]
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/desc/cell.npy  (8, 6, 24) float64"]


def test_nothing_is_written_where_a_later_system_is_wrong(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (tmp_path / "list").write_text("data/valid/cell\nnowhere\n")
    arguments = ["-m", "1.pb", "-f", str(tmp_path / "list"), "-o", str(tmp_path / "desc")]
    assert main(["eval-desc", *arguments]) == 1
    assert "nowhere: no such directory" in capsys.readouterr().err
    assert not (tmp_path / "desc").exists()
