# SPDX-License-Identifier: BSD-3-Clause
"""``se_e3`` is a descriptor."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from descriptors.contract import DescriptorContract, Model, assert_same

from deepmd_tf.descriptors import SeE3

SECTION = {
    "type": "se_e3",
    "sel": [14, 24],
    "rcut": 3.2,
    "rcut_smth": 0.5,
    "neuron": [4, 8],
    "seed": 1,
}


class TestSeE3(DescriptorContract):
    descriptor = SeE3
    of_first_sel = False  # sums are divided by the present sel
    section = SECTION | {"resnet_dt": True}


@pytest.mark.parametrize("use_table", [True, False])
def test_averages_of_directions(use_table):
    """Files of others may have some: empty slots then have vectors, and add terms."""
    model = Model(SECTION)
    avg = model.weights["descrpt_attr/t_avg"]
    model.weights["descrpt_attr/t_avg"] = avg + np.tile([0.0, 0.01, -0.02, 0.03], avg.shape[1] // 4)
    expected = model.run(model.frames, "reference")
    assert_same(model.run(model.frames, use_table=use_table), expected, 1e-9)


@pytest.mark.parametrize(("pairs", "uses_table"), [(15, False), (30, True)])
def test_a_table_pays_by_the_pairs_of_neighbours(pairs, uses_table):
    """Three tables of 128 nodes against products of two out of about 19 neighbours."""
    model = Model(SECTION)
    with tf.Graph().as_default():
        _, _, outputs = model.build("native", expected_pairs=pairs)
    assert (outputs.atoms.tables is not None) == uses_table


def test_sum_over_pairs_of_slots():
    """D by NumPy, from rows and weights."""
    model = Model(SECTION | {"neuron": [3]})
    with tf.Graph().as_default(), tf.Session() as session:
        _, _, outputs = model.build("reference")
        (part,) = outputs.atoms.contractions
        features = tf.concat(outputs.atoms.features.by_type, axis=1)
        fetched = (part.environment.rows, features)
        rows, found = session.run(fetched, model.frames.feed(outputs.inputs))
    vectors = rows.reshape(len(rows), -1, 4)[:, :, 1:]
    sections = (vectors[:, :14], vectors[:, 14:])
    expected = np.zeros(found.shape[1:])
    for one, other in ((0, 0), (0, 1), (1, 1)):
        name = f"filter_type_all/{{}}_1_{one}_{other}"
        matrix, bias = (model.weights[name.format(key)] for key in ("matrix", "bias"))
        e = np.einsum("cja,cka->cjk", sections[one], sections[other])[..., None]
        expected += (e * np.tanh(e * matrix[0] + bias)).mean(axis=(1, 2))
    np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-14)
