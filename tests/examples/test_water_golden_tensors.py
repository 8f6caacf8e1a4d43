# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of DeePMD-kit 3.2.0: models of tensors and of densities of states with first weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmd_tf.data import write_system
from deepmd_tf.infer import DeepDOS, DeepPotential
from deepmd_tf.training.entrypoint import train

WATER = Path(__file__).resolve().parents[2] / "examples" / "water" / "data" / "data_0"
N_FRAMES = 4
TENSOR = {"type": "tensor", "pref": 1.0, "pref_atomic": 0.0}
CASES: dict[str, tuple[dict[str, Any], list[list[float]]]] = {
    "dipole": (
        {"type": "dipole", "sel_type": [0]},
        [
            [-0.57222198, -0.03783575, 0.13828919],
            [-1.09075828, 3.35849968, 9.10923151],
            [0.26154009, -0.18614757, -0.07754664],
            [0.5421422183530574],
        ],
    ),
    "polar": (
        {"type": "polar", "sel_type": [0], "scale": [2.0, 3.0], "shift_diag": False},
        [
            [0.07725575, -0.01724814, -0.0542877],
            [0.9079295, -0.24009268, -0.24295322],
            [-0.02546609, 0.02117185, -0.02216623],
            [-0.8084367692976163],
        ],
    ),
    "matrix": (
        {"type": "polar", "sel_type": [0], "fit_diag": False, "shift_diag": False},
        [
            [-2.57528109, 0.11348158, 1.02856962],
            [-44.3048255, 4.52859482, 0.0422457940],
            [2.07595368, -1.50178518, -0.2761524],
            [-13.597129843492986],
        ],
    ),
    "dos": (
        {"type": "dos", "numb_dos": 7},
        [[-1.2257732, -0.90891175], [-157.37243122, -52.20189906, 34.05855932]],
    ),
}
"""Of each: fitting net; tensor of the first oxygen, that of the frame, the derivatives of its first
component with respect to the first atom and the first strain, as many numbers as are known."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_first_weights(case: str, tmp_path, monkeypatch) -> None:
    """One batch of four frames for the statistics, no step."""
    monkeypatch.chdir(tmp_path)
    fitting, expected = CASES[case]
    coord, box = (np.load(WATER / "set.000" / f"{k}.npy")[:N_FRAMES] for k in ("coord", "box"))
    types = np.loadtxt(WATER / "type.raw", dtype=int)
    labels = {
        "dipole": np.zeros((N_FRAMES, 3)),
        "polarizability": np.zeros((N_FRAMES, 9)),
        "atom_dos": np.zeros((N_FRAMES, 192 * 7)),
    }
    frames = {"coord": coord.reshape(N_FRAMES, -1, 3), "box": box.reshape(N_FRAMES, 3, 3)}
    write_system(tmp_path / "data", types=types, type_map=["O", "H"], **frames, **labels)
    descriptor = {"type": "se_e2_a", "sel": [16, 32], "rcut": 4.0, "rcut_smth": 0.5, "seed": 1}
    descriptor |= {"neuron": [4, 8], "axis_neuron": 2, "type_one_side": True}
    script = {
        "model": {
            "type_map": ["O", "H"],
            "data_stat_nbatch": 1,
            "descriptor": descriptor,
            "fitting_net": fitting | {"neuron": [6, 6], "seed": 1},
        },
        "learning_rate": {"start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 10},
        "loss": {"type": "dos"} if case == "dos" else TENSOR,
        "training": {
            "training_data": {"systems": "data", "batch_size": N_FRAMES},
            "numb_steps": 0,
            "seed": 10,
        },
    }
    Path("input.json").write_text(json.dumps(script))
    assert train("input.json") == 0
    first = coord[:1].astype(float), box[:1].astype(float), types
    with DeepPotential("model.ckpt-0") as model:
        if isinstance(model, DeepDOS):
            total, atoms = model.eval(*first, atomic=True)
            found = [atoms[0, 0], total[0]]
        else:
            total, force, virial, atoms, _ = model.eval_full(*first, atomic=True)
            found = [atoms[0, 0], total[0], force[0, 0, 0], virial[0, 0]]
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got[: len(want)], want, rtol=1e-6)
