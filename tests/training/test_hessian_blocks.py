# SPDX-License-Identifier: BSD-3-Clause
"""Whole Hessians in blocks: the loss, the step and the errors are those of all atoms at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import small

from deepmd_tf.config import Config, HessianMode
from deepmd_tf.data import Batch
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.energy import Statistics
from deepmd_tf.training import blocks
from deepmd_tf.training.gradient_step import NotFinite
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.hessian import HessianPlan

N = 5
LR = np.float32(1e-3)
WEIGHTS = ("h", "e", "f")


def make_graph(in_blocks, **loss):
    weights = {f"{when}_pref_{k}": 1.0 for when in ("start", "limit") for k in WEIGHTS}
    sizes = {"sel": [6, 12], "rcut": 4.0, "rcut_smth": 1.0, "neuron": [3, 6], "axis_neuron": 2}
    script = small.script(
        {**sizes, "type_one_side": True}, {"neuron": [5, 5], "seed": 2, "numb_aparam": 1}
    )
    config = Config.from_dict(script | {"loss": weights | loss})
    plan = HessianPlan(HessianMode("full"), everywhere=True, in_blocks=in_blocks)
    model = EnergyModel(config.model, min_nbor_dist=0.9, expected_pairs=1e9)
    graph = TrainingGraph(config, model, EnergyLoss(config.loss), hessians=plan)
    first = {"fitting_attr/t_aparam_avg": np.zeros(1), "fitting_attr/t_aparam_istd": np.ones(1)}
    statistics = Statistics(np.zeros((2, 4)), np.full((2, 4), 0.1), np.zeros(2), first)
    graph.build(statistics)
    graph.open()
    graph.state.refresh_table()
    return graph


@pytest.fixture
def batch(rng):
    length = 4.4
    sites = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)[:N] * length / 2
    arrays = {
        "coord": (sites + rng.normal(scale=0.2, size=(3, N, 3))).reshape(3, -1),
        "box": np.tile(length * np.eye(3).ravel(), (3, 1)),
        "type": np.tile(np.array([0, 0, 1, 1, 1], np.int32), (3, 1)),
        "aparam": rng.normal(size=(3, N)),
        "energy": rng.normal(size=3),
        "force": rng.normal(size=(3, 3 * N)),
        "hessian": rng.normal(size=(3, 9 * N * N)),
    }
    found = {f"find_{name}": np.float32(1.0) for name in ("energy", "force", "hessian", "aparam")}
    return Batch(
        arrays=arrays | found,
        natoms=np.array([N, N, 2, 3], np.int32),
        mesh=np.zeros(6, np.int32),
        system=0,
        set_name="set.000",
        frames=np.arange(3),
    )


def steps(graph, batch):
    """Errors and weights after steps, one of them measured and one of them traced."""
    errors = [graph.evaluation.evaluate(batch, LR), graph.step.train_and_measure(batch, LR)[1]]
    graph.step.train(batch, LR)
    _, record = graph.step.train_and_trace(batch, LR)
    errors.append(graph.evaluation.evaluate(batch, LR))
    weights = graph.state.get_variables()
    assert graph.state.get_step() == 3
    graph.close()
    return errors, weights, record


def check_step_that_is_not_finite(graph, batch):
    """It changes nothing."""
    before = graph.state.get_variables()
    hessian = batch.arrays["hessian"].copy()
    hessian[1, 7] = np.nan
    with pytest.raises(NotFinite) as raised:
        graph.step.train(dataclasses.replace(batch, arrays=batch.arrays | {"hessian": hessian}), LR)
    assert np.isnan(raised.value.loss) and len(raised.value.weights) > 4
    for name, value in graph.state.get_variables().items():
        np.testing.assert_array_equal(value, before[name])
    assert graph.state.get_step() == 0


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param({}, id="squares"),
        pytest.param({"loss_func": "mae"}, id="mae", marks=pytest.mark.slow),
        pytest.param({"use_huber": True, "huber_delta": 0.1}, id="huber", marks=pytest.mark.slow),
    ],
)
def test_blocks_change_nothing(batch, monkeypatch, loss):
    expected, weights, _ = steps(make_graph(False, **loss), batch)
    # two atoms at a time
    monkeypatch.setattr(blocks, "PAIRS_AT_ONCE", 2 * N)
    assert list(blocks.atom_ranges(N)) == [(0, 1), (1, 3), (3, 5)]
    graph = make_graph(True, **loss)
    check_step_that_is_not_finite(graph, batch)
    found, in_blocks, record = steps(graph, batch)
    for one, other in zip(expected, found, strict=True):
        assert one == pytest.approx(other, rel=1e-12)
    # Adam's steps are as long as the learning rate
    for name, value in weights.items():
        np.testing.assert_allclose(in_blocks[name], value, rtol=0, atol=1e-12, err_msg=name)
    # all runs are in the trace: energies and forces, and 3 frames in 3 blocks each, twice
    labels = [n.timeline_label for d in record.step_stats.dev_stats for n in d.node_stats]
    assert sum("DpNeighborList(" in label for label in labels) == 1 + 2 * 3 * 3
