# SPDX-License-Identifier: BSD-3-Clause
"""The water example: its data are whole, physically sane, and fit its input scripts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

WATER = Path(__file__).resolve().parents[2] / "examples" / "water"
SYSTEMS = [f"data_{k}" for k in range(4)]
INPUTS = ["input.json", "input_quick.json"]
N_ATOMS = 192
N_FRAMES = 80
TEMPERATURES = {300, 350, 400, 450, 500, 550, 600}


def load(system: str, key: str) -> np.ndarray:
    return np.load(WATER / "data" / system / "set.000" / f"{key}.npy")


@cache
def distances(system: str) -> np.ndarray:
    """Distances [frames, atoms, atoms] of nearest images, with infinity on the diagonal."""
    boxes = load(system, "box").astype(np.float64).reshape(-1, 3, 3)
    coords = load(system, "coord").astype(np.float64).reshape(-1, N_ATOMS, 3)
    result = np.empty((len(coords), N_ATOMS, N_ATOMS))
    for out, coord, box in zip(result, coords, boxes, strict=True):
        fractional = coord @ np.linalg.inv(box)
        delta = fractional[:, None] - fractional[None]
        out[:] = np.linalg.norm((delta - np.rint(delta)) @ box, axis=2)
        np.fill_diagonal(out, np.inf)
    return result


def test_folder_is_small() -> None:
    files = [path for path in (WATER / "data").rglob("*") if path.is_file()]
    assert files
    assert sum(path.stat().st_size for path in files) < 6e6


@pytest.mark.parametrize("system", SYSTEMS)
def test_arrays(system: str) -> None:
    widths = {"coord": 3 * N_ATOMS, "box": 9, "force": 3 * N_ATOMS, "virial": 9}
    for key, width in widths.items():
        values = load(system, key)
        assert values.shape == (N_FRAMES, width), key
        assert values.dtype == np.float32, key
        assert np.isfinite(values).all(), key
    energy = load(system, "energy")
    assert energy.shape == (N_FRAMES,)
    assert energy.dtype == np.float64
    assert np.isfinite(energy).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_types_and_temperatures(system: str) -> None:
    directory = WATER / "data" / system
    np.testing.assert_array_equal(np.loadtxt(directory / "type.raw", dtype=int), [0, 1, 1] * 64)
    assert (directory / "type_map.raw").read_text().split() == ["O", "H"]
    temperatures = np.loadtxt(directory / "temperature.raw", dtype=int)
    assert len(temperatures) == N_FRAMES
    assert set(temperatures) == TEMPERATURES


@pytest.mark.parametrize("system", SYSTEMS)
def test_molecules_are_intact_and_apart(system: str) -> None:
    distance = distances(system)
    assert distance.min() > 0.75
    molecule = np.repeat(np.arange(64), 3)
    same = molecule[:, None] == molecule[None, :]
    bonds = distance[:, same & np.isfinite(distance[0])].reshape(N_FRAMES, 64, 3, 2)
    assert bonds[:, :, 0].max() < 1.4  # oxygen to its two hydrogens
    assert distance[:, ~same].min() > 1.2  # hydrogen bonds stay longer than covalent ones


@pytest.mark.parametrize("system", SYSTEMS)
def test_labels_obey_symmetry(system: str) -> None:
    # Translation: no net force. Rotation: a symmetric virial. Both up to rounding to float32.
    force = load(system, "force").astype(np.float64).reshape(N_FRAMES, N_ATOMS, 3)
    np.testing.assert_allclose(force.sum(axis=1), 0.0, atol=1e-4)
    virial = load(system, "virial").astype(np.float64).reshape(N_FRAMES, 3, 3)
    np.testing.assert_allclose(virial, virial.swapaxes(1, 2), atol=1e-3)


@pytest.mark.parametrize("system", SYSTEMS)
def test_cells_vary_about_the_experimental_density(system: str) -> None:
    volume = np.linalg.det(load(system, "box").astype(np.float64).reshape(-1, 3, 3))
    cubic = np.isclose(volume, 12.42**3, rtol=1e-5)
    assert 0.3 < cubic.mean() < 0.7
    assert np.abs(volume / 12.42**3 - 1).max() < 0.15


def test_frames_differ() -> None:
    energies = np.concatenate([load(system, "energy") for system in SYSTEMS])
    assert len(np.unique(energies)) == len(SYSTEMS) * N_FRAMES


@pytest.mark.parametrize("descriptor", ["se_e2_a", "se_e2_r", "se_e3", "hybrid"])
@pytest.mark.parametrize("name", INPUTS)
def test_inputs_fit_the_data(name: str, descriptor: str) -> None:
    folder = WATER / descriptor
    script = json.loads((folder / name).read_text())
    assert script["model"]["type_map"] == ["O", "H"]
    training = script["training"]
    paths = training["training_data"]["systems"] + training["validation_data"]["systems"]
    assert sorted((folder / path).resolve().name for path in paths) == SYSTEMS
    section = script["model"]["descriptor"]
    assert section["type"] == descriptor
    element = np.array([0, 1, 1] * 64)
    for system in SYSTEMS:
        for part in section.get("list", [section]):
            near = distances(system) < part["rcut"]
            for kind, limit in enumerate(part["sel"]):
                assert near[:, :, element == kind].sum(axis=2).max() <= limit
