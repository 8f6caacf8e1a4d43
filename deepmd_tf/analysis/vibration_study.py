# SPDX-License-Identifier: BSD-3-Clause
"""The work of ``dp vibrations``: from a structure with a calculator to a folder of results."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import deepmd_tf
from deepmd_tf.analysis import stationary, vibration_files
from deepmd_tf.analysis.structures import parse_numbers
from deepmd_tf.analysis.vibration_files import wavenumber
from deepmd_tf.analysis.vibrations import (
    NONE,
    ROTATIONS,
    TRANSLATIONS,
    NormalModes,
    normal_modes,
)
from deepmd_tf.errors import InputError, optional_package
from deepmd_tf.files import BYTES_OF_NAMES, replacing_files

with optional_package("ase"):
    from ase import Atoms, units

log = logging.getLogger(__name__)

NAMES = ("summary.json", "structure.xyz", "modes.csv", "modes.npz", "mode_*.xyz", "spectrum.*")
CRYSTAL_NAMES = ("FORCE_CONSTANTS", "phonopy.yaml", "band.yaml", "bands.*")
"""Patterns of all files in the folder of results."""
LEFT_OUT = "zero-point energy and thermal quantities leave them out"


@dataclass(frozen=True)
class Study:
    """Vibrations of a structure, computed, written and printed.

    Attributes
    ----------
    atoms
        With :class:`deepmd_tf.interfaces.ase.DP` as calculator; moved by a relaxation.
    output
        Folder of the results.
    origin
        What the summary says of where model and structure come from.
    relaxation
        How to relax first, if at all.
    temperatures
        Of the thermal quantities, K.
    width
        Full width at half maximum of lines in the picture, cm⁻¹.
    picture
        Suffix of the picture: png, pdf, svg.
    """

    atoms: Atoms
    output: Path
    origin: dict[str, Any] = field(default_factory=dict)
    relaxation: stationary.Relaxation | None = None
    temperatures: Sequence[float] = (298.15,)
    width: float = 20.0
    picture: str = "png"

    def vibrations(
        self,
        moving: Sequence[str] | None = None,
        project: str = "auto",
        animated: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Frequencies and normal modes.

        Parameters
        ----------
        moving
            Atoms that move, see :func:`~deepmd_tf.analysis.stationary.hold_atoms`.
        project
            Motions to leave out: "none", "translations", "rotations" (and translations) or "auto".
        animated
            Modes to write as animations, numbers and ranges, or ``["none"]``; None: all of a few.

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
        atoms = self.atoms
        with replacing_files(self.output, NAMES + CRYSTAL_NAMES) as folder:
            which = stationary.hold_atoms(atoms, moving)
            motions = _motions(project, atoms, which)
            doubts = self._settle()
            chosen = atoms if which is None else atoms[which]
            symbols = chosen.get_chemical_symbols()
            hessian = atoms.calc.get_hessian(atoms, indices=which, progress=True)
            modes = normal_modes(hessian, chosen.positions, chosen.get_masses(), motions)
            if count := int(np.sum(modes.frequencies < 0)):
                doubts.append(
                    f"{count} imaginary frequenc{'y' if count == 1 else 'ies'}, the largest "
                    f"{wavenumber(modes.frequencies[0])} cm⁻¹: the structure is no minimum; "
                    f"{LEFT_OUT}"
                )
            numbers = _animated(animated, len(modes.frequencies))
            summary = {
                **self._origin(),
                "atoms_that_move": len(chosen),
                "masses_u": chosen.get_masses().tolist(),
                "projected": motions,
                "linear": modes.linear,
                "projected_per_cm": modes.removed.tolist(),
                "frequencies_per_cm": modes.frequencies.tolist(),
                "imaginary": count,
                "zero_point_energy_eV": modes.zero_point_energy,
                "thermal": modes.thermal(self.temperatures),
                "doubts": doubts,
            }
            vibration_files.write_table(folder / "modes.csv", modes, symbols)
            vibration_files.write_arrays(folder / "modes.npz", atoms, which, modes, hessian)
            picture = folder / f"spectrum.{self.picture}"
            vibration_files.draw_spectrum(picture, modes, symbols, self.width)
            for k in numbers:
                path = folder / f"mode_{k:03d}.xyz"
                vibration_files.write_animation(path, atoms, which, modes, k)
            self._write(folder, summary)
        vibration_files.show(modes, symbols)
        _say(modes, summary)
        self._finish(doubts)
        return summary

    def crystal(
        self,
        supercell: Sequence[int],
        primitive: str = "auto",
        path: str | None = None,
        symmetrize: bool = False,
    ) -> dict[str, Any]:
        """Force constants for phonopy and phonon bands of a periodic cell.

        Parameters
        ----------
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
            As :meth:`vibrations`, and those of the functions named above.
        InstallError
            Without phonopy.
        """
        from deepmd_tf.analysis import phonons

        atoms = self.atoms
        with replacing_files(self.output, NAMES + CRYSTAL_NAMES) as folder:
            atoms.set_constraint()
            doubts = self._settle()
            found = phonons.force_constants(
                atoms, atoms.calc, supercell, primitive=primitive, symmetrize=symmetrize
            )
            bands = phonons.bands(found.phonon, path)
            lowest, where = bands.lowest
            if lowest < -phonons.TOLERANCE:
                doubts.append(
                    f"imaginary frequencies, the largest {wavenumber(lowest)} cm⁻¹ at "
                    f"q = ({', '.join(f'{x:.3g}' for x in where)}): the crystal is not stable in "
                    f"this cell, or the supercell is too small; {LEFT_OUT}"
                )
            zero_point, thermal = phonons.thermal(found.phonon, self.temperatures)
            summary = {
                **self._origin(),
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
                "highest_per_cm": bands.highest,
                "zero_point_energy_eV_per_primitive_cell": zero_point,
                "thermal_per_primitive_cell": thermal,
                "doubts": doubts,
            }
            phonons.write_files(folder, found.phonon)
            phonons.draw(folder / f"bands.{self.picture}", bands, self.width)
            self._write(folder, summary)
        _say_crystal(summary, 2 * atoms.calc.dp.get_rcut())
        self._finish(doubts)
        return summary

    def _settle(self) -> list[str]:
        """Relax, and report forces; doubts about them."""
        if self.relaxation is not None:
            unrelaxed = self.output.with_name(f"{self.output.name}.unrelaxed.xyz")
            stationary.relax(self.atoms, self.relaxation, unrelaxed)
        force, atom = stationary.largest_force(self.atoms)
        log.info("largest force: %.3g eV/Å, on atom %d", force, atom)
        pressure = stationary.pressure(self.atoms)
        if pressure is not None:
            log.info("pressure: %.3g GPa; the cell is as given", pressure)
        if force <= stationary.SMALL_FORCE:
            return []
        return [
            f"the largest force is {force:.3g} eV/Å, on atom {atom}: the structure is not "
            "stationary, and frequencies and modes mean little; relax it, --relax says how far"
        ]

    def _origin(self) -> dict[str, Any]:
        return {
            "program": f"deepmd_tf {deepmd_tf.__version__}",
            **self.origin,
            "formula": self.atoms.get_chemical_formula(),
            "atoms": len(self.atoms),
            "periodic": bool(self.atoms.pbc.all()),
            "pbc": self.atoms.pbc.tolist(),
            "energy_eV": self.atoms.get_potential_energy(),
            "largest_force_eV_per_A": stationary.largest_force(self.atoms)[0],
            "pressure_GPa": stationary.pressure(self.atoms),
        }

    def _write(self, folder: Path, summary: dict[str, Any]) -> None:
        text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False)
        (folder / "summary.json").write_text(text + "\n", encoding="utf-8", errors=BYTES_OF_NAMES)
        stationary.write_structure(folder / "structure.xyz", self.atoms)

    def _finish(self, doubts: Sequence[str]) -> None:
        for doubt in doubts:
            log.warning("%s", doubt)
        names = sorted(path.name for path in self.output.iterdir())
        log.info("wrote %s: %s", self.output, ", ".join(names))


def _motions(project: str, atoms: Atoms, moving: np.ndarray | None) -> str:
    free = ROTATIONS if not atoms.pbc.any() else TRANSLATIONS
    if project == "auto":
        return NONE if moving is not None else free
    if moving is not None and project != NONE:
        raise InputError(f"--project {project}: with fixed atoms there are no such motions")
    return project


def _animated(words: Sequence[str] | None, count: int) -> list[int]:
    if words is None:
        if count > vibration_files.SHOWN:
            log.info("%d modes: no animations; choose some with --modes", count)
            return []
        return list(range(count))
    return [] if list(words) == ["none"] else parse_numbers(words, count, "--modes")


def _say(modes: NormalModes, summary: dict[str, Any]) -> None:
    if len(modes.removed):
        log.info(
            "left out: %s%s; alone they have %s cm⁻¹",
            "translations" if len(modes.removed) == 3 else "translations and rotations",
            " of a linear molecule" if modes.linear else "",
            " ".join(wavenumber(value) for value in modes.removed),
        )
    total = modes.zero_point_energy
    log.info("zero-point energy: %.6f eV (%.1f cm⁻¹)", total, total / units.invcm)
    for found in summary["thermal"]:
        log.info(
            "vibrations at %g K: energy %.6f eV, free energy %.6f eV, entropy %.3e eV/K, heat "
            "capacity %.3e eV/K",
            *found.values(),
        )


def _say_crystal(summary: dict[str, Any], reach: float) -> None:
    log.info(
        "sum rule: largest |Σ_j Φ_ij| %.1e eV/Å², largest |Φ_ij − Φ_jiᵀ| %.1e of %.3g",
        summary["sum_rule_eV_per_A2"],
        summary["asymmetry_eV_per_A2"],
        summary["largest_force_constant_eV_per_A2"],
    )
    log.info(
        "the supercell is %.3g Å wide; atoms of this model act on each other up to %.3g Å, and "
        "what is farther than half the width is folded: compare with a larger supercell",
        summary["width_of_supercell_A"],
        reach,
    )
    log.info(
        "path %s, frequencies %.1f to %.1f cm⁻¹",
        summary["path"],
        summary["lowest_per_cm"],
        summary["highest_per_cm"],
    )
    zero_point = summary["zero_point_energy_eV_per_primitive_cell"]
    log.info("zero-point energy: %.6f eV per primitive cell", zero_point)
