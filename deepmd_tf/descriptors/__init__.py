# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors: invariant numbers that describe the neighbourhood of an atom."""

from __future__ import annotations

from deepmd_tf.descriptors.se_e2_a import SeE2A

__all__ = ["SeE2A"]
