# SPDX-License-Identifier: BSD-3-Clause
"""Phonons of crystals: force constants from a model, everything else from phonopy.

Φ_ij = ∂²E/∂r_i∂r_j in a supercell, where a displacement is repeated in all periodic images, as it
is in a finite-displacement calculation in the same supercell. A. Togo, L. Chaput, T. Tadano,
I. Tanaka, J. Phys. Condens. Matter 35, 353001 (2023).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_tf.analysis import figures
from deepmd_tf.data.open_directions import closed
from deepmd_tf.errors import InputError, optional_package

with optional_package("ase"):
    from ase import Atoms, units
    from ase.cell import Cell
    from ase.dft.kpoints import parse_path_string
with optional_package("phonopy", "force constants of crystals"):
    from phonopy import Phonopy
    from phonopy.file_IO import write_FORCE_CONSTANTS
    from phonopy.phonon.band_structure import get_band_qpoints_and_path_connections
    from phonopy.structure.atoms import PhonopyAtoms

log = logging.getLogger(__name__)

WAVENUMBER_PER_THZ = 1e10 / units._c
POINTS_OF_SEGMENT = 51
MESH = 60.0
"""Å: density of the mesh for the density of states, as phonopy counts it."""
POINTS_OF_DENSITY = 1000
TOLERANCE = 1.0
"""cm⁻¹: imaginary frequencies below are the rounding of zero."""


@dataclass(frozen=True)
class ForceConstants:
    """Force constants of a crystal, and how well they obey what they must.

    Attributes
    ----------
    phonon
        The object of phonopy that has them.
    sum_rule
        Largest ``|Σ_j Φ_ij|``, eV/Å²: zero, as nothing changes when all atoms move alike.
    asymmetry
        Largest ``|Φ_ij − Φ_jiᵀ|``, eV/Å².
    largest
        Largest ``|Φ_ij|``, eV/Å².
    width
        Smallest distance between opposite faces of the supercell, Å.
    """

    phonon: Phonopy
    sum_rule: float
    asymmetry: float
    largest: float
    width: float


@dataclass(frozen=True)
class Bands:
    """Frequencies, as ``phonon.band_structure`` and ``phonon.mesh`` have them in THz.

    Attributes
    ----------
    phonon
        The object of phonopy.
    path
        Names of the special points, ``GXW,KL``.
    ticks
        (distance in 1/Å without 2π, name) of the special points.
    lowest
        The lowest frequency of path and mesh, cm⁻¹, imaginary ones negative, and its q in units of
        the reciprocal lattice vectors of the primitive cell.
    highest
        The highest frequency of the path, cm⁻¹.
    """

    phonon: Phonopy
    path: str
    ticks: list[tuple[float, str]]
    lowest: tuple[float, list[float]]
    highest: float


def force_constants(
    atoms: Atoms,
    calculator: Any,
    supercell: Sequence[int],
    *,
    primitive: str = "auto",
    symmetrize: bool = False,
) -> ForceConstants:
    """Force constants of a supercell.

    Second derivatives are computed for the atoms of one primitive cell; the others follow by
    translation.

    Parameters
    ----------
    atoms
        Unit cell, periodic; open directions, as those of surfaces, get vacuum.
    calculator
        :class:`deepmd_tf.interfaces.ase.DP`, or what has its ``get_force_constants``.
    supercell
        3 numbers of cells, or 9 of the matrix whose rows are the vectors of the supercell.
    primitive
        Centring that leads from the unit cell to a primitive one, or "auto".
    symmetrize
        Whether phonopy makes translation and exchange of atoms exact.

    Raises
    ------
    InputError
        When the atoms are not periodic, also where the supercell repeats them, have different
        masses for one element, or the supercell is none.
    """
    phonon = _make_phonopy(atoms, _supercell_matrix(supercell), primitive)
    whole, part = phonon.supercell, phonon.primitive
    log.info("crystal: %d atoms in the primitive cell, %d in the supercell", len(part), len(whole))
    large = Atoms(whole.symbols, whole.positions, cell=whole.cell, pbc=True)
    large.info = {key: value for key, value in atoms.info.items() if key == "fparam"}
    rows = calculator.get_force_constants(large, part.p2s_map, progress=True)
    full = np.zeros((len(whole), len(whole), 3, 3))
    for moved in part.atomic_permutations:  # a translation takes atom i to moved[i]
        for row, atom in zip(rows, part.p2s_map, strict=True):
            full[moved[atom], moved] = row
    phonon.force_constants = full
    found = ForceConstants(
        phonon,
        sum_rule=float(np.abs(rows.sum(axis=1)).max()),
        asymmetry=float(np.abs(full - full.transpose(1, 0, 3, 2)).max()),
        largest=float(np.abs(full).max()),
        width=float(1 / np.linalg.norm(np.linalg.inv(whole.cell), axis=0).max()),
    )
    if symmetrize:
        phonon.symmetrize_force_constants(show_drift=False)
    return found


def _make_phonopy(atoms: Atoms, matrix: np.ndarray, primitive: Any) -> Phonopy:
    if not atoms.pbc.any():
        raise InputError("--supercell: the structure is not periodic")
    beyond = (matrix - np.eye(3))[~atoms.pbc], (matrix - np.eye(3))[:, ~atoms.pbc]
    if any(part.any() for part in beyond):
        raise InputError(
            f"--supercell: the structure is periodic along some directions only (pbc "
            f"{atoms.pbc.tolist()}); expected 1 along the others"
        )
    masses = atoms.get_masses()
    if any(np.ptp(masses[atoms.numbers == number]) > 0 for number in np.unique(atoms.numbers)):
        raise InputError(
            "--masses: for a crystal all atoms of an element have one mass, because the "
            "symmetry that phonopy finds does not know of others"
        )
    cell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        masses=masses,
        cell=closed(atoms.cell.array[None], atoms.pbc, atoms.positions[None])[0],
        positions=atoms.positions,
    )
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            phonon = Phonopy(cell, supercell_matrix=matrix, primitive_matrix=primitive)
    except Exception as error:  # of several kinds
        raise InputError(
            f"phonopy cannot make primitive cell and supercell ({error}); try --primitive P"
        ) from error
    for warning in said:
        # that a primitive cell was found is wanted, and said in the log
        if warning.category.__name__ != "PrimitiveMatrixAutoDefaultWarning":
            log.warning("phonopy: %s", str(warning.message).removeprefix("Warning: "))
    return phonon


def _supercell_matrix(supercell: Sequence[int]) -> np.ndarray:
    numbers = np.array(supercell)
    matrix = np.zeros((3, 3))
    if len(numbers) == 3:
        matrix = np.diag(numbers)
    elif len(numbers) == 9:
        matrix = numbers.reshape(3, 3)
    if np.linalg.det(matrix) < 0.5 or (len(numbers) == 3 and numbers.min() < 1):
        raise InputError(
            f"--supercell {' '.join(map(str, supercell))}: expected 3 numbers of cells, each at "
            "least 1, or the 9 of a matrix with a positive determinant"
        )
    return matrix


def bands(phonon: Phonopy, path: str | None = None) -> Bands:
    """Band structure, and frequencies on a mesh of the Brillouin zone.

    Parameters
    ----------
    phonon
        With force constants.
    path
        Special points of the lattice in ASE's names, with commas where it is interrupted, as
        ``GXW,KL``; None: the path that ASE proposes for the Bravais lattice of the primitive cell.

    Raises
    ------
    InputError
        When there is no such point, or ASE does not recognise the lattice.
    """
    path, points = _path(phonon, path)
    parts = parse_path_string(path)
    qpoints, connections = get_band_qpoints_and_path_connections(
        [[points[name] for name in part] for part in parts], npoints=POINTS_OF_SEGMENT
    )
    names = [name for part in parts for name in part]
    phonon.run_band_structure(qpoints, path_connections=connections, labels=names)
    phonon.run_mesh(MESH)
    along: Any = phonon.band_structure  # None until it is computed, for phonopy
    mesh: Any = phonon.mesh
    everywhere = [*zip(along.frequencies, along.qpoints, strict=True)]
    highest = max(float(np.max(f)) for f, _ in everywhere)
    lowest, where = min(
        (float(np.min(f)), np.asarray(q)[np.min(f, axis=1).argmin()].tolist())
        for f, q in [*everywhere, (mesh.frequencies, mesh.qpoints)]
    )
    return Bands(
        phonon,
        path,
        _ticks(along.distances, parts),
        (WAVENUMBER_PER_THZ * lowest, where),
        WAVENUMBER_PER_THZ * highest,
    )


def _path(phonon: Phonopy, path: str | None) -> tuple[str, dict[str, np.ndarray]]:
    try:
        lattice = Cell(phonon.primitive.cell).bandpath(path=None, npoints=0)
    except Exception as error:  # of several kinds
        raise InputError(
            f"ASE does not recognise the Bravais lattice of the primitive cell ({error})"
        ) from error
    points = lattice.special_points
    if path is None:
        return lattice.path, points
    parts = parse_path_string(path)
    if any(len(part) < 2 or not set(part) <= set(points) for part in parts):
        raise InputError(
            f'--path "{path}": expected two or more special points of the lattice in a row, with '
            f"commas where the path is interrupted, such as {lattice.path}; "
            f"points: {', '.join(points)}"
        )
    return path, points


def _ticks(distances: Sequence[np.ndarray], parts: list[list[str]]) -> list[tuple[float, str]]:
    """Where the names of special points stand; two of them where the path is interrupted."""
    places = [distances[0][0], *(segment[-1] for segment in distances)]
    names = "|".join(" ".join(part) for part in parts).replace("G", "Γ").split()
    return [(float(place), name) for place, name in zip(places, names, strict=True)]


def thermal(phonon: Phonopy, temperatures: Sequence[float]) -> tuple[float, list[dict[str, float]]]:
    """Zero-point energy, eV, and thermal quantities, eV and eV/K, of a primitive cell.

    As phonopy computes them from frequencies on the mesh of :func:`bands`; imaginary ones are left
    out. Keys are those of :meth:`deepmd_tf.analysis.vibrations.NormalModes.thermal`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # acoustic modes at Γ are in the sums if rounding is positive
        phonon.run_thermal_properties(temperatures=temperatures)
    found: Any = phonon.thermal_properties
    to_ev, from_joule = units.kJ / units.mol, units.J / units.mol
    rows = zip(temperatures, found.free_energy, found.entropy, found.heat_capacity, strict=True)
    quantities = [
        {
            "temperature_K": temperature,
            "energy_eV": float(to_ev * free + temperature * from_joule * entropy),
            "free_energy_eV": float(to_ev * free),
            "entropy_eV_per_K": float(from_joule * entropy),
            "heat_capacity_eV_per_K": float(from_joule * capacity),
        }
        for temperature, free, entropy, capacity in rows
    ]
    return float(to_ev * found.zero_point_energy), quantities


