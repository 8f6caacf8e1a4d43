# SPDX-License-Identifier: BSD-3-Clause
"""What is wrong with the data of a training is said at once, before anything is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_training import write_all_data, write_script

from deepmd_tf.config import load_input
from deepmd_tf.data.checks.findings import FindingsError
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.training.open_data import open_data


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(path: str, index, value) -> None:
    array = np.load(path)
    array[index] = value
    np.save(path, array)


def open_all(folder: Path, loss: dict | None = None, **training) -> None:
    config = load_input(write_script(folder, loss=loss or {}, training=training))
    open_data(config, EnergyLoss(config.loss))


def test_everything_at_once(folder) -> None:
    train, free, valid = "data/train/cell", "data/train/free", "data/valid/cell"
    change(f"{train}/set.000/box.npy", 1, 0.0)
    change(
        f"{train}/set.000/coord.npy", (2, slice(3, 6)), np.load(f"{train}/set.000/coord.npy")[2, :3]
    )
    change(f"{train}/set.001/force.npy", (3, 5), np.nan)
    Path(free, "type_map.raw").write_text("O Xe")
    np.save(f"{valid}/set.001/force.npy", np.zeros((3, 18)))
    systems = ["data/none", train, free, "data/neither"]
    loss = {"start_pref_ae": 1.0, "limit_pref_ae": 1.0}
    with pytest.raises(FindingsError) as caught:
        open_all(folder, loss, training_data={"systems": systems})
    message = str(caught.value)
    for text in (
        "training.training_data.systems: data/none is not a directory that exists",
        "training.training_data.systems: data/neither is not a directory that exists",
        f"{train}/set.000/box.npy: the cell of frame 1 (counted from 0) has no volume",
        f"{train}/set.000/coord.npy: frame 2 has atoms 0 and 1 (counted from 0) at the same place",
        f"{train}/set.001/force.npy: frame 3, atom 1, component 2 (counted from 0) is nan",
        f"{free}/type_map.raw: the elements ['Xe']",
        f"{valid}/set.001/force.npy: 3 frames",
    ):
        assert text in message
    assert message.startswith("7 mistakes:")


def test_labels_that_no_system_has_stand_beside_other_mistakes(folder) -> None:
    change("data/valid/cell/set.000/energy.npy", 2, np.inf)
    with pytest.raises(FindingsError) as caught:
        open_all(folder, {"start_pref_ae": 1.0, "limit_pref_ae": 1.0})
    assert "start_pref_ae or limit_pref_ae is not 0, but no training system" in str(caught.value)
    assert "energy.npy: frame 2 (counted from 0) is inf" in str(caught.value)


def test_doubts_are_warned_of_once(folder, caplog) -> None:
    """Labels that a system lacks, and a left-handed cell."""
    for number in ("000", "001"):
        Path(f"data/train/free/set.{number}/energy.npy").unlink()
    box = np.load("data/valid/cell/set.000/box.npy")
    np.save("data/valid/cell/set.000/box.npy", box[:, [3, 4, 5, 0, 1, 2, 6, 7, 8]])
    open_all(folder, training_data={"systems": "data/train"})
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len([text for text in warnings if "form a left-handed system" in text]) == 1
    (text,) = [text for text in warnings if "learns nothing" in text]
    assert (
        "start_pref_e or limit_pref_e is not 0, but 1 of 2 training systems have no energy.npy"
        in text
    )
    assert "the first is data/train/free" in text


def test_free_systems_need_no_virial(folder, caplog) -> None:
    open_all(folder, {"start_pref_v": 1.0, "limit_pref_v": 1.0})
    assert "learns nothing" not in caplog.text
