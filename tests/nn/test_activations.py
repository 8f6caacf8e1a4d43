# SPDX-License-Identifier: BSD-3-Clause
"""Activations: derivatives against finite differences, both namespaces against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf.config.values import ACTIVATIONS
from deepmd_tf.nn.activations import NUMPY, TENSORFLOW, get_activation

SMOOTH = ["none", "linear", "tanh", "sigmoid", "softplus", "silu", "gelu", "gelu_tf"]
KINKED = ["relu", "relu6", "silut", "silut:1.5"]
# off the kinks at 0, 1.5, 3 and 6
POINTS = np.array([-9.3, -2.1, -0.4, 0.3, 1.1, 2.2, 4.4, 8.7])


@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_derivatives_are_finite_differences(name):
    jet = get_activation(name).jet
    h = 1e-4
    value, slope, curvature = jet(NUMPY, POINTS)
    above, below = jet(NUMPY, POINTS + h)[0], jet(NUMPY, POINTS - h)[0]
    np.testing.assert_allclose(slope, (above - below) / (2 * h), atol=1e-7)
    np.testing.assert_allclose(curvature, (above - 2 * value + below) / h**2, atol=1e-6)


@pytest.mark.parametrize("name", SMOOTH + KINKED)
def test_tensorflow_equals_numpy(name):
    activation = get_activation(name)
    with tf.Graph().as_default(), plain_session() as session:
        got = session.run(activation.jet(TENSORFLOW, tf.constant(POINTS)))
    np.testing.assert_allclose(got, activation.jet(NUMPY, POINTS), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("softplus", 1.0, math.log(1 + math.e)),
        ("silu", 1.0, 1 / (1 + math.exp(-1))),
        ("gelu", 1.0, 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715))),
        ("relu6", 7.0, 6.0),
        ("silut:1", 1.0, 1 / (1 + math.exp(-1))),
        ("TANH", 0.5, math.tanh(0.5)),
    ],
)
def test_values(name, x, expected):
    assert float(get_activation(name).jet(NUMPY, np.array([x]))[0][0]) == pytest.approx(
        expected, 1e-14
    )


def test_silut_is_continuously_differentiable_at_its_threshold():
    jet = get_activation("silut:2").jet
    eps = 1e-9
    below, above = jet(NUMPY, np.array([2 - eps])), jet(NUMPY, np.array([2 + eps]))
    assert abs(below[0] - above[0])[0] < 1e-8
    assert abs(below[1] - above[1])[0] < 1e-8


def test_large_arguments_stay_finite():
    x = np.array([-800.0, 800.0])
    for name in SMOOTH + KINKED:
        assert np.isfinite(get_activation(name).jet(NUMPY, x)).all(), name


def test_all_names_of_the_input_script():
    assert {*SMOOTH, *KINKED} - {"silut:1.5"} == set(ACTIVATIONS)
    assert {name for name in ACTIVATIONS if get_activation(name).smooth} == set(SMOOTH)


def test_unknown_name():
    with pytest.raises(ValueError, match='unknown activation function "tanhh"'):
        get_activation("tanhh")
