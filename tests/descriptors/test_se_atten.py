# SPDX-License-Identifier: BSD-3-Clause
"""``se_atten`` and ``se_atten_v2`` are descriptors."""

from __future__ import annotations

import pytest
from descriptors.contract import SPLINES, DescriptorContract

from deepmd_tf.descriptors import SeAtten, SeAttenV2
from deepmd_tf.errors import InputError

SECTION = {
    "type": "se_atten",
    "sel": 80,
    "rcut": 4.0,
    "rcut_smth": 2.5,
    "neuron": [4, 8],
    "axis_neuron": 3,
    "seed": 1,
    "attn_layer": 0,
}


class TestJoined(DescriptorContract):
    descriptor = SeAtten
    section = SECTION | {"exclude_types": [[0, 0]]}

    def test_compressed(self, model):
        with pytest.raises(InputError, match="does not exist in the compressed dialect"):
            model.run(model.frames, "stock", splines=SPLINES)


class TestStripped(DescriptorContract):
    descriptor = SeAtten
    section = SECTION | {"tebd_input_mode": "strip", "resnet_dt": True}


class TestSmooth(DescriptorContract):
    descriptor = SeAttenV2
    section = SECTION | {"type": "se_atten_v2"}


class TestAttention(DescriptorContract):
    descriptor = SeAtten
    rounding = 1e-10  # rows of small variance are divided by it
    section = SECTION | {
        "sel": 40,
        "attn_layer": 2,
        "attn": 3,
        "attn_mask": True,
        "exclude_types": [[0, 0]],
    }

    def test_compressed(self, model):
        with pytest.raises(InputError, match="does not exist in the compressed dialect"):
            model.run(model.frames, "stock", splines=SPLINES)


class TestSmoothAttention(DescriptorContract):
    descriptor = SeAttenV2
    rounding = 1e-10
    section = SECTION | {
        "type": "se_atten_v2",
        "sel": 40,
        "attn_layer": 2,
        "attn": 3,
        "exclude_types": [[1, 1]],
        "set_davg_zero": True,
    }

    test_compressed = TestAttention.test_compressed
