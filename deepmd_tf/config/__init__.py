# SPDX-License-Identifier: BSD-3-Clause
"""The input script: typed, checked, documented; attributes are named as its keys."""

from __future__ import annotations

from deepmd_tf.config.batch_size import BatchSizeRule
from deepmd_tf.config.compat import convert_layout
from deepmd_tf.config.descriptors import (
    AnyDescriptorConfig,
    AttentionConfig,
    DescriptorConfig,
    DescriptorHybrid,
    DescriptorSeAEbdV2,
    DescriptorSeAMask,
    DescriptorSeAtten,
    DescriptorSeAttenV2,
    DescriptorSeE2A,
    DescriptorSeE2R,
    DescriptorSeE3,
    EmbeddingConfig,
    EmbeddingKeys,
    MatrixConfig,
    MatrixKeys,
    NetsConfig,
)
from deepmd_tf.config.fitting import FittingConfig, FittingEner
from deepmd_tf.config.fitting_tensor import (
    FittingDipole,
    FittingDos,
    FittingPolar,
    FittingTensor,
)
from deepmd_tf.config.hessian_mode import HessianMode
from deepmd_tf.config.learning_rate import (
    LearningRate,
    LearningRateConfig,
    LearningRateCosine,
    LearningRateExp,
    LearningRateWSD,
    schedule,
)
from deepmd_tf.config.linear import FrozenConfig, LinearEnerConfig, PairTabConfig, ReadModel
from deepmd_tf.config.loss import LossConfig, LossDos, LossEner, LossEnerSpin, LossTensor
from deepmd_tf.config.model import AnyModelConfig, MemberConfig, ModelConfig
from deepmd_tf.config.optimizer import OptimizerAdam
from deepmd_tf.config.pairwise import PairwiseConfig
from deepmd_tf.config.probability import SystemProbability
from deepmd_tf.config.reader import read_input
from deepmd_tf.config.root import Config, load_input
from deepmd_tf.config.training import TrainingConfig, TrainingData, ValidationData
from deepmd_tf.config.validating import Validating

__all__ = [
    "AnyDescriptorConfig",
    "AnyModelConfig",
    "AttentionConfig",
    "BatchSizeRule",
    "Config",
    "DescriptorConfig",
    "DescriptorHybrid",
    "DescriptorSeAEbdV2",
    "DescriptorSeAMask",
    "DescriptorSeAtten",
    "DescriptorSeAttenV2",
    "DescriptorSeE2A",
    "DescriptorSeE2R",
    "DescriptorSeE3",
    "EmbeddingConfig",
    "EmbeddingKeys",
    "FittingConfig",
    "FittingDipole",
    "FittingDos",
    "FittingEner",
    "FittingPolar",
    "FittingTensor",
    "FrozenConfig",
    "HessianMode",
    "LearningRate",
    "LearningRateConfig",
    "LearningRateCosine",
    "LearningRateExp",
    "LearningRateWSD",
    "LinearEnerConfig",
    "LossConfig",
    "LossDos",
    "LossEner",
    "LossEnerSpin",
    "LossTensor",
    "MatrixConfig",
    "MatrixKeys",
    "MemberConfig",
    "ModelConfig",
    "NetsConfig",
    "OptimizerAdam",
    "PairTabConfig",
    "PairwiseConfig",
    "ReadModel",
    "SystemProbability",
    "TrainingConfig",
    "TrainingData",
    "Validating",
    "ValidationData",
    "convert_layout",
    "load_input",
    "read_input",
    "schedule",
]
