# SPDX-License-Identifier: BSD-3-Clause
"""Normal modes: springs whose frequencies are formulas, and what ASE makes of the same Hessians."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.thermochemistry import HarmonicThermo
from ase.vibrations import VibrationsData

from deepmd_tf.analysis.vibrations import NormalModes, normal_modes
from deepmd_tf.errors import InputError, InstallError, optional_package

# eV and Å to SI, u, and c, of CODATA 2018
EV, ANGSTROM, AMU, C = 1.602176634e-19, 1e-10, 1.66053906660e-27, 299792458.0


def spring_hessian(positions: np.ndarray, springs: dict[tuple[int, int], float]) -> np.ndarray:
    """Second derivatives of Σ ½ k (|r_i − r_j| − l)² where every spring has its length."""
    n = len(positions)
    hessian = np.zeros((n, 3, n, 3))
    for (i, j), k in springs.items():
        along = positions[j] - positions[i]
        block = k * np.outer(along, along) / (along @ along)
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            hessian[a, :, b, :] += sign * block
    return hessian.reshape(3 * n, 3 * n)


@pytest.fixture
def cluster(rng):
    """Positions, masses and a Hessian of five atoms, all joined by springs."""
    positions = rng.normal(size=(5, 3)) * 1.5
    springs = {(i, j): rng.uniform(5, 40) for i in range(5) for j in range(i)}
    return positions, rng.uniform(1, 30, 5), spring_hessian(positions, springs)


@pytest.mark.parametrize("masses", [(15.999, 1.008), (15.999, 2.01410177811)])
def test_diatomic(masses, rng):
    axis = rng.normal(size=3)
    positions = np.array([[1.0, -2.0, 0.5], [1.0, -2.0, 0.5] + 0.97 * axis / np.linalg.norm(axis)])
    k = 48.0
    modes = normal_modes(spring_hessian(positions, {(0, 1): k}), positions, masses)
    assert modes.linear and modes.removed.shape == (5,)
    np.testing.assert_allclose(modes.removed, 0, atol=1e-3)
    reduced = masses[0] * masses[1] / sum(masses)
    expected = np.sqrt(k * EV / ANGSTROM**2 / (reduced * AMU)) / (2 * np.pi * C) / 100
    np.testing.assert_allclose(modes.frequencies, [expected], rtol=1e-8)
    assert modes.zero_point_energy == pytest.approx(0.5 * expected * units.invcm, rel=1e-8)
    m, n = masses
    np.testing.assert_allclose(modes.reduced_masses, m * n * (m + n) / (m**2 + n**2))
    np.testing.assert_allclose(modes.shares, [[n / (m + n), m / (m + n)]])


def test_same_isotope_everywhere(cluster):
    positions, masses, hessian = cluster
    light = normal_modes(hessian, positions, masses)
    heavy = normal_modes(hessian, positions, 4 * masses)
    np.testing.assert_allclose(heavy.frequencies, light.frequencies / 2, rtol=1e-10)


def test_numbers_of_ase(cluster):
    positions, masses, hessian = cluster
    atoms = Atoms("5H", positions, masses=masses)
    theirs = VibrationsData.from_2d(atoms, hessian).get_frequencies()
    whole = normal_modes(hessian, positions, masses, "none").frequencies
    # squares, as the six zeros are noise
    expected = np.sort((theirs**2).real)
    np.testing.assert_allclose(
        np.sign(whole) * whole**2, expected, rtol=0, atol=1e-7 * expected.max()
    )
    vibrations = normal_modes(hessian, positions, masses).frequencies
    np.testing.assert_allclose(vibrations, whole[6:], rtol=1e-10)


@pytest.mark.parametrize(
    ("motions", "removed"), [("none", 0), ("translations", 3), ("rotations", 6)]
)
def test_what_is_left_does_not_move_as_a_whole(cluster, rng, motions, removed):
    """Also where the Hessian is of no stationary structure."""
    positions, masses, _ = cluster
    hessian = rng.normal(size=(15, 15))
    modes = normal_modes(hessian + hessian.T, positions, masses, motions)
    assert modes.removed.shape == (removed,) and modes.frequencies.shape == (15 - removed,)
    assert not modes.linear
    momentum = np.einsum("i,mia->ma", masses**0.5, modes.vectors)
    centred = positions - masses @ positions / masses.sum()
    angular = np.einsum("i,mia->ma", masses**0.5, np.cross(centred, modes.vectors))
    assert (np.abs(momentum).max() < 1e-10) == (motions != "none")
    assert (np.abs(angular).max() < 1e-10) == (motions == "rotations")


@pytest.mark.parametrize(("bend", "removed"), [(0.0, 5), (1e-4, 5), (0.05, 6)])
def test_linear_molecules(bend, removed, rng):
    positions = np.array([[-1.2, 0, 0], [0, bend, 0], [1.2, 0, 0]])
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    modes = normal_modes(np.eye(9), positions @ rotation + 3, np.array([16.0, 12, 16]))
    assert len(modes.removed) == removed and modes.linear == (removed == 5)


def test_single_atom():
    modes = normal_modes(np.zeros((3, 3)), np.zeros((1, 3)), np.ones(1))
    assert modes.frequencies.shape == (0,) and modes.vectors.shape == (0, 1, 3)
    assert modes.zero_point_energy == 0 and len(modes.removed) == 3
    assert modes.thermal([300.0])[0]["energy_eV"] == 0


def test_vectors(cluster, rng):
    positions, masses, hessian = cluster
    modes = normal_modes(hessian, positions, masses)
    flat = modes.vectors.reshape(9, 15)
    np.testing.assert_allclose(flat @ flat.T, np.eye(9), atol=1e-12)
    weighted = hessian / np.sqrt(np.outer(np.repeat(masses, 3), np.repeat(masses, 3)))
    first, last = flat[[0, -1]]
    ratio = (last @ weighted @ last) / (first @ weighted @ first)
    assert ratio == pytest.approx((modes.frequencies[-1] / modes.frequencies[0]) ** 2)
    np.testing.assert_allclose(np.sum(modes.displacements**2, axis=(1, 2)), 1)
    ratio = modes.displacements * masses[:, None] ** 0.5 / modes.vectors
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape))
    np.testing.assert_allclose(modes.shares.sum(axis=1), 1)


def test_sign_of_vectors(cluster):
    """Is that of the structure, not that of the eigenvalue solver, which depends on the machine."""
    positions, masses, hessian = cluster
    modes = normal_modes(hessian, positions, masses)
    order = np.array([3, 0, 4, 2, 1])
    index = (3 * order[:, None] + np.arange(3)).reshape(-1)
    other = normal_modes(hessian[np.ix_(index, index)], positions[order], masses[order])
    np.testing.assert_allclose(other.vectors, modes.vectors[:, order], atol=1e-9)
    flat = modes.vectors.reshape(9, 15)
    assert np.all(flat[np.arange(9), np.abs(flat).argmax(axis=1)] > 0)


def test_imaginary_frequencies(cluster):
    positions, masses, hessian = cluster
    stable = normal_modes(hessian, positions, masses)
    inverted = normal_modes(-hessian, positions, masses)
    np.testing.assert_allclose(inverted.frequencies, -stable.frequencies[::-1], rtol=1e-9)
    assert inverted.zero_point_energy == 0 and not inverted.quanta.size


@pytest.mark.parametrize("temperature", [1.0, 20.0, 298.15, 3000.0])
def test_thermal_quantities(temperature):
    frequencies = np.array([-300.0, 120.0, 890.5, 1640.0, 3700.0])
    modes = NormalModes(frequencies, np.zeros((5, 1, 3)), np.ones(1), np.zeros(0))
    step = 1e-3 * temperature
    lower, found, higher = modes.thermal([temperature - step, temperature, temperature + step])
    with np.errstate(over="ignore"):
        expected = HarmonicThermo(units.invcm * frequencies[1:]).get_helmholtz_energy(
            temperature, verbose=False
        )
    assert found["free_energy_eV"] == pytest.approx(expected, rel=1e-12)
    slope = (higher["energy_eV"] - lower["energy_eV"]) / (2 * step)
    assert found["heat_capacity_eV_per_K"] == pytest.approx(slope, rel=1e-4, abs=1e-18)
    slope = (lower["free_energy_eV"] - higher["free_energy_eV"]) / (2 * step)
    assert found["entropy_eV_per_K"] == pytest.approx(slope, rel=1e-4, abs=1e-12)


def test_messages():
    with pytest.raises(InputError, match=r"atom 1 has the mass 0\.0 u"):
        normal_modes(np.eye(6), np.zeros((2, 3)), np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="not finite"):
        normal_modes(np.full((6, 6), np.nan), np.eye(2, 3), np.ones(2))


def test_a_missing_package():
    message = r"^phonopy cannot be imported \(no\), and bands need it; install it with: pip install"
    with pytest.raises(InstallError, match=message), optional_package("phonopy", "bands"):
        raise ImportError("no")
