# SPDX-License-Identifier: BSD-3-Clause
"""The section ``descriptor``: one module for each family of kinds."""

from __future__ import annotations

from deepmd_tf.config.descriptors.base import AnyDescriptorConfig, DescriptorConfig, Part
from deepmd_tf.config.descriptors.hybrid import DescriptorHybrid
from deepmd_tf.config.descriptors.two_body import (
    DescriptorSeE2A,
    DescriptorSeE2R,
    EmbeddingConfig,
)

# here, so that messages and pages name it last
AnyDescriptorConfig.register(DescriptorHybrid)

__all__ = [
    "AnyDescriptorConfig",
    "DescriptorConfig",
    "DescriptorHybrid",
    "DescriptorSeE2A",
    "DescriptorSeE2R",
    "EmbeddingConfig",
    "Part",
]
