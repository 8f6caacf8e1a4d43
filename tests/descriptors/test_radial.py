# SPDX-License-Identifier: BSD-3-Clause
"""A descriptor is added by one class and one registration, and is then a descriptor like any other:
with one environment, and with two of different cutoffs and selections."""

from __future__ import annotations

import pytest
from descriptors.contract import DescriptorContract
from radial import Radial, TwoRanges
from saved_models import small_input

from deepmd_tf.config import Config, reference, tree
from deepmd_tf.config.schema import json_schema
from deepmd_tf.errors import InputError

SECTION = {"type": "radial", "sel": [30, 50], "rcut": 4.0, "rcut_smth": 0.5, "seed": 1}


class TestRadial(DescriptorContract):
    descriptor = Radial
    hessians_in_short = True
    section = SECTION

    def test_pages_and_messages_know_it(self):
        assert "type `radial`" in reference.markdown() and "``radial``" in tree.rst()
        standard = json_schema()["properties"]["model"]["oneOf"][0]
        descriptors = standard["properties"]["descriptor"]["oneOf"]
        types = [d["properties"]["type"]["enum"][0] for d in descriptors]
        assert types[0] == "se_e2_a" and "radial" in types
        script = small_input()
        script["model"]["descriptor"] = SECTION | {"neurons": [4], "rcut_smth": 5.0}
        with pytest.raises(InputError) as caught:
            Config.from_dict(script)
        assert 'model.descriptor.neurons: unknown key; did you mean "neuron"?' in str(caught.value)
        assert "model.descriptor.rcut_smth: read 5.0; must be smaller" in str(caught.value)
        script["model"]["descriptor"] = SECTION | {"type": "radical"}
        with pytest.raises(InputError, match='"hybrid", "radial"; did you mean "radial"'):
            Config.from_dict(script)


class TestTwoRanges(DescriptorContract):
    descriptor = TwoRanges
    variant = True
    section = SECTION | {"type": "two_ranges"}
