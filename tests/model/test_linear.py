# SPDX-License-Identifier: BSD-3-Clause
"""Weighted sums of models: those of the models by themselves, in all dialects, and derivatives."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import small
import tensorflow.compat.v1 as tf
from evaluation import DIALECTS, QUANTITIES, Frames, evaluate, random_statistics
from plain_session import plain_session

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.environment import AtomRange
from deepmd_tf.model.energy import Statistics
from deepmd_tf.model.hessian import (
    full_hessian,
    hessian_part,
    hessian_vector_product,
    hessian_vector_products,
)
from deepmd_tf.model.kinds import make_model
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.pair_table import PairTable

N = 5
R = np.arange(1, 81) * 0.05
TABLE = PairTable(
    R,
    np.stack(
        [
            np.where(R < 3, a * np.exp(-R / b) * (1 - R / 3.0) ** 3, 0)
            for a, b in ((20, 0.5), (14, 0.4), (9, 0.6))
        ],
        axis=1,
    ),
)
TABLES = {"_model2": TABLE.continued(3.1)[0].coefficients()}
WEIGHTS = (0.3, -1.2, 0.8)
SIZES = {"sel": [6, 12], "rcut": 4.0, "rcut_smth": 1.0, "neuron": [4, 8]}
FITTING = {"neuron": [9, 7], "seed": 2}
RADIAL = SIZES | {"type": "se_e2_r", "seed": 3}
MEMBERS = (
    {"descriptor": SIZES | {"type": "se_e2_a", "seed": 1, "axis_neuron": 3}},
    {
        "descriptor": {"type": "hybrid", "list": [RADIAL, RADIAL | {"rcut": 3.0}]},
        "type_embedding": {"neuron": [3], "seed": 5},
    },
)


def alone(member):
    """The script of a member by itself."""
    script = small.script()
    types = {"type_map": ["O", "H"], "fitting_net": FITTING}
    return script | {"model": member | types}


def together():
    """The script of the sum."""
    script = small.script()
    table = {"type": "pairtab", "tab_file": "t", "rcut": 3.1, "sel": 20}
    models = [alone(member)["model"] for member in MEMBERS]
    model = {"type": "linear_ener", "models": [*models, table], "weights": list(WEIGHTS)}
    return script | {"model": model}


def make_frames(rng, n_frames=1, periodic=True):
    sites = np.stack(np.meshgrid([0.0, 1.3], [0.0, 1.5], [0.0, 2.3]), axis=-1).reshape(-1, 3)[:N]
    coord = sites + rng.uniform(-0.2, 0.2, size=(n_frames, N, 3))
    box = np.tile(np.diag([4.4, 4.1, 4.6]).ravel(), (n_frames, 1)) if periodic else None
    return Frames(coord, box, np.array([0, 0, 1, 1, 1]))


def first_values(rng, script):
    """Random weights of the sum, by name."""
    model = make_model(Config.from_dict(script).model, pair_tables=TABLES)
    known = {}
    for member, parts in (("_model0", ("",)), ("_model1", ("_0", "_1"))):
        drawn = [random_statistics(rng) for _ in parts]
        avg, std = (
            {member + part: getattr(one, key) for part, one in zip(parts, drawn, strict=True)}
            for key in ("avg", "std")
        )
        known[member] = Statistics(avg, std, drawn[0].bias)
    with tf.Graph().as_default(), plain_session() as session:
        parameters = VariableParameters()
        model.build(model.make_inputs(tf.float64), parameters, "reference", known)
        session.run(tf.global_variables_initializer())
        return session.run(parameters.variables)


def run(weights, frames, dialect="native", dtype=tf.float64, **options):
    """All quantities and diagnostics of the sum."""
    return evaluate(together(), weights, frames, dialect, dtype, pair_tables=TABLES, **options)


def copies(frames, coord, box=None):
    box = frames.box if box is None else box
    if box is not None and len(box) != len(coord):
        box = np.repeat(box, len(coord), axis=0)
    return Frames(coord, box, frames.types)


def by_table(frames):
    """Energies of the pairs of open frames, and forces."""
    info, data = TABLES["_model2"]
    data = data.reshape(2, 2, -1, 4)
    x = frames.coord[:, None] - frames.coord[:, :, None]
    r = np.linalg.norm(x, axis=-1) + 1e3 * np.eye(N)
    place = (r - info[0]) / info[1]
    k = np.minimum(place.astype(int), data.shape[2] - 1)
    a = data[frames.types[:, None], frames.types[None, :], k]
    u, inside = place - k, place < data.shape[2]
    phi = ((a[..., 0] * u + a[..., 1]) * u + a[..., 2]) * u + a[..., 3]
    slope = ((3 * a[..., 0] * u + 2 * a[..., 1]) * u + a[..., 2]) / info[1]
    force = ((slope * inside / r)[..., None] * x).sum(axis=2)
    return 0.5 * (phi * inside).sum(-1), force


@pytest.fixture(scope="module")
def weights():
    return first_values(np.random.default_rng(3), together())


def test_the_sum_is_that_of_the_models(rng, weights):
    frames = make_frames(rng, 2, periodic=False)
    energy, force = (WEIGHTS[2] * values for values in by_table(frames))
    assert np.abs(energy).min() > 0.001
    for k, member in enumerate(MEMBERS):
        split = {names.split_model(name): array for name, array in weights.items()}
        own = {name: array for (name, scope), array in split.items() if scope == f"_model{k}"}
        found = evaluate(alone(member), own, frames)
        energy = energy + WEIGHTS[k] * found["atom_energy"]
        force = force + WEIGHTS[k] * found["force"].reshape(2, N, 3)
    found = run(weights, frames)
    np.testing.assert_allclose(found["atom_energy"], energy, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["energy"], energy.sum(1), rtol=1e-13)
    np.testing.assert_allclose(found["force"].reshape(2, N, 3), force, rtol=0, atol=1e-11)


@pytest.mark.parametrize("periodic", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_dialects_agree(rng, weights, periodic):
    frames = make_frames(rng, 2, periodic)
    found = {d: run(weights, frames, d) for d in DIALECTS}
    for dialect, key in ((d, k) for d in ("stock", "reference") for k in QUANTITIES):
        expected = found["native"][key]
        got = found[dialect][key].reshape(expected.shape)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-11 * scale, err_msg=key)
    limits = make_model(Config.from_dict(together()).model, pair_tables=TABLES)
    # of O and H within each of the four cutoffs
    assert len(found["native"]["dropped"]) == len(limits.neighbor_limits()) == 8


@pytest.mark.slow
def test_single_precision(rng, weights):
    frames = make_frames(rng)
    expected = run(weights, frames)
    for dialect in ("native", "stock"):
        found = run(weights, frames, dialect, tf.float32)
        for key in QUANTITIES:
            scale = np.abs(expected[key]).max()
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=3e-5 * scale)


def test_forces_and_virials_are_derivatives(rng, weights):
    frames = make_frames(rng)
    found = run(weights, frames)
    h = 1e-4
    moves = np.concatenate([np.eye(3 * N), -np.eye(3 * N)]).reshape(-1, N, 3) * h
    energy = run(weights, copies(frames, frames.coord + moves))["energy"]
    slope = (energy[: 3 * N] - energy[3 * N :]) / (2 * h)
    np.testing.assert_allclose(-slope, found["force"][0], rtol=0, atol=2e-6)
    strain = np.concatenate([np.eye(9), -np.eye(9)]).reshape(-1, 3, 3) * h + np.eye(3)
    coord = np.einsum("kab,nb->kna", strain, frames.coord[0])
    box = np.einsum("kab,cb->kca", strain, frames.box.reshape(3, 3)).reshape(-1, 9)
    energy = run(weights, copies(frames, coord, box))["energy"]
    slope = (energy[:9] - energy[9:]) / (2 * h)
    np.testing.assert_allclose(-slope, found["virial"][0], rtol=0, atol=5e-6)


def test_hessians(rng, weights):
    frames = make_frames(rng)
    model = make_model(Config.from_dict(together()).model, pair_tables=TABLES)

    def matrices(outputs, parameters):
        ranges = [AtomRange(tf.constant(b), tf.constant(e)) for b, e in ((0, 2), (2, N))]
        part = partial(hessian_part, model, outputs, parameters)
        directions = tf.eye(3 * N, dtype=tf.float64)[None, 3:5]
        return {
            "whole": full_hessian(model, outputs, parameters),
            "parts": tf.add_n([part(atoms) for atoms in ranges]),
            "rows": hessian_vector_products(model, outputs, parameters, directions),
        }

    found = run(weights, frames, fetch=matrices)
    scale = np.abs(found["whole"]).max()
    whole = found["whole"][0]
    np.testing.assert_allclose(found["parts"][0], whole, rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(found["rows"][0], whole[3:5], rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(whole, whole.T, rtol=0, atol=1e-10 * scale)
    many = copies(frames, np.repeat(frames.coord, 3 * N, axis=0))
    products = run(
        weights,
        many,
        fetch=lambda outputs, _: hessian_vector_product(outputs, tf.eye(3 * N, dtype=tf.float64)),
    )
    np.testing.assert_allclose(products, whole, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layer_0_type_1/matrix", "layer_0_type_1_model0/matrix"),
        ("descrpt_attr/t_avg", "descrpt_attr_model0/t_avg"),
        ("descrpt_attr_1/t_avg", "descrpt_attr_model0_1/t_avg"),
        ("filter_type_all/matrix_1_0", "filter_type_all_model0/matrix_1_0"),
        ("filter_type_0_1/matrix_1_0", "filter_type_0_model0_1/matrix_1_0"),
        ("attention_layer_0/c_query/bias", "attention_layer_0_model0/c_query/bias"),
        ("type_embed_net/matrix_1", "type_embed_net_model0/matrix_1"),
        ("o_rmat_0", "o_rmat_model0_0"),
        ("o_energy", "o_energy_model0"),
        (names.OUT_BIAS, "model_attr_model0/model_attr_model0/t_out_bias"),
        (names.TAB_DATA, "model_attr_model0/t_tab_data"),
    ],
)
def test_names_of_members(name, expected):
    assert names.in_model(name, "_model0") == expected
    assert names.in_model(expected, "_model0") == expected
    assert names.in_model(name, "") == name
    assert names.split_model(expected) == (name, "_model0")
    assert names.is_parameter(expected) == names.is_parameter(name)
    assert names.weight_owner(expected) == names.weight_owner(name)
