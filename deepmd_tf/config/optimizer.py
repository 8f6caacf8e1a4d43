# SPDX-License-Identifier: BSD-3-Clause
"""The section ``optimizer``."""

from __future__ import annotations

from typing import ClassVar, Literal

from deepmd_tf.config.section import ELSEWHERE, Section, option
from deepmd_tf.config.values import Number


class OptimizerAdam(Section):
    """Adam, in the form with ε = 1e-8 outside the bias correction."""

    other_types: ClassVar[dict[str, str]] = dict.fromkeys(
        ("AdamW", "LKF", "AdaMuon", "HybridMuon"), ELSEWHERE
    )

    type: Literal["Adam"] = option("Adam", doc="Method of optimisation.")
    adam_beta1: Number = option(0.9, ge=0, lt=1, doc="Decay of the mean of gradients.")
    adam_beta2: Number = option(0.999, ge=0, lt=1, doc="Decay of the mean of squared gradients.")
    weight_decay: Number = option(0.0, ge=0, later=True, doc="Decay of the weights themselves.")
