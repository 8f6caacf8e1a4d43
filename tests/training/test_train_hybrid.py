# SPDX-License-Identifier: BSD-3-Clause
"""Training of a list of descriptors: what is measured, stored and compared for each of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_training import write_all_data, write_script

from deepmd_tf.data import DataSystems
from deepmd_tf.errors import CheckpointError, InputError, ModelFileError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.neighbor_counts import count_neighbors, count_neighbors_within

pytestmark = pytest.mark.usefixtures("without_rewriting")

ANGULAR = {
    "type": "se_e2_a",
    "sel": [12, 20],
    "rcut": 3.4,
    "neuron": [2, 4],
    "axis_neuron": 2,
    "set_davg_zero": True,
    "seed": 1,
}
RADIAL = {"type": "se_e2_r", "sel": "auto", "rcut": 2.5, "neuron": [3], "seed": 2}
LIST = [ANGULAR, RADIAL]


def write(folder: Path, members: list[dict[str, Any]], **training: Any) -> Path:
    model: dict[str, Any] = {"descriptor": {"type": "hybrid", "list": members}}
    if "fitting_net" in training:
        model["fitting_net"] = training.pop("fitting_net")
    steps = {"numb_steps": 2, "disp_freq": 1, "save_freq": 1}
    return write_script(folder, model=model, training=steps | training)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training, its file of statistics and its frozen model."""
    folder = tmp_path_factory.mktemp("hybrid")
    write_all_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(write(folder, LIST, stat_file="stat")) == 0
        freeze("model.ckpt", "model.pb")
    return folder


@pytest.fixture
def again(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Train with other members; the learning curve."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(first / "data")

    def again(members: list[dict[str, Any]], options: dict[str, Any], **training: Any) -> str:
        assert train(write(tmp_path, members, **training), **options) == 0
        return (tmp_path / "lcurve.out").read_text()

    return again


def test_neighbors_of_each_cutoff(first):
    """In one pass over the data what a pass for each cutoff gives."""
    systems = [str(path) for path in sorted((first / "data/train").iterdir())]
    data = DataSystems(systems, 1, np.random.default_rng(0))
    rcuts = (4.5, 2.5)
    together = count_neighbors_within(data, rcuts)
    for found, rcut in zip(together, rcuts, strict=True):
        alone = count_neighbors(data, rcut)
        assert found.min_distance == alone.min_distance
        np.testing.assert_array_equal(found.max_neighbors, alone.max_neighbors)
    assert together[0].max_neighbors.sum() > together[1].max_neighbors.sum()
    written = json.loads((first / "out.json").read_text())["model"]["descriptor"]["list"]
    assert written[0]["sel"] == [12, 20]
    expected = [4 * np.ceil(int(1.1 * n) / 4) for n in together[1].max_neighbors]
    assert written[1]["sel"] == expected


def test_names(first):
    model = read_model(first / "model.pb")
    averages = {
        "descrpt_attr_0/t_avg": 4 * 32,
        "descrpt_attr_1/t_avg": sum(model.original_sel["_1"]),
    }
    for name, width in averages.items():
        assert model.weights[name].shape == (2, width)
    assert "filter_type_0_0/matrix_1_1" in model.weights
    assert "filter_type_1_1/matrix_1_0" in model.weights
    assert not model.weights["descrpt_attr_0/t_avg"].any()
    assert model.weights["descrpt_attr_1/t_avg"].all()
    assert model.rcut == 3.4
    with DeepPot(first / "model.pb") as pot:
        assert pot.get_rcut() == 3.4
        assert pot.get_sel() == [12, 20]


def test_statistics_are_kept_for_each(first, again, caplog):
    """One group of the file for each member, as DeePMD-kit has it."""
    caplog.set_level("INFO")
    groups = [path for path in (first / "stat" / "O H").iterdir() if path.is_dir()]
    assert sorted(len(list(group.glob("?_?"))) for group in groups if len(group.name) == 40) == [
        2,
        4,
    ]
    expected = (first / "lcurve.out").read_text()
    assert again(LIST, {}, stat_file=str(first / "stat")) == expected
    assert "the neighbor statistics of these data are those of" in caplog.text
    assert caplog.text.count("statistics of these data (environment") == 2


def test_restart(first, again):
    expected = (first / "lcurve.out").read_text().splitlines()
    got = again(LIST, {"restart": str(first / "model.ckpt-1")}).splitlines()
    assert got[-1] == expected[-1]
    for members, words in (
        ([ANGULAR, RADIAL | {"sel": [8, 8]}], r"descriptor/list\[1\]\.sel is \[8, 8\]"),
        ([ANGULAR], r"descriptor/list\[1\]\.rcut is null in the input script, 2\.5"),
    ):
        with pytest.raises(CheckpointError, match=words):
            again(members, {"restart": str(first / "model.ckpt-1")})


@pytest.mark.slow
def test_another_sel(first, again, tmp_path):
    """Where a member has no mean, the same function of the coordinates; of others it is refused."""
    frozen = str(first / "model.pb")
    expected = again(LIST, {"init_frz_model": frozen})
    got = again([ANGULAR | {"sel": [20, 24]}, RADIAL], {"init_frz_model": frozen})
    assert got.splitlines()[2] == expected.splitlines()[2]
    model = read_model(tmp_path / "model.ckpt")
    assert model.original_sel["_0"] == (12, 20)
    assert model.model.descriptor.neighbors["_0"] == (20, 24)
    with pytest.raises(ModelFileError, match=r"descriptor/list\[1\]\.sel is \[30, 30\]"):
        again([ANGULAR, RADIAL | {"sel": [30, 30]}], {"init_frz_model": frozen})


def test_other_models_are_refused(first, again):
    with pytest.raises(CheckpointError, match=r"descriptor/list\[1\]\.rcut is 2\.4"):
        again([ANGULAR, RADIAL | {"rcut": 2.4}], {"init_model": str(first / "model.ckpt-2")})
    with pytest.raises(CheckpointError, match=r"descriptor/list\[0\]\.type"):
        again(LIST[::-1], {"init_model": str(first / "model.ckpt-2")})


def test_finetuning_keeps_what_is_free(first, again, tmp_path):
    """``trainable`` of each member is that of the script, all else that of the model."""
    members = [ANGULAR | {"rcut": 3.0}, RADIAL | {"trainable": False}]
    again(members, {"finetune": str(first / "model.pb")})
    before, after = read_model(first / "model.pb"), read_model(tmp_path / "model.ckpt")
    assert after.model.descriptor.list[0].rcut == 3.4
    same = {n: np.array_equal(after.weights[n], v) for n, v in before.weights.items()}
    assert same["filter_type_1_1/matrix_1_0"] and not same["filter_type_0_0/matrix_1_1"]


def test_neighbors_that_are_left_out(first, again, caplog):
    """The message names the member, whose limits have nothing to do with those of others."""
    caplog.set_level(logging.WARNING)
    again([ANGULAR, RADIAL | {"sel": [1, 8]}], {"skip_neighbor_stat": True})
    assert "type O in list[1] are beyond sel and were left out; list[1].sel[0] is 1" in caplog.text
    assert "list[0].sel" not in caplog.text


def test_nothing_to_train(again):
    members = [member | {"trainable": False} for member in LIST]
    with pytest.raises(InputError, match=r"model\.descriptor\.list\[0\]\.trainable"):
        model = {"descriptor": {"type": "hybrid", "list": members}}
        path = write_script(
            Path(), model=model | {"fitting_net": {"neuron": [4], "trainable": False}}
        )
        train(path)
