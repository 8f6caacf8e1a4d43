# SPDX-License-Identifier: BSD-3-Clause
"""Native, stock and reference graphs are one model, whatever its options."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import (
    DIALECTS,
    QUANTITIES,
    Frames,
    build,
    evaluate,
    random_statistics,
    random_weights,
)
from plain_session import plain_session
from saved_models import small_input, water_like

from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.variables import VariableParameters

TABLE = 1e-9
"""Relative. The table is chosen for 1e-11 in the nets; these small nets reach far, and forces
differ most."""
DIRECT = "relu (direct)"
DESCRIPTORS = {
    "two-sided": {},
    "one-sided": {"type_one_side": True},
    "two-sided excluded": {"exclude_types": [[0, 1]]},
    "one-sided excluded": {"exclude_types": [[0, 1], [1, 1]], "type_one_side": True},
    "timestep": {"resnet_dt": True, "neuron": [4, 8, 8]},
    "gelu": {"activation_function": "gelu", "type_one_side": True},
    DIRECT: {"activation_function": "relu"},
    "silut (direct)": {"activation_function": "silut:1.0", "exclude_types": [[0, 0]]},
    "sel too small": {"sel": [3, 5]},
    "a type without neighbours kept": {"sel": [14, 0]},
    "rcut not a float32": {"rcut": 3.7, "rcut_smth": 0.7},
}
FITTINGS = {
    "no timestep": {"resnet_dt": False},
    "atom_ener": {"atom_ener": [-1.5, None]},
    "plain": {"resnet_dt": False, "activation_function": "softplus"},
    "shared layers": {"layer_name": [None, "same", "same", None], "neuron": [10, 10, 10]},
}
WITH_TYPES = {
    "one-sided, type embedding, no slots of type 0": {"sel": [0, 30], "type_one_side": True},
    "type embedding, no slots of type 1": {"sel": [30, 0]},
}
SCRIPTS = {
    **{key: small_input(descriptor=value) for key, value in DESCRIPTORS.items()},
    **{key: small_input(fitting_net=value) for key, value in FITTINGS.items()},
    **{key: small_input(descriptor=value) for key, value in WITH_TYPES.items()},
}
ALIKE = ("two-sided", "one-sided", "two-sided excluded", "gelu", "no timestep")
"""Of which others here, or the contract of descriptors, have each part."""
for _key in WITH_TYPES:
    SCRIPTS[_key]["model"]["type_embedding"] = {"neuron": [2, 4], "seed": 5}


def make_frames(rng, periodic=True, **kwargs):
    coord, box, types = water_like(rng, **kwargs)
    return Frames(coord, box if periodic else None, types)


def assert_same(got, expected, tolerance):
    for key in QUANTITIES:
        scale = np.abs(expected[key]).max()
        assert scale > 0, key
        np.testing.assert_allclose(
            got[key], expected[key], rtol=0, atol=tolerance * scale, err_msg=key
        )


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in SCRIPTS]
)
def test_dialects_agree(rng, name):
    script = SCRIPTS[name]
    frames = make_frames(rng)
    weights = random_weights(script, random_statistics(rng))
    results = {dialect: evaluate(script, weights, frames, dialect) for dialect in DIALECTS}
    assert_same(results["native"], results["reference"], TABLE)
    assert_same(results["stock"], results["reference"], 1e-12)


@pytest.mark.parametrize(
    "name", ["one-sided", *(pytest.param(n, marks=pytest.mark.slow) for n in ("two-sided", DIRECT))]
)
def test_dialects_agree_without_periodicity(rng, name):
    frames = make_frames(rng, periodic=False)
    weights = random_weights(SCRIPTS[name], random_statistics(rng))
    results = {dialect: evaluate(SCRIPTS[name], weights, frames, dialect) for dialect in DIALECTS}
    assert_same(results["native"], results["reference"], TABLE)
    assert_same(results["stock"], results["reference"], 1e-12)


@pytest.mark.parametrize("name", ["two-sided", "one-sided excluded"])
def test_virtual_atoms_have_no_energy_and_no_force(rng, name):
    script = SCRIPTS[name]
    frames = make_frames(rng)
    types = frames.types.copy()
    types[[0, 5, 11, 20]] = -1
    frames = Frames(frames.coord, frames.box, types)
    weights = random_weights(script, random_statistics(rng))
    results = {dialect: evaluate(script, weights, frames, dialect) for dialect in DIALECTS}
    assert_same(results["native"], results["reference"], TABLE)
    assert_same(results["stock"], results["reference"], 1e-12)
    without = Frames(frames.coord[:, 4:], frames.box, frames.types[4:])
    real = evaluate(script, weights, without)
    np.testing.assert_allclose(results["native"]["energy"], real["energy"], rtol=1e-13)
    np.testing.assert_array_equal(results["native"]["force"][:, : 3 * 4], 0)
    np.testing.assert_array_equal(results["native"]["atom_energy"][:, :4], 0)


@pytest.mark.parametrize("name", ["one-sided", "two-sided excluded"])
@pytest.mark.parametrize("only", [0, 1])
def test_frames_without_atoms_of_a_type(rng, name, only):
    script = SCRIPTS[name]
    coord, box, types = water_like(rng)
    frames = Frames(coord, box, np.full_like(types, only))
    weights = random_weights(script, random_statistics(rng))
    results = {dialect: evaluate(script, weights, frames, dialect) for dialect in DIALECTS}
    assert_same(results["native"], results["reference"], TABLE)
    assert_same(results["stock"], results["reference"], 1e-12)


def test_cells_smaller_than_the_cutoff(rng):
    script = SCRIPTS["one-sided"]
    coord, box, types = water_like(rng, n_atoms=4, length=2.9)
    frames = Frames(coord, box, types)
    script = small_input(descriptor={"sel": [60, 60], "type_one_side": True})
    weights = random_weights(script, random_statistics(rng))
    results = {dialect: evaluate(script, weights, frames, dialect) for dialect in DIALECTS}
    assert_same(results["native"], results["reference"], TABLE)
    assert_same(results["stock"], results["reference"], 1e-12)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_float32(rng, precision):
    """float32 in the nets, or in the whole interface, against the float64 reference."""
    frames = make_frames(rng)
    script = SCRIPTS["two-sided"]
    statistics = random_statistics(rng)
    weights = random_weights(script, statistics)
    expected = evaluate(script, weights, frames, "reference")
    single = small_input(descriptor={"precision": precision}, fitting_net={"precision": precision})
    interface = tf.float64 if precision == "float32" else tf.float32
    for dialect in ("native", "stock"):
        assert_same(evaluate(single, weights, frames, dialect, dtype=interface), expected, 5e-5)


def test_direct_path_is_taken_when_the_table_does_not_pay(rng):
    script = SCRIPTS["two-sided"]
    frames = make_frames(rng)
    weights = random_weights(script, random_statistics(rng))
    with tf.Graph().as_default():
        assert (
            build(script, ConstantParameters(weights), "native", expected_pairs=100)[1].atoms.tables
            is None
        )
        assert build(script, ConstantParameters(weights), "native")[1].atoms.tables is not None
    direct = evaluate(script, weights, frames, expected_pairs=100)
    assert "outside" not in direct
    assert_same(direct, evaluate(script, weights, frames), TABLE)


def test_diagnostics(rng):
    script = SCRIPTS["sel too small"]
    frames = make_frames(rng)
    weights = random_weights(script, random_statistics(rng))
    result = evaluate(script, weights, frames, min_nbor_dist=1.0)
    assert (result["dropped"] > 0).all()
    assert (result["max_found"] > [3, 5]).all()
    assert result["outside"] == 0
    # a table that begins at 3 Å: closer pairs are counted
    close = evaluate(script, weights, frames, min_nbor_dist=6.0)
    assert close["outside"] > 0


def hessian_vector(outputs, inputs, vector):
    """Σ_j ∂²E/∂r_i∂r_j v_j [3n] by nested gradients."""
    projection = tf.reduce_sum(tf.reshape(outputs.force, [-1]) * vector)
    return -tf.reshape(tf.gradients(projection, inputs.coord)[0], [-1])


@pytest.mark.parametrize(
    "name", ["one-sided excluded", pytest.param("two-sided", marks=pytest.mark.slow)]
)
def test_weight_gradient_of_a_hessian_loss(rng, name):
    """Through the table it is what plain TensorFlow gives."""
    script = SCRIPTS[name]
    frames = make_frames(rng, n_atoms=4, n_frames=1, length=4.2)
    weights = random_weights(script, random_statistics(rng))
    direction, target = rng.normal(size=(2, 12))
    gradients = {}
    for dialect in ("native", "reference"):
        with tf.Graph().as_default(), plain_session() as session:
            parameters = VariableParameters(weights)
            inputs, outputs = build(script, parameters, dialect)
            session.run(tf.global_variables_initializer())
            if outputs.atoms.tables is not None:
                outputs.atoms.tables.refresh(session)
            loss = tf.reduce_mean((hessian_vector(outputs, inputs, direction) - target) ** 2)
            loss += tf.reduce_mean(outputs.force**2) + tf.reduce_sum(outputs.virial**2)
            variables = parameters.trainable
            wanted = dict(
                zip((v.op.name for v in variables), tf.gradients(loss, variables), strict=True)
            )
            wanted = {key: value for key, value in wanted.items() if value is not None}
            gradients[dialect] = session.run(wanted, frames.feed(inputs))
    assert gradients["native"].keys() == gradients["reference"].keys()
    for key, expected in gradients["reference"].items():
        scale = max(np.abs(expected).max(), 1e-8)
        got = gradients["native"][key]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7 * scale, err_msg=key)
