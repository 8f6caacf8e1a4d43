# SPDX-License-Identifier: BSD-3-Clause
"""Fitting nets: from the descriptor of an atom to its contribution to a property."""

from __future__ import annotations

from deepmd_tf.fitting.energy import EnergyFitting

__all__ = ["EnergyFitting"]
