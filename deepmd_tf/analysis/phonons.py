# SPDX-License-Identifier: BSD-3-Clause
"""Phonons of crystals: force constants from a model, everything else from phonopy.

Φ_ij = ∂²E/∂r_i∂r_j in a supercell, where a displacement is repeated in all periodic images, as it
is in a finite-displacement calculation in the same supercell. A. Togo, L. Chaput, T. Tadano,
I. Tanaka, J. Phys. Condens. Matter 35, 353001 (2023).
"""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.dft.kpoints import parse_path_string
from scipy import constants

from deepmd_tf.analysis import figures
from deepmd_tf.analysis.vibrations import EV_PER_WAVENUMBER, broadened
from deepmd_tf.errors import InputError, InstallError

try:
    from phonopy import Phonopy
    from phonopy.file_IO import write_FORCE_CONSTANTS
    from phonopy.phonon.band_structure import get_band_qpoints_and_path_connections
    from phonopy.structure.atoms import PhonopyAtoms
except ImportError as error:
    raise InstallError(
        f"phonopy cannot be imported ({error}), and force constants of crystals need it; install "
        "it with: pip install phonopy"
    ) from None

log = logging.getLogger(__name__)

PRIMITIVE = ("auto", "P", "F", "I", "A", "C", "R")
WAVENUMBER_PER_THZ = constants.tera / constants.speed_of_light * constants.centi
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
    """Frequencies in cm⁻¹, imaginary ones negative.

    Attributes
    ----------
    segments
        For each straight piece of the path, distances [q] from its start in 1/Å (without 2π), and
        frequencies [q, bands].
    ticks
        (distance, name) of the special points.
    mesh, weights
        Frequencies [q, bands] on a mesh of the Brillouin zone, and weights [q] whose sum is 1.
    lowest
        The lowest frequency of path and mesh, and its q in units of the reciprocal lattice vectors
        of the primitive cell.
    path
        Names of the special points, ``GXW,KL``.
    """

    segments: list[tuple[np.ndarray, np.ndarray]]
    ticks: list[tuple[float, str]]
    mesh: np.ndarray
    weights: np.ndarray
    lowest: tuple[float, list[float]]
    path: str

    @property
    def zero_point_energy(self) -> float:
        """½ Σ h ν of a primitive cell, mean over the mesh, over real frequencies; eV."""
        real = np.where(self.mesh > 0, self.mesh, 0)
        return 0.5 * EV_PER_WAVENUMBER * float(self.weights @ real.sum(axis=1))


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
        Unit cell, periodic.
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
        When the atoms are not periodic, have different masses for one element, or the supercell is
        none.
    """
    if not atoms.pbc.all():
        raise InputError("--supercell: the structure is not periodic")
    masses = atoms.get_masses()
    for number in np.unique(atoms.numbers):
        if np.ptp(masses[atoms.numbers == number]) > 0:
            raise InputError(
                "--masses: for a crystal all atoms of an element have one mass, because the "
                "symmetry that phonopy finds does not know of others"
            )
    matrix = _supercell_matrix(supercell)
    cell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        masses=masses,
        cell=atoms.cell.array,
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
        # that a primitive cell was found is wanted, and said below
        if warning.category.__name__ != "PrimitiveMatrixAutoDefaultWarning":
            log.warning("phonopy: %s", str(warning.message).removeprefix("Warning: "))
    whole, part = phonon.supercell, phonon.primitive
    log.info("crystal: %d atoms in the primitive cell, %d in the supercell", len(part), len(whole))
    large = Atoms(whole.symbols, whole.positions, cell=whole.cell, pbc=True)
    large.info = {key: value for key, value in atoms.info.items() if key == "fparam"}
    rows = calculator.get_force_constants(large, part.p2s_map, progress=True)
    sum_rule = float(np.abs(rows.sum(axis=1)).max())
    full = np.zeros((len(whole), len(whole), 3, 3))
    for moved in part.atomic_permutations:
        # a translation takes atom i to moved[i]
        for row, atom in zip(rows, part.p2s_map, strict=True):
            full[moved[atom], moved] = row
    asymmetry = float(np.abs(full - full.transpose(1, 0, 3, 2)).max())
    phonon.force_constants = full
    if symmetrize:
        phonon.symmetrize_force_constants(show_drift=False)
    width = 1 / np.linalg.norm(np.linalg.inv(whole.cell), axis=0).max()
    return ForceConstants(phonon, sum_rule, asymmetry, float(np.abs(full).max()), float(width))


def _supercell_matrix(supercell: Sequence[int]) -> np.ndarray:
    numbers = np.array(supercell)
    shapes = {3: np.diag, 9: lambda flat: flat.reshape(3, 3)}
    matrix = shapes.get(len(numbers), lambda flat: np.zeros((3, 3)))(numbers)
    if np.linalg.det(matrix) < 0.5 or (len(numbers) == 3 and numbers.min() < 1):
        raise InputError(
            f"--supercell {' '.join(map(str, supercell))}: expected 3 numbers of cells, each at "
            "least 1, or the 9 of a matrix with a positive determinant"
        )
    return matrix


def bands(found: ForceConstants, path: str | None = None) -> Bands:
    """Band structure and density of states.

    Parameters
    ----------
    found
        Force constants of the crystal.
    path
        Special points of the lattice in ASE's names, with commas where it is interrupted, as
        ``GXW,KL``; None: the path that ASE proposes for the Bravais lattice of the primitive cell.

    Raises
    ------
    InputError
        When there is no such point, or ASE does not recognise the lattice.
    """
    phonon = found.phonon
    path, points = _path(phonon, path)
    names = [list(part) for part in parse_path_string(path)]
    qpoints, connections = get_band_qpoints_and_path_connections(
        [[points[name] for name in part] for part in names], npoints=POINTS_OF_SEGMENT
    )
    labels = [name for part in names for name in part]
    phonon.run_band_structure(qpoints, path_connections=connections, labels=labels)
    along = phonon.band_structure
    segments = [
        (np.asarray(distance), WAVENUMBER_PER_THZ * np.asarray(frequencies))
        for distance, frequencies in zip(along.distances, along.frequencies, strict=True)
    ]
    phonon.run_mesh(MESH)
    mesh = phonon.mesh
    values = WAVENUMBER_PER_THZ * mesh.frequencies
    everywhere = [
        *((f, q) for (_, f), q in zip(segments, along.qpoints, strict=True)),
        (values, mesh.qpoints),
    ]
    lowest = min(
        (float(f.min()), np.asarray(q)[f.min(axis=1).argmin()].tolist()) for f, q in everywhere
    )
    return Bands(
        segments,
        _ticks(segments, names),
        values,
        mesh.weights / mesh.weights.sum(),
        lowest,
        path,
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
    names = parse_path_string(path)
    unknown = [name for part in names for name in part if name not in points]
    if unknown or any(len(part) < 2 for part in names):
        raise InputError(
            f'--path "{path}": expected two or more special points of the lattice in a row, with '
            f"commas where the path is interrupted, such as {lattice.path}; "
            f"points: {', '.join(points)}"
        )
    return path, points


def _ticks(
    segments: list[tuple[np.ndarray, np.ndarray]], names: list[list[str]]
) -> list[tuple[float, str]]:
    ticks: list[tuple[float, str]] = []
    rest = iter(segments)
    for part in names:
        for number, (begin, end) in enumerate(itertools.pairwise(part)):
            distance = next(rest)[0]
            if number == 0:
                if ticks:  # the path is interrupted: two points in one place
                    ticks[-1] = (ticks[-1][0], f"{ticks[-1][1]}|{begin}")
                else:
                    ticks.append((float(distance[0]), begin))
            ticks.append((float(distance[-1]), end))
    return [(distance, name.replace("G", "Γ")) for distance, name in ticks]


def write_files(folder: Path, found: ForceConstants) -> None:
    """Write ``FORCE_CONSTANTS``, ``phonopy.yaml`` and, after :func:`bands`, ``band.yaml``."""
    phonon = found.phonon
    write_FORCE_CONSTANTS(phonon.force_constants, filename=folder / "FORCE_CONSTANTS")
    left_out = ("force_sets", "displacements", "force_constants")
    phonon.save(folder / "phonopy.yaml", settings=dict.fromkeys(left_out, False))
    phonon.write_yaml_band_structure(filename=folder / "band.yaml")


def draw(path: Path, found: Bands, width: float) -> None:
    """Draw bands and density of states.

    Parameters
    ----------
    path
        Picture.
    found
        Bands.
    width
        Full width at half maximum in the density of states, cm⁻¹.
    """
    figure, axes = figures.new_figure(1, 2, 4.5, 4)
    ax, side = axes
    ax.get_subplotspec().get_gridspec().set_width_ratios([3, 1])
    for distance, frequencies in found.segments:
        ax.plot(distance, frequencies, color=figures.COLOURS[0], lw=1)
    for distance, _ in found.ticks:
        ax.axvline(distance, color="0.6", lw=0.5)
    ax.set_xticks([distance for distance, _ in found.ticks], [name for _, name in found.ticks])
    ax.set(xlim=(found.ticks[0][0], found.ticks[-1][0]), title="phonons")
    low, high = min(found.mesh.min(), found.lowest[0]), found.mesh.max()
    grid = np.linspace(
        low - 3 * width if low < -TOLERANCE else 0, high + 3 * width, POINTS_OF_DENSITY
    )
    weights = np.broadcast_to(found.weights[:, None], found.mesh.shape)
    counts, edges = np.histogram(found.mesh, bins=grid, weights=weights)
    density = broadened((edges[1:] + edges[:-1]) / 2, counts, grid, width)
    side.fill_betweenx(grid, density, alpha=0.5, color=figures.COLOURS[0], lw=0)
    side.set(xlim=(0, None), xlabel="states per cm⁻¹ and cell", title="density of states")
    side.tick_params(labelleft=False)
    imaginary = " (imaginary ones below zero)" if grid[0] < 0 else ""
    ax.set_ylabel(f"wavenumber / cm⁻¹{imaginary}")
    for one in axes:
        one.set_ylim(grid[0], grid[-1])
        if grid[0] < 0:
            one.axhline(0, color="black", lw=0.5)
    figures.write(figure, path)
