# SPDX-License-Identifier: BSD-3-Clause
"""Harmonic vibrations: normal modes and frequencies from a Hessian, and what follows from them.

E. B. Wilson, J. C. Decius, P. C. Cross, Molecular Vibrations, McGraw-Hill 1955, chapter 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import constants

from deepmd_tf.errors import InputError

NONE, TRANSLATIONS, ROTATIONS = "none", "translations", "rotations"
MOTIONS = (NONE, TRANSLATIONS, ROTATIONS)
"""Motions of all atoms together that can be projected out; the last includes the second."""
LINEAR = 1e-5
"""Atoms are on a line if the smallest moment of inertia is less than this part of the largest."""

_SI = constants.elementary_charge / constants.angstrom**2 / constants.atomic_mass
WAVENUMBER = float(np.sqrt(_SI) / (2 * np.pi * constants.speed_of_light) * constants.centi)
"""cm⁻¹ of √(1 eV/(Å² u)): ν̃ = √λ/(2πc)."""
EV_PER_WAVENUMBER = float(
    constants.Planck * constants.speed_of_light / constants.centi / constants.elementary_charge
)
"""hc/cm in eV: the energy of a quantum of 1 cm⁻¹."""
EV_PER_KELVIN = constants.Boltzmann / constants.elementary_charge


@dataclass(frozen=True)
class NormalModes:
    """Vibrations of n atoms.

    Attributes
    ----------
    frequencies
        float64 [m], wavenumbers ν̃ in cm⁻¹, ascending; imaginary ones (λ < 0) as negative numbers.
    vectors
        [m, n, 3], eigenvectors e of the mass-weighted Hessian, Σ e² = 1 for each mode. Atoms move
        along e/√mass. The largest component of each is positive.
    masses
        [n], u.
    removed
        [3], [5] or [6]: frequencies that the motions projected out would have had alone, likewise;
        what they differ from zero tells how far the forces are from zero.
    linear
        Whether the atoms were found on a line, so that one rotation is none.
    """

    frequencies: np.ndarray
    vectors: np.ndarray
    masses: np.ndarray
    removed: np.ndarray
    linear: bool = False

    @property
    def displacements(self) -> np.ndarray:
        """[m, n, 3]: motion of the atoms e/√mass, scaled so that Σ = 1 over squares."""
        moved = self.vectors / np.sqrt(self.masses)[:, None]
        return moved / np.sqrt(np.sum(moved**2, axis=(1, 2), keepdims=True))

    @property
    def reduced_masses(self) -> np.ndarray:
        """[m], u: μ = 1/Σ (e²/mass), the mass that moves by a normalised displacement."""
        return 1 / np.sum(self.vectors**2 / self.masses[:, None], axis=(1, 2))

    @property
    def shares(self) -> np.ndarray:
        """[m, n]: Σ e² of each atom, its share in the kinetic energy of the mode."""
        return np.sum(self.vectors**2, axis=2)

    @property
    def real(self) -> np.ndarray:
        """[m], whether the frequency is real and not zero."""
        return self.frequencies > 0

    @property
    def zero_point_energy(self) -> float:
        """½ Σ h ν over real frequencies, eV."""
        return 0.5 * EV_PER_WAVENUMBER * float(self.frequencies[self.real].sum())


def normal_modes(
    hessian: np.ndarray, positions: np.ndarray, masses: np.ndarray, motions: str = ROTATIONS
) -> NormalModes:
    """Diagonalise D = M^(-1/2) H M^(-1/2) in the space of vibrations.

    That is the orthogonal complement of the vectors √m_i a for translations along a and
    √m_i a × (r_i − r₀) for rotations about the centre of mass r₀, so that the number of modes is
    3n less their number, whatever the forces are.

    Parameters
    ----------
    hessian
        [3n, 3n], eV/Å², symmetric.
    positions
        [n, 3], Å.
    masses
        [n], u.
    motions
        What to project out: "none", "translations" or "rotations" (and translations).

    Raises
    ------
    InputError
        When the matrix is not finite or a mass is not positive.
    """
    masses = np.asarray(masses, dtype=np.float64)
    if not np.all(masses > 0):
        atom = int(np.argmin(masses > 0))
        raise InputError(f"atom {atom} has the mass {masses[atom]} u; a mass is positive")
    if not np.isfinite(hessian).all():
        raise InputError("the Hessian has numbers that are not finite at this structure")
    n = len(masses)
    root = np.sqrt(np.repeat(masses, 3))
    weighted = hessian / np.outer(root, root)
    moved, linear = _motions(np.asarray(positions, dtype=np.float64), masses, motions)
    # the first columns span the motions, the others their complement
    basis, _ = np.linalg.qr(moved, mode="complete") if moved.size else (np.eye(3 * n), None)
    common, inner = basis[:, : moved.shape[1]], basis[:, moved.shape[1] :]
    values, vectors = np.linalg.eigh(inner.T @ weighted @ inner)
    found = _signed(vectors.T @ inner.T).reshape(-1, n, 3)
    rigid = np.linalg.eigvalsh(common.T @ weighted @ common)
    return NormalModes(_wavenumbers(values), found, masses, _wavenumbers(rigid), linear)


def _wavenumbers(eigenvalues: np.ndarray) -> np.ndarray:
    return WAVENUMBER * np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Rows whose largest component is positive, so that a mode has one sign on all machines."""
    if not vectors.size:
        return vectors
    # rounding decides among components of one size, so the first that is nearly the largest counts
    size = np.abs(vectors)
    first = np.argmax(size > 0.999 * size.max(axis=1, keepdims=True), axis=1)
    return vectors * np.sign(vectors[np.arange(len(vectors)), first])[:, None]


