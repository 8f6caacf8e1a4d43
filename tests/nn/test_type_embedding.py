# SPDX-License-Identifier: BSD-3-Clause
"""Vectors of types against NumPy, and embedding nets that share their weights."""

from __future__ import annotations

import numpy as np
import pytest
import small
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.config.type_embedding import TypeEmbeddingConfig
from deepmd_tf.elements import electron_configuration, spin_orbitals
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.shared_embedding import SharedEmbeddingNets
from deepmd_tf.nn.type_embedding import TypeEmbedding
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.training.outputs import weight_count


@pytest.mark.parametrize(
    ("symbol", "valence"),
    [
        ("H", {"1s": 1}),
        ("O", {"2s": 2, "2p": 4}),
        ("Cr", {"3d": 5, "4s": 1}),
        ("Cu", {"3d": 10, "4s": 1}),
        ("Pd", {"4d": 10, "5s": 0}),
        ("Gd", {"4f": 7, "5d": 1, "6s": 2}),
        ("Au", {"5d": 10, "6s": 1}),
        ("Th", {"5f": 0, "6d": 2, "7s": 2}),
        ("Og", {"7p": 6}),
    ],
)
def test_electron_configurations(symbol, valence):
    found = electron_configuration(symbol)
    assert {shell: found[shell] for shell in valence} == valence
    assert (spin_orbitals(symbol) == 1).sum() == sum(found.values())
    assert len(spin_orbitals(symbol)) == 118


def test_spins_of_oxygen():
    """Of each orbital the second number is that of the electron that comes first."""
    assert spin_orbitals("O")[:12].tolist() == [1, 1, 1, 1, 1, 1, -1, 1, -1, 1, -1, -1]


def vectors(padded=False, constants=None, **keys):
    """Vectors of two types, and the weights by name."""
    types = TypeEmbedding(TypeEmbeddingConfig(**keys), 2, ["O", "H"], padded=padded)
    with tf.Graph().as_default(), tf.Session() as session:
        parameters = VariableParameters() if constants is None else ConstantParameters(constants)
        tensor = types.vectors(parameters)
        assert types.vectors(parameters) is tensor and tensor.op.name == names.T_TYPEEBD
        session.run(tf.global_variables_initializer())
        return session.run(tensor), session.run(
            {n: parameters._tensors[n] for n in parameters.names()}
        )


def test_layers_against_numpy():
    """Unit vectors, widths 2 → 2 (same), 4 (double), 3 (neither); no bias, a row of zeros."""
    found, weights = vectors(padded=True, neuron=[2, 4, 3], resnet_dt=True, seed=1)
    assert not [name for name in weights if "bias" in name]
    x = np.eye(2)
    for level, copies in ((1, 1), (2, 2), (3, 0)):
        h = np.tanh(x @ weights[f"type_embed_net/matrix_{level}"])
        if copies:
            h = np.tile(x, copies) + h * weights[f"type_embed_net/idt_{level}"]
        x = h
    np.testing.assert_allclose(found, np.vstack([x, np.zeros(3)]), rtol=1e-14)


def test_electrons_and_biases():
    keys = {"neuron": [3], "use_econf_tebd": True, "use_tebd_bias": True, "seed": 1}
    found, weights = vectors(**keys, activation_function="linear")
    electrons = np.array([spin_orbitals("O"), spin_orbitals("H")]) / np.sqrt(118)
    expected = electrons @ weights["type_embed_net/matrix_1"] + weights["type_embed_net/bias_1"]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_a_finished_model_has_the_bits_of_its_training():
    trained, weights = vectors(neuron=[3, 5], seed=1)
    finished, _ = vectors(neuron=[3, 5], constants=weights)
    np.testing.assert_array_equal(finished, trained)


@pytest.mark.parametrize("neuron", [[6, 5], [5, 5], [10, 4], [1, 3], [2, 4]])
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_jets_of_shared_nets(neuron, activation):
    """Of a net of (s, 2 · 2 numbers): values, and derivatives by s as differences of values."""
    types = TypeEmbedding(TypeEmbeddingConfig(neuron=[2], seed=4), 2)
    with tf.Graph().as_default(), tf.Session() as session:
        nets = SharedEmbeddingNets(
            types=types,
            neuron=neuron,
            activation=get_activation(activation),
            resnet_dt=True,
            dtype=tf.float64,
            one_sided=False,
            ntypes=2,
            seed=3,
        )
        parameters = VariableParameters()
        nets.build(parameters)
        assert nets.keys == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert nets.weight_count() == sum(
            np.prod(parameters.variables[name].shape.as_list())
            for name in parameters.variables
            if name.startswith("filter_type_all/")
        )
        s, h = np.tile([0.3, 1.7], (4, 1)), 1e-4
        (jets,) = nets.jets(tf.constant(s))
        points = tf.constant(np.array([-h, 0.0, h])[:, None] + s[0])
        values = [
            tf.reshape(nets.apply(net, tf.reshape(points, [-1, 1])), [3, 2, -1]) for net in range(4)
        ]
        (gradient,) = tf.gradients(jets, parameters.variables["type_embed_net/matrix_1"])
        session.run(tf.global_variables_initializer())
        jets, values, gradient = session.run([jets, values, gradient])
        weights = session.run(parameters.variables)
    below, at, above = np.moveaxis(values, 1, 0)
    np.testing.assert_allclose(jets[:, :, 0], at, rtol=1e-13)
    np.testing.assert_allclose(jets[:, :, 1], (above - below) / (2 * h), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(jets[:, :, 2], (above - 2 * at + below) / h**2, atol=1e-5)
    assert np.abs(gradient).min() > 0
    # centre 0, neighbour 1: s, the vector of the neighbour, that of the centre
    te = np.eye(2) + np.tanh(weights["type_embed_net/matrix_1"])
    x = np.concatenate([[1.7], te[1], te[0]])
    phi = {"tanh": np.tanh, "softplus": lambda z: np.log1p(np.exp(z))}[activation]
    for level in (1, 2):
        h = phi(
            x @ weights[f"filter_type_all/matrix_{level}"]
            + weights[f"filter_type_all/bias_{level}"]
        )
        copies = {len(x): 1, 2 * len(x): 2}.get(len(h), 0)
        if copies:
            h = np.tile(x, copies) + h * weights[f"filter_type_all/idt_{level}"][0]
        x = h
    np.testing.assert_allclose(at[1, 1], x, rtol=1e-13)


def test_weights_of_a_model_are_counted():
    script = small.script({"type_one_side": True})
    script["model"]["type_embedding"] = {"neuron": [3], "use_tebd_bias": True}
    # type net, embedding net of widths 4 (s and a vector), 4, 8, fitting net with steps of layers
    of_types, of_pairs = 2 * 3 + 3, (4 * 4 + 4) + (4 * 8 + 8)
    of_fit = (8 * 3 + 3) * 10 + 2 * 10 + 10 * 10 + 2 * 10 + 10 + 2
    assert weight_count(Config.from_dict(script).model) == of_types + of_pairs + of_fit
