# SPDX-License-Identifier: BSD-3-Clause
"""Inputs to begin from."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

WATER = {
    "_comment": "water",
    "model": {
        "type_map": ["O", "H"],
        "descriptor": {
            "type": "se_e2_a",
            "sel": [46, 92],
            "rcut_smth": 0.5,
            "rcut": 6.0,
            "neuron": [25, 50, 100],
            "resnet_dt": False,
            "axis_neuron": 16,
            "seed": 1,
        },
        "fitting_net": {"neuron": [240, 240, 240], "resnet_dt": True, "seed": 1},
    },
    "learning_rate": {"type": "exp", "decay_steps": 5000, "start_lr": 0.001, "stop_lr": 3.51e-8},
    "loss": {
        "type": "ener",
        "start_pref_e": 0.02,
        "limit_pref_e": 1,
        "start_pref_f": 1000,
        "limit_pref_f": 1,
        "start_pref_v": 0,
        "limit_pref_v": 0,
    },
    "training": {
        "training_data": {"systems": ["data_0", "data_1"], "batch_size": "auto"},
        "validation_data": {"systems": ["data_3"], "batch_size": 1, "numb_btch": 3},
        "numb_steps": 1000000,
        "seed": 10,
        "disp_file": "lcurve.out",
        "disp_freq": 100,
        "save_freq": 1000,
    },
}


@pytest.fixture
def script() -> dict[str, Any]:
    """A valid input that a test may change."""
    return copy.deepcopy(WATER)


@pytest.fixture
def change(script: dict[str, Any]) -> Callable[[str, Any], dict[str, Any]]:
    """``change("model.descriptor.rcut", 5.0)`` gives the valid input with that value.

    ``...`` as the value takes the key away.
    """

    def apply(path: str, value: Any) -> dict[str, Any]:
        *blocks, key = path.split(".")
        block = script
        for name in blocks:
            block = block.setdefault(name, {})
        if value is ...:
            del block[key]
        else:
            block[key] = value
        return script

    return apply


@pytest.fixture
def stock() -> Callable[[str, str], str]:
    """``stock(program, text)``: output of the stock wheel's Python for that standard input."""
    python = os.environ.get("DEEPMD_STOCK_PYTHON")
    if not python:
        pytest.skip("DEEPMD_STOCK_PYTHON is not set")

    def run(program: str, text: str) -> str:
        done = subprocess.run(
            [python, "-W", "ignore", "-c", program],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
