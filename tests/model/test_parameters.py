# SPDX-License-Identifier: BSD-3-Clause
"""Frame and atomic parameters: the formula, the same in every dialect, forces as before."""

from __future__ import annotations

import itertools

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

from deepmd_tf import names
from deepmd_tf.data import Batch
from deepmd_tf.model.statistics import parameter_scale, parameter_sums
from deepmd_tf.nn.parameters import ConstantParameters

TABLE = 1e-9
CASES = {
    "both": {"numb_fparam": 2, "numb_aparam": 1},
    "fparam": {"numb_fparam": 1, "atom_ener": [None, -2.0]},
    "aparam": {"numb_aparam": 3, "atom_ener": [-1.5, 0.5], "resnet_dt": False},
    "shared layers": {
        "numb_fparam": 1,
        "numb_aparam": 1,
        "layer_name": [None, "same", "same", None],
        "neuron": [10, 10, 10],
        "atom_ener": [-1.0, None],
    },
    "mask": {"numb_fparam": 1, "numb_aparam": 2, "use_aparam_as_mask": True},
}


def make(rng, fitting_net, **kwargs):
    """Script, weights with statistics that are no identity, and frames with parameters."""
    script = small_input(fitting_net=fitting_net)
    weights = random_weights(script, random_statistics(rng))
    for name in set(weights) & {names.FPARAM_AVG, names.APARAM_AVG}:
        weights[name] = rng.normal(size=weights[name].shape)
    for name in set(weights) & {names.FPARAM_ISTD, names.APARAM_ISTD}:
        weights[name] = rng.uniform(0.5, 2.0, weights[name].shape)
    coord, box, types = water_like(rng, **kwargs)
    return script, weights, Frames(coord, box, types, **make_parameters(rng, script, coord))


def make_parameters(rng, script, coord):
    fitting = script["model"]["fitting_net"]
    nf, nat = coord.shape[:2]
    found = {}
    if dim := fitting.get("numb_fparam", 0):
        found["fparam"] = rng.normal(size=(nf, dim))
    if dim := fitting.get("numb_aparam", 0):
        found["aparam"] = rng.normal(size=(nf, nat, dim))
    return found


def numpy_energy(script, weights, descriptor, frames):
    """Atomic energies [nf, nat] from descriptors [nf, nat, dim], one atom at a time."""
    fitting = script["model"]["fitting_net"]
    energy = np.zeros(descriptor.shape[:2])
    for (f, i), _ in np.ndenumerate(energy):
        known = []
        if fitting.get("numb_fparam"):
            scaled = (frames.fparam[f] - weights[names.FPARAM_AVG]) * weights[names.FPARAM_ISTD]
            known.append(scaled)
        if fitting.get("numb_aparam") and not fitting.get("use_aparam_as_mask"):
            scaled = (frames.aparam[f, i] - weights[names.APARAM_AVG]) * weights[names.APARAM_ISTD]
            known.append(scaled)
        t = frames.types[i]
        energy[f, i] = net(fitting, weights, t, np.concatenate([descriptor[f, i], *known]))
        if (fitting.get("atom_ener") or [None, None])[t] is not None:
            nothing = np.zeros_like(descriptor[f, i])
            energy[f, i] -= net(fitting, weights, t, np.concatenate([nothing, *known]))
        energy[f, i] += weights[names.BIAS_ATOM_E][t]
    return energy


def net(fitting, weights, t, x):
    shared = fitting.get("layer_name") or itertools.repeat(None)
    for level, (_, name) in enumerate(zip(fitting["neuron"], shared, strict=False)):
        h = np.tanh(
            x @ weights[names.fitting_matrix(level, t, name)]
            + weights[names.fitting_bias(level, t, name)]
        )
        if level and len(h) == len(x):
            h = x + h * weights.get(names.fitting_idt(level, t, name), 1.0)
        x = h
    return (x @ weights[names.fitting_matrix(None, t)] + weights[names.fitting_bias(None, t)])[0]


@pytest.mark.parametrize("name", CASES)
def test_energy_is_the_formula(rng, name):
    script, weights, frames = make(rng, CASES[name])
    with tf.Graph().as_default(), plain_session() as session:
        inputs, outputs = build(script, ConstantParameters(weights), "reference")
        fetches = (outputs.descriptor, outputs.atom_energy, outputs.energy)
        descriptor, atom_energy, energy = session.run(fetches, frames.feed(inputs))
    expected = numpy_energy(script, weights, descriptor, frames)
    np.testing.assert_allclose(atom_energy, expected, rtol=1e-11)
    np.testing.assert_allclose(energy, expected.sum(axis=1), rtol=1e-11)


