# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives: two ways of building them, the reference dialect, and forces."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import small
import tensorflow.compat.v1 as tf
from evaluation import Frames, build, evaluate, random_statistics, random_weights
from plain_session import plain_session

from deepmd_tf.config import Config, HessianMode, LossEner
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.hessian import (
    full_hessian,
    hessian_vector_product,
    hessian_vector_products,
)
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.training.hessian import Directions

N = 5
TABLE = 2e-10
"""Relative to the largest element. The second derivative of a table with intervals of length h
repeats to about 1e-16/h² only: s is rounded otherwise where the same thing is built in two ways."""
NO_OTHERS = {f"{when}_pref_{term}": 0.0 for when in ("start", "limit") for term in "ef"}


def make_script(descriptor=None, fitting=None):
    sizes = {"sel": [6, 12], "rcut": 4.0, "rcut_smth": 1.0, "neuron": [4, 8], "axis_neuron": 3}
    return small.script(
        sizes | (descriptor or {}), {"neuron": [7, 7], "seed": 2, **(fitting or {})}
    )


SCRIPTS = {
    "two-sided": make_script(),
    "one-sided, excluded": make_script({"type_one_side": True, "exclude_types": [[0, 0]]}),
    "no timestep, gelu": make_script(fitting={"resnet_dt": False, "activation_function": "gelu"}),
    "no timestep": make_script(fitting={"resnet_dt": False}),
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


def full_of_each(script, weights, cases):
    """Matrices of the frames of each case, in one graph."""
    with tf.Graph().as_default(), plain_session() as session:
        model = EnergyModel(Config.from_dict(script).model)
        parameters = ConstantParameters(weights)
        inputs = model.make_inputs(tf.float64)
        matrices = full_hessian(model, model.build(inputs, parameters), parameters)
        return [session.run(matrices, frames.feed(inputs)) for frames in cases]


def full(script, weights, frames):
    return full_of_each(script, weights, [frames])[0]


def copies(frames, times):
    """Each frame so often, one copy behind the other."""

    def repeated(array):
        return None if array is None else np.repeat(array, times, axis=0)

    return Frames(
        repeated(frames.coord),
        repeated(frames.box),
        frames.types,
        fparam=repeated(frames.fparam),
        aparam=repeated(frames.aparam),
    )


def by_products_of_each(script, weights, cases, dialect):
    """All rows of the matrices of each case, each from a copy of the frame, in one graph."""
    size = 3 * N
    with tf.Graph().as_default(), plain_session() as session:
        inputs, outputs = build(script, ConstantParameters(weights), dialect)
        along = tf.placeholder(tf.float64, [None, size])
        products = hessian_vector_product(outputs, along)
        found = []
        for frames in cases:
            feed = copies(frames, size).feed(inputs)
            feed[along] = np.tile(np.eye(size), (len(frames.coord), 1))
            found.append(session.run(products, feed).reshape(-1, size, size))
    return found


def by_products(script, weights, frames, dialect):
    return by_products_of_each(script, weights, [frames], dialect)[0]


@pytest.mark.parametrize("name", SCRIPTS)
def test_full_matrix_is_that_of_the_products(rng, name):
    """With and without a cell."""
    script = SCRIPTS[name]
    cases = [make_frames(rng, script, periodic=periodic) for periodic in (True, False)]
    weights = random_weights(script, random_statistics(rng))
    matrices = full_of_each(script, weights, cases)
    of_products = by_products_of_each(script, weights, cases, "native")
    for got, products in zip(matrices, of_products, strict=True):
        scale = np.abs(got).max()
        assert got.shape == (2, 3 * N, 3 * N) and scale > 1e-3
        np.testing.assert_allclose(got, got.transpose(0, 2, 1), rtol=0, atol=TABLE * scale)
        np.testing.assert_allclose(got, products, rtol=0, atol=TABLE * scale)


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
    moved = copies(frames, len(moves))
    moved.coord = moved.coord.reshape(len(moves), -1) + moves
    force = evaluate(script, weights, moved)["force"]
    differences = -(force[: 3 * N] - force[3 * N :]) / (2 * step)
    np.testing.assert_allclose(got, differences, rtol=0, atol=1e-6 * scale)
    # acoustic sum rule: moving all atoms together costs nothing
    rows = got.reshape(3 * N, N, 3).sum(axis=1)
    np.testing.assert_allclose(rows, 0, atol=TABLE * scale)


def test_virtual_atoms_have_no_second_derivatives(rng):
    script = SCRIPTS["two-sided"]
    frames = make_frames(rng, script, n_frames=1)
    weights = random_weights(script, random_statistics(rng))
    frames.types = np.array([-1, 0, 1, 1, 1], np.int32)
    got = full(script, weights, frames)[0]
    assert np.all(got[:3] == 0.0) and np.all(got[:, :3] == 0.0)
    products = by_products(script, weights, frames, "native")[0]
    np.testing.assert_allclose(got, products, rtol=0, atol=TABLE * np.abs(got).max())


MEASURES = {
    "squares": ({}, np.square),
    "mae": ({"loss_func": "mae"}, np.abs),
    "huber": (
        {"use_huber": True, "huber_delta": 0.7},
        lambda x: np.where(np.abs(x) < 0.7, x**2 / 2, 0.7 * (np.abs(x) - 0.35)),
    ),
}
"""Keys of the loss, and what it is the mean of."""


def weight_gradients(
    script,
    weights,
    frames,
    directions,
    target,
    dialect="native",
    way="full",
    measure="squares",
):
    """Loss on Hessians and its gradient in the weights, for each of ``directions``.

    ``way``: "full"; "rows", one of each frame; or the loss of products with k directions
    [n_frames, k, 3 N] that are made in the frames themselves (k = 1), "here", or in "copies".
    """
    keys, _ = MEASURES[measure]
    loss = EnergyLoss(LossEner(start_pref_h=1.0, limit_pref_h=1.0, **NO_OTHERS, **keys))
    with tf.Graph().as_default(), plain_session() as session:
        parameters = VariableParameters(weights)
        model = EnergyModel(Config.from_dict(script).model)
        inputs = model.make_inputs(tf.float64)
        outputs = model.build(inputs, parameters, dialect)
        along = tf.placeholder(tf.float64, [None, None, None])
        if way == "full":
            added = {"hessian": full_hessian(model, outputs, parameters)}
        elif way == "rows":
            added = {"hessian": hessian_vector_product(outputs, along)}
        elif way == "here":
            product = hessian_vector_product(outputs, along)[:, None]
            added = {"hessian": product, "directions": along}
        else:
            product = hessian_vector_products(model, outputs, parameters, along)
            added = {"hessian": product, "directions": along}
        label = {"hessian": tf.constant(target.ravel())}
        seen = dataclasses.replace(outputs, **added)
        total = loss.build(seen, label, tf.ones([1], tf.float64)).total
        variables = parameters.trainable
        found = zip(variables, tf.gradients(total, variables), strict=True)
        # a bias of the last layer moves no force
        wanted = {v.op.name: tf.zeros_like(v) if g is None else g for v, g in found}
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        if outputs.atoms.tables is not None:
            outputs.atoms.tables.refresh(session)
        feed = frames.feed(inputs)
        results = [session.run([total, wanted], {**feed, along: v}) for v in directions]
    return results


def flat(gradient):
    return np.concatenate([gradient[name].ravel() for name in sorted(gradient)])


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("two-sided", "squares"),
        pytest.param("two-sided", "mae", marks=pytest.mark.slow),
        pytest.param("two-sided", "huber", marks=pytest.mark.slow),
        pytest.param("parameters", "squares", marks=pytest.mark.slow),
        pytest.param("no timestep, gelu", "squares", marks=pytest.mark.slow),
        pytest.param("no table", "squares", marks=pytest.mark.slow),
    ],
)
def test_gradient_in_the_weights(rng, name, measure):
    """Of the loss on whole matrices, against products in the reference dialect, and along a random
    direction of all weights against differences."""
    script = SCRIPTS[name]
    frames = make_frames(rng, script, n_frames=1)
    weights = random_weights(script, random_statistics(rng))
    size = 3 * N
    target = rng.normal(size=(1, size, size))
    units = np.eye(size)[:, None]
    _, function = MEASURES[measure]
    ((value, found),) = weight_gradients(
        script, weights, frames, units[None], target, measure=measure
    )
    ((reference, expected),) = weight_gradients(
        script,
        weights,
        copies(frames, size),
        units[None],
        target,
        "reference",
        "rows",
        measure,
    )
    np.testing.assert_allclose(value, reference, rtol=1e-9)
    assert found.keys() == expected.keys()
    for key in expected:
        scale = max(np.abs(expected[key]).max(), 1e-8)
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=1e-6 * scale)
    matrix = full(script, weights, frames)
    np.testing.assert_allclose(value, np.mean(function(matrix - target)), rtol=1e-9)
    if name != "two-sided":
        return
    step, losses = 1e-5, []
    direction = {key: rng.normal(size=np.shape(weights[key])) for key in found}
    for sign in (1, -1):
        moved = weights | {key: weights[key] + sign * step * direction[key] for key in found}
        losses.append(np.mean(function(full(script, moved, frames) - target)))
    slope = sum(np.sum(direction[key] * found[key]) for key in found)
    np.testing.assert_allclose(slope, (losses[0] - losses[1]) / (2 * step), rtol=1e-6)