def write_files(folder: Path, phonon: Phonopy) -> None:
    """Write ``FORCE_CONSTANTS``, ``phonopy.yaml`` and, after :func:`bands`, ``band.yaml``."""
    write_FORCE_CONSTANTS(np.asarray(phonon.force_constants), filename=folder / "FORCE_CONSTANTS")
    left_out = ("force_sets", "displacements", "force_constants")
    phonon.save(folder / "phonopy.yaml", settings=dict.fromkeys(left_out, False))
    phonon.write_yaml_band_structure(filename=folder / "band.yaml")


def draw(path: Path, found: Bands, width: float) -> None:
    """Draw bands and density of states, broadened to ``width``, cm⁻¹, at half maximum."""
    figure, (ax, side) = figures.new_figure(1, 2, 4.5, 4)
    grid: Any = ax.get_subplotspec()
    grid.get_gridspec().set_width_ratios([3, 1])
    along: Any = found.phonon.band_structure
    for distance, frequencies in zip(along.distances, along.frequencies, strict=True):
        values = WAVENUMBER_PER_THZ * np.asarray(frequencies)
        ax.plot(distance, values, color=figures.COLOURS[0], lw=1)
    places, names = zip(*found.ticks, strict=True)
    for place in places:
        ax.axvline(place, color="0.6", lw=0.5)
    ax.set_xticks(places, names)
    ax.set(xlim=(places[0], places[-1]), title="phonons")
    mesh: Any = found.phonon.mesh
    low, high = found.lowest[0], WAVENUMBER_PER_THZ * mesh.frequencies.max()
    bottom, top = low - 3 * width if low < -TOLERANCE else 0, high + 3 * width
    found.phonon.run_total_dos(
        sigma=width / figures.WIDTH_OF_SIGMA / WAVENUMBER_PER_THZ,
        freq_min=bottom / WAVENUMBER_PER_THZ,
        freq_max=top / WAVENUMBER_PER_THZ,
        freq_pitch=(top - bottom) / POINTS_OF_DENSITY / WAVENUMBER_PER_THZ,
    )
    density: Any = found.phonon.total_dos
    side.fill_betweenx(
        WAVENUMBER_PER_THZ * density.frequency_points,
        density.dos / WAVENUMBER_PER_THZ,
        alpha=0.5,
        color=figures.COLOURS[0],
        lw=0,
    )
    side.set(xlim=(0, None), xlabel="states per cm⁻¹ and cell", title="density of states")
    side.tick_params(labelleft=False)
    imaginary = " (imaginary ones below zero)" if bottom < 0 else ""
    ax.set_ylabel(f"wavenumber / cm⁻¹{imaginary}")
    for one in (ax, side):
        one.set_ylim(bottom, top)
        if bottom < 0:
            one.axhline(0, color="black", lw=0.5)
    figures.write(figure, path)
