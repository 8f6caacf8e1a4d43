# SPDX-License-Identifier: BSD-3-Clause
"""What ``dp vibrations`` does: from a structure with a calculator to a folder of results."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

import deepmd_tf
from deepmd_tf.analysis import stationary, vibration_files
from deepmd_tf.analysis.structures import parse_numbers
from deepmd_tf.analysis.vibrations import (
    EV_PER_WAVENUMBER,
    NONE,
    ROTATIONS,
    TRANSLATIONS,
    NormalModes,
    normal_modes,
    thermal,
)
from deepmd_tf.errors import InputError
from deepmd_tf.files import replacing_files

log = logging.getLogger(__name__)

CRYSTAL_NAMES = ("FORCE_CONSTANTS", "phonopy.yaml", "band.yaml", "bands.*")
NAMES = (*vibration_files.NAMES, *CRYSTAL_NAMES)
"""Patterns of all files in the folder of results."""


def study_vibrations(
    atoms: Atoms,
    output: str | os.PathLike[str],
    origin: dict[str, Any],
    *,
    relaxation: stationary.Relaxation | None = None,
    moving: Sequence[str] | None = None,
    project: str = "auto",
    animated: Sequence[str] | None = None,
    temperatures: Sequence[float] = (298.15,),
    width: float = 20.0,
    picture: str = "png",
) -> dict[str, Any]:
    """Frequencies and normal modes; writes and prints them.

    Parameters
    ----------
    atoms
        With :class:`deepmd_tf.interfaces.ase.DP` as calculator; moved by a relaxation.
    output
        Folder of the results.
    origin
        What the summary says of where model and structure come from.
    relaxation
        How to relax first, if at all.
    moving
        Atoms that move, see :func:`~deepmd_tf.analysis.stationary.hold_atoms`.
    project
        Motions to leave out, of :data:`~deepmd_tf.analysis.vibrations.MOTIONS`, or "auto".
    animated
        Modes to write as animations, numbers and ranges, or ``["none"]``; None: all of a few.
    temperatures
        K.
    width
        Full width at half maximum of lines in the spectrum, cm⁻¹.
    picture
        Suffix of the spectrum: png, pdf, svg.

    Returns
    -------
    dict
        The content of ``summary.json``.

    Raises
    ------
    InputError
        For options that contradict the structure, and files that cannot be written.
    ModelFileError
        When the model has no second derivatives.
    """
    output = Path(output)
    with replacing_files(output, NAMES) as folder:
        which = stationary.hold_atoms(atoms, moving)
        motions = _motions(project, atoms, which)
        doubts = _settle(atoms, relaxation, output)
        chosen = atoms if which is None else atoms[which]
        symbols = chosen.get_chemical_symbols()
        hessian = atoms.calc.get_hessian(atoms, indices=which, progress=True)
        modes = normal_modes(hessian, chosen.positions, chosen.get_masses(), motions)
        if count := int(np.sum(modes.frequencies < 0)):
            doubts.append(
                f"{count} imaginary frequenc{'y' if count == 1 else 'ies'}, the largest "
                f"{vibration_files.wavenumber(modes.frequencies[0])} cm⁻¹: the structure is no "
                "minimum; zero-point energy and thermal quantities leave them out"
            )
        numbers = _animated(animated, len(modes.frequencies))
        summary = {
            **_origin(origin, atoms),
            "atoms_that_move": len(chosen),
            "masses_u": chosen.get_masses().tolist(),
            "projected": motions,
            "linear": modes.linear,
            "projected_per_cm": modes.removed.tolist(),
            "frequencies_per_cm": modes.frequencies.tolist(),
            "imaginary": count,
            "zero_point_energy_eV": modes.zero_point_energy,
            "thermal": _thermal(modes.frequencies, temperatures),
            "doubts": doubts,
        }
        vibration_files.write_summary(folder / "summary.json", summary)
        vibration_files.write_table(folder / "modes.csv", modes, symbols)
        vibration_files.write_arrays(folder / "modes.npz", atoms, which, modes, hessian)
        vibration_files.draw_spectrum(folder / f"spectrum.{picture}", modes, symbols, width)
        stationary.write_structure(folder / "structure.xyz", atoms)
        for k in numbers:
            path = folder / f"mode_{k:03d}.xyz"
            vibration_files.write_animation(path, atoms, which, modes, k)
    vibration_files.show(modes, symbols)
    _say(modes, summary)
    _finish(output, doubts)
    return summary


def study_crystal(
    atoms: Atoms,
    output: str | os.PathLike[str],
    origin: dict[str, Any],
    *,
    supercell: Sequence[int],
    primitive: str = "auto",
    path: str | None = None,
    symmetrize: bool = False,
    relaxation: stationary.Relaxation | None = None,
    temperatures: Sequence[float] = (298.15,),
    width: float = 20.0,
    picture: str = "png",
) -> dict[str, Any]:
    """Force constants for phonopy and phonon bands; writes and prints them.

    Parameters
    ----------
    atoms, output, origin, relaxation, temperatures, width, picture
        As those of :func:`study_vibrations`; ``atoms`` is a periodic cell.
    supercell, primitive, symmetrize
        See :func:`deepmd_tf.analysis.phonons.force_constants`.
    path
        See :func:`deepmd_tf.analysis.phonons.bands`.

    Returns
    -------
    dict
        The content of ``summary.json``.

    Raises
    ------
    InputError, ModelFileError
        As :func:`study_vibrations`, and those of the functions named above.
    InstallError
        Without phonopy.
    """
    from deepmd_tf.analysis import phonons

    output = Path(output)
    with replacing_files(output, NAMES) as folder:
        atoms.set_constraint()
        doubts = _settle(atoms, relaxation, output)
        found = phonons.force_constants(
            atoms, atoms.calc, supercell, primitive=primitive, symmetrize=symmetrize
        )
        bands = phonons.bands(found, path)
        lowest, where = bands.lowest
        if lowest < -phonons.TOLERANCE:
            doubts.append(
                f"imaginary frequencies, the largest {vibration_files.wavenumber(lowest)} cm⁻¹ at "
                f"q = ({', '.join(f'{x:.3g}' for x in where)}): the crystal is not stable in this "
                "cell, or the supercell is too small; zero-point energy and thermal quantities "
                "leave them out"
            )
        summary = {
            **_origin(origin, atoms),
            "supercell": np.asarray(supercell).tolist(),
            "atoms_in_primitive_cell": len(found.phonon.primitive),
            "atoms_in_supercell": len(found.phonon.supercell),
            "width_of_supercell_A": found.width,
            "sum_rule_eV_per_A2": found.sum_rule,
            "asymmetry_eV_per_A2": found.asymmetry,
            "largest_force_constant_eV_per_A2": found.largest,
            "symmetrized": symmetrize,
            "path": bands.path,
            "lowest_per_cm": lowest,
            "lowest_at": where,
            "highest_per_cm": float(max(f.max() for _, f in bands.segments)),
            "zero_point_energy_eV_per_primitive_cell": bands.zero_point_energy,
            "thermal_per_primitive_cell": _thermal(bands.mesh, temperatures, bands.weights),
            "doubts": doubts,
        }
        vibration_files.write_summary(folder / "summary.json", summary)
        phonons.write_files(folder, found)
        phonons.draw(folder / f"bands.{picture}", bands, width)
        stationary.write_structure(folder / "structure.xyz", atoms)
    log.info(
        "sum rule: largest |Σ_j Φ_ij| %.1e eV/Å², largest |Φ_ij − Φ_jiᵀ| %.1e of %.3g",
        found.sum_rule,
        found.asymmetry,
        found.largest,
    )
    reach = 2 * atoms.calc.dp.get_rcut()
    log.info(
        "the supercell is %.3g Å wide; atoms of this model act on each other up to %.3g Å, and "
        "what is farther than half the width is folded: compare with a larger supercell",
        found.width,
        reach,
    )
    log.info(
        "path %s, frequencies %.1f to %.1f cm⁻¹", bands.path, lowest, summary["highest_per_cm"]
    )
    log.info("zero-point energy: %.6f eV per primitive cell", bands.zero_point_energy)
    _finish(output, doubts)
    return summary


def _motions(project: str, atoms: Atoms, moving: np.ndarray | None) -> str:
    free = ROTATIONS if not atoms.pbc.any() else TRANSLATIONS
    if project == "auto":
        return NONE if moving is not None else free
    if moving is not None and project != NONE:
        raise InputError(f"--project {project}: with fixed atoms there are no such motions")
    return project


def _settle(atoms: Atoms, relaxation: stationary.Relaxation | None, output: Path) -> list[str]:
    """Relax, and report forces; doubts about them."""
    if relaxation is not None:
        stationary.relax(atoms, relaxation, output.with_name(f"{output.name}.unrelaxed.xyz"))
    force, atom = stationary.largest_force(atoms)
    log.info("largest force: %.3g eV/Å, on atom %d", force, atom)
    pressure = stationary.pressure(atoms)
    if pressure is not None:
        log.info("pressure: %.3g GPa; the cell is as given", pressure)
    doubt = stationary.doubt_forces(atoms)
    return [doubt] if doubt else []


def _origin(origin: dict[str, Any], atoms: Atoms) -> dict[str, Any]:
    return {
        "program": f"deepmd_tf {deepmd_tf.__version__}",
        **origin,
        "formula": atoms.get_chemical_formula(),
        "atoms": len(atoms),
        "periodic": bool(atoms.pbc.all()),
        "energy_eV": atoms.get_potential_energy(),
        "largest_force_eV_per_A": stationary.largest_force(atoms)[0],
        "pressure_GPa": stationary.pressure(atoms),
    }


def _animated(words: Sequence[str] | None, count: int) -> list[int]:
    if words is None:
        if count > vibration_files.SHOWN:
            log.info("%d modes: no animations; choose some with --modes", count)
            return []
        return list(range(count))
    return [] if list(words) == ["none"] else parse_numbers(words, count, "--modes")


def _thermal(
    frequencies: np.ndarray, temperatures: Sequence[float], weights: np.ndarray | None = None
) -> list[dict[str, float]]:
    return [
        {
            "temperature_K": temperature,
            "energy_eV": found["energy"],
            "free_energy_eV": found["free_energy"],
            "entropy_eV_per_K": found["entropy"],
            "heat_capacity_eV_per_K": found["heat_capacity"],
        }
        for temperature in temperatures
        for found in [thermal(frequencies, temperature, weights)]
    ]


def _say(modes: NormalModes, summary: dict[str, Any]) -> None:
    if len(modes.removed):
        log.info(
            "left out: %s%s; alone they have %s cm⁻¹",
            "translations" if len(modes.removed) == 3 else "translations and rotations",
            " of a linear molecule" if modes.linear else "",
            " ".join(vibration_files.wavenumber(value) for value in modes.removed),
        )
    total = modes.zero_point_energy
    log.info("zero-point energy: %.6f eV (%.1f cm⁻¹)", total, total / EV_PER_WAVENUMBER)
    for found in summary["thermal"]:
        log.info(
            "vibrations at %g K: energy %.6f eV, free energy %.6f eV, entropy %.3e eV/K, heat "
            "capacity %.3e eV/K",
            *found.values(),
        )


def _finish(output: Path, doubts: Sequence[str]) -> None:
    for doubt in doubts:
        log.warning("%s", doubt)
    log.info("wrote %s: %s", output, ", ".join(sorted(path.name for path in output.iterdir())))
