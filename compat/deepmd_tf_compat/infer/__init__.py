# SPDX-License-Identifier: BSD-3-Clause
"""``from deepmd.infer import DeepPot``."""

from deepmd_tf.infer import DeepEval, DeepPot, DeepPotential, calc_model_devi

__all__ = ["DeepEval", "DeepPot", "DeepPotential", "calc_model_devi"]
