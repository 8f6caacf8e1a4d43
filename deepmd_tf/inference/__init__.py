# SPDX-License-Identifier: BSD-3-Clause
"""Evaluation of trained models."""

from __future__ import annotations

from deepmd_tf.inference.deep_dos import DeepDOS
from deepmd_tf.inference.deep_eval import DeepEval
from deepmd_tf.inference.deep_pot import DeepPot
from deepmd_tf.inference.deep_tensor import DeepDipole, DeepGlobalPolar, DeepPolar, DeepTensor

__all__ = [
    "DeepDOS",
    "DeepDipole",
    "DeepEval",
    "DeepGlobalPolar",
    "DeepPolar",
    "DeepPot",
    "DeepTensor",
]
