# SPDX-License-Identifier: BSD-3-Clause
"""Evaluation of trained models."""

from __future__ import annotations

from deepmd_tf.inference.deep_eval import DeepEval
from deepmd_tf.inference.deep_pot import DeepPot

__all__ = ["DeepEval", "DeepPot"]
