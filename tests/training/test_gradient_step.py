# SPDX-License-Identifier: BSD-3-Clause
"""Compute, reduce, apply: reducers see the gradient of a batch, and what they return is applied."""

from __future__ import annotations

import numpy as np
import pytest
from small_training import INPUT, write_all_data

from deepmd_tf.config import Config
from deepmd_tf.data import DataSystems, make_random
from deepmd_tf.fields import ENERGY, FORCE, VIRIAL
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.energy import Statistics
from deepmd_tf.training.gradient_step import FusedStep, NotFinite, ReducedStep
from deepmd_tf.training.graph import TrainingGraph

LR = np.float32(1e-3)


@pytest.fixture
def batches(tmp_path):
    write_all_data(tmp_path)
    paths = sorted(map(str, tmp_path.glob("data/train/*")))
    return DataSystems(paths, 2, make_random(0), fields=(ENERGY, FORCE, VIRIAL))


def make_graph(*reducers):
    config = Config.from_dict(INPUT)
    model = EnergyModel(config.model, min_nbor_dist=0.9, expected_pairs=1e9)
    graph = TrainingGraph(config, model, EnergyLoss(config.loss), reducers=reducers)
    graph.build(Statistics(np.zeros((2, 4)), np.full((2, 4), 0.1), np.zeros(2)))
    graph.open()
    graph.state.refresh_table()
    return graph


def same(step, part):
    return part


def test_a_reducer_that_changes_nothing(batches):
    """The step in three parts is the one operation, up to rounding: loss, errors, weights."""
    fused, reduced = make_graph(), make_graph(same)
    for number in range(4):
        batch = batches.get_batch()
        (one, _), (other, _) = (g.step.prepare(batch, LR) for g in (fused, reduced))
        assert isinstance(one, FusedStep) and isinstance(other, ReducedStep)
        if number == 2:
            expected, found = (g.step.train_and_measure(batch, LR) for g in (fused, reduced))
            assert found[1] == pytest.approx(expected[1], rel=1e-10, nan_ok=True)
        else:
            expected, found = ([g.step.train(batch, LR)] for g in (fused, reduced))
        np.testing.assert_array_equal(found[0].max_found, expected[0].max_found)
    weights = fused.state.get_variables()
    for name, value in reduced.state.get_variables().items():
        # Adam's steps are as long as the learning rate
        np.testing.assert_allclose(value, weights[name], rtol=0, atol=1e-9, err_msg=name)
    assert fused.state.get_step() == reduced.state.get_step() == 4
    fused.close()
    reduced.close()


def test_reducers_are_called_in_order(batches):
    seen = []

    def first(step, part):
        seen.append((step.batch, step.lr, part.loss == step.weights @ part.values[0]))
        return part._replace(gradients=[0 * gradient for gradient in part.gradients])

    def second(step, part):
        seen.append(max(np.abs(gradient).max() for gradient in part.gradients))
        return part

    graph = make_graph(first, second)
    batch, before = batches.get_batch(), graph.state.get_variables()
    graph.step.train(batch, LR)
    assert seen == [(batch, LR, True), 0]
    # the gradient that was applied is zero
    for name, value in graph.state.get_variables().items():
        np.testing.assert_array_equal(value, before[name])
    assert graph.state.get_step() == 1
    graph.close()


@pytest.mark.parametrize("what", ["gradient", "loss"])
def test_what_is_applied_must_be_finite(batches, what):
    """The reduced gradient is checked: another process may have found what is not finite."""

    def spoil(step, part):
        if what == "loss":
            return part._replace(loss=np.inf)
        gradients = [*part.gradients]
        gradients[1] = np.full_like(gradients[1], np.nan)
        return part._replace(gradients=gradients)

    graph = make_graph(spoil)
    before = graph.state.get_variables()
    with pytest.raises(NotFinite) as raised:
        graph.step.train(batches.get_batch(), LR)
    assert np.isinf(raised.value.loss) == (what == "loss")
    assert len(raised.value.weights) == (what == "gradient")
    for name, value in graph.state.get_variables().items():
        np.testing.assert_array_equal(value, before[name])
    assert graph.state.get_step() == 0
    graph.close()
