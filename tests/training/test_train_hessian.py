# SPDX-License-Identifier: BSD-3-Clause
"""Training on Hessians, in each mode: it helps, goes on exactly after a restart, and shows what it
should where labels are missing."""

from __future__ import annotations

import numpy as np
import pytest
from small_training import TYPES, add_hessians, write_all_data, write_script

from deepmd_tf.errors import InputError
from deepmd_tf.training import blocks
from deepmd_tf.training.entrypoint import train

from .checkpoints import variables

pytestmark = pytest.mark.usefixtures("without_rewriting")

PREFACTORS = {"e": 0.1, "f": 0.1, "v": 0.0}
FORCES = {f"{when}_pref_{k}": p for k, p in PREFACTORS.items() for when in ("start", "limit")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_all_data(tmp_path)
    add_hessians(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(folder, mode="full", weight=1.0, steps=8, valid=True, **loss):
    training = {"numb_steps": steps, "disp_freq": steps, "save_freq": 4}
    if not valid:
        training["validation_data"] = None
    keys = {"start_pref_h": weight, "limit_pref_h": weight, "hessian_mode": mode}
    write_script(folder, training=training, loss=FORCES | keys | loss)


def curve(folder):
    """Last row of the learning curve, by column."""
    lines = (folder / "lcurve.out").read_text().splitlines()
    names = next(line for line in lines if "step" in line).lstrip("#").split()
    return dict(zip(names, map(float, lines[-1].split()), strict=True))


@pytest.mark.slow
def test_hessians_get_better(folder):
    errors = {}
    for mode, weight in (("full", 1e-12), ("full", 10.0), ("probe:2", 10.0)):
        script(folder, mode, weight, steps=150)
        assert train("input.json", skip_neighbor_stat=True) == 0
        row = curve(folder)
        errors[mode, weight] = row["rmse_h_val"]
        assert list(row)[1:-1] == [
            f"rmse{term}_{data}" for term in ("", "_e", "_f", "_h") for data in ("val", "trn")
        ]
    without = errors.pop(("full", 1e-12))
    assert max(errors.values()) < 0.75 * without, (errors, without)


@pytest.mark.parametrize(
    "mode",
    [
        "probe:1",
        pytest.param("full", marks=pytest.mark.slow),
        pytest.param("columns:2", marks=pytest.mark.slow),
    ],
)
def test_restart_is_exact(folder, mode):
    script(folder, mode, valid=False)
    assert train("input.json", skip_neighbor_stat=True) == 0
    expected = variables("model.ckpt-8")
    assert train("input.json", restart="model.ckpt-4", skip_neighbor_stat=True) == 0
    found = variables("model.ckpt-8")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
def test_labels_of_some_systems_only(folder, monkeypatch):
    """Matrices in small blocks give the same errors as whole ones."""
    for path in (folder / "data/train/free").glob("set.*/hessian.npy"):
        path.unlink()
    rows = []
    for at_once in (blocks.PAIRS_AT_ONCE, 4 * len(TYPES)):
        monkeypatch.setattr(blocks, "PAIRS_AT_ONCE", at_once)
        script(folder, "columns:1", steps=4, loss_func="mae")
        assert train("input.json", skip_neighbor_stat=True) == 0
        rows.append(curve(folder))
    assert np.isfinite(rows[0]["mae_h_val"])
    for name, value in rows[0].items():
        np.testing.assert_allclose(rows[1][name], value, rtol=1e-10, err_msg=name)
    for path in (folder / "data/valid/cell").glob("set.*/hessian.npy"):
        path.unlink()
    script(folder, "full", steps=4)
    assert train("input.json", skip_neighbor_stat=True) == 0
    row = curve(folder)
    assert np.isnan(row["rmse_h_val"]) and np.isfinite(row["rmse_f_val"])


@pytest.mark.slow
def test_training_in_blocks(folder, monkeypatch, caplog):
    """Learning curve and weights are those of all atoms at once."""
    found = []
    for at_once in (blocks.PAIRS_AT_ONCE, 2 * len(TYPES)):
        monkeypatch.setattr(blocks, "PAIRS_AT_ONCE", at_once)
        script(folder, steps=4)
        assert "some atoms at a time" not in caplog.text
        with caplog.at_level("INFO"):
            assert train("input.json", skip_neighbor_stat=True) == 0
        found.append((curve(folder), variables("model.ckpt-4")))
    assert "some atoms at a time" in caplog.text
    for one, other in zip(*found, strict=True):
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-8, atol=1e-10, err_msg=name)


def test_no_hessians(folder):
    for path in folder.glob("data/*/*/set.*/hessian.npy"):
        path.unlink()
    script(folder)
    with pytest.raises(InputError, match=r"start_pref_h.*hessian\.npy"):
        train("input.json", skip_neighbor_stat=True)
