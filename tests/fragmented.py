# SPDX-License-Identifier: BSD-3-Clause
"""A small model ``pairwise_dprc``, and frames of a molecule among others."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import small

from deepmd_tf.data import write_system

TYPE_MAP = ["C", "N", "OW", "HW"]
_MOLECULE = np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.2], [2.1, 1.3, 0.0]])
N_WATER = 4
TYPES = np.array([0, 1, 0] + [2, 3, 3] * N_WATER, np.int32)
_DESCRIPTOR = {
    "type": "se_atten_v2",
    "sel": 12,
    "rcut": 6.0,
    "rcut_smth": 0.5,
    "attn_layer": 0,
    "neuron": [4, 8],
    "axis_neuron": 2,
    "seed": 1,
}
_FITTING = {"neuron": [6, 6], "seed": 1}
EXCLUDED = [[0, 0], [0, 1], [1, 1], [2, 2], [2, 3], [3, 3]]
MODEL: dict[str, Any] = {
    "type": "pairwise_dprc",
    "type_map": TYPE_MAP,
    "type_embedding": {"neuron": [3], "activation_function": "linear", "seed": 5},
    "qm_model": {
        "descriptor": _DESCRIPTOR,
        "fitting_net": _FITTING | {"atom_ener": [None, None, 0.0, 0.0]},
    },
    "qmmm_model": {
        "descriptor": _DESCRIPTOR | {"set_davg_zero": True, "exclude_types": EXCLUDED, "seed": 2},
        "fitting_net": _FITTING | {"atom_ener": [0.0] * 4},
    },
}


def script(**sections: dict[str, Any]) -> dict[str, Any]:
    """The input script; keywords replace keys of a section, as ``training={"seed": 2}``."""
    found = small.script(**sections)
    found["model"] = copy.deepcopy(MODEL) | sections.get("model", {})
    found["loss"] = {"start_pref_v": 0.0, "limit_pref_v": 0.0} | sections.get("loss", {})
    for part in ("training_data", "validation_data"):  # of several DeePMD-kit takes the first
        found["training"][part]["batch_size"] = 1
    return found


def frames(seed: int, nframes: int = 4) -> dict[str, np.ndarray]:
    """Coordinates [n, 15, 3], fragments [n, 15], of which the last is left out in odd frames, and
    random labels.
    """
    rng = np.random.default_rng(seed)
    coord, group = [], []
    for frame in range(nframes):
        parts = [_MOLECULE + rng.normal(scale=0.1, size=_MOLECULE.shape)]
        for k in range(N_WATER):
            angle = 2 * np.pi * (k + rng.uniform(0, 0.3)) / N_WATER
            oxygen = [1.0 + 3.4 * np.cos(angle), 0.5 + 3.4 * np.sin(angle), rng.uniform(-1, 1)]
            bonds = rng.normal(size=(2, 3))
            bonds *= 0.96 / np.linalg.norm(bonds, axis=1)[:, None]
            parts.append(np.vstack([oxygen, oxygen + bonds]))
        coord.append(np.vstack(parts))
        numbers = [0, 0, 0] + [k + 1 for k in range(N_WATER) for _ in range(3)]
        group.append([-1 if frame % 2 and k == N_WATER else k for k in numbers])
    shape = np.shape(coord)
    return {
        "coord": np.array(coord),
        "aparam": np.array(group, float),
        "energy": rng.normal(size=nframes),
        "force": rng.normal(size=shape),
    }


def write(folder: Path, seed: int, nframes: int = 4) -> None:
    """A system of such frames."""
    arrays = frames(seed, nframes)
    group = arrays.pop("aparam")
    write_system(folder, types=TYPES, box=None, type_map=TYPE_MAP, **arrays)
    (path,) = sorted(folder.glob("set.*"))
    np.save(path / "aparam.npy", group)


def data(folder: Path) -> None:
    """Systems ``data/train`` and ``data/valid``."""
    write(folder / "data" / "train", 1)
    write(folder / "data" / "valid", 2, 2)
