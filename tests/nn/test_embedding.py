# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets: skip rules, jets against automatic differentiation, seeds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf.nn.activations import NUMPY, TENSORFLOW, get_activation
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.embedding_layers import Layer, embedding_jets, stack_nets
from deepmd_tf.nn.variables import VariableParameters


def make(neuron=(1, 2, 4, 5), activation="tanh", resnet_dt=True, one_sided=True, **kwargs):
    nets = EmbeddingNets(
        neuron=neuron,
        activation=get_activation(activation),
        resnet_dt=resnet_dt,
        dtype=tf.float64,
        one_sided=one_sided,
        ntypes=2,
        seed=3,
        **kwargs,
    )
    parameters = VariableParameters()
    nets.build(parameters)
    return nets, parameters


def test_skip_rules_against_numpy():
    with tf.Graph().as_default(), plain_session() as session:
        nets, _ = make()
        x = np.linspace(-1, 2, 7)[:, None]
        got = nets.apply(1, tf.constant(x))
        session.run(tf.global_variables_initializer())
        got, layers = session.run(
            [got, [[layer.matrix, layer.bias, layer.idt] for layer in nets.nets[1]]]
        )
    h = x
    # widths 1 -> 1 (same), 2 (double), 4 (double), 5 (neither: no skip, no timestep)
    for (w, b, idt), kind in zip(layers, ("same", "double", "double", "none"), strict=True):
        y = np.tanh(h @ w + b)
        if kind == "same":
            h = h + y * idt
        elif kind == "double":
            h = np.concatenate([h, h], axis=1) + y * idt
        else:
            h = y
    np.testing.assert_allclose(got, h, rtol=1e-13)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus", "silu", "sigmoid", "linear"])
@pytest.mark.parametrize("resnet_dt", [True, False])
def test_jets_are_derivatives_of_the_net(activation, resnet_dt):
    with tf.Graph().as_default(), plain_session() as session:
        nets, _ = make((4, 8, 8, 5), activation, resnet_dt)
        x = tf.constant(np.linspace(-1, 3, 6)[None, :].repeat(2, axis=0))
        jets = embedding_jets(TENSORFLOW, nets.activation, nets.stacked(), x)
        column = 3
        expected = []
        for net in range(2):
            s = x[net][:, None]
            g = nets.apply(net, s)[:, column]
            first = tf.gradients(g, s)[0]
            second = tf.gradients(first, s)
            second = tf.zeros_like(s) if second[0] is None else second[0]
            expected.append(tf.stack([g, first[:, 0], second[:, 0]], axis=1))
        session.run(tf.global_variables_initializer())
        got, expected = session.run([jets[..., column], tf.stack(expected)])
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)


def test_numpy_jets_equal_tensorflow_jets():
    with tf.Graph().as_default(), plain_session() as session:
        nets, _ = make()
        x = np.linspace(-1, 3, 6)[None, :].repeat(2, axis=0)
        jets = embedding_jets(TENSORFLOW, nets.activation, nets.stacked(), tf.constant(x))
        session.run(tf.global_variables_initializer())
        jets, raw = session.run([jets, [[la.members() for la in net] for net in nets.nets]])
    layers = stack_nets(NUMPY, [[Layer(**a) for a in net] for net in raw])
    np.testing.assert_allclose(
        embedding_jets(NUMPY, nets.activation, layers, x), jets, rtol=1e-11, atol=1e-14
    )


def test_nets_of_type_pairs():
    with tf.Graph().as_default():
        two_sided, parameters = make(one_sided=False, exclude_types=[(0, 1)])
        assert two_sided.keys == [(0, 0), (1, 1)]
        assert two_sided.net_of.tolist() == [[0, -1], [-1, 1]]
        assert "filter_type_1/matrix_2_1" in parameters.names()
        assert not any(
            name.startswith("filter_type_0/") and name.endswith("_1") for name in parameters.names()
        )
    with tf.Graph().as_default():
        one_sided, parameters = make(exclude_types=[(0, 1)])
        assert one_sided.net_of.tolist() == [[0, -1], [-1, 1]]
        assert {"filter_type_all/bias_1_0", "filter_type_all/idt_1_1"} <= set(parameters.names())


def test_seeds_repeat_and_differ_between_nets():
    def weights():
        with tf.Graph().as_default(), plain_session() as session:
            nets, _ = make()
            session.run(tf.global_variables_initializer())
            return session.run([net[1].matrix for net in nets.nets])

    first, second = weights(), weights()
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first[0], first[1])
