# SPDX-License-Identifier: BSD-3-Clause
"""Many embedding nets side by side are the nets one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from saved_models import small_input, water_like

from deepmd_tf.config import Config
from deepmd_tf.data.batch import PERIODIC_MESH
from deepmd_tf.model import EnergyModel
from deepmd_tf.nn.parameters import VariableParameters


def evaluate(script, many, monkeypatch):
    """Energy, forces, gradients of a loss on both in the weights; and the number of nodes."""
    for module in ("nn.embedding", "descriptors.contraction_flat"):
        monkeypatch.setattr(f"deepmd_tf.{module}.MANY", many)
    coords, cells, types = water_like(np.random.default_rng(2), n_frames=2)
    types = np.sort(types)
    config = Config.from_dict(script)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        model = EnergyModel(config.model, min_nbor_dist=0.8, use_table=False)
        inputs = model.make_inputs(tf.float64)
        parameters = VariableParameters()
        outputs = model.build(inputs, parameters, "native")
        loss = tf.reduce_sum(outputs.energy**2) + tf.reduce_sum(outputs.force**2)
        gradients = [g for g in tf.gradients(loss, parameters.trainable) if g is not None]
        session.run(tf.global_variables_initializer())
        feed = {
            inputs.placeholders["t_coord"]: coords.reshape(-1),
            inputs.placeholders["t_type"]: np.tile(types, 2),
            inputs.placeholders["t_natoms"]: [24, 24, *np.bincount(types, minlength=2)],
            inputs.placeholders["t_box"]: cells.reshape(-1),
            inputs.placeholders["t_mesh"]: PERIODIC_MESH,
        }
        found = session.run([outputs.energy, outputs.force, *gradients], feed)
        return found, len(graph.get_operations())


@pytest.mark.parametrize(
    "descriptor",
    [
        {},
        {"type_one_side": True, "resnet_dt": True, "exclude_types": [[0, 1]]},
        {"type": "se_e2_r"},
    ],
    ids=["two-sided", "one-sided", "radial"],
)
def test_numbers(descriptor, monkeypatch):
    script = small_input(descriptor)
    if descriptor.get("type") == "se_e2_r":
        del script["model"]["descriptor"]["axis_neuron"]
    (side_by_side, _), (apart, _) = (evaluate(script, n, monkeypatch) for n in (1, 100))
    for found, expected in zip(side_by_side, apart, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
