# SPDX-License-Identifier: BSD-3-Clause
"""Normal modes and harmonic thermochemistry of a Hessian, computed by ASE.

Translations and rotations are projected out before, which ASE does not do (E. B. Wilson,
J. C. Decius, P. C. Cross, Molecular Vibrations, McGraw-Hill 1955, chapter 2). Physical constants
are those of :mod:`ase.units`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepmd_tf.errors import InputError, optional_package

with optional_package("ase"):
    from ase import Atoms, units
    from ase.thermochemistry import HarmonicThermo
    from ase.vibrations import VibrationsData

NONE, TRANSLATIONS, ROTATIONS = "none", "translations", "rotations"
"""Motions of all atoms together that can be projected out; the last includes the second."""
LINEAR = 1e-5
"""Atoms are on a line if the smallest moment of inertia is less than this part of the largest."""


@dataclass(frozen=True)
class NormalModes:
    """Vibrations of n atoms.

    Attributes
    ----------
    frequencies
        float64 [m], wavenumbers ν̃ in cm⁻¹, ascending; imaginary ones as negative numbers.
    vectors
        [m, n, 3], eigenvectors e of the mass-weighted Hessian, Σ e² = 1 for each mode. Atoms move
        along e/√mass. The largest component of each is positive.
    masses
        [n], u.
    removed
        [3], [5] or [6]: frequencies of the motions that are projected out, likewise; zero where
        all forces are.
    linear
        Whether the atoms are on a line, so that there are two rotations only.
    """

    frequencies: np.ndarray
    vectors: np.ndarray
    masses: np.ndarray
    removed: np.ndarray
    linear: bool = False

    @property
    def displacements(self) -> np.ndarray:
        """[m, n, 3]: motion of the atoms e/√mass, scaled so that Σ = 1 over squares."""
        return self.vectors * np.sqrt(self.reduced_masses[:, None, None] / self.masses[:, None])

    @property
    def reduced_masses(self) -> np.ndarray:
        """[m], u: μ = 1/Σ (e²/mass), the mass that moves by a normalised displacement."""
        return 1 / np.sum(self.vectors**2 / self.masses[:, None], axis=(1, 2))

    @property
    def shares(self) -> np.ndarray:
        """[m, n]: Σ e² of each atom, its share in the kinetic energy of the mode."""
        return np.sum(self.vectors**2, axis=2)

    @property
    def quanta(self) -> np.ndarray:
        """Energies h ν of the modes with real frequencies, eV."""
        return units.invcm * self.frequencies[self.frequencies > 0]

    @property
    def zero_point_energy(self) -> float:
        """½ Σ h ν over real frequencies, eV."""
        return 0.5 * float(self.quanta.sum())

    def thermal(self, temperatures: Sequence[float]) -> list[dict[str, float]]:
        """Energy (with that of the zero point), free energy, entropy and heat capacity.

        Harmonic vibrations with real frequencies, at temperatures in K; eV and eV/K.
        """
        return [_thermal(self.quanta, temperature) for temperature in temperatures]


def normal_modes(
    hessian: np.ndarray, positions: np.ndarray, masses: np.ndarray, motions: str = ROTATIONS
) -> NormalModes:
    """Diagonalise M^(-1/2) H M^(-1/2) in the space of vibrations.

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
    atoms = Atoms(numbers=np.ones(len(masses)), positions=positions, masses=masses)
    rigid, linear = _rigid_motions(atoms, motions)
    onto_rigid = rigid @ rigid.T
    frequencies, vectors = _modes_in(np.eye(len(onto_rigid)) - onto_rigid, hessian, atoms)
    removed, _ = _modes_in(onto_rigid, hessian, atoms)
    return NormalModes(frequencies, _signed(vectors), masses, removed, linear)


def _modes_in(
    projector: np.ndarray, hessian: np.ndarray, atoms: Atoms
) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers and mass-weighted eigenvectors in the image of an orthogonal projector."""
    roots = np.sqrt(np.repeat(atoms.get_masses(), 3))
    scale = np.outer(roots, roots)
    weighted = hessian / scale
    # all else gets an eigenvalue above those of the Hessian, so that it comes last
    above = 2 * np.linalg.norm(weighted) or 1.0
    inside = projector @ weighted @ projector + above * (np.eye(len(roots)) - projector)
    energies, modes = VibrationsData.from_2d(atoms, inside * scale).get_energies_and_modes()
    count = round(np.trace(projector))
    frequencies = (energies.real - energies.imag) / units.invcm
    return frequencies[:count], modes[:count] * np.sqrt(atoms.get_masses())[:, None]


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Modes whose largest component is positive, so that the sign is the same on all machines."""
    if not vectors.size:
        return vectors
    size = np.abs(vectors.reshape(len(vectors), -1))
    # rounding decides among components of one size, so the first that is nearly the largest counts
    first = np.argmax(size > 0.999 * size.max(axis=1, keepdims=True), axis=1)
    chosen = np.take_along_axis(vectors.reshape(size.shape), first[:, None], axis=1)
    return vectors * np.sign(chosen)[:, :, None]


def _rigid_motions(atoms: Atoms, motions: str) -> tuple[np.ndarray, bool]:
    """Orthonormal columns [3n, 0 … 6] to project out, and whether the atoms are on a line."""
    masses, n = atoms.get_masses(), len(atoms)
    roots = np.sqrt(masses)[:, None]
    shifts = np.kron(roots, np.eye(3)) / np.sqrt(masses.sum())
    moments, axes = atoms.get_moments_of_inertia(vectors=True)
    if motions == NONE:
        return np.zeros((3 * n, 0)), False
    if motions == TRANSLATIONS or not moments.max() > 0:
        return shifts, False
    arms = atoms.positions - atoms.get_center_of_mass()
    turns = [
        (roots * np.cross(axis, arms)).reshape(3 * n) / np.sqrt(moment)
        for moment, axis in zip(moments, axes, strict=True)
        if moment > LINEAR * moments.max()
    ]
    return np.column_stack([shifts, *turns]), len(turns) < 3


def _thermal(quanta: np.ndarray, temperature: float) -> dict[str, float]:
    energy = entropy = 0.0
    with np.errstate(over="ignore"):  # of eˣ and sinh x, whose inverses are zero then
        if quanta.size:
            thermo = HarmonicThermo(quanta.tolist())
            energy = float(thermo.get_internal_energy(temperature, verbose=False))
            entropy = float(thermo.get_entropy(temperature, verbose=False))
        half = quanta / (2 * units.kB * temperature)
        capacity = units.kB * float(np.sum((half / np.sinh(half)) ** 2))  # not in ASE
    return {
        "temperature_K": temperature,
        "energy_eV": energy,
        "free_energy_eV": energy - temperature * entropy,
        "entropy_eV_per_K": entropy,
        "heat_capacity_eV_per_K": capacity,
    }
