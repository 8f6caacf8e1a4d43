# SPDX-License-Identifier: BSD-3-Clause
"""``from deepmd_tf.infer import DeepPot``: the import path that scripts for stock DeePMD-kit
use."""

from __future__ import annotations

from deepmd_tf.analysis.model_devi import calc_model_devi
from deepmd_tf.inference import DeepPot

DeepPotential = DeepPot
"""DeePMD-kit's name for whatever a model file holds; here these are potentials."""

DeepEval = DeepPot
"""The same."""

__all__ = ["DeepEval", "DeepPot", "DeepPotential", "calc_model_devi"]
