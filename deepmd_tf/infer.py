# SPDX-License-Identifier: BSD-3-Clause
"""``from deepmd_tf.infer import DeepPot``: the import path that scripts for stock DeePMD-kit
use."""

from __future__ import annotations

from deepmd_tf.analysis.model_devi import calc_model_devi
from deepmd_tf.inference import DeepDipole, DeepDOS, DeepGlobalPolar, DeepPolar, DeepPot
from deepmd_tf.inference.opening import open_evaluator

DeepPotential = open_evaluator
"""DeePMD-kit's name for whatever a model file holds: an object of the class of its kind."""

DeepEval = open_evaluator
"""The same."""

__all__ = [
    "DeepDOS",
    "DeepDipole",
    "DeepEval",
    "DeepGlobalPolar",
    "DeepPolar",
    "DeepPot",
    "DeepPotential",
    "calc_model_devi",
]
