# SPDX-License-Identifier: BSD-3-Clause
"""The small model of all tests: its input script, its data, and the model itself.

:mod:`small_training` has what trains it, :mod:`saved_models` variants with random weights.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

_SCRIPT: dict[str, Any] = {
    "model": {
        "type_map": ["O", "H"],
        "data_stat_nbatch": 2,
        "descriptor": {
            "type": "se_e2_a",
            "sel": [12, 20],
            "rcut": 3.4,
            "rcut_smth": 0.5,
            "neuron": [4, 8],
            "axis_neuron": 3,
            "seed": 1,
        },
        "fitting_net": {"neuron": [10, 10], "seed": 1},
    },
    "learning_rate": {"start_lr": 0.005, "stop_lr": 1e-4, "decay_steps": 10},
    "loss": {"start_pref_v": 0.02, "limit_pref_v": 1.0},
    "training": {
        "training_data": {"systems": "data/train", "batch_size": [2, 1]},
        "validation_data": {"systems": "data/valid", "numb_btch": 2},
        "numb_steps": 20,
        "disp_freq": 4,
        "save_freq": 5,
        "seed": 7,
    },
}


def script(
    descriptor: dict[str, Any] | None = None,
    fitting_net: dict[str, Any] | None = None,
    **sections: dict[str, Any],
) -> dict[str, Any]:
    """The input script with other keys in the descriptor, the fitting net, and whole sections.

    ``script({"sel": [3, 26]}, training={"seed": 2})``: keys that are not given stay.
    """
    found = copy.deepcopy(_SCRIPT)
    for section, keys in copy.deepcopy(sections).items():
        found[section] = found.get(section, {}) | keys
    found["model"]["descriptor"] |= copy.deepcopy(descriptor or {})
    found["model"]["fitting_net"] |= copy.deepcopy(fitting_net or {})
    return found


def data(folder: Path) -> Path:
    """Systems ``data/train/cell``, ``data/train/free`` and ``data/valid/cell`` in the folder."""
    from small_training import write_all_data

    write_all_data(folder)
    return folder / "data"


def model(folder: Path, **overrides: dict[str, Any]) -> Path:
    """Prefix of a checkpoint with random weights; keywords are those of :func:`script`."""
    from saved_models import save_checkpoint, small_input

    return save_checkpoint(folder, small_input(**overrides))[0]
