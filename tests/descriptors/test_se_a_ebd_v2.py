# SPDX-License-Identifier: BSD-3-Clause
"""``se_a_ebd_v2`` is a descriptor."""

from __future__ import annotations

from typing import ClassVar

from descriptors.contract import DescriptorContract, Model
from saved_models import INPUT

from deepmd_tf import names
from deepmd_tf.descriptors import SeAEbdV2

SECTION = INPUT["model"]["descriptor"] | {"type": "se_a_ebd_v2", "sel": [30, 50]}
TYPES = {"neuron": [3], "seed": 5}


class WithoutMean:
    """The test of smoothness for rows without a mean."""

    def test_smooth_at_the_cutoff(self, model):
        """Otherwise an empty slot is not a neighbour at the cutoff: it has no type."""
        centred = Model(self.section, self.model_keys)
        centred.weights[names.T_AVG] = 0.0 * centred.weights[names.T_AVG]
        super().test_smooth_at_the_cutoff(centred)


class TestTwoSided(WithoutMean, DescriptorContract):
    """With the type embedding that such a descriptor asks for."""

    descriptor = SeAEbdV2
    section = SECTION | {"exclude_types": [[0, 1]], "resnet_dt": True}


class TestOneSided(WithoutMean, DescriptorContract):
    descriptor = SeAEbdV2
    section = SECTION | {"type_one_side": True, "exclude_types": [[1, 1]]}
    model_keys: ClassVar = {"type_embedding": TYPES}