@pytest.mark.parametrize(
    ("name", "virtual"), [("both", True), ("fparam", False), ("aparam", False), ("mask", False)]
)
def test_dialects_agree(rng, name, virtual):
    script, weights, frames = make(rng, CASES[name])
    if virtual:
        types = frames.types.copy()
        types[[0, 7, 20]] = -1
        parameters = {"fparam": frames.fparam, "aparam": frames.aparam}
        frames = Frames(frames.coord, frames.box, types, **parameters)
    results = {dialect: evaluate(script, weights, frames, dialect) for dialect in DIALECTS}
    for key in QUANTITIES:
        expected = results["reference"][key]
        scale = np.abs(expected).max()
        for dialect, tolerance in (("native", TABLE), ("stock", 1e-12)):
            got = results[dialect][key]
            np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale, err_msg=key)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_force_is_minus_the_gradient(rng, dialect):
    script, weights, frames = make(rng, CASES["both"], n_frames=1)
    force = evaluate(script, weights, frames, dialect)["force"][0]
    h, n = 1e-4, frames.coord.size
    chosen = rng.choice(n, 4, replace=False)
    steps = np.zeros((8, n))
    steps[np.arange(4), chosen], steps[np.arange(4, 8), chosen] = h, -h
    moved = Frames(
        frames.coord.reshape(1, n) + steps,
        np.tile(frames.box, (8, 1)),
        frames.types,
        fparam=np.tile(frames.fparam, (8, 1)),
        aparam=np.tile(frames.aparam, (8, 1, 1)),
    )
    energy = evaluate(script, weights, moved, dialect)["energy"]
    np.testing.assert_allclose(force[chosen], -(energy[:4] - energy[4:]) / (2 * h), atol=2e-7)


@pytest.mark.parametrize("key", ["fparam", "aparam"])
def test_parameters_change_energies_of_their_owner_only(rng, key):
    script, weights, frames = make(rng, CASES["both"])
    before = evaluate(script, weights, frames)["atom_energy"]
    values = getattr(frames, key)
    index = (0, 5) if key == "aparam" else (0,)
    values[index] += 1.0
    changed = evaluate(script, weights, frames)["atom_energy"] != before
    expected = np.zeros_like(changed)
    expected[index] = True
    np.testing.assert_array_equal(changed, expected)


def test_mask_leaves_atomic_parameters_out(rng):
    script, weights, frames = make(rng, CASES["mask"])
    assert names.APARAM_AVG not in weights
    assert weights[names.fitting_matrix(0, 0)].shape[0] == 8 * 3 + 1
    before = evaluate(script, weights, frames)["energy"]
    frames.aparam = frames.aparam + 1.0
    np.testing.assert_array_equal(evaluate(script, weights, frames)["energy"], before)


def test_statistics_of_parameters(rng):
    """Over frames and over atoms of systems of different size, with the floor."""
    fparam = [rng.normal(3.0, 2.0, (nf, 2)) for nf in (4, 2)]
    aparam = [rng.normal(-1.0, 0.5, (nf, nat, 2)) for nf, nat in ((4, 3), (2, 5))]
    for values in (*fparam, *aparam):
        values[..., 1] = 7.0
    types = [np.zeros((4, 3)), np.zeros((2, 5))]
    aparam[1][0, 3:], types[1][0, 3:] = 1e6, -1  # no atoms
    batches = [
        Batch({"fparam": f, "aparam": a.reshape(len(a), -1), "type": types}, *[None] * 5)
        for f, a, types in zip(fparam, aparam, types, strict=True)
    ]
    atoms = [array[there >= 0] for array, there in zip(aparam, types, strict=True)]
    for key, values in (("fparam", fparam), ("aparam", atoms)):
        rows = np.concatenate([array.reshape(-1, 2) for array in values])
        sums = parameter_sums(batches, key, 2)
        np.testing.assert_array_equal(sums[:, 0], len(rows))
        mean, inverse = parameter_scale(sums, 0.03)
        np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(inverse, [1 / rows[:, 0].std(), 1 / 0.03], rtol=1e-12)
