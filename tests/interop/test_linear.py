# SPDX-License-Identifier: BSD-3-Clause
"""Sums of models are those of DeePMD-kit: the suite of descriptors; with a table of pair potentials
and a frozen model, which DeePMD-kit 3.2 cannot train, its programs run our files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import stock_lammps
import stock_wheel
from small_training import write_all_data
from water_model import PLUGIN

from deepmd_tf.export.freeze import freeze
from deepmd_tf.pair_table.zbl import write_zbl_table
from deepmd_tf.training.entrypoint import train

from .test_descriptors import (  # noqa: F401  (the tests use the fixtures below)
    COMMON,
    TYPES,
    assert_same,
    frames,
    ours,
    script,
    test_checkpoints_of_both,
    test_dynamics,
    test_files_of_both,
    test_learning_curve,
    test_runtime_of_dynamics,
    theirs,
    train_both,
)

pytestmark = stock_wheel.needs_stock

ANGULAR = COMMON | {"type": "se_e2_a", "axis_neuron": 3}
RADIAL = COMMON | {"type": "se_e2_r", "sel": "auto", "rcut": 3.0, "seed": 3}
MODELS = (
    script({"type": "hybrid", "list": [ANGULAR, RADIAL]})["model"],
    script(ANGULAR | {"type": "se_a_ebd_v2", "seed": 4}, {"type_embedding": TYPES})["model"],
)


def sum_of(*models, weights):
    found = script(ANGULAR)
    found["model"] = {
        "type": "linear_ener",
        "type_map": ["O", "H"],
        "models": list(models),
        "weights": weights,
    }
    return found


@pytest.fixture(scope="module")
def trained(once: Callable[..., Path]) -> tuple[str, Path]:
    """Name of the case, and folder that :func:`train_both` filled."""

    def make(folder: Path) -> None:
        train_both(folder, sum_of(*MODELS, weights=[0.3, 0.7]), True)

    return "sum", once("linear_sum", make)


@pytest.fixture(scope="module")
def with_table(once: Callable[..., Path]) -> Path:
    """Folder of a sum with a table of pair potentials and a frozen model."""

    def make(folder: Path) -> None:
        table = {"rmin": 0.01, "rmax": 3.0, "step": 0.01, "rswitch": 1.0}
        write_zbl_table(folder / "zbl.tab", ["O", "H"], **table)
        write_all_data(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            single = script(RADIAL)
            single["training"] |= {"numb_steps": 1, "save_ckpt": "single.ckpt"}
            Path("input.json").write_text(json.dumps(single))
            assert train("input.json") == 0
            freeze("single.ckpt-1", "single.pb")
            model = sum_of(
                script(ANGULAR)["model"],
                {"type": "pairtab", "tab_file": "zbl.tab", "rcut": 3.0, "sel": 30},
                {"type": "frozen", "model_file": "single.pb"},
                weights=[0.5, 1.5, 0.5],
            )
            Path("input.json").write_text(json.dumps(model))
            assert train("input.json") == 0
            freeze("model.ckpt-5", "model.pb")
            freeze("model.ckpt-5", "native.pb", dialect="native")

    return once("linear_table", make)


def test_a_table_in_programs_of_deepmd_kit(with_table, frames, tmp_path):  # noqa: F811
    expected = ours(with_table / "native.pb", frames)
    for cpp in (False, True):
        folder = tmp_path / str(cpp)
        folder.mkdir()
        ((found,),) = stock_wheel.evaluate_files(
            [with_table / "model.pb"], folder, [frames], cpp=cpp
        )
        assert_same("sum", found, expected, f"C++ {cpp}")


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_table_in_lammps(with_table, frames, tmp_path, ranks):  # noqa: F811
    coords, cells, types = frames
    cell = 7.0 * np.eye(3)
    coords = coords[0] @ np.linalg.inv(cells[0]) @ cell
    expected = ours(with_table / "model.pb", (coords[None], cell[None], types))
    cases = {
        dialect: stock_lammps.Case(with_table / f"{dialect}.pb", coords, cell, types)
        for dialect in ("model", "native")
    }
    for dialect, found in stock_lammps.evaluate(cases, tmp_path, ranks, **PLUGIN).items():
        assert_same("sum", found, expected, dialect, ("energy", "force", "virial"))