def _motions(positions: np.ndarray, masses: np.ndarray, motions: str) -> tuple[np.ndarray, bool]:
    """Orthonormal columns [3n, 0 … 6] of what is projected out, and whether atoms are in line."""
    n = len(masses)
    root = np.sqrt(masses)
    if motions == NONE:
        return np.zeros((3 * n, 0)), False
    shifts = np.einsum("i,ab->iab", root, np.eye(3)).reshape(3 * n, 3) / np.sqrt(masses.sum())
    if motions == TRANSLATIONS:
        return shifts, False
    arms = positions - masses @ positions / masses.sum()
    inertia = np.einsum(
        "i,iab->ab",
        masses,
        np.sum(arms**2, axis=1)[:, None, None] * np.eye(3) - arms[:, :, None] * arms[:, None, :],
    )
    moments, axes = np.linalg.eigh(inertia)
    if moments[-1] <= 0:  # a single atom
        return shifts, False
    turns = [
        (root[:, None] * np.cross(axis, arms)).reshape(3 * n) / np.sqrt(moment)
        for moment, axis in zip(moments, axes.T, strict=True)
        if moment > LINEAR * moments[-1]
    ]
    return np.column_stack([shifts, *turns]), len(turns) < 3


def thermal(
    frequencies: np.ndarray, temperature: float, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Harmonic vibrations in equilibrium, with x = h ν/kT, over real frequencies.

    Parameters
    ----------
    frequencies
        Wavenumbers, cm⁻¹: [m], or [q, m] at points of a Brillouin zone.
    temperature
        T > 0, K.
    weights
        [q], how much each point counts; None: 1.

    Returns
    -------
    dict
        ``energy``, U = Σ hν (½ + 1/(eˣ − 1)), and ``free_energy``, F = Σ (½ hν + kT ln(1 − e⁻ˣ)),
        eV, zero-point energy in both; ``entropy``, S = (U − F)/T, and ``heat_capacity``,
        C = k Σ x² eˣ/(eˣ − 1)², eV/K.
    """
    counts = np.ones_like(frequencies) if weights is None else weights[:, None]
    real = frequencies > 0
    counts = np.broadcast_to(counts, frequencies.shape)[real]
    quanta = EV_PER_WAVENUMBER * frequencies[real]
    kt = EV_PER_KELVIN * temperature
    x = quanta / kt
    lost = -np.expm1(-x)  # 1 − e⁻ˣ
    occupied = np.exp(-x) / lost
    energy = float(counts @ (quanta * (0.5 + occupied)))
    free = float(counts @ (0.5 * quanta + kt * np.log(lost)))
    capacity = EV_PER_KELVIN * float(counts @ (x**2 * occupied / lost))
    return {
        "energy": energy,
        "free_energy": free,
        "entropy": (energy - free) / temperature,
        "heat_capacity": capacity,
    }


def broadened(
    frequencies: np.ndarray, weights: np.ndarray, grid: np.ndarray, width: float
) -> np.ndarray:
    """Sum of normal distributions at the frequencies.

    Parameters
    ----------
    frequencies
        [m], cm⁻¹.
    weights
        [m, …], area of each.
    grid
        [g], where to evaluate it, cm⁻¹.
    width
        Full width at half maximum, cm⁻¹.

    Returns
    -------
    np.ndarray
        [g, …], per cm⁻¹.
    """
    sigma = width / (2 * np.sqrt(2 * np.log(2)))
    shape = np.exp(-0.5 * ((grid[:, None] - frequencies) / sigma) ** 2)
    return np.tensordot(shape / (sigma * np.sqrt(2 * np.pi)), weights, axes=1)
