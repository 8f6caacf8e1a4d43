# SPDX-License-Identifier: BSD-3-Clause
"""A tabulated pair potential and the switch to it: all dialects, all derivatives, formulas."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import small
import tensorflow.compat.v1 as tf
from evaluation import (
    DIALECTS,
    QUANTITIES,
    Frames,
    evaluate,
    random_statistics,
    random_weights,
)

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.environment import AtomRange
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.hessian import full_hessian, hessian_vector_product, hessian_vector_products
from deepmd_tf.pair_table import PairTable

ALPHA, RMIN, RMAX = 0.2, 1.0, 1.7
KEYS = {"use_srtab": "table.txt", "smin_alpha": ALPHA, "sw_rmin": RMIN, "sw_rmax": RMAX}
N = 5
R = np.arange(1, 91) * 0.05
TABLE = PairTable(
    R,
    np.stack(
        [a * np.exp(-R / b) * (1 - R / 4.5) ** 3 for a, b in ((20, 0.5), (14, 0.4), (9, 0.6))],
        axis=1,
    ),
)
COEFFICIENTS = TABLE.continued(4.0)[0].coefficients()


def make_script(kind="se_e2_a", **model):
    sizes = {"sel": [6, 12], "rcut": 4.0, "rcut_smth": 1.0, "neuron": [4, 8], "type": kind}
    script = small.script(sizes, {"neuron": [9, 7], "seed": 2}, model=KEYS | model)
    if kind != "se_e2_a":
        del script["model"]["descriptor"]["axis_neuron"]
    return script


def make_frames(rng, n_frames=1, periodic=True):
    """Atoms whose smallest distances are around the switch."""
    sites = np.stack(np.meshgrid([0.0, 1.3], [0.0, 1.5], [0.0, 2.3]), axis=-1).reshape(-1, 3)[:N]
    coord = sites + rng.uniform(-0.2, 0.2, size=(n_frames, N, 3))
    box = np.tile(np.diag([4.4, 4.1, 4.6]).ravel(), (n_frames, 1)) if periodic else None
    return Frames(coord, box, np.array([0, 0, 1, 1, 1]))


def quantities(outputs, _):
    switch = outputs.atoms.blend.switch.values
    return {key: getattr(outputs, key) for key in QUANTITIES} | {"switch": switch}


def run(script, weights, frames, dialect="native", dtype=tf.float64, fetch=quantities):
    tables = {"": COEFFICIENTS}
    return evaluate(script, weights, frames, dialect, dtype, fetch=fetch, pair_tables=tables)


def first_weights(rng, script):
    return random_weights(script, random_statistics(rng), pair_tables={"": COEFFICIENTS})


def copies(frames, coord, box=None):
    box = frames.box if box is None else box
    if box is not None and len(box) != len(coord):
        box = np.repeat(box, len(coord), axis=0)
    return Frames(coord, box, frames.types)


@pytest.fixture(scope="module")
def weights():
    return first_weights(np.random.default_rng(3), make_script())


def by_formulas(frames, net, bias):
    """Atomic energies of open frames from those of the nets, and the switch."""
    coord, types = frames.coord, frames.types
    x = coord[:, None] - coord[:, :, None]
    r = np.linalg.norm(x, axis=-1) + 1e3 * np.eye(N)
    w = np.exp(-r / np.float32(ALPHA))
    s = (r * w).sum(-1) / w.sum(-1)
    u = np.clip((s - RMIN) / (RMAX - np.float64(np.float32(RMIN))), 0, 1)
    switch = 1 - 10 * u**3 + 15 * u**4 - 6 * u**5
    info, data = COEFFICIENTS
    data = data.reshape(2, 2, -1, 4)
    place = (r - info[0]) / info[1]
    k = np.minimum(place.astype(int), data.shape[2] - 1)
    a = data[types[:, None], types[None, :], k]
    phi = np.polyval(np.moveaxis(a, -1, 0), place - k) * (place < data.shape[2])
    return switch * (0.5 * phi.sum(-1) + bias[types]) + (1 - switch) * net, switch


def test_energies_are_those_of_the_formulas(rng, weights):
    frames = make_frames(rng, 3, periodic=False)
    alone = dict(weights)
    script = make_script()
    for key in KEYS:
        del script["model"][key]
    for name in (names.TAB_INFO, names.TAB_DATA):
        del alone[name]
    net = evaluate(script, alone, frames)["atom_energy"]
    for add_bias in (True, False):
        found = run(make_script(srtab_add_bias=add_bias), weights, frames)
        bias = weights[names.BIAS_ATOM_E] * add_bias
        expected, switch = by_formulas(frames, net, bias)
        assert ((switch > 0.05) & (switch < 0.95)).sum() > 5
        np.testing.assert_allclose(found["switch"], switch, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found["atom_energy"], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found["energy"], found["atom_energy"].sum(1), rtol=1e-13)


@pytest.mark.parametrize("kind", ["se_e2_a", pytest.param("se_e2_r", marks=pytest.mark.slow)])
def test_dialects_agree(rng, kind):
    script = make_script(kind)
    weights = first_weights(rng, script)
    for periodic in (True, False):
        frames = make_frames(rng, 2, periodic)
        found = {d: run(script, weights, frames, d) for d in DIALECTS}
        for dialect in ("stock", "reference"):
            for key, expected in found["native"].items():
                scale = np.abs(expected).max()
                got = found[dialect][key].reshape(expected.shape)
                np.testing.assert_allclose(
                    got, expected, rtol=0, atol=2e-11 * scale, err_msg=f"{dialect} {key}"
                )
        total = found["native"]["atom_virial"].reshape(2, N, 9).sum(1)
        np.testing.assert_allclose(total, found["native"]["virial"], rtol=0, atol=1e-12)


def test_single_precision(rng, weights):
    script, frames = make_script(), make_frames(rng)
    expected = run(script, weights, frames)
    for dialect in ("native", "stock"):
        found = run(script, weights, frames, dialect, tf.float32)
        for key in QUANTITIES:
            scale = np.abs(expected[key]).max()
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=3e-5 * scale)


def test_forces_and_virials_are_derivatives(rng, weights):
    script, frames = make_script(), make_frames(rng)
    found = run(script, weights, frames)
    h = 1e-4
    moves = np.concatenate([np.eye(3 * N), -np.eye(3 * N)]).reshape(-1, N, 3) * h
    energy = run(script, weights, copies(frames, frames.coord + moves))["energy"]
    slope = (energy[: 3 * N] - energy[3 * N :]) / (2 * h)
    np.testing.assert_allclose(-slope, found["force"][0], rtol=0, atol=2e-6)
    strain = np.concatenate([np.eye(9), -np.eye(9)]).reshape(-1, 3, 3) * h + np.eye(3)
    coord = np.einsum("kab,nb->kna", strain, frames.coord[0])
    box = np.einsum("kab,cb->kca", strain, frames.box.reshape(3, 3)).reshape(-1, 9)
    energy = run(script, weights, copies(frames, coord, box))["energy"]
    slope = (energy[:9] - energy[9:]) / (2 * h)
    np.testing.assert_allclose(-slope, found["virial"][0], rtol=0, atol=5e-6)


@pytest.mark.parametrize("periodic", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_hessians(rng, weights, periodic):
    script, frames = make_script(), make_frames(rng, periodic=periodic)
    model = EnergyModel(Config.from_dict(script).model, pair_table=COEFFICIENTS)

    def matrices(outputs, parameters):
        parts = [AtomRange(tf.constant(b), tf.constant(e)) for b, e in ((0, 1), (1, 3), (3, N))]
        whole = partial(full_hessian, model, outputs, parameters)
        directions = tf.eye(3 * N, dtype=tf.float64)[None, 3:5]
        return {
            "whole": whole(),
            "parts": tf.add_n([whole(part) for part in parts]),
            "rows": hessian_vector_products(model, outputs, parameters, directions),
        }

    found = run(script, weights, frames, fetch=matrices)
    scale = np.abs(found["whole"]).max()
    np.testing.assert_allclose(found["parts"], found["whole"], rtol=0, atol=1e-11 * scale)
    whole = found["whole"][0]
    np.testing.assert_allclose(found["rows"][0], whole[3:5], rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(whole, whole.T, rtol=0, atol=1e-10 * scale)
    many = copies(frames, np.repeat(frames.coord, 3 * N, axis=0))

    def products(outputs, _):
        return hessian_vector_product(outputs, tf.eye(3 * N, dtype=tf.float64))

    for dialect in ("native", "reference"):
        rows = run(script, weights, many, dialect, fetch=products)
        np.testing.assert_allclose(rows, whole, rtol=0, atol=1e-9 * scale, err_msg=dialect)
    h = 1e-4
    moves = np.concatenate([np.eye(3 * N), -np.eye(3 * N)]).reshape(-1, N, 3) * h
    force = run(script, weights, copies(frames, frames.coord + moves))["force"]
    slope = -(force[: 3 * N] - force[3 * N :]) / (2 * h)
    np.testing.assert_allclose(whole, slope, rtol=0, atol=2e-6 * scale)


def test_an_atom_alone_has_the_energy_of_the_net(rng, weights):
    frames = Frames(np.array([[[0.0] * 3, [9.0] * 3]]), None, np.array([0, 1]))
    for dialect in ("native", "stock"):
        found = run(make_script(), weights, frames, dialect)
        assert np.isfinite(found["atom_energy"]).all()
        np.testing.assert_array_equal(found["switch"], 0.0)
        np.testing.assert_array_equal(found["force"], 0.0)


@pytest.mark.parametrize("dialect", ["native", "stock"])
def test_atoms_closer_than_the_table_begins_are_named(weights, dialect):
    coord = np.array([[[0.0] * 3, [3.0, 0, 0], [0, 3.0, 0]]] * 2)
    coord[1, 2] = coord[1, 1] + [0, 0.03, 0]
    frames = Frames(coord, None, np.array([0, 1, 1]))
    said = "frame 1 has atoms 1 and 2 0.03 Å apart, but the table of the pair potential begins"
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        run(make_script(), weights, frames, dialect)


def test_virtual_atoms_have_no_energy(rng, weights):
    frames = make_frames(rng)
    expected = run(make_script(), weights, copies(frames, frames.coord))
    frames.coord = np.concatenate([rng.normal(size=(1, 1, 3)), frames.coord], axis=1)
    frames.types = np.concatenate([[-1], frames.types]).astype(np.int32)
    for dialect in ("native", "stock"):
        found = run(make_script(), weights, frames, dialect)
        assert found["atom_energy"][0, 0] == 0.0
        np.testing.assert_allclose(found["energy"], expected["energy"], rtol=1e-12)
        np.testing.assert_allclose(found["force"][0, 3:], expected["force"][0], rtol=0, atol=1e-10)


def test_soft_min_does_not_vanish_for_small_alpha(rng, weights):
    """exp(−r/α) itself would be 0 for all neighbours."""
    script = make_script(smin_alpha=1e-3)
    frames = make_frames(rng)
    found = run(script, weights, frames)
    stock = run(script, weights, frames, "stock")
    assert found["switch"].max() > 0
    for key in QUANTITIES:
        assert np.isfinite(found[key]).all()
        np.testing.assert_allclose(found[key], stock[key], rtol=0, atol=1e-9)
