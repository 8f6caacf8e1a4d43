# SPDX-License-Identifier: BSD-3-Clause
"""Energies of models with spins: derivatives against differences, dialects against each other."""

from __future__ import annotations

import numpy as np
import pytest
import spins
import tensorflow.compat.v1 as tf
from evaluation import QUANTITIES, Frames, build, evaluate, random_weights
from plain_session import plain_session

from deepmd_tf.config import ModelConfig
from deepmd_tf.config.spin import SpinConfig
from deepmd_tf.model.energy import Statistics
from deepmd_tf.model.hessian import hessian_vector_product
from deepmd_tf.model.spin import bias_of_real_atoms
from deepmd_tf.nn.parameters import ConstantParameters

STEP = 1e-4
REAL, VIRTUAL = slice(0, spins.REAL), slice(spins.REAL, None)


@pytest.fixture(
    scope="module", params=["two-sided", pytest.param("se_e2_r", marks=pytest.mark.slow)]
)
def model(request):
    script = spins.script(request.param)
    avg = np.array([[0.05, 0.0, 0.0, 0.0]] * 3) * [[1.0], [0.8], [1.2]]
    std = np.array([[0.12, 0.08, 0.08, 0.08]] * 3) * [[1.0], [1.1], [0.9]]
    return script, random_weights(script, Statistics(avg, std, np.array([-3.0, -1.5])))


def run(model, coord, m, box=None, dialect="native"):
    """All quantities of real atoms with these spins."""
    frames = Frames(
        spins.with_virtual(coord, m),
        spins.boxes(len(coord)) if box is None else box,
        spins.TYPES,
        ntypes=3,
    )
    return evaluate(*model, frames, dialect, use_table=False)


def slope(energy, x, along):
    """Of a function of x, by differences of the fourth order."""
    e = [energy(x + k * STEP * along) for k in (-2, -1, 1, 2)]
    return (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * STEP)


def test_forces_on_atoms_at_fixed_spins(model, rng):
    coord, m = spins.frames(3)
    along = rng.normal(size=coord.shape)
    found = run(model, coord, m)
    expected = slope(lambda x: run(model, x, m)["energy"], coord, along)
    force = found["force"].reshape(2, -1, 3)[:, REAL]
    np.testing.assert_allclose(-np.sum(force * along, axis=(1, 2)), expected, rtol=1e-7)


def test_forces_on_spins(model, rng):
    coord, m = spins.frames(4)
    along = rng.normal(size=m.shape)
    found = run(model, coord, m)
    expected = slope(lambda x: run(model, coord, x)["energy"], m, along)
    force = found["force"].reshape(2, -1, 3)[:, VIRTUAL]
    np.testing.assert_allclose(-np.sum(force * along, axis=(1, 2)), expected, rtol=1e-7)


def test_virial_is_that_of_a_strain_at_fixed_spins(model, rng):
    coord, m = spins.frames(5)
    along = rng.normal(size=(2, 3, 3))
    found = run(model, coord, m)

    def energy(strain):
        bent = np.eye(3) + strain
        box = np.einsum("fka,fba->fkb", spins.boxes(2).reshape(2, 3, 3), bent)
        return run(model, np.einsum("fna,fba->fnb", coord, bent), m, box.reshape(2, 9))["energy"]

    expected = slope(energy, np.zeros((2, 3, 3)), along)
    virial = found["virial"].reshape(2, 3, 3)
    np.testing.assert_allclose(-np.sum(virial * along, axis=(1, 2)), expected, rtol=1e-6)
    np.testing.assert_allclose(
        found["atom_virial"].reshape(2, -1, 9).sum(axis=1), found["virial"], rtol=0, atol=1e-12
    )


def test_virtual_atoms_have_no_energy(model):
    found = run(model, *spins.frames(6))
    assert not found["atom_energy"][:, VIRTUAL].any()
    np.testing.assert_allclose(
        found["atom_energy"][:, REAL].sum(axis=1), found["energy"], rtol=1e-14
    )


def test_dialects_agree(model):
    coord, m = spins.frames(7)
    native = run(model, coord, m)
    for dialect in ("stock", "reference"):
        other = run(model, coord, m, dialect=dialect)
        for key in QUANTITIES:
            scale = np.abs(native[key]).max()
            np.testing.assert_allclose(
                other[key], native[key], rtol=0, atol=1e-12 * scale, err_msg=f"{dialect} {key}"
            )


def test_any_image_of_a_virtual_atom(model, rng):
    coord, m = spins.frames(8)
    expected = run(model, coord, m)
    everywhere = spins.with_virtual(coord, m)
    everywhere += spins.EDGE * rng.integers(-2, 3, everywhere.shape)
    frames = Frames(everywhere, spins.boxes(2), spins.TYPES, ntypes=3)
    found = evaluate(*model, frames, use_table=False)
    for key in QUANTITIES:
        scale = np.abs(expected[key]).max()
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=1e-12 * scale)


def test_hessian_vector_products(model, rng):
    """H v in the coordinates of real atoms and in spins."""
    coord, m = spins.frames(9)
    along = rng.normal(size=(2, len(spins.TYPES), 3))
    script, weights = model
    with tf.Graph().as_default() as graph:
        inputs, outputs = build(script, ConstantParameters(weights), "native", use_table=False)
        directions = tf.placeholder(tf.float64, [None])
        product = hessian_vector_product(outputs, directions)
    frames = Frames(spins.with_virtual(coord, m), spins.boxes(2), spins.TYPES, ntypes=3)
    with plain_session(graph) as session:
        found = session.run(product, frames.feed(inputs) | {directions: along.ravel()})

    def force(x):
        return run(model, x[:, REAL], x[:, VIRTUAL][:, : m.shape[1]])["force"]

    expected = -slope(force, np.concatenate([coord, m], axis=1), along)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * scale)


def test_bias_of_real_atoms():
    spin = SpinConfig(use_spin=[True, True, False], spin_norm=[1.0, 2.0], virtual_len=[0.4, 0.3])
    bias = np.array([1.0, 2.0, 3.0, 10.0, 20.0])
    np.testing.assert_array_equal(bias_of_real_atoms(bias, spin), [11.0, 22.0, 3.0])
    np.testing.assert_array_equal(bias_of_real_atoms(bias, None), bias)


def test_types_of_a_model_with_spins():
    model = ModelConfig.from_dict(spins.script()["model"])
    assert (model.ntypes, model.virtual_types) == (3, 1)
    assert model.type_names == ["Ni", "O", "spin of Ni"]
    assert model.descriptor.for_types(3).neighbors == {"": (20, 20, 20)}