def test_random_directions_give_the_same_gradient(rng):
    """On average: columns exactly, signs within the scatter of their mean."""
    script = SCRIPTS["parameters"]
    frames = make_frames(rng, script)
    weights = random_weights(script, random_statistics(rng))
    size = 3 * N
    target = rng.normal(scale=0.1, size=(2, size, size))
    nothing = np.zeros((1, 2, 1, size))
    ((value, gradient),) = weight_gradients(script, weights, frames, nothing, target)
    expected = flat(gradient)

    units = np.tile(np.eye(size)[:, None, None], (1, 2, 1, 1))
    here = weight_gradients(script, weights, frames, units, target, way="here")
    np.testing.assert_allclose(np.mean([loss for loss, _ in here]), value, rtol=1e-9)
    mean = np.mean([flat(g) for _, g in here], axis=0)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-8 * np.abs(expected).max())

    drawn = Directions(HessianMode("probe", 2), seed=3)
    draws = np.array([drawn.draw(2, N) for _ in range(200)])
    tests = rng.normal(size=(len(expected), 12)) / np.linalg.norm(expected)
    results = weight_gradients(script, weights, frames, draws, target, way="copies")
    samples = np.array([[loss / value, *(flat(g) @ tests)] for loss, g in results])
    truth = np.array([1.0, *(expected @ tests)])
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    # a factor in the loss would be seen
    assert error[0] < 0.05
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - truth), 4.5 * error)


def test_directions():
    for mode in ("probe", "columns"):
        one, other = (Directions(HessianMode(mode, 4), seed=9) for _ in range(2))
        first = one.draw(3, 2)
        assert first.shape == (3, 4, 6)
        np.testing.assert_allclose(np.linalg.norm(first, axis=-1), 1.0)
        np.testing.assert_array_equal(first, other.draw(3, 2))
        state = one.get_state()
        second = one.draw(3, 2)
        assert np.any(second != first)
        other.set_state(json.loads(json.dumps(state)))
        np.testing.assert_array_equal(other.draw(3, 2), second)
    columns = Directions(HessianMode("columns", 9), seed=9).draw(1, 2)[0]
    np.testing.assert_array_equal(columns.T @ columns, np.eye(6))
