# SPDX-License-Identifier: BSD-3-Clause
"""The section ``training``: data, length, files."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import annotated_types
from pydantic import AfterValidator, PlainValidator, ValidationInfo, field_validator

from deepmd_tf.config import batch_size, probability
from deepmd_tf.config.section import ABSENT, ELSEWHERE, LATER, Foreign, Section, option
from deepmd_tf.config.values import Bool, Int, Number, Text, Words

MULTI_TASK = "multi-task training is not available with TensorFlow"
SET_PREFIX = Foreign(ABSENT, "all directories set.* of a system are read")


def _batch_size(value: Any) -> Any:
    batch_size.BatchSizeRule.parse(value)
    return value


def _auto_prob(value: Any) -> str:
    probability.SystemProbability.parse(value)
    return value


def _sys_probs(value: list[float]) -> list[float]:
    probability.check_sys_probs(value)
    return value


Frames = Annotated[int | list[int] | str, PlainValidator(_batch_size), Words(batch_size.FORMS)]
Draws = Annotated[str, PlainValidator(_auto_prob), Words(probability.FORMS)]
Share = Annotated[Number, annotated_types.Le(1)]
Probabilities = Annotated[list[Share], AfterValidator(_sys_probs)]


class TrainingData(Section):
    """Data to train on."""

    ignored: ClassVar[dict[str, Foreign]] = {
        "set_prefix": SET_PREFIX,
        "min_pair_dist": Foreign(0.0, ELSEWHERE),
    }

    systems: Text | list[Text] = option(
        min_length=1,
        doc="Directories. Each stands for all systems (directories with a type.raw) at or below "
        "it.",
    )
    rglob_patterns: list[Text] | None = option(
        None,
        doc="Take what these patterns find below systems, instead of every directory with a "
        "type.raw.",
    )
    batch_size: Frames = option(
        "auto",
        doc="Frames per batch. auto:N: as few as hold at least N atoms (auto: 32); max:N: as many "
        "as hold at "
        "most N atoms; filter:N: the same, and systems of more than N atoms are left out.",
    )
    auto_prob: Draws = option(
        "prob_sys_size",
        aliases=("auto_prob_style",),
        doc="How likely a system is drawn: all alike, or in proportion to its number of batches, "
        "if wanted "
        "within blocks of systems with given weights.",
    )
    sys_probs: Probabilities | None = option(
        None,
        aliases=("sys_weights", "sys_prob"),
        doc="Probability of each system, instead of auto_prob. Negative entries share what the "
        "others leave, "
        "in proportion to their numbers of batches.",
    )


class ValidationData(TrainingData):
    """Data to validate on; training does not see them."""

    ignored: ClassVar[dict[str, Foreign]] = {"set_prefix": SET_PREFIX}

    numb_btch: Int = option(
        1,
        ge=1,
        aliases=("numb_batch",),
        doc="Batches that one line of the learning curve averages over.",
    )


class TrainingConfig(Section):
    """Training data, length of the training, and output files."""

    refused: ClassVar[dict[str, Foreign]] = {
        "mixed_precision": Foreign(ABSENT, f"16-bit training is {LATER}"),
        "data_dict": Foreign(ABSENT, MULTI_TASK),
        "model_prob": Foreign(ABSENT, MULTI_TASK),
        "num_epoch_dict": Foreign(ABSENT, MULTI_TASK),
    }
    ignored: ClassVar[dict[str, Foreign]] = {
        "numb_test": Foreign(ABSENT, "validation is set by validation_data"),
        "save_dir": Foreign(None, ELSEWHERE),
        "ckpt_keep_ratio": Foreign(None, ELSEWHERE),
        "enable_ema": Foreign(False, ELSEWHERE),
        "ema_decay": Foreign(0.999, ELSEWHERE),
        "ema_ckpt_keep": Foreign(None, ELSEWHERE),
        "disp_avg": Foreign(False, ELSEWHERE),
        "gradient_max_norm": Foreign(ABSENT, ELSEWHERE),
        "acc_freq": Foreign(1, ELSEWHERE),
        "zero_stage": Foreign(0, ELSEWHERE),
        "neighbor_graph_method": Foreign("auto", ELSEWHERE),
        "enable_compile": Foreign(False, ELSEWHERE),
        "enable_tf32": Foreign(False, ELSEWHERE),
    }

    training_data: TrainingData = option(doc="Data to train on.")
    validation_data: ValidationData | None = option(None, doc="Data to validate on.")
    batch_size_per: Literal["process", "step"] = option(
        "process",
        ours=True,
        doc="In a training on several processes, what training_data/batch_size is of: each "
        "process takes so many frames in a step, or all together do.",
    )
    numb_steps: Int | None = option(
        None,
        ge=0,
        unit="steps",
        omit_none=True,
        aliases=("stop_batch", "num_step", "num_steps", "numb_step"),
        doc="Length of the training; 0: the model is written as it would begin. Either this or "
        "numb_epoch is needed.",
    )
    numb_epoch: Number | None = option(
        None,
        gt=0,
        unit="epochs",
        omit_none=True,
        aliases=("num_epoch", "num_epochs", "numb_epochs"),
        doc="Length of the training in passes over the data, the system with the most batches per "
        "draw "
        "deciding.",
    )
    seed: Int | None = option(None, omit_none=True, doc="Seed of the order of data; none: random.")
    disp_file: Text = option("lcurve.out", doc="File of the learning curve.")
    disp_freq: Int = option(
        1000,
        ge=1,
        unit="steps",
        doc="Steps between two lines of the learning curve.",
    )
    save_freq: Int = option(
        1000,
        ge=0,
        unit="steps",
        doc="Steps between two checkpoints; 0: at the end only.",
    )
    save_ckpt: Text = option("model.ckpt", doc="Checkpoints are named so, with the step appended.")
    max_ckpt_keep: Int = option(5, ge=0, doc="How many checkpoints are kept; 0: all.")
    change_bias_after_training: Bool = option(
        False,
        doc="After the last step, add to the energy bias of each type what the model lacks on "
        "average for the first data_bias_nsample frames of each system, by linear regression.",
    )
    stat_file: Text | None = option(
        None,
        omit_none=True,
        doc="File (.h5, .hdf5) or directory that keeps statistics of the data for the next "
        "training with the same data. Remove it when data or exclude_types change.",
    )
    stat_file_mode: Literal["update", "read"] = option(
        "update",
        doc="update: what stat_file does not have is added to it; read: it must have everything, "
        "and is not written.",
    )
    disp_training: Bool = option(True, doc="Write the learning curve.")
    time_training: Bool = option(True, doc="Print the time that training takes.")
    profiling: Bool = option(
        False, doc="Record when each operation of one training step, the eleventh, ran."
    )
    profiling_file: Text = option(
        "timeline.json", doc="File of that record, as chrome://tracing and Perfetto read it."
    )
    enable_profiler: Bool = option(
        False,
        doc="Record 100 steps with TensorFlow's profiler; TensorBoard shows what is in "
        "tensorboard_log_dir.",
    )
    tensorboard: Bool = option(False, doc="Write errors and learning rate for TensorBoard.")
    tensorboard_log_dir: Text = option("log", doc="Directory for TensorBoard.")
    tensorboard_freq: Int = option(
        1, ge=1, unit="steps", doc="Steps between two training batches that are written."
    )

    @field_validator("disp_freq", mode="before")
    @classmethod
    def _never_is_another_key(cls, value: Any) -> Any:
        if type(value) is int and value == 0:
            raise ValueError(
                "expected an integer ≥ 1; take 1 for a line after every step, or disp_training: "
                "false for none"
            )
        return value

    @field_validator("stat_file_mode")
    @classmethod
    def _something_to_read(cls, value: str, info: ValidationInfo) -> str:
        if value == "read" and info.data.get("stat_file") is None:
            raise ValueError("stat_file is not given")
        return value

    @property
    def steps(self) -> int:
        """``numb_steps``; of a training that is given in epochs, once its data have been read."""
        if self.numb_steps is None:
            raise ValueError("numb_epoch is given, and the data have not been read")
        return self.numb_steps

    @field_validator("numb_epoch")
    @classmethod
    def _one_length(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "numb_steps" in info.data:
            steps = info.data["numb_steps"]
            if value is None and steps is None:
                raise ValueError(
                    "neither numb_steps nor numb_epoch is given; one of them is needed"
                )
            if value is not None and steps is not None:
                raise ValueError("numb_steps is given too; give only one of them")
        return value
