# SPDX-License-Identifier: BSD-3-Clause
"""Small systems on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf.data import write_system

TYPES = [1, 0, 1, 0, 0]
"""Atoms 1, 3, 4 are of type 0, so sorting gives the order 1, 3, 4, 0, 2."""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a system: ``make("name", nframes=4, frames_per_set=2, energy=None, ...)``.

    Coordinate (frame f, atom a, axis k) is 100 f + 10 a + k, plus `offset`; the energy is that of
    f. Keywords replace items; None leaves them out.
    """

    def write(name: str = "sys", nframes: int = 4, offset: float = 0.0, **changes) -> Path:
        types = changes.pop("types", TYPES)
        natoms = len(types)
        frame, atom, axis = np.ogrid[:nframes, :natoms, :3]
        coord = offset + 100.0 * frame + 10.0 * atom + axis
        items = {
            "coord": coord,
            "box": np.tile(20.0 * natoms * np.eye(3), (nframes, 1, 1)),
            "energy": offset + np.arange(nframes),
            "force": -coord,
            "type_map": ["O", "H"],
        }
        items |= changes
        box = items.pop("box")
        given = {key: value for key, value in items.items() if value is not None}
        return write_system(tmp_path / name, types=types, box=box, **given)

    return write


@pytest.fixture
def hessians() -> Callable[[int, int], np.ndarray]:
    """``hessians(nframes, natoms)``: random symmetric matrices [nframes, 3 natoms, 3 natoms]."""

    def make_hessians(nframes: int, natoms: int) -> np.ndarray:
        matrices = np.random.default_rng(11).normal(size=(nframes, 3 * natoms, 3 * natoms))
        return matrices + matrices.transpose(0, 2, 1)

    return make_hessians
