# SPDX-License-Identifier: BSD-3-Clause
"""``hybrid`` is a descriptor."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from descriptors.contract import DescriptorContract, Model, assert_same
from saved_models import small_input

from deepmd_tf.config import Config
from deepmd_tf.descriptors import Hybrid
from deepmd_tf.errors import InputError
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.hessian import require_second_order

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


def test_one_list_of_neighbors():
    """Of members with the same cutoff and selection; also of nets of another precision. The
    features are those of the members side by side."""
    members = [ANGULAR, ANGULAR | {"seed": 2, "axis_neuron": 3, "precision": "float32"}]
    model = Model({"type": "hybrid", "list": members})
    assert_same(model.run(model.frames), model.run(model.frames, "reference"), 1e-5)
    for section, count in ((model, 1), (Model(TestTwoCutoffs.section), 2)):
        with tf.Graph().as_default() as graph:
            outputs = section.build("native")[2]
            lists = [op for op in graph.get_operations() if "NeighborList" in op.type]
            assert len(lists) == count
            assert [part.dtype for part in outputs.atoms.features.by_type] == [tf.float64] * 2
    alone = Model(members[0])
    alone.weights = {
        name.replace("_attr_0", "_attr").replace("_all_0", "_all"): values
        for name, values in model.weights.items()
    }
    alone.weights |= {n: v[:16] for n, v in alone.weights.items() if n.startswith("layer_0")}
    found = []
    for one in (model, alone):
        with tf.Graph().as_default(), tf.Session() as session:
            outputs = one.build("native")[2]
            found.append(session.run(outputs.descriptor, one.frames.feed(outputs.inputs)))
    np.testing.assert_array_equal(found[0][..., :16], found[1])


@pytest.mark.parametrize(
    ("member", "instead"),
    [
        ({"type": "se_e3", "sel": [8, 14]}, 'train with .*"probe:<k>" .*, and freeze without'),
        ({"type": "se_atten", "sel": 20, "attn_layer": 1}, "Hessians need; freeze without"),
    ],
)
def test_the_member_without_second_derivatives_is_named(member, instead):
    script = small_input()
    script["model"]["descriptor"] = {"type": "hybrid", "list": [ANGULAR, member]}
    model = EnergyModel(Config.from_dict(script).model)
    with pytest.raises(InputError, match=f'descriptor "{member["type"]}" has no .*{instead}'):
        require_second_order(model.descriptor)
