# SPDX-License-Identifier: BSD-3-Clause
"""``from deepmd_tf.infer import DeepPot``: the import path that scripts for stock DeePMD-kit
use."""

from __future__ import annotations

from deepmd_tf.inference import DeepPot

__all__ = ["DeepPot"]
