# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors: invariant numbers that describe the neighbourhood of an atom."""

from __future__ import annotations

from deepmd_tf.descriptors.base import Descriptor, Features, SecondOrder
from deepmd_tf.descriptors.contraction import Contraction, TableOptions
from deepmd_tf.descriptors.contraction_flat import FlatContraction
from deepmd_tf.descriptors.hybrid import Hybrid
from deepmd_tf.descriptors.layouts import LAYOUTS, build_layout
from deepmd_tf.descriptors.registry import (
    DESCRIPTORS,
    environments_of,
    environments_of_member,
    make_descriptor,
    neighbor_limits,
    register,
)
from deepmd_tf.descriptors.se_a_ebd_v2 import SeAEbdV2
from deepmd_tf.descriptors.se_a_mask import SeAMask
from deepmd_tf.descriptors.se_atten import SeAtten, SeAttenV2
from deepmd_tf.descriptors.se_e2_a import SeE2A
from deepmd_tf.descriptors.se_e2_r import SeE2R
from deepmd_tf.descriptors.se_e3 import SeE3

register(SeAEbdV2)
register(SeAMask)
register(SeE2A)
register(SeE2R)
register(Hybrid)
register(SeE3)
register(SeAtten)
register(SeAttenV2)

__all__ = [
    "DESCRIPTORS",
    "LAYOUTS",
    "Contraction",
    "Descriptor",
    "Features",
    "FlatContraction",
    "Hybrid",
    "SeAEbdV2",
    "SeAMask",
    "SeAtten",
    "SeAttenV2",
    "SeE2A",
    "SeE2R",
    "SeE3",
    "SecondOrder",
    "TableOptions",
    "build_layout",
    "environments_of",
    "environments_of_member",
    "make_descriptor",
    "neighbor_limits",
    "register",
]
