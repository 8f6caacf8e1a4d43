# SPDX-License-Identifier: BSD-3-Clause
"""Errors of predictions: which arrays are compared, what divides them, how sums become MAE and
RMSE. The quantities of each kind of model are a module of their own."""

from __future__ import annotations

from deepmd_tf.metrics.energy import ENERGY_QUANTITIES, SPIN_QUANTITIES, fitted_energy
from deepmd_tf.metrics.errors import (
    Comparison,
    Errors,
    ErrorSum,
    Evaluated,
    Quantity,
    Spread,
    cell_volumes,
    per_atom,
    r_squared,
    root,
)
from deepmd_tf.metrics.tensor import (
    DIPOLE_QUANTITIES,
    DOS_QUANTITIES,
    POLAR_QUANTITIES,
    UNIT_NOTE,
)

__all__ = [
    "DIPOLE_QUANTITIES",
    "DOS_QUANTITIES",
    "ENERGY_QUANTITIES",
    "POLAR_QUANTITIES",
    "SPIN_QUANTITIES",
    "UNIT_NOTE",
    "Comparison",
    "ErrorSum",
    "Errors",
    "Evaluated",
    "Quantity",
    "Spread",
    "cell_volumes",
    "fitted_energy",
    "per_atom",
    "r_squared",
    "root",
]
