# SPDX-License-Identifier: BSD-3-Clause
"""The whole input script."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from deepmd_tf.config.compat import convert
from deepmd_tf.config.learning_rate import LearningRateCosine, LearningRateExp, LearningRateWSD
from deepmd_tf.config.linear import LinearEnerConfig
from deepmd_tf.config.loss import LossConfig, LossEner
from deepmd_tf.config.model import MULTI_TASK, AnyModelConfig
from deepmd_tf.config.optimizer import OptimizerAdam
from deepmd_tf.config.reader import read
from deepmd_tf.config.report import Report
from deepmd_tf.config.section import ABSENT, Foreign, Section, option
from deepmd_tf.config.training import TrainingConfig
from deepmd_tf.config.validating import Validating


class Config(Section):
    """Everything that ``dp --tf train`` reads from its input script."""

    refused: ClassVar[dict[str, Foreign]] = {
        "nvnmd": Foreign(ABSENT, "training for NVNMD hardware is not available"),
        "loss_dict": Foreign(ABSENT, MULTI_TASK),
        "learning_rate_dict": Foreign(ABSENT, MULTI_TASK),
    }

    model: AnyModelConfig = option(doc="The potential-energy surface.")
    learning_rate: Annotated[
        LearningRateExp | LearningRateCosine | LearningRateWSD, Field(discriminator="type")
    ] = option(doc="How fast the model learns.")
    optimizer: OptimizerAdam = option(OptimizerAdam(), doc="How a gradient becomes a step.")
    loss: LossConfig = option(LossEner(), doc="What is minimised.")
    training: TrainingConfig = option(doc="Data, length and files.")
    validating: Validating = option(
        Validating(),
        stored=False,
        doc="Errors over all validation data, best models, early stopping.",
    )

    @field_validator("training")
    @classmethod
    def _one_bias(cls, value: TrainingConfig, info: ValidationInfo) -> TrainingConfig:
        model = info.data.get("model")
        if value.change_bias_after_training and isinstance(model, LinearEnerConfig):
            raise ValueError(
                "change_bias_after_training adjusts the energy bias of the model, but each of the "
                f'models of "{model.type}" has one of its own; remove it'
            )
        return value

    @field_validator("training")
    @classmethod
    def _bias_of_total_energies(cls, value: TrainingConfig, info: ValidationInfo) -> TrainingConfig:
        loss = info.data.get("loss")
        reactions = getattr(loss, "enable_atom_ener_coeff", False)
        if value.change_bias_after_training and reactions:
            raise ValueError(
                "change_bias_after_training adjusts total energies, but with "
                "loss.enable_atom_ener_coeff the labels are energies of reactions; remove one"
            )
        return value

    @field_validator("validating")
    @classmethod
    def _has_validation_data(cls, value: Validating, info: ValidationInfo) -> Validating:
        training = info.data.get("training")
        if value.full_validation and training is not None and training.validation_data is None:
            raise ValueError("full_validation needs training.validation_data")
        return value

    @classmethod
    def read(cls, data: dict[str, Any], report: Report) -> Config:
        """As :meth:`from_dict`, but mistakes go to ``report``; then the result means nothing."""
        config = super().read(convert(data, report), report)
        for part in [] if report.problems else config.model.parts():
            if part.config.remark:
                path = f"model.{part.path}".rstrip(".")
                report.note(f"{path}: {part.config.remark}")
        return config

    @classmethod
    def context(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Number of types and of steps."""
        model, training = values.get("model"), values.get("training")
        steps = training.get("numb_steps") if isinstance(training, dict) else None
        return {
            **(AnyModelConfig.context_of(model) if isinstance(model, dict) else {}),
            **({"num_steps": steps} if type(steps) is int else {}),
        }

    def with_sel(self, sel: Mapping[str, Sequence[int]]) -> Config:
        """A copy with the numbers of neighbours that stand for ``sel: "auto"``, by the scope of
        the descriptor.
        """
        return self.model_copy(update={"model": self.model.with_sel(sel)})

    def with_numb_steps(self, steps: int) -> Config:
        """A copy with the number of steps that ``numb_epoch`` amounts to, in its place."""
        training = self.training.model_copy(update={"numb_steps": int(steps), "numb_epoch": None})
        return self.model_copy(update={"training": training})

    def to_json(self, like: Mapping[str, Any] | None = None) -> str:
        """The normalised input, as in ``out.json``.

        ``like`` is the script in the present layout, whose keys then come first, in their order.
        """
        return json.dumps(self.to_dict(like=like), indent=4)


def load_input(path: str | os.PathLike[str]) -> Config:
    """Read an input script.

    Parameters
    ----------
    path
        JSON (``.json``) or YAML (``.yaml``, ``.yml``) file. Scripts of DeePMD-kit 0.x and 1.x are
        converted.

    Returns
    -------
    Config
        The checked input with every default filled in.

    Raises
    ------
    InputError
        If the file cannot be read, or one message with every mistake in it.
    """
    report = Report(str(path))
    config = Config.read(read(path, report), report)
    report.finish()
    return config
