# SPDX-License-Identifier: BSD-3-Clause
"""Quantities of models of tensors and of densities of states.

Predictions are by data item: ``dipole`` [nf, 3] and ``atomic_dipole`` [nf, nat, 3],
``polarizability`` and ``atomic_polarizability`` likewise with nine numbers, ``dos`` and
``atom_dos``. Of atomic tensors those of the selected atoms count.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deepmd_tf.metrics.errors import Compare, Comparison, Evaluated, Quantity, elements, per_atom

RMSE = ("RMSE",)


def _of_selected(item: str) -> Compare:
    """Elements of the atoms that have a tensor."""
    every = elements(item)

    def compare(frames: Evaluated) -> Comparison | None:
        one = every(frames)
        if one is None or frames.selected is None:
            return one
        shape = (len(one.label), len(frames.selected), -1)
        sides = (np.reshape(side, shape) for side in (one.prediction, one.label))
        return Comparison(*(side[:, frames.selected] for side in sides))

    return compare


def _over_atoms(compare: Compare, power: float) -> Compare:
    """The same, divided by a power of the number of selected atoms."""

    def divided(frames: Evaluated) -> Comparison | None:
        one = compare(frames)
        natoms = frames.natoms if frames.selected is None else int(np.sum(frames.selected))
        return None if one is None else replace(one, scale=per_atom(1.0, natoms, power))

    return divided


def tensor_quantities(name: str, words: str, of_frame: str, of_atoms: str) -> tuple[Quantity, ...]:
    """RMSE of the tensor of a frame, the same by √N and by N, and of the tensors of atoms.

    Parameters
    ----------
    name, words
        Names in tables for programs and in reports.
    of_frame, of_atoms
        Data items.
    """
    total, atoms = elements(of_frame), _of_selected(of_atoms)
    # colons of lines stand below each other, with any name in front
    rmse, by_root, by_number = (
        f"{words}  {{}}{over:{11 - len('RMSE')}}" for over in ("", "/sqrtN", "/N")
    )
    return (
        Quantity(name, rmse, "", of_frame, total, measures=RMSE),
        Quantity(
            f"{name}_per_root",
            by_root,
            "",
            of_frame,
            _over_atoms(total, 0.5),
            averaged=False,
            measures=RMSE,
        ),
        Quantity(
            f"{name}_per_atom",
            by_number,
            "",
            of_frame,
            _over_atoms(total, 1.0),
            averaged=False,
            measures=RMSE,
        ),
        Quantity(f"atomic_{name}", rmse, "", of_atoms, atoms, measures=RMSE),
    )


DIPOLE_QUANTITIES = tensor_quantities("dipole", "Dipole", "dipole", "atomic_dipole")
POLAR_QUANTITIES = tensor_quantities(
    "polarizability", "Polarizability", "polarizability", "atomic_polarizability"
)
UNIT_NOTE = "The unit of error is the same as the unit of provided label."
"""Said behind the errors of tensors."""

_DOS_UNIT = "Occupation/eV"
DOS_QUANTITIES = (
    Quantity("dos", "DOS {}", _DOS_UNIT, "dos", elements("dos")),
    Quantity("dos_per_atom", "DOS {}/Natoms", _DOS_UNIT, "dos", _over_atoms(elements("dos"), 1.0)),
    Quantity(
        "atom_dos", "Atomic DOS {}", _DOS_UNIT, "atom_dos", elements("atom_dos"), averaged=False
    ),
)
"""In the order of reports."""
