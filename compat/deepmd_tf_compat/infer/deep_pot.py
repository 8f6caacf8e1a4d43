# SPDX-License-Identifier: BSD-3-Clause
"""``from deepmd.infer.deep_pot import DeepPot``."""

from deepmd_tf.infer import DeepPot

__all__ = ["DeepPot"]
