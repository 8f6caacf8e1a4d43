# SPDX-License-Identifier: BSD-3-Clause
"""Structures where the forces vanish: which atoms move, relaxation, and what is left of forces."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmd_tf.analysis.structures import parse_numbers
from deepmd_tf.errors import InputError, optional_package
from deepmd_tf.files import replacing
from deepmd_tf.progress import bar

with optional_package("ase"):
    from ase import Atoms, units
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.constraints import FixAtoms
    from ase.io import write
    from ase.optimize import BFGS, FIRE, LBFGS

log = logging.getLogger(__name__)

OPTIMIZERS = {"BFGS": BFGS, "LBFGS": LBFGS, "FIRE": FIRE}
MANY = 300
"""Number of moving atoms above which BFGS, which diagonalises their matrix, is not the default."""
SMALL_FORCE = 0.01
"""eV/Å: largest force at which frequencies are taken for meaningful."""


@dataclass(frozen=True)
class Relaxation:
    """How to relax: until no force is larger than ``fmax``, eV/Å, in at most ``steps`` steps.

    ``optimizer`` is a name of :data:`OPTIMIZERS`; None: BFGS for up to :data:`MANY` atoms,
    otherwise LBFGS.
    """

    fmax: float
    steps: int = 1000
    optimizer: str | None = None

    def __post_init__(self) -> None:
        if not self.fmax > 0:
            raise InputError(f"--relax {self.fmax:g}: expected a positive force in eV/Å")
        if self.steps < 1:
            raise InputError(f"--steps {self.steps}: expected at least 1")


def hold_atoms(atoms: Atoms, words: Sequence[str] | None) -> np.ndarray | None:
    """Fix all atoms but those named; without names, those that the structure file fixes.

    Parameters
    ----------
    atoms
        Gets the constraint.
    words
        Numbers of atoms that move, see :func:`~deepmd_tf.analysis.structures.parse_numbers`; None
        or empty: not said.

    Returns
    -------
    int [k] or None
        The atoms that move, ascending; None: all.

    Raises
    ------
    InputError
        When atoms do not exist, none is left, or the file constrains something else.
    """
    if words:
        moving = np.sort(parse_numbers(words, len(atoms), "--atoms"))
    else:
        fixed = np.zeros(len(atoms), dtype=bool)
        for constraint in atoms.constraints:
            if not isinstance(constraint, FixAtoms):
                raise InputError(
                    f"the structure comes with a constraint {type(constraint).__name__}, which "
                    "vibrations do not know; say which atoms move with --atoms, or --atoms 0:"
                )
            fixed[constraint.index] = True
        moving = np.flatnonzero(~fixed)
        if len(moving) < len(atoms):
            log.info("the structure fixes %d of %d atoms", fixed.sum(), len(atoms))
    atoms.set_constraint()
    if len(moving) == len(atoms):
        return None
    if not len(moving):
        raise InputError("the structure fixes all atoms; say which move with --atoms")
    atoms.set_constraint(FixAtoms(np.setdiff1d(np.arange(len(atoms)), moving)))
    return moving


def largest_force(atoms: Atoms) -> tuple[float, int]:
    """Largest force on an atom that moves, eV/Å, and that atom."""
    forces = np.linalg.norm(atoms.get_forces(), axis=1)
    return float(forces.max()), int(forces.argmax())


def relax(atoms: Atoms, how: Relaxation, unfinished: Path) -> None:
    """Move atoms to where the forces vanish; the cell stays.

    Parameters
    ----------
    atoms
        With a calculator; changed in place.
    how
        When to stop.
    unfinished
        File for the structure where it ended, if that is not relaxed.

    Raises
    ------
    InputError
        When it is not relaxed after the last step.
    """
    moving = len(atoms) - sum(len(c.index) for c in atoms.constraints)
    name = how.optimizer or ("BFGS" if moving <= MANY else "LBFGS")
    start = atoms.get_potential_energy()
    with bar() as progress, OPTIMIZERS[name](atoms, logfile=None) as driver:
        task = progress.add_task("relaxation", total=how.steps)

        def show() -> None:
            force = largest_force(atoms)[0]
            progress.update(
                task, completed=driver.nsteps, description=f"relaxation, force {force:.2g} eV/Å"
            )

        driver.attach(show)
        done = driver.run(fmax=how.fmax, steps=how.steps)
        taken = driver.nsteps
    force, atom = largest_force(atoms)
    if not done:
        write_structure(unfinished, atoms)
        raise InputError(
            f"relaxation: the largest force is still {force:.3g} eV/Å, on atom {atom}, after "
            f"{how.steps} steps of {name}; expected at most {how.fmax:g}. Go on from {unfinished} "
            "(-s), or allow a larger force (--relax), more steps (--steps) or take another "
            "--optimizer"
        )
    gained = atoms.get_potential_energy() - start
    said = "relaxed in %d steps of %s: energy %+.6f eV, largest force %.2g eV/Å"
    log.info(said, taken, name, gained, force)


def pressure(atoms: Atoms) -> float | None:
    """Minus a third of the trace of the stress, GPa; None without periodicity."""
    if not atoms.pbc.all():
        return None
    return -float(atoms.get_stress(apply_constraint=False)[:3].mean()) / units.GPa


def write_structure(path: Path, atoms: Atoms) -> None:
    """Write atoms, energy and forces as extended XYZ, whole or not at all."""
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(
        copy,
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(apply_constraint=False),
    )
    with replacing(path) as part:
        write(part, copy, format="extxyz")
