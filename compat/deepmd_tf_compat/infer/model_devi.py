# SPDX-License-Identifier: BSD-3-Clause
"""``from deepmd.infer.model_devi import calc_model_devi``."""

from deepmd_tf.analysis.model_devi import (
    calc_model_devi,
    calc_model_devi_e,
    calc_model_devi_f,
    calc_model_devi_v,
    make_model_devi,
)

__all__ = [
    "calc_model_devi",
    "calc_model_devi_e",
    "calc_model_devi_f",
    "calc_model_devi_v",
    "make_model_devi",
]
