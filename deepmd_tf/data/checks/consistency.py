# SPDX-License-Identifier: BSD-3-Clause
"""Whether forces and virials are what energies say: their signs and units.

Between two frames that differ little, by displacements u of the atoms and a strain ε of everything,

    −ΔE = ½ Σ (F₁ + F₂) · u + ½ (Ξ₁ + Ξ₂) : ε

up to third order. Where enough such pairs of frames are in agreement with each other, but not with
this equation, the sign or a unit is wrong. Frames that are far from each other, and labels that are
noise, agree with nothing, and nothing is said.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from deepmd_tf.data.checks.findings import Finding
from deepmd_tf.data.sets import Chunk
from deepmd_tf.data.system import DataSystem
from deepmd_tf.fields import ATOM_ENER_COEFF, BOX, COORD, ENERGY, FORCE, VIRIAL
from deepmd_tf.units import GPA_PER_EV_A3

MOST_FRAMES = 256
"""Of a system that are looked at, from the beginning of its first set with these labels."""
MOST_BYTES = 16 << 20
FEWEST_PAIRS = 12
FARTHEST = 0.3
"""Å, root mean square displacement of an atom between two frames."""
LARGEST_STRAIN = 0.1
AGREEMENT = 0.95
"""Correlation of both sides over the pairs, below which nothing is said."""
SIGNIFICANT = 12.0
"""Ratios below this multiple of their standard error are not significant."""
RIGHT = (0.6, 1.0 / 0.6)
"""Ratios of both sides that are not worth a word: less than any pair of units."""

_HARTREE, _RYDBERG = 27.211386, 13.605693
_KCAL, _KJ, _BOHR = 0.04336410, 0.010364270, 0.529177211
_ENERGY_UNITS = {
    "energies in Hartree": 1 / _HARTREE,
    "energies in Rydberg": 1 / _RYDBERG,
    "energies in kcal/mol": 1 / _KCAL,
    "energies in kJ/mol": 1 / _KJ,
    "energies in meV": 1e3,
}
_FORCE_UNITS = {
    "forces in Hartree/Bohr": _HARTREE / _BOHR,
    "forces in Rydberg/Bohr": _RYDBERG / _BOHR,
    "forces in Hartree/Å": _HARTREE,
    "forces in Rydberg/Å": _RYDBERG,
    "forces in eV/Bohr": 1 / _BOHR,
    "forces in kcal/mol/Å": _KCAL,
    "forces in kJ/mol/Å": _KJ,
    "forces in kJ/mol/nm": _KJ / 10,
    "forces in meV/Å": 1e-3,
    **_ENERGY_UNITS,
    "energies in Hartree, forces in Hartree/Bohr (or both in Rydberg)": 1 / _BOHR,
    "coordinates in Bohr": _BOHR,
}
CLOSE = 0.08
"""Relative deviation within which a ratio is that of a unit."""


@dataclasses.dataclass(frozen=True)
class _Frames:
    where: dict[str, str]
    numbers: list[int]
    energy: np.ndarray  # [n]
    coord: np.ndarray  # [n, natoms, 3]
    force: np.ndarray | None  # [n, natoms, 3]
    cell: np.ndarray | None  # [n, 3, 3]
    virial: np.ndarray | None  # [n, 3, 3]


class Consistency:
    """Compares forces and virials with differences of energies, see above."""

    def __init__(self) -> None:
        self._frames: _Frames | None = None

    def see(self, system: DataSystem, chunk: Chunk) -> None:
        """Take the first frames with energies, and with forces or virials."""
        arrays = chunk.arrays
        labels = [name for name in (FORCE.name, VIRIAL.name) if name in arrays]
        if ATOM_ENER_COEFF.name in arrays or system.virtual_types:
            return  # the energies are not those that the forces belong to, or forces are on spins
        if self._frames is None and ENERGY.name in arrays and labels:
            self._frames = _take(system, chunk)

    def end(self, system: DataSystem) -> Iterator[Finding]:
        """Findings in a system."""
        frames, self._frames = self._frames, None
        if frames is not None and len(frames.energy) > FEWEST_PAIRS // 2:
            yield from _compare(frames)


def _take(system: DataSystem, chunk: Chunk) -> _Frames:
    arrays = chunk.arrays
    most = min(MOST_FRAMES, MOST_BYTES // (48 * system.natoms))
    n = min(chunk.nframes, max(1, most))

    def numbers(name: str, *shape: int) -> np.ndarray | None:
        part = arrays.get(name)
        with np.errstate(over="ignore"):
            return None if part is None else part[:n].reshape(n, *shape).astype(np.float64)

    cell = numbers(BOX.name, 3, 3) if system.pbc else None
    known = {name: chunk.where(name) for name in (FORCE.name, VIRIAL.name) if name in arrays}
    energy, coord = numbers(ENERGY.name, 1), numbers(COORD.name, system.natoms, 3)
    assert energy is not None and coord is not None  # see() asks for energies
    force, virial = numbers(FORCE.name, system.natoms, 3), numbers(VIRIAL.name, 3, 3)
    types = system.types_of(chunk)[:n]
    coord = np.where((types >= 0)[..., None], coord, 0.0)
    # energies of other atoms say nothing about forces
    good = np.all(types == types[0], axis=1)
    good &= np.isfinite(coord).all(axis=(1, 2)) & np.isfinite(energy[:, 0])
    if cell is not None:
        good &= np.isfinite(cell).all(axis=(1, 2))
        with np.errstate(invalid="ignore", over="ignore"):
            good &= np.abs(np.linalg.det(cell)) > 1e-6
    return _Frames(
        known,
        [chunk.origin(int(frame), 0)[0] for frame in np.flatnonzero(good)],
        energy[good, 0],
        coord[good],
        None if force is None else force[good],
        None if cell is None else cell[good],
        None if cell is None or virial is None else virial[good],
    )


def _compare(frames: _Frames) -> Iterator[Finding]:
    i, j = _neighbours(frames)
    u, strain = _displacements(frames, i, j)
    size = np.sqrt(np.mean(np.sum(u**2, axis=2), axis=1))
    stretch = np.abs(strain).max(axis=(1, 2))
    near = (size <= FARTHEST) & (stretch <= LARGEST_STRAIN) & ((size > 0) | (stretch > 0))
    i, j, u, strain, stretch = i[near], j[near], u[near], strain[near], stretch[near]
    sides = {}
    if frames.force is not None:
        force = frames.force[i] + frames.force[j]
        sides[FORCE.name] = 0.5 * np.einsum("pak,pak->p", force, u)
    if frames.virial is not None:
        virial = frames.virial[i] + frames.virial[j]
        sides[VIRIAL.name] = 0.5 * np.einsum("pab,pab->p", virial, strain)
    loss = frames.energy[i] - frames.energy[j]
    for name, ratio in _ratios(sides, loss).items():
        if RIGHT[0] < ratio < RIGHT[1]:
            continue
        pair = int(np.abs(sides[name]).argmax())
        yield Finding(
            f"{name} and energy",
            frames.where[name],
            f"energies change {ratio:.3g} times as much as the {name}s say, in {len(i)} pairs of "
            f"similar frames such as {frames.numbers[i[pair]]} and {frames.numbers[j[pair]]} "
            f"(counted from 0){_looks(ratio, frames, name)}",
            "expected F = -dE/dr in eV/Å" if name == FORCE.name else "expected -dE/dstrain in eV",
            doubt=True,
        )


def _neighbours(frames: _Frames) -> tuple[np.ndarray, np.ndarray]:
    """Of every frame, the most similar one: pairs i < j, each once."""
    n, natoms = frames.coord.shape[:2]
    if frames.cell is None:
        features = (frames.coord - frames.coord.mean(axis=0)).reshape(n, -1)
    else:
        lengths = np.linalg.norm(frames.cell.mean(axis=0), axis=1)
        angle = 2 * np.pi * (frames.coord @ np.linalg.inv(frames.cell))
        scale = lengths / (2 * np.pi)  # then differences are those of positions, in Å
        cells = (frames.cell - frames.cell.mean(axis=0)) * math.sqrt(natoms) / 2
        parts = (np.cos(angle) * scale, np.sin(angle) * scale, cells)
        features = np.concatenate([part.reshape(n, -1) for part in parts], axis=1)
        features -= features.mean(axis=0)
    square = np.sum(features**2, axis=1)
    distance2 = square[:, None] + square - 2 * features @ features.T
    np.fill_diagonal(distance2, np.inf)
    pairs = np.sort(np.stack([np.arange(n), distance2.argmin(axis=1)], axis=1), axis=1)
    i, j = np.unique(pairs, axis=0).T
    return i, j


def _displacements(frames: _Frames, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From frame i to frame j: of the atoms beside the strain, Å [npairs, natoms, 3]; strain
    [npairs, 3, 3]."""
    if frames.cell is None:
        return frames.coord[j] - frames.coord[i], np.zeros((len(i), 3, 3))
    fractional = frames.coord @ np.linalg.inv(frames.cell)
    step = fractional[j] - fractional[i]
    cell = 0.5 * (frames.cell[i] + frames.cell[j])
    strain = np.linalg.inv(cell) @ (frames.cell[j] - frames.cell[i])
    return (step - np.round(step)) @ cell, strain.transpose(0, 2, 1)


