# SPDX-License-Identifier: BSD-3-Clause
"""The section ``descriptor``: one module for each family of kinds."""

from __future__ import annotations

from deepmd_tf.config.descriptors.attention import (
    AttentionConfig,
    DescriptorSeAtten,
    DescriptorSeAttenV2,
)
from deepmd_tf.config.descriptors.base import (
    AnyDescriptorConfig,
    DescriptorConfig,
    Part,
    PartConfig,
)
from deepmd_tf.config.descriptors.hybrid import DescriptorHybrid
from deepmd_tf.config.descriptors.mask import DescriptorSeAMask
from deepmd_tf.config.descriptors.three_body import DescriptorSeE3
from deepmd_tf.config.descriptors.two_body import (
    DescriptorSeAEbdV2,
    DescriptorSeE2A,
    DescriptorSeE2R,
    EmbeddingConfig,
    EmbeddingKeys,
    MatrixConfig,
    MatrixKeys,
    NetsConfig,
)

# here, so that messages and pages name it last
AnyDescriptorConfig.register(DescriptorHybrid)

__all__ = [
    "AnyDescriptorConfig",
    "AttentionConfig",
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
    "MatrixConfig",
    "MatrixKeys",
    "NetsConfig",
    "Part",
    "PartConfig",
]
