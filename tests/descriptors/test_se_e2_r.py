# SPDX-License-Identifier: BSD-3-Clause
"""``se_e2_r`` is a descriptor."""

from __future__ import annotations

from descriptors.contract import DescriptorContract

from deepmd_tf.descriptors import SeE2R

SECTION = {
    "type": "se_e2_r",
    "sel": [30, 50],
    "rcut": 4.0,
    "rcut_smth": 0.5,
    "neuron": [4, 8],
    "seed": 1,
}


class TestTwoSided(DescriptorContract):
    descriptor = SeE2R
    of_first_sel = False  # empty slots count, so that it cannot grow
    section = SECTION | {"exclude_types": [[0, 0]]}


class TestOneSided(DescriptorContract):
    descriptor = SeE2R
    variant = True
    of_first_sel = False
    section = SECTION | {"type_one_side": True, "resnet_dt": True, "exclude_types": [[1, 1]]}
