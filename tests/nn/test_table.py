# SPDX-License-Identifier: BSD-3-Clause
"""Embedding tables: measured errors, choice of nodes, constants and variables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf.nn import table as table_module
from deepmd_tf.nn.activations import NUMPY, get_activation
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.embedding_layers import Layer, embedding_jets
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.table import (
    EmbeddingTable,
    Octaves,
    aligned,
    choose_nodes,
    choose_octaves,
    interpolation_error,
)
from deepmd_tf.nn.variables import VariableParameters

TANH = get_activation("tanh")


def random_layers(rng, n_nets=2, widths=(1, 5, 10, 20)):
    return [
        Layer(rng.normal(size=(n_nets, a, b)) / np.sqrt(a + b), rng.normal(size=(n_nets, 1, b)))
        for a, b in itertools.pairwise(widths)
    ]


def test_error_is_that_of_quintic_hermite_interpolation(rng):
    """Measured at few points, it is the largest of many, for the interpolant of another library."""
    scipy_interpolate = pytest.importorskip("scipy.interpolate")
    layers = random_layers(rng, n_nets=1)
    interval = np.array([[-0.3, 7.0]])
    nodes = table_module.uniform_nodes(interval, 48)
    jets = embedding_jets(NUMPY, TANH, layers, nodes)[0]
    spline = scipy_interpolate.BPoly.from_derivatives(nodes[0], jets)
    s = np.linspace(-0.3, 7.0, 47 * 20 + 1)
    true = embedding_jets(NUMPY, TANH, layers, s[None])[0]
    value = np.abs(spline(s) - true[:, 0]).max() / np.abs(true[:, 0]).max()
    slope = np.abs(spline.derivative()(s) - true[:, 1]).max() / np.abs(true[:, 1]).max()
    assert slope > 3 * value  # it is the slope that decides
    measured = interpolation_error(TANH, layers, interval, 48)
    assert measured == pytest.approx(slope, rel=0.05)


def test_error_falls_with_the_fifth_power_or_faster(rng):
    layers = random_layers(rng)
    interval = np.array([[-0.3, 7.0], [-0.2, 5.0]])
    coarse, fine = (interpolation_error(TANH, layers, interval, k) for k in (41, 81))
    assert coarse / fine > 2**4.5


def test_smallest_sufficient_number_of_nodes_is_chosen(rng):
    layers = random_layers(rng)
    interval = np.array([[-0.3, 7.0], [-0.2, 5.0]])
    report = choose_nodes(TANH, layers, interval, 1e-10)
    assert report.accurate
    smaller = [k for k in table_module.NODE_COUNTS if k < report.nodes]
    assert all(interpolation_error(TANH, layers, interval, k) > 1e-10 for k in smaller)


def test_a_table_never_ends_earlier_for_a_knot():
    """A knot before the first node, between others, behind the last one."""
    interval = np.tile([-0.5, 4.5], (4, 1))
    knots = np.array([-0.49, -0.4, 1.23, 5.0])
    for n_nodes in (11, 32):
        whole = aligned(interval, knots, n_nodes)
        np.testing.assert_array_equal(whole[:, 0], -0.5)
        assert (whole[:, 1] >= 4.5).all()
        nodes = table_module.uniform_nodes(whole, n_nodes)
        assert np.abs(nodes[2] - knots[2]).min() < 1e-12
        np.testing.assert_array_equal(whole[[0, 3]], interval[[0, 3]])


def test_steep_nets_get_more_nodes():
    """Evaluated at every pair they would take several times as long."""
    layers = random_layers(np.random.default_rng(0))
    report = choose_nodes(TANH, layers, np.array([[-0.3, 90.0], [-0.2, 90.0]]), 1e-11)
    assert report.accurate and report.nodes > 2048


def test_impossible_tolerance_is_reported(rng):
    report = choose_nodes(TANH, random_layers(rng), np.array([[0, 1e5], [0, 1e5]]), 1e-10)
    assert report.nodes in table_module.NODE_COUNTS
    assert not report.accurate


@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus", "sigmoid"])
def test_octaves_are_as_accurate_as_the_table(rng, activation):
    """Between their nodes and beyond them, for the interpolant of another library."""
    scipy_interpolate = pytest.importorskip("scipy.interpolate")
    function = get_activation(activation)
    layers = random_layers(rng, n_nets=1, widths=(1, 1, 6, 12))  # grows for ever, or levels off
    interval, tolerance, n_nodes = np.array([[-0.3, 7.0]]), 1e-10, 400
    octaves, error = choose_octaves(function, layers, interval, n_nodes, np.array([1e6]), tolerance)
    assert error <= tolerance and octaves.count > 3
    uniform = table_module.uniform_nodes(interval, n_nodes)
    nodes = np.concatenate([uniform, octaves.nodes(interval, n_nodes)], axis=1)[0]
    jets = embedding_jets(NUMPY, function, layers, nodes[None])[0]
    spline = scipy_interpolate.BPoly.from_derivatives(nodes, jets)
    s = 7.0 + np.geomspace(1e-3, nodes[-1] - 7.0, 20_000)
    beyond = np.geomspace(nodes[-1], 1e6, 100)
    true = embedding_jets(NUMPY, function, layers, np.concatenate([s, beyond])[None])[0]
    line = jets[-1, 0] + jets[-1, 1] * (beyond[:, None] - nodes[-1])
    value = np.abs(np.concatenate([spline(s), line]) - true[:, 0])
    straight = np.broadcast_to(jets[-1, 1], line.shape)
    slope = np.abs(np.concatenate([spline.derivative()(s), straight]) - true[:, 1])
    size = np.maximum.accumulate(np.abs(true[:, 0]).max(axis=1))
    all_s = np.concatenate([s, beyond])
    assert (value.max(axis=1) / size).max() < 3 * tolerance
    assert (slope.max(axis=1) * all_s / size).max() < 30 * tolerance
    bend = spline.derivative().derivative()(s) - true[: len(s), 2]
    assert (np.abs(bend).max(axis=1) * s**2 / size[: len(s)]).max() < 1e-5


def test_octaves_end_where_nets_are_straight_lines(rng):
    """Far before the closest atoms; and there are none for a straight line."""
    layers = random_layers(rng)
    interval = np.array([[-0.3, 7.0], [-0.2, 5.0]])
    ends = [
        choose_octaves(TANH, layers, interval, 300, np.full(2, s), 1e-10)[0] for s in (1e7, 1e9)
    ]
    assert ends[0] == ends[1]
    assert octave_end(ends[0], interval) < 1e6
    straight = get_activation("linear")
    assert choose_octaves(straight, layers, interval, 300, np.full(2, 1e7), 1e-10)[0].count == 0


def octave_end(octaves: Octaves, interval: np.ndarray) -> float:
    return float(octaves.nodes(interval, 300).max())


def make_table(parameters, avg, std):
    nets = EmbeddingNets(
        neuron=(4, 8),
        activation=TANH,
        resnet_dt=False,
        dtype=tf.float64,
        one_sided=False,
        ntypes=2,
        seed=1,
    )
    nets.build(parameters)
    table = EmbeddingTable(nets, avg, std, largest_s=2.0)
    table.build()
    return nets, table


def test_variables_and_constants_give_the_same_table(monkeypatch):
    monkeypatch.setattr(table_module, "CONSTANT_TOLERANCE", table_module.TOLERANCE)
    avg = np.array([[0.1] * 8, [0.2] * 8])
    std = np.array([[0.5] * 8, [0.25] * 8])
    with tf.Graph().as_default(), plain_session() as session:
        parameters = VariableParameters()
        _, table = make_table(parameters, tf.constant(avg), tf.constant(std))
        session.run(tf.global_variables_initializer())
        report = table.refresh(session)
        weights = {name: session.run(v) for name, v in parameters.variables.items()}
        names_saved = [v.op.name for v in tf.global_variables()]
        trained = session.run([table.table, table.interval, table.at_zero])
    assert sorted(names_saved) == sorted(weights)  # nodes are not part of a checkpoint
    with tf.Graph().as_default(), plain_session() as session:
        _, table = make_table(ConstantParameters(weights), tf.constant(avg), tf.constant(std))
        assert table.table.op.type == "Const"
        frozen = session.run([table.table, table.interval, table.at_zero])
        assert table.refresh(session) == report
    for a, b in zip(trained, frozen, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    # each two-sided net starts at the s of its own centre type's empty slots, and ends at the
    # largest s
    np.testing.assert_allclose(
        frozen[1], [[-0.2, 3.8], [-0.2, 3.8], [-0.8, 7.2], [-0.8, 7.2]], rtol=1e-4
    )
    np.testing.assert_allclose(frozen[2][0, 0], frozen[0][0, 0, 0], rtol=1e-4)
