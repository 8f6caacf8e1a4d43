# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives: two ways of building them, the reference dialect, and forces."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import Frames, build, evaluate, random_statistics, random_weights

from deepmd_tf.config import Config
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.hessian import full_hessian, hessian_vector_product
from deepmd_tf.nn.parameters import ConstantParameters, VariableParameters

N = 5


def make_script(descriptor=None, fitting=None):
    return {
        "model": {
            "type_map": ["O", "H"],
            "descriptor": {
                "type": "se_e2_a",
                "sel": [6, 12],
                "rcut": 4.0,
                "rcut_smth": 1.0,
                "neuron": [4, 8, 16],
                "axis_neuron": 4,
                "seed": 1,
                **(descriptor or {}),
            },
            "fitting_net": {"neuron": [12, 12, 7], "seed": 2, **(fitting or {})},
        },
        "learning_rate": {"start_lr": 1e-3},
        "training": {"numb_steps": 1, "training_data": {"systems": "."}},
    }


SCRIPTS = {
    "two-sided": make_script(),
    "one-sided, excluded": make_script({"type_one_side": True, "exclude_types": [[0, 0]]}),
    "no timestep, gelu": make_script(fitting={"resnet_dt": False, "activation_function": "gelu"}),
    "one layer": make_script(fitting={"neuron": [9]}),
    "no table": make_script({"activation_function": "silut:3.0"}),
    "parameters": make_script(fitting={"numb_fparam": 2, "numb_aparam": 1}),
    "shared layers": make_script(fitting={"neuron": [8, 8], "layer_name": ["a", "b", "c"]}),
    "energy of lone atoms": make_script(
        {"set_davg_zero": True}, {"atom_ener": [-1.0, None], "neuron": [8, 8]}
    ),
}


def make_frames(rng, script, n_frames=2, periodic=True):
    fitting = script["model"]["fitting_net"]
    length = 4.4
    sites = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)[:N] * length / 2
    coord = sites + rng.normal(scale=0.2, size=(n_frames, N, 3))
    box = np.tile(length * np.eye(3).ravel(), (n_frames, 1)) if periodic else None
    fparam = rng.normal(size=(n_frames, 2)) if fitting.get("numb_fparam") else None
    aparam = rng.normal(size=(n_frames, N, 1)) if fitting.get("numb_aparam") else None
    return Frames(coord, box, np.array([0, 0, 1, 1, 1]), fparam=fparam, aparam=aparam)


def full(script, weights, frames):
    with tf.Graph().as_default(), tf.Session() as session:
        model = EnergyModel(Config.from_dict(script).model)
        parameters = ConstantParameters(weights)
        inputs = model.make_inputs(tf.float64)
        outputs = model.build(inputs, parameters)
        return session.run(full_hessian(model, outputs, parameters), frames.feed(inputs))


def by_products(script, weights, frames, dialect):
    """Columns of the matrices, one after the other."""
    n_frames, size = len(frames.coord), 3 * N
    with tf.Graph().as_default(), tf.Session() as session:
        inputs, outputs = build(script, ConstantParameters(weights), dialect)
        direction = tf.placeholder(tf.float64, [None, size])
        product = hessian_vector_product(outputs, direction)
        columns = [
            session.run(
                product, {**frames.feed(inputs), direction: np.tile(unit, (n_frames, 1))}
            ).reshape(n_frames, size)
            for unit in np.eye(size)
        ]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("periodic", [True, False])
def test_full_matrix_is_that_of_the_products(rng, name, periodic):
    script = SCRIPTS[name]
    frames = make_frames(rng, script, periodic=periodic)
    weights = random_weights(script, random_statistics(rng))
    got = full(script, weights, frames)
    scale = np.abs(got).max()
    assert got.shape == (2, 3 * N, 3 * N) and scale > 1e-3
    np.testing.assert_allclose(got, got.transpose(0, 2, 1), rtol=0, atol=1e-11 * scale)
    products = by_products(script, weights, frames, "native")
    np.testing.assert_allclose(got, products, rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize("name", ["two-sided", "parameters", "energy of lone atoms"])
def test_full_matrix_is_that_of_the_reference_and_of_the_forces(rng, name):
    script = SCRIPTS[name]
    frames = make_frames(rng, script, n_frames=1)
    weights = random_weights(script, random_statistics(rng))
    got = full(script, weights, frames)[0]
    scale = np.abs(got).max()
    reference = by_products(script, weights, frames, "reference")[0]
    np.testing.assert_allclose(got, reference, rtol=0, atol=1e-9 * scale)

    step = 1e-4
    moves = np.concatenate([np.eye(3 * N), -np.eye(3 * N)]) * step
    many = len(moves)

    def repeated(array):
        return None if array is None else np.repeat(array, many, axis=0)

    moved = Frames(
        frames.coord.reshape(1, -1) + moves,
        repeated(frames.box),
        frames.types,
        fparam=repeated(frames.fparam),
        aparam=repeated(frames.aparam),
    )
    force = evaluate(script, weights, moved)["force"]
    differences = -(force[: 3 * N] - force[3 * N :]) / (2 * step)
    np.testing.assert_allclose(got, differences, rtol=0, atol=1e-6 * scale)
    # acoustic sum rule: moving all atoms together costs nothing
    rows = got.reshape(3 * N, N, 3).sum(axis=1)
    np.testing.assert_allclose(rows, 0, atol=1e-10 * scale)


def test_virtual_atoms_have_no_second_derivatives(rng):
    script = SCRIPTS["two-sided"]
    frames = make_frames(rng, script, n_frames=1)
    weights = random_weights(script, random_statistics(rng))
    frames.types = np.array([-1, 0, 1, 1, 1], np.int32)
    got = full(script, weights, frames)[0]
    assert np.all(got[:3] == 0.0) and np.all(got[:, :3] == 0.0)
    products = by_products(script, weights, frames, "native")[0]
    np.testing.assert_allclose(got, products, rtol=0, atol=1e-11 * np.abs(got).max())


@pytest.mark.parametrize("name", ["two-sided", "no timestep, gelu", "parameters", "no table"])
def test_gradient_in_the_weights(rng, name):
    """Of a loss on the full matrix, against products in the reference dialect."""
    script = SCRIPTS[name]
    frames = make_frames(rng, script, n_frames=1)
    weights = random_weights(script, random_statistics(rng))
    size = 3 * N
    target = rng.normal(size=(size, size))
    gradients = {}
    for dialect in ("native", "reference"):
        with tf.Graph().as_default(), tf.Session() as session:
            parameters = VariableParameters(weights)
            model = EnergyModel(Config.from_dict(script).model)
            inputs = model.make_inputs(tf.float64)
            outputs = model.build(inputs, parameters, dialect)
            if dialect == "native":
                matrix = full_hessian(model, outputs, parameters)[0]
            else:
                rows = [hessian_vector_product(outputs, unit) for unit in np.eye(size)]
                matrix = tf.concat(rows, axis=0)
            loss = tf.reduce_mean(tf.square(matrix - target))
            variables = parameters.trainable
            found = zip((v.op.name for v in variables), tf.gradients(loss, variables), strict=True)
            wanted = {key: value for key, value in found if value is not None}
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            if outputs.table is not None:
                outputs.table.refresh(session)
            gradients[dialect] = session.run(wanted, frames.feed(inputs))
    # a bias of the last layer moves no force
    assert gradients["native"].keys() <= gradients["reference"].keys()
    for key, expected in gradients["reference"].items():
        got = gradients["native"].get(key, np.zeros_like(expected))
        scale = max(np.abs(expected).max(), 1e-8)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * scale, err_msg=key)