def _ratios(sides: dict[str, np.ndarray], loss: np.ndarray) -> dict[str, float]:
    """By what each side must be multiplied so that their sum is ``loss``, where that is a number
    for most pairs."""
    good = np.isfinite([loss, *sides.values()]).all(axis=0)
    loss = loss[good]
    sides = {name: side[good] for name, side in sides.items() if not _few_decide(side[good])}
    if not sides or _few_decide(loss):
        return {}
    matrix = np.stack(list(sides.values()), axis=1)
    scale = np.linalg.norm(matrix, axis=0)
    matrix /= scale
    ratios, *_ = np.linalg.lstsq(matrix, loss, rcond=None)
    rest = np.sum((loss - matrix @ ratios) ** 2)
    if rest > (1 - AGREEMENT**2) * np.sum(loss**2):
        return {}
    inverse = np.linalg.pinv(matrix.T @ matrix)
    error = np.sqrt(inverse.diagonal() * rest / (len(loss) - len(sides)))
    known = np.abs(ratios) > SIGNIFICANT * error
    return {
        name: float(ratio)
        for name, ratio, sure in zip(sides, ratios / scale, known, strict=True)
        if sure
    }


def _few_decide(values: np.ndarray) -> bool:
    """Whether there are few values, or fewer than half of the needed ones make up most of the sum
    of squares."""
    square = np.sort(values**2)[::-1]
    few = square[: FEWEST_PAIRS // 2].sum() > 0.9 * square.sum()
    return len(square) < FEWEST_PAIRS or square[0] == 0 or bool(few)


def _looks(ratio: float, frames: _Frames, name: str) -> str:
    """The probable cause of the ratio."""
    units, sign = _FORCE_UNITS, "gradients (the sign is reversed)"
    if name == VIRIAL.name and frames.cell is not None:
        volume = float(np.abs(np.linalg.det(frames.cell)).mean())
        sign = "virials with the sign reversed"
        units = {
            "stress in eV/Å³ in place of the virial": volume,
            "stress in GPa in place of the virial": volume / GPA_PER_EV_A3,
            "stress in kbar in place of the virial": volume / (10 * GPA_PER_EV_A3),
            "virials in Hartree": _HARTREE,
            "virials in Rydberg": _RYDBERG,
            "virials in kcal/mol": _KCAL,
            **_ENERGY_UNITS,
        }
    alike = [unit for unit, factor in units.items() if abs(math.log(abs(ratio) / factor)) < CLOSE]
    found = [sign] if ratio < 0 else []
    found += [" or ".join(alike)] if alike else []
    return f"; these look like {' and '.join(found)}" if found else ""
