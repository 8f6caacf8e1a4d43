# SPDX-License-Identifier: BSD-3-Clause
"""The section ``validating``: validation over all validation data, best models, early stopping."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Strict, ValidationInfo, field_validator

from deepmd_tf.config.section import ELSEWHERE, Foreign, Section, option
from deepmd_tf.config.values import Bool, Choices, Int, Number, Text, Words
from deepmd_tf.metrics import ENERGY_QUANTITIES

KINDS = ("MAE", "RMSE")
METRICS = tuple(f"{q.symbol}:{kind}" for q in ENERGY_QUANTITIES if q.symbol for kind in KINDS)


def _metric(value: str) -> str:
    value = value.strip().upper()
    if value not in METRICS:
        raise ValueError
    return value


Metric = Annotated[
    str,
    Strict(),
    AfterValidator(_metric),
    Choices(*METRICS, closed=False),
    Words(f"one of {', '.join(METRICS)} (in any case)"),
]


class Validating(Section):
    """Validation over all validation data, off by default."""

    ignored: ClassVar[dict[str, Foreign]] = {
        "ema_full_validation": Foreign(False, ELSEWHERE),
        "compiled_infer": Foreign(False, ELSEWHERE),
        "tf32_infer": Foreign(False, ELSEWHERE),
        "amp_infer": Foreign(False, ELSEWHERE),
    }

    full_validation: Bool = option(
        False, doc="Evaluate all frames of validation_data now and then; the keys below say how."
    )
    validation_freq: Int = option(
        5000, ge=1, unit="steps", doc="Steps between two evaluations of all frames."
    )
    save_best: Bool = option(
        True, doc="Keep the checkpoint with the lowest validation_metric as best.ckpt."
    )
    save_best_dir: Text | None = option(
        None, doc="Folder of the best checkpoints; by default that of save_ckpt."
    )
    max_best_ckpt: Int = option(1, ge=1, doc="How many of the best checkpoints are kept.")
    validation_metric: Metric = option(
        "E:MAE",
        doc="What makes a model the best: error of the energy per atom (E), of force components "
        "(F), of the virial per atom (V) or of the stress (S).",
    )
    full_val_file: Text = option("val.log", doc="File with the errors over all frames.")
    full_val_start: Number = option(
        0.5,
        ge=0,
        doc="When it begins: below 1 a fraction of the steps, above 1 a step; 1 means never.",
    )
    early_stop_patience: Int = option(
        0,
        ge=0,
        ours=True,
        doc="End training after this number of full validations in a row without improvement of "
        "validation_metric; 0: never.",
    )
    early_stop_min_delta: Number = option(
        0.0,
        ge=0,
        ours=True,
        doc="What counts as an improvement for early_stop_patience: a decrease of the metric by "
        "more than this, in eV (E, V), eV/Å (F) or eV/Å³ (S).",
    )

    @field_validator("early_stop_patience")
    @classmethod
    def _stops_by_validation(cls, value: int, info: ValidationInfo) -> int:
        if value and not info.data.get("full_validation", True):
            raise ValueError("early stopping needs full_validation: true")
        return value

    def start_step(self, num_steps: int) -> int | None:
        """First step after which all frames are evaluated; None: never."""
        if not self.full_validation or self.full_val_start == 1:
            return None
        if self.full_val_start < 1:
            return int(num_steps * self.full_val_start)
        return int(self.full_val_start)
