# SPDX-License-Identifier: BSD-3-Clause
"""``se_e2_a`` is a descriptor."""

from __future__ import annotations

from descriptors.contract import DescriptorContract
from saved_models import INPUT

from deepmd_tf.descriptors import SeE2A

SECTION = INPUT["model"]["descriptor"] | {"sel": [30, 50]}


class TestTwoSided(DescriptorContract):
    descriptor = SeE2A
    section = SECTION


class TestOneSided(DescriptorContract):
    descriptor = SeE2A
    section = SECTION | {"type_one_side": True, "resnet_dt": True}
