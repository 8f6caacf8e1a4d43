# SPDX-License-Identifier: BSD-3-Clause
"""Classical molecular dynamics of flexible water in NumPy, to draw configurations from.

Between molecules the force field is SPC/Fw (Wu, Tepper, Voth, J. Chem. Phys. 124, 024503, 2006):
point charges and Lennard-Jones between oxygens. Electrostatics are damped and shifted at the cutoff
(Fennell, Gezelter, J. Chem. Phys. 124, 234104, 2006). Inside a molecule SPC/Fw would give bonds
0.06 Å longer than those of GFN1-xTB, by which the configurations are labelled. So bonds are Morse
bonds here, and bond and angle parameters come from a least-squares fit to GFN1-xTB forces of 384
molecules in liquid configurations (residual of the force along a bond: 0.18 of 1.8 eV/Å).

Only the configurational distribution is of interest. It does not depend on the masses, so hydrogen
is made heavy, which allows longer time steps.

Units inside: Å, eV, fs, u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BOLTZMANN = 8.617333262e-5  # eV/K
COULOMB = 14.399645478  # e^2/(4 pi eps0), eV Å
KCAL_PER_MOL = 0.0433641153  # eV
ACCELERATION = 9.648533212e-3  # (eV/Å)/u in Å/fs^2
MASSES = (15.999, 3.0)  # u; oxygen, heavy hydrogen


@dataclass(frozen=True)
class ForceField:
    """Flexible three-site water (charges in e, energies in eV, lengths in Å, angles in rad).

    Bond energy: depth·(1 - exp(-exponent·(r - length)))². Angle energy: ½·constant·(θ - angle)².
    """

    charge_oxygen: float = -0.82
    epsilon: float = 0.1554253 * KCAL_PER_MOL
    sigma: float = 3.165492
    bond_depth: float = 4.34
    bond_exponent: float = 2.4
    bond_length: float = 0.955
    angle_constant: float = 3.18
    angle: float = math.radians(109.5)
    cutoff: float = 5.9
    damping: float = 0.2


class WaterBox:
    """Langevin dynamics of ``n`` molecules in a periodic, possibly triclinic cell.

    Args:
        positions: [3n, 3] Å, atoms in the order O H H, O H H, ...
        cell: [3, 3] Å, rows are the lattice vectors. Half the smallest distance between two faces
            must not be below the cutoff of the force field.
        rng: source of all random numbers.
        field: parameters.
    """

    _n_bins = 8192
    _r2_min = 0.2

    def __init__(
        self,
        positions: np.ndarray,
        cell: np.ndarray,
        rng: np.random.Generator,
        field: ForceField | None = None,
    ) -> None:
        self.field = ForceField() if field is None else field
        self.positions = np.array(positions, dtype=np.float64)
        self.n_molecules = len(self.positions) // 3
        self.rng = rng
        self.masses = np.tile([MASSES[0], MASSES[1], MASSES[1]], self.n_molecules)[:, None]
        self.velocities = np.zeros_like(self.positions)
        self._table = self._pair_table()
        self._table_start = self._table_starts()
        self.cell = np.eye(3)
        self.set_cell(cell, move=False)

    def set_cell(self, cell: np.ndarray, *, move: bool = True) -> None:
        """Change the cell; with ``move`` the molecules follow as rigid bodies, by their oxygen."""
        cell = np.array(cell, dtype=np.float64)
        inverse = np.linalg.inv(cell)
        face_distance = 1.0 / np.linalg.norm(inverse, axis=0)
        if face_distance.min() < 2.0 * self.field.cutoff:
            raise ValueError(f"cell faces {face_distance} Å apart: too near for the cutoff")
        if move:
            oxygen = self.positions[::3]
            shift = oxygen @ (np.linalg.inv(self.cell) @ cell) - oxygen
            self.positions += np.repeat(shift, 3, axis=0)
        self.cell, self._inverse = cell, inverse
        self.forces = self._forces()

    def thermalize(self, temperature: float) -> None:
        """Draw the velocities from the Maxwell distribution."""
        scale = np.sqrt(BOLTZMANN * temperature * ACCELERATION / self.masses)
        self.velocities = scale * self.rng.standard_normal(self.positions.shape)

    def run(
        self, steps: int, temperature: float, *, dt: float = 1.0, friction: float = 0.01
    ) -> None:
        """BAOAB Langevin steps of ``dt`` fs at ``temperature`` K with ``friction`` in 1/fs."""
        decay = math.exp(-friction * dt)
        noise = np.sqrt((1 - decay**2) * BOLTZMANN * temperature * ACCELERATION / self.masses)
        half_kick = 0.5 * dt * ACCELERATION / self.masses
        for _ in range(steps):
            self.velocities += half_kick * self.forces
            self.positions += 0.5 * dt * self.velocities
            self.velocities *= decay
            self.velocities += noise * self.rng.standard_normal(self.positions.shape)
            self.positions += 0.5 * dt * self.velocities
            self.forces = self._forces()
            self.velocities += half_kick * self.forces

    def whole_molecules(self) -> np.ndarray:
        """Positions [3n, 3] with every oxygen inside the cell and its hydrogens beside it."""
        fractional = self.positions[::3] @ self._inverse
        shift = -np.floor(fractional) @ self.cell
        return self.positions + np.repeat(shift, 3, axis=0)

    # -- forces --------------------------------------------------------------------------------

    def _pair_table(self) -> np.ndarray:
        """-dU/dr / r on a uniform grid in r²; rows OO, OH, HH, intramolecular OH, HH, nothing.

        Inside a molecule the bare Coulomb interaction is taken out again, so that only the
        damping and shifting terms, which belong to the surroundings, remain.
        """
        f = self.field
        r2 = np.linspace(self._r2_min, f.cutoff**2, self._n_bins)
        r = np.sqrt(r2)

        def damped(d: np.ndarray) -> np.ndarray:
            erfc = np.array([math.erfc(f.damping * x) for x in d])
            return (
                erfc / d**2
                + 2 * f.damping / math.sqrt(math.pi) * np.exp(-((f.damping * d) ** 2)) / d
            )

        shifted = damped(r) - damped(np.array([f.cutoff]))
        q_o, q_h = f.charge_oxygen, -0.5 * f.charge_oxygen
        products = COULOMB * np.array([q_o * q_o, q_o * q_h, q_h * q_h])
        six = (f.sigma**2 / r2) ** 3
        lennard_jones = 24 * f.epsilon * (2 * six**2 - six) / r
        rows = [p * shifted for p in products]
        rows[0] = rows[0] + lennard_jones
        rows += [p * (shifted - 1 / r2) for p in products[1:]]
        return np.concatenate([np.stack(rows) / r, np.zeros((1, self._n_bins))]).ravel()

    def _table_starts(self) -> np.ndarray:
        element = np.tile([0, 1, 1], self.n_molecules)
        molecule = np.repeat(np.arange(self.n_molecules), 3)
        row = element[:, None] + element[None, :]
        same = molecule[:, None] == molecule[None, :]
        row = np.where(same, row + 2, row)
        np.fill_diagonal(row, 5)
        return row * self._n_bins

    def _forces(self) -> np.ndarray:
        f = self.field
        fractional = (self.positions @ self._inverse).T
        delta = fractional[:, :, None] - fractional[:, None, :]
        delta -= np.rint(delta)
        delta = np.tensordot(self.cell.T, delta, axes=1)
        r2 = np.einsum("dij,dij->ij", delta, delta)
        step = (f.cutoff**2 - self._r2_min) / (self._n_bins - 1)
        at = np.maximum((r2 - self._r2_min) / step, 0.0)
        inside = at < self._n_bins - 1
        index = np.where(inside, at, 0.0).astype(np.intp)
        left = self._table_start + index
        value = self._table[left]
        value += (self._table[left + inside] - value) * (at - index)
        value *= inside
        return np.einsum("ij,dij->id", value, delta) + self._bonded_forces()

    def _bonded_forces(self) -> np.ndarray:
        f = self.field
        atoms = self.positions.reshape(self.n_molecules, 3, 3)
        arms = atoms[:, 1:] - atoms[:, :1]
        length = np.linalg.norm(arms, axis=2, keepdims=True)
        unit = arms / length
        cosine = np.clip((unit[:, 0] * unit[:, 1]).sum(axis=1), -1 + 1e-9, 1 - 1e-9)
        angle = np.arccos(cosine)
        torque = (f.angle_constant * (angle - f.angle) / np.sin(angle))[:, None]
        decay = np.exp(-f.bond_exponent * (length - f.bond_length))
        on_hydrogen = -2 * f.bond_depth * f.bond_exponent * decay * (1 - decay) * unit
        for a, b in ((0, 1), (1, 0)):
            across = unit[:, b] - cosine[:, None] * unit[:, a]
            on_hydrogen[:, a] += torque * across / length[:, a]
        forces = np.empty_like(atoms)
        forces[:, 1:] = on_hydrogen
        forces[:, 0] = -on_hydrogen.sum(axis=1)
        return forces.reshape(-1, 3)


def lattice_of_molecules(
    per_edge: int, cell: np.ndarray, rng: np.random.Generator, field: ForceField
) -> np.ndarray:
    """Positions [3·per_edge³, 3] of randomly turned molecules on a simple cubic lattice."""
    grid = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    centres = (grid + 0.5) / per_edge @ cell
    arm = field.bond_length
    molecule = arm * np.array(
        [[0, 0, 0], [1, 0, 0], [math.cos(field.angle), math.sin(field.angle), 0]]
    )
    molecules = []
    for centre in centres:
        rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        molecules.append(centre + molecule @ rotation)
    return np.concatenate(molecules)
