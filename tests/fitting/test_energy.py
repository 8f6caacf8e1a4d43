# SPDX-License-Identifier: BSD-3-Clause
"""Fitting nets by one operation and by those of TensorFlow: energies, slopes, weight gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from saved_models import small_input

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.environment import ModelInputs
from deepmd_tf.fitting import EnergyFitting
from deepmd_tf.nn.parameters import VariableParameters

N_FRAMES, N_ATOMS, DIM = 3, 11, 6
CASES: dict[str, dict[str, Any]] = {
    "timestep": {},
    "no timestep": {"resnet_dt": False},
    "one layer": {"neuron": [9]},
    "parameters": {"numb_fparam": 2, "numb_aparam": 1},
    "energy of lone atoms": {"atom_ener": [-1.5, None]},
    "energy of lone atoms with parameters": {"atom_ener": [-1.5, 0.5], "numb_aparam": 2},
    "shared layers": {
        "layer_name": [None, "same", "same", None],
        "neuron": [10, 10, 10],
        "numb_fparam": 1,
    },
    "another activation": {"activation_function": "softplus"},
    "float32": {"precision": "float32", "numb_fparam": 1},
}


class Result(NamedTuple):
    """Operations of the graph; energies [n_frames, n], their derivative by the descriptors, and the
    gradient of the sum of squares of both by each weight.
    """

    kinds: set[str]
    energy: np.ndarray
    slope: np.ndarray
    gradients: dict[str, np.ndarray]


def make_arrays(rng: np.random.Generator, config: Any, mixed: bool) -> dict[str, np.ndarray]:
    """What to feed, by the name of the node: two types and a virtual atom in each frame."""
    types = np.tile(np.repeat([-1, 0, 1], [1, 6, 4]), (N_FRAMES, 1))
    if mixed:
        types = rng.permuted(types, axis=1)
    arrays = {
        "values": rng.normal(size=(N_FRAMES, N_ATOMS, DIM)),
        names.T_TYPE: types.ravel(),
        names.T_NATOMS: np.array([N_ATOMS, N_ATOMS, 7, 4]),
        names.T_FPARAM: rng.normal(size=N_FRAMES * config.numb_fparam),
        names.T_APARAM: rng.normal(size=N_FRAMES * N_ATOMS * config.numb_aparam),
    }
    return {name: array for name, array in arrays.items() if array.size}


def evaluate(
    config: Any,
    arrays: dict[str, np.ndarray],
    weights: dict[str, np.ndarray] | None,
    mixed: bool,
    native: bool,
) -> Result:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        values = tf.placeholder(tf.float64, [None, None, DIM], name="values")
        dims = {"dim_fparam": config.numb_fparam, "dim_aparam": config.numb_aparam}
        inputs = ModelInputs.make_placeholders(2, tf.float64, mixed=mixed, **dims)
        parameters = VariableParameters(weights)
        parts = inputs.split_types(values)
        fitting = EnergyFitting(config, 2)
        energy = fitting.build(parts, inputs, parameters, native=native).values
        (slope,) = tf.gradients(energy, values)
        loss = tf.reduce_sum(energy**2) + tf.reduce_sum(slope**2)
        variables = parameters.trainable
        found = zip(variables, tf.gradients(loss, variables), strict=True)
        wanted = {variable.op.name: gradient for variable, gradient in found}
        session.run(tf.global_variables_initializer())
        feed = {f"{name}:0": array for name, array in arrays.items()}
        kinds = {op.type for op in graph.get_operations()}
        return Result(kinds, *session.run((energy, slope, wanted), feed))


def first_weights(config: Any) -> dict[str, np.ndarray]:
    with tf.Graph().as_default(), tf.Session() as session:
        dims = {"dim_fparam": config.numb_fparam, "dim_aparam": config.numb_aparam}
        inputs = ModelInputs.make_placeholders(2, tf.float64, **dims)
        parameters = VariableParameters()
        parts = [tf.placeholder(tf.float64, [None, None, DIM]) for _ in range(2)]
        EnergyFitting(config, 2).build(parts, inputs, parameters)
        session.run(tf.global_variables_initializer())
        return session.run(parameters.variables)


def fitting_config(keys: dict[str, Any]) -> Any:
    return Config.from_dict(small_input(fitting_net=keys)).model.fitting_net


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_one_operation_is_the_same_net(rng: np.random.Generator, name: str, mixed: bool) -> None:
    config = fitting_config(CASES[name])
    arrays, weights = make_arrays(rng, config, mixed), first_weights(config)
    got = evaluate(config, arrays, weights, mixed, native=True)
    expected = evaluate(config, arrays, weights, mixed, native=False)
    assert "DpFittingNets" not in expected.kinds
    assert ("DpFittingNets" in got.kinds) == (config.activation_function == "tanh")

    tolerance = 2e-5 if name == "float32" else 1e-13
    pairs = {"energy": (got.energy, expected.energy), "slope": (got.slope, expected.slope)}
    assert got.gradients.keys() == expected.gradients.keys() > set()
    pairs |= {key: (got.gradients[key], expected.gradients[key]) for key in expected.gradients}
    for key, (value, true) in pairs.items():
        # the bias of the last layer has no part in the energy of nets with that of lone atoms
        scale = max(np.abs(true).max(), 1.0)
        np.testing.assert_allclose(value, true, rtol=0, atol=tolerance * scale, err_msg=key)
    virtual = arrays[names.T_TYPE].reshape(N_FRAMES, N_ATOMS) < 0
    assert not got.energy[virtual].any() and not got.slope[virtual].any()
