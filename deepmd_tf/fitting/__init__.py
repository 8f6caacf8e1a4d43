# SPDX-License-Identifier: BSD-3-Clause
"""Fittings: from the descriptor of an atom to its contribution to an observable."""

from __future__ import annotations

from deepmd_tf.fitting.base import Fitting, FittingOutput
from deepmd_tf.fitting.dos import DosFitting
from deepmd_tf.fitting.energy import EnergyFitting
from deepmd_tf.fitting.registry import FITTINGS, make_fitting, register
from deepmd_tf.fitting.tensor import DipoleFitting, PolarFitting, TensorFitting

register(EnergyFitting)
register(DipoleFitting)
register(PolarFitting)
register(DosFitting)

__all__ = [
    "FITTINGS",
    "DipoleFitting",
    "DosFitting",
    "EnergyFitting",
    "Fitting",
    "FittingOutput",
    "PolarFitting",
    "TensorFitting",
    "make_fitting",
    "register",
]
