# SPDX-License-Identifier: BSD-3-Clause
"""Fittings: from the descriptor of an atom to its contribution to an observable."""

from __future__ import annotations

from deepmd_tf.fitting.base import Fitting, FittingOutput
from deepmd_tf.fitting.energy import EnergyFitting
from deepmd_tf.fitting.registry import FITTINGS, make_fitting, register

register(EnergyFitting)

__all__ = [
    "FITTINGS",
    "EnergyFitting",
    "Fitting",
    "FittingOutput",
    "make_fitting",
    "register",
]
