# SPDX-License-Identifier: BSD-3-Clause
"""Models of this suite, made once, also where several workers run it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import stock_wheel
from water_model import VALID, Water, train_water

from deepmd_tf import names
from deepmd_tf.export.compress import compress
from deepmd_tf.graph.frozen import read_model


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``once(name, make)``: the folder that ``make(folder)`` filled, in this worker or another."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def get(name: str, make: Callable[[Path], None]) -> Path:
        folder = base / name
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (base / f"{name}.made").exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                (base / f"{name}.made").touch()
        return folder

    return get


@pytest.fixture(scope="session")
def water(once: Callable[..., Path]) -> Water:
    """The trained model with its checkpoints and frozen files."""
    return Water(once("water", train_water))


@pytest.fixture(scope="session")
def frozen_by_stock(once: Callable[..., Path], water: Water) -> Path:
    """The graph of the stock wheel with our weights: the file with which others are compared.

    A change of the biases to what they are is a way to have stock build its graph around them.
    """

    def make(folder: Path) -> None:
        model = read_model(water.checkpoint())
        for path in water.folder.glob(f"{water.checkpoint().name}.*"):
            shutil.copy(path, folder)
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{water.checkpoint().name}"\n')
        (folder / "input.json").write_text(json.dumps(model.script))
        bias = [np.format_float_positional(value) for value in model.weights[names.BIAS_ATOM_E]]
        shutil.copytree(VALID, folder / "data")  # which it opens and does not need
        arguments = [water.checkpoint().name, "-b", *bias, "-o", "stock.pb"]
        stock_wheel.dp(["change-bias", *arguments], folder)

    return once("frozen_by_stock", make) / "stock.pb"


@pytest.fixture(scope="session")
def compressed_by_stock(once: Callable[..., Path], water: Water) -> Path:
    """Our frozen file, compressed by the stock wheel."""

    def make(folder: Path) -> None:
        stock_wheel.dp(["compress", "-i", str(water.ours), "-o", "compressed.pb"], folder)

    return once("compressed_by_stock", make) / "compressed.pb"


@pytest.fixture(scope="session")
def compressed_by_ours(once: Callable[..., Path], water: Water) -> Path:
    """The same, compressed by this package."""

    def make(folder: Path) -> None:
        compress(water.ours, folder / "compressed.pb")

    return once("compressed_by_ours", make) / "compressed.pb"


@pytest.fixture(scope="session")
def frames() -> dict[str, np.ndarray]:
    """Frames that the model was not trained on: coords [n, 192, 3], cells [n, 3, 3], types [192].

    The first is a cube at 300 K, the second triclinic.
    """
    coords = np.load(VALID / "set.000" / "coord.npy").astype(float)
    return {
        "coords": coords.reshape(len(coords), -1, 3),
        "cells": np.load(VALID / "set.000" / "box.npy").astype(float).reshape(-1, 3, 3),
        "types": np.loadtxt(VALID / "type.raw", dtype=np.int32),
    }
