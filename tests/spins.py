# SPDX-License-Identifier: BSD-3-Clause
"""Small models with spins, and data for them: oxides whose first four atoms have a spin."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import small

from deepmd_tf.data import write_system

TYPES = np.array([0] * 4 + [1] * 4 + [2] * 4, np.int32)
"""Atoms with a spin, others, virtual atoms."""
REAL = 8
EDGE = 4.2
"""Å, of the cubic cell."""
NORM, LENGTH = 1.2737, 0.4
"""Size of the spins, and Å that their virtual atoms are away."""
SPIN = {"use_spin": [True, False], "spin_norm": [NORM], "virtual_len": [LENGTH]}

SCRIPT = small.script(
    {"sel": [20, 20], "rcut_smth": 1.0, "axis_neuron": 2, "type_one_side": True},
    {"neuron": [6, 6]},
    model={"type_map": ["Ni", "O"], "spin": SPIN},
    learning_rate={"start_lr": 1e-3, "stop_lr": 1e-5},
    loss={"type": "ener_spin"},
    training={
        "training_data": {"systems": ["data/train"], "batch_size": 2},
        "validation_data": {"systems": ["data/valid"], "batch_size": 2},
        "numb_steps": 6,
        "disp_freq": 1,
        "save_freq": 3,
        "seed": 10,
    },
)
VARIANTS: dict[str, dict[str, Any]] = {
    "se_e2_a": {},
    "two-sided": {"type_one_side": False, "exclude_types": [[1, 1]]},
    "se_e2_r": {"type": "se_e2_r", "axis_neuron": None},
}
"""Other keys of the descriptor; None: without the key."""


def script(variant: str = "se_e2_a", **sections: dict[str, Any]) -> dict[str, Any]:
    """:data:`SCRIPT` of a variant, with other keys in the sections."""
    found = copy.deepcopy(SCRIPT)
    keys = found["model"]["descriptor"] | VARIANTS[variant]
    found["model"]["descriptor"] = {key: v for key, v in keys.items() if v is not None}
    for section, given in copy.deepcopy(sections).items():
        found[section] |= given
    return found


def frames(seed: int, n_frames: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the real atoms [n_frames, 8, 3] of a disturbed rock salt, Å, and spins of the
    first four [n_frames, 4, 3] in random directions, of about :data:`NORM`.
    """
    rng = np.random.default_rng(seed)
    cubic = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    places = EDGE * np.concatenate([cubic, cubic + np.array([0.5, 0.0, 0.0])])
    coord = places + rng.normal(0.0, 0.08, (n_frames, REAL, 3))
    spins = rng.normal(size=(n_frames, 4, 3))
    spins *= (
        NORM
        * rng.uniform(0.9, 1.1, (n_frames, 4, 1))
        / np.linalg.norm(spins, axis=2, keepdims=True)
    )
    return coord, spins


def with_virtual(coord: np.ndarray, spins: np.ndarray) -> np.ndarray:
    """Coordinates of all atoms, [n_frames, 12, 3], Å."""
    return np.concatenate([coord, coord[:, :4] + spins * LENGTH / NORM], axis=1)


def boxes(n_frames: int) -> np.ndarray:
    """[n_frames, 9], Å."""
    return np.tile(EDGE * np.eye(3).ravel(), (n_frames, 1))


def write(folder: Path, seed: int = 0, n_frames: int = 4, **changes: np.ndarray) -> Path:
    """A system with labels without a meaning; ``changes`` are other arrays."""
    rng = np.random.default_rng(seed + 100)
    n = len(TYPES)
    arrays = {
        "types": TYPES,
        "coord": with_virtual(*frames(seed, n_frames)),
        "box": boxes(n_frames),
        "energy": -50 + rng.normal(size=n_frames),
        "force": rng.normal(0, 0.5, (n_frames, n, 3)),
        "virial": rng.normal(size=(n_frames, 9)),
    }
    write_system(folder, **(arrays | changes))
    return folder


def write_data(folder: Path) -> Path:
    """The systems of :data:`SCRIPT`."""
    write(folder / "data/train", 1)
    write(folder / "data/valid", 2, 2)
    return folder
