# SPDX-License-Identifier: BSD-3-Clause
"""Dipole moments and polarisabilities of the water frames by a classical model, for the examples
``dipole`` and ``polar``.

    python make_tensors.py                # writes ../dipole/data and ../polar/data

They are no electronic structure; they depend on bonds, angles and surroundings as the real ones do,
and every number can be computed again in a few seconds. For a molecule m with the oxygen at R_m,
and other molecules n within the cutoff of a smooth switch w:

* a bond has the polarisability a_perp 1 + (a_par(b) - a_perp) u uᵀ along its direction u, where
  a_par grows with its length b; that of a molecule, α_m, is the sum over its two bonds
  (the bond-polarisability model);
* induced by each other in first order, A_m = α_m + Σ_n w(R_mn) sym(α_m T_mn α_n), with the dipole
  tensor T = (3 R̂ R̂ᵀ − 1)/R³ (the dipole–induced-dipole model);
* dipole moment M_m = Σ_H q_H (r_H − R_m) + α_m E_m, with the charges of SPC/Fw and the field E_m
  of the charges of the other molecules at the oxygen.

Units: e Å, and Å³ for polarisabilities. Each label belongs to the oxygen of its molecule.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

CHARGE_H = 0.41  # e; the oxygen has -0.82
BOND = 0.972  # Å, the mean in the data
PARALLEL, SLOPE, PERPENDICULAR = 0.92, 1.5, 0.62  # Å³, Å², Å³
CUTOFF, SWITCH = 5.5, 4.5  # Å, between oxygens
HERE = Path(__file__).resolve().parent


def switch(r: np.ndarray) -> np.ndarray:
    """1 up to SWITCH, 0 from CUTOFF on, with two continuous derivatives."""
    u = np.clip((r - SWITCH) / (CUTOFF - SWITCH), 0.0, 1.0)
    return 1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u**2)


def label_frame(coord: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dipole moment [n, 3] and polarisability [n, 3, 3] of each molecule.

    Parameters
    ----------
    coord
        [3n, 3] Å, atoms in the order O H H; molecules are whole.
    cell
        [3, 3] Å, rows are the lattice vectors.
    """
    molecules = coord.reshape(-1, 3, 3)
    oxygen, bonds = molecules[:, 0], molecules[:, 1:] - molecules[:, :1]
    length = np.linalg.norm(bonds, axis=2)
    unit = bonds / length[..., None]
    anisotropy = PARALLEL + SLOPE * (length - BOND) - PERPENDICULAR
    alpha = np.einsum("mb,mbi,mbj->mij", anisotropy, unit, unit)
    alpha += 2 * PERPENDICULAR * np.eye(3)

    apart = oxygen[:, None] - oxygen[None]  # from n to m
    apart -= np.round(apart @ np.linalg.inv(cell)) @ cell
    r = np.linalg.norm(apart, axis=2) + 1e9 * np.eye(len(oxygen))
    weight = switch(r)
    tensor = 3 * apart[..., :, None] * apart[..., None, :] / r[..., None, None] ** 2 - np.eye(3)
    tensor *= (weight / r**3)[..., None, None]
    induced = np.einsum("mij,mnjk,nkl->mil", alpha, tensor, alpha)
    polar = alpha + 0.5 * (induced + induced.swapaxes(1, 2))

    field = -2 * CHARGE_H * apart / r[..., None] ** 3
    for hydrogen in (0, 1):
        to = apart - bonds[None, :, hydrogen]
        distance = np.linalg.norm(to, axis=2) + 1e9 * np.eye(len(oxygen))
        field += CHARGE_H * to / distance[..., None] ** 3
    field = np.einsum("mn,mni->mi", weight, field)
    dipole = CHARGE_H * bonds.sum(axis=1) + np.einsum("mij,mj->mi", alpha, field)
    return dipole, polar


def write(source: Path, target: Path, name: str) -> None:
    """Copy the frames of a system, with the labels ``name`` of frames and of oxygens."""
    frames = source / "set.000"
    coord = np.load(frames / "coord.npy").astype(float)
    box = np.load(frames / "box.npy").astype(float).reshape(-1, 3, 3)
    labels = [label_frame(c.reshape(-1, 3), b) for c, b in zip(coord, box, strict=True)]
    atoms = np.array([label[name == "polarizability"] for label in labels])
    (target / "set.000").mkdir(parents=True, exist_ok=True)
    for file in ("type.raw", "type_map.raw"):
        shutil.copy(source / file, target / file)
    for file in ("coord.npy", "box.npy"):
        shutil.copy(frames / file, target / "set.000" / file)
    np.save(target / "set.000" / f"atomic_{name}.npy", atoms.reshape(len(coord), -1))
    np.save(target / "set.000" / f"{name}.npy", atoms.sum(axis=1).reshape(len(coord), -1))


def main() -> None:
    for folder, name in (("dipole", "dipole"), ("polar", "polarizability")):
        for number in range(4):
            source = HERE.parent / "data" / f"data_{number}"
            write(source, HERE.parent / folder / "data" / f"data_{number}", name)


if __name__ == "__main__":
    main()
