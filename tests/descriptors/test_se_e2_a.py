# SPDX-License-Identifier: BSD-3-Clause
"""``se_e2_a`` is a descriptor."""

from __future__ import annotations

from typing import ClassVar

from descriptors.contract import DescriptorContract
from saved_models import INPUT

from deepmd_tf.descriptors import SeE2A

SECTION = INPUT["model"]["descriptor"] | {"sel": [30, 50]}


class TestTwoSided(DescriptorContract):
    """Trainings and files of this descriptor are those of most tests elsewhere."""

    descriptor = SeE2A
    variant = True
    section = SECTION


class TestTypeEmbedding(DescriptorContract):
    """The skip connection of the first layer carries the vectors of the types."""

    descriptor = SeE2A
    section = SECTION | {"neuron": [7, 14], "exclude_types": [[1, 1]], "resnet_dt": True}
    model_keys: ClassVar = {"type_embedding": {"neuron": [2, 3], "seed": 5}}


class TestOneSidedTypeEmbedding(DescriptorContract):
    descriptor = SeE2A
    variant = True
    section = SECTION | {"type_one_side": True}
    model_keys: ClassVar = {"type_embedding": {"neuron": [3], "use_tebd_bias": True, "seed": 5}}


class TestOneSided(DescriptorContract):
    descriptor = SeE2A
    variant = True
    section = SECTION | {"type_one_side": True, "resnet_dt": True}
