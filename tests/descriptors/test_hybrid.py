# SPDX-License-Identifier: BSD-3-Clause
"""``hybrid`` is a descriptor."""

from __future__ import annotations

from typing import ClassVar

from descriptors.contract import DescriptorContract

from deepmd_tf.descriptors import Hybrid

ANGULAR = {
    "type": "se_e2_a",
    "sel": [30, 50],
    "rcut": 4.0,
    "rcut_smth": 0.5,
    "neuron": [4, 8],
    "axis_neuron": 2,
    "type_one_side": True,
    "seed": 1,
}
RADIAL = {
    "type": "se_e2_r",
    "sel": [16, 24],
    "rcut": 3.0,
    "rcut_smth": 1.0,
    "neuron": [3, 6],
    "exclude_types": [[0, 0]],
    "seed": 3,
}


class TestTwoCutoffs(DescriptorContract):
    descriptor = Hybrid
    section: ClassVar = {"type": "hybrid", "list": [ANGULAR, RADIAL]}
