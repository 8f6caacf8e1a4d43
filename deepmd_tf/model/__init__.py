# SPDX-License-Identifier: BSD-3-Clause
"""Models: descriptor and fitting joined, forces by pull-back, statistics of the data."""

from __future__ import annotations

from deepmd_tf.environment import ModelInputs
from deepmd_tf.model.energy import EnergyModel, ModelOutputs

__all__ = ["EnergyModel", "ModelInputs", "ModelOutputs"]
