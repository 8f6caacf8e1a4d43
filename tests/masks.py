# SPDX-License-Identifier: BSD-3-Clause
"""Small data and models of ``se_a_mask``: molecules of which some atoms are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import small
from small_training import TYPES, pair_potential

from deepmd_tf.data import write_system

SECTION = {
    "type": "se_a_mask",
    "sel": [2, 4],
    "neuron": [4, 8],
    "axis_neuron": 3,
    "seed": 1,
}
MASK = {"numb_aparam": 1, "use_aparam_as_mask": True}


def script(section: dict[str, Any] | None = None, **sections: dict[str, Any]) -> dict[str, Any]:
    """The input script of :mod:`small` with this descriptor, for the data of :func:`data`."""
    found = small.script({}, MASK, **sections)
    found["model"]["descriptor"] = SECTION | (section or {})
    found["loss"] = {}
    found["training"] |= {
        "training_data": {"systems": "data/train", "batch_size": 2},
        "validation_data": {"systems": "data/valid"},
    }
    return found


def frames(seed: int, nframes: int) -> dict[str, np.ndarray]:
    """Coordinates [n, 6, 3], masks [n, 6] and labels; masked atoms are all at the origin."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid([0.0, 2.0], [0.0, 2.0, 4.0], [1.0]), axis=-1).reshape(-1, 3)
    coord = lattice + rng.uniform(-0.4, 0.4, (nframes, len(TYPES), 3))
    mask = np.ones((nframes, len(TYPES)))
    for frame in range(1, nframes):  # the first is whole
        mask[frame, rng.choice(len(TYPES), rng.integers(1, 4), replace=False)] = 0.0
    there = mask != 0
    labels = {"energy": np.zeros(nframes), "force": np.zeros_like(coord)}
    for frame, on in enumerate(there):
        found = pair_potential(coord[frame : frame + 1, on], None)
        labels["energy"][frame] = found["energy"][0]
        labels["force"][frame, on] = found["force"].reshape(-1, 3)
    return {"coord": np.where(there[:, :, None], coord, 0.0), "aparam": mask, **labels}


def write(folder: Path, seed: int, nframes: int = 8, types: np.ndarray = TYPES) -> None:
    """A system of such frames."""
    arrays = frames(seed, nframes)
    mask = arrays.pop("aparam")
    write_system(folder, types=types, box=None, type_map=["O", "H"], frames_per_set=4, **arrays)
    for k, path in enumerate(sorted(folder.glob("set.*"))):
        np.save(path / "aparam.npy", mask[4 * k : 4 * k + 4])


def data(folder: Path) -> None:
    """Systems ``data/train`` and ``data/valid``."""
    write(folder / "data" / "train", 1)
    write(folder / "data" / "valid", 2, 4)
