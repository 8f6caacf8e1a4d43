# SPDX-License-Identifier: BSD-3-Clause
"""The section ``descriptor``: one module for each family of kinds."""

from __future__ import annotations

from deepmd_tf.config.descriptors.attention import (
    AttentionConfig,
    DescriptorSeAtten,
    DescriptorSeAttenV2,
)
from deepmd_tf.config.descriptors.base import DescriptorConfig
from deepmd_tf.config.descriptors.two_body import (
    DescriptorSeAEbdV2,
    DescriptorSeE2A,
    DescriptorSeE2R,
    EmbeddingConfig,
    MatrixConfig,
)

__all__ = [
    "AttentionConfig",
    "DescriptorConfig",
    "DescriptorSeAEbdV2",
    "DescriptorSeAtten",
    "DescriptorSeAttenV2",
    "DescriptorSeE2A",
    "DescriptorSeE2R",
    "EmbeddingConfig",
    "MatrixConfig",
]
