# SPDX-License-Identifier: BSD-3-Clause
"""Quantities of energy models.

Predictions are ``energy`` [nf], ``force`` [nf, 3 nat], ``virial`` [nf, 9], ``atom_ener`` [nf, nat]
and ``hessian`` [nf, (3 nat)²], as far as they were computed. Virial and stress count in periodic
systems only. With ``atom_ener_coeff`` among the labels the energy of a frame is that of
:func:`fitted_energy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deepmd_tf.metrics.errors import (
    Compare,
    Comparison,
    Evaluated,
    Quantity,
    cell_volumes,
    elements,
    per_atom,
)


def _energy(frames: Evaluated) -> Comparison | None:
    if not frames.has_both("energy"):
        return None
    return Comparison(fitted_energy(frames.prediction, frames.labels), frames.labels["energy"])


def _weighted_force(frames: Evaluated) -> Comparison | None:
    force = elements("force")(frames)
    if force is None or not frames.has_label("atom_pref"):
        return None
    return replace(force, weight=frames.labels["atom_pref"])


def _virial(frames: Evaluated) -> Comparison | None:
    if not (frames.has_both("virial") and frames.periodic):
        return None
    label = np.reshape(frames.labels["virial"], (-1, 9))
    return Comparison(frames.prediction["virial"], label)


def _stress(frames: Evaluated) -> Comparison | None:
    virial = _virial(frames)
    if virial is None:
        return None
    return replace(virial, scale=-1.0 / cell_volumes(frames.labels["box"])[:, None])


def _force_on(*, spins: bool) -> Compare:
    """Forces on atoms, or on spins, where there are spins."""

    def compare(frames: Evaluated) -> Comparison | None:
        if frames.real_types is None or not frames.has_both("force"):
            return None
        chosen = frames.of_atoms(spins=spins)
        prediction, label = (
            np.reshape(side["force"], (-1, frames.natoms, 3))[:, chosen]
            for side in (frames.prediction, frames.labels)
        )
        return Comparison(prediction, label)

    return compare


def _per_atom(compare: Compare) -> Compare:
    """The same, divided by the number of atoms."""

    def divided(frames: Evaluated) -> Comparison | None:
        one = compare(frames)
        return None if one is None else replace(one, scale=per_atom(1.0, frames.natoms))

    return divided


def fitted_energy(
    prediction: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The predicted counterpart of the energy label, shaped as the prediction.

    The energy, or Σ c_i E_i where c is there (``atom_ener_coeff``) and E_i is predicted.
    """
    energy = np.asarray(prediction["energy"])
    if "atom_ener_coeff" not in labels or "atom_ener" not in prediction:
        return energy
    coefficients = np.asarray(labels["atom_ener_coeff"], dtype=np.float64)
    parts = coefficients * np.reshape(prediction["atom_ener"], coefficients.shape)
    return np.sum(parts, axis=1).reshape(energy.shape)


ENERGY = Quantity("energy", "Energy {}", "eV", "energy", _energy)
ENERGY_PER_ATOM = Quantity(
    "energy_per_atom",
    "Energy {}/Natoms",
    "eV",
    "energy",
    _per_atom(_energy),
    symbol="E",
    log_unit="meV/atom",
)
FORCE = Quantity(
    "force", "Force  {}", "eV/Å", "force", elements("force"), symbol="F", log_unit="meV/Å"
)
WEIGHTED_FORCE = Quantity("weighted_force", "Force weighted {}", "eV/Å", "force", _weighted_force)
"""With the weights ``atom_pref``."""
VIRIAL = Quantity("virial", "Virial {}", "eV", "virial", _virial)
VIRIAL_PER_ATOM = Quantity(
    "virial_per_atom",
    "Virial {}/Natoms",
    "eV",
    "virial",
    _per_atom(_virial),
    symbol="V",
    log_unit="meV/atom",
)
STRESS = Quantity("stress", "Stress {}", "eV/Å³", "virial", _stress, symbol="S", log_unit="meV/Å³")
ATOM_ENERGY = Quantity(
    "atom_energy", "Atomic ener {}", "eV", "atom_ener", elements("atom_ener"), averaged=False
)
HESSIAN = Quantity("hessian", "Hessian {}", "eV/Å^2", "hessian", elements("hessian"))

FORCE_REAL = Quantity(
    "force_atom",
    "Force atom {:<9}",
    "eV/Å",
    "force",
    _force_on(spins=False),
    symbol="F",
    log_unit="meV/Å",
)
FORCE_MAGNETIC = Quantity(
    "force_spin", "Force spin {:<9}", "eV/[spin]", "force", _force_on(spins=True)
)
"""Minus the derivative of the energy by the spins, in their unit."""

ENERGY_QUANTITIES = (
    ENERGY,
    ENERGY_PER_ATOM,
    FORCE,
    WEIGHTED_FORCE,
    VIRIAL,
    VIRIAL_PER_ATOM,
    STRESS,
    ATOM_ENERGY,
    HESSIAN,
)
"""In the order of reports."""

SPIN_QUANTITIES = (
    ENERGY,
    ENERGY_PER_ATOM,
    FORCE_REAL,
    FORCE_MAGNETIC,
    VIRIAL,
    VIRIAL_PER_ATOM,
    STRESS,
    ATOM_ENERGY,
)
"""Those of a model with spins."""
