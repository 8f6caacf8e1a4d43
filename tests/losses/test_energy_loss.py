# SPDX-License-Identifier: BSD-3-Clause
"""Every term × measure × normalisation: its value against a line of NumPy, and its gradient in the
weights of a model against the same line in plain TensorFlow on the reference graph."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import Frames, build, random_statistics, random_weights
from plain_session import plain_session
from saved_models import small_input, water_like

from deepmd_tf.config import LossEner
from deepmd_tf.data import Batch
from deepmd_tf.errors import InputError
from deepmd_tf.losses import EnergyLoss, Prefactor
from deepmd_tf.nn.variables import VariableParameters

from .contract import LossContract

START_LR, LR = 1e-3, 2.5e-4
N_FRAMES, N_Q, N = 4, 2, 6
DELTA = {"e": 0.02, "f": 0.5, "v": 0.15}
RELATIVE_F = 0.7
FIELDS = ("energy", "force", "virial", "atom_ener", "atom_pref", "drdq", "atom_ener_coeff")
OFF = dict.fromkeys((f"{when}_pref_{term}" for when in ("start", "limit") for term in "ef"), 0.0)

NUMPY = SimpleNamespace(
    abs=np.abs, sum=np.sum, sqrt=np.sqrt, reshape=np.reshape, minimum=np.minimum, einsum=np.einsum
)
TENSORFLOW = SimpleNamespace(
    abs=tf.abs,
    sum=tf.reduce_sum,
    sqrt=tf.sqrt,
    reshape=tf.reshape,
    minimum=tf.minimum,
    einsum=tf.einsum,
)


def oracle(term, keys, q, m):
    """The term as the theory page has it, with a prefactor of 1.

    ``q`` has predictions E, E_i, F, V and labels; ``m`` is NumPy or TensorFlow.
    """
    mae, huber = keys.get("loss_func") == "mae", keys.get("use_huber", False)
    delta = DELTA[{"f": "f", "pf": "f", "gf": "f", "v": "v"}.get(term, "e")]

    def phi(x):
        if huber:
            c = m.minimum(m.abs(x), delta)
            return c * (m.abs(x) - 0.5 * c)
        return m.abs(x) if mae else x * x

    energy = q.E
    if keys.get("enable_atom_ener_coeff"):
        energy = m.sum(q.atom_ener_coeff * q.E_i, axis=1)
    error_e = energy - q.energy
    error_f = m.reshape(q.F - q.force, (N_FRAMES, N, 3))
    if "relative_f" in keys:
        size = m.sqrt(m.sum(m.reshape(q.force, (N_FRAMES, N, 3)) ** 2, axis=2))
        error_f = error_f / (m.reshape(size, (N_FRAMES, N, 1)) + RELATIVE_F)
    inner = N if huber else 1
    p = 0 if huber else 1 if mae else 2 if keys.get("intensive_ener_virial") else 1

    if term == "e":
        return m.sum(phi(error_e / inner)) / N_FRAMES / N**p
    if term == "de":
        x = m.reshape(error_e, (N_FRAMES, 1)) - m.reshape(error_e, (1, N_FRAMES))
        return m.sum(phi(x / inner)) / (N_FRAMES * (N_FRAMES - 1)) / N**p
    if term == "v":
        return m.sum(phi((q.V - q.virial) / inner)) / (9 * N_FRAMES) / N**p
    if term == "ae":
        return m.sum(phi(q.E_i - q.atom_ener)) / (N_FRAMES * N)
    if term == "f" and keys.get("f_use_norm"):
        return m.sum(phi(m.sqrt(m.sum(error_f**2, axis=2)))) / (N_FRAMES * N)
    if term == "f":
        return m.sum(phi(error_f)) / (3 * N_FRAMES * N)
    if term == "pf":
        w = m.reshape(q.atom_pref, (N_FRAMES, N, 3))
        return m.sum(w * phi(error_f)) / (3 * N_FRAMES * N)
    drdq = m.reshape(q.drdq, (N_FRAMES, 3 * N, N_Q))
    x = m.einsum("bij,bi->bj", drdq, q.F) - m.einsum("bij,bi->bj", drdq, q.force)
    return m.sum(phi(x)) / (N_FRAMES * N_Q)


MEASURES = {"mse": {}, "mae": {"loss_func": "mae"}, "huber": {"use_huber": True}}
VARIANTS = {
    "": (("e", "ae", "f", "v", "pf", "gf", "de"), MEASURES, {}),
    "intensive": (("e", "v", "de"), ("mse",), {"intensive_ener_virial": True}),
    "coefficients": (("e", "de"), MEASURES, {"enable_atom_ener_coeff": True}),
    "relative": (("f", "pf"), MEASURES, {"relative_f": RELATIVE_F}),
    "norm": (("f",), ("mae", "huber"), {"f_use_norm": True}),
    "relative norm": (("f",), ("mae", "huber"), {"f_use_norm": True, "relative_f": RELATIVE_F}),
    "default weights": (("pf",), MEASURES, {"use_default_pf": True}),
}
CASES = {
    " ".join(filter(None, (term, measure, variant))): (term, {**MEASURES[measure], **keys})
    for variant, (terms, measures, keys) in VARIANTS.items()
    for term in terms
    for measure in measures
}


def section(term, keys):
    coordinates = {"numb_generalized_coord": N_Q} if term == "gf" else {}
    prefactors = {f"start_pref_{term}": 3.0, f"limit_pref_{term}": 7.0}
    deltas = {"huber_delta": list(DELTA.values())}
    return {**OFF, **prefactors, **deltas, **coordinates, **keys}


def make_loss(term, keys):
    return EnergyLoss(LossEner(**section(term, keys)))


SECTIONS = {
    **{case: section(*keys) for case, keys in CASES.items()},
    **{f"h {measure}": section("h", keys) for measure, keys in MEASURES.items()},
    "together": section("e", {"limit_pref_f": 2.0, "start_pref_v": 5.0}),
}
OUTPUTS = {
    "energy": "energy",
    "atom_ener": "atom_energy",
    "force": "force",
    "virial": "virial",
    "hessian": "hessian",
}


class TestEnergyLoss(LossContract):
    loss, cases, outputs = EnergyLoss, SECTIONS, OUTPUTS

    def predict(self, rng, natoms):
        outputs = super().predict(rng, natoms)
        return outputs | {"energy": outputs["atom_ener"].sum(axis=1, keepdims=True)}


def make_batch(nframes=N_FRAMES, **found):
    arrays = {f"find_{name}": np.float32(found.get(name, 1.0)) for name in FIELDS}
    return Batch(arrays, np.array([N, N, 2, 4]), np.zeros(6, np.int32), 0, "s", np.arange(nframes))


def predictions(outputs):
    return {
        "E": outputs.energy,
        "E_i": outputs.atom_energy,
        "F": outputs.force,
        "V": outputs.virial,
    }


@pytest.fixture(scope="module")
def found():
    """For each case: what our loss is on the native graph, what the oracle says."""
    rng = np.random.default_rng(7)
    coord, box, types = water_like(rng, n_atoms=N, n_frames=N_FRAMES, length=4.8)
    frames = Frames(coord, box, types)
    script = small_input()
    weights = random_weights(script, random_statistics(rng))
    labels = None
    results = {}
    for dialect in ("reference", "native"):
        with tf.Graph().as_default(), plain_session() as session:
            parameters = VariableParameters(weights)
            # without a table, whose error is larger than what is looked for here
            inputs, outputs = build(script, parameters, dialect, expected_pairs=1)
            session.run(tf.global_variables_initializer())
            if labels is None:
                values = session.run(predictions(outputs), frames.feed(inputs))
                labels = make_labels(rng, values)
            fed = {name: tf.constant(value.ravel()) for name, value in labels.items()}
            totals = []
            for term, keys in CASES.values():
                if dialect == "native":
                    loss = make_loss(term, keys)
                    given = tf.constant(loss.weights(np.float32(LR), START_LR, make_batch()))
                    tensors = loss.build(outputs, fed, given)
                    totals.append(tensors.total)
                    results.setdefault("values", []).append(tensors.values)
                else:
                    shaped = {name: tf.constant(value) for name, value in labels.items()}
                    q = SimpleNamespace(**predictions(outputs), **shaped)
                    totals.append(oracle(term, keys, q, TENSORFLOW))
            # one graph of derivatives for all cases: which one is asked for is fed
            which = tf.placeholder(tf.float64, [len(CASES)])
            gradient = tf.concat(
                [
                    tf.reshape(g, [-1])
                    for g in tf.gradients(
                        tf.reduce_sum(which * tf.stack(totals)), parameters.trainable
                    )
                    if g is not None
                ],
                axis=0,
            )
            feed = frames.feed(inputs)
            results[dialect] = session.run(totals, feed)
            unit = np.eye(len(CASES))
            results[f"{dialect} gradient"] = [
                session.run(gradient, {**feed, which: row}) for row in unit
            ]
            if dialect == "native":
                results["values"] = session.run(results["values"], feed)
    q = SimpleNamespace(**values, **labels)
    results["numpy"] = [oracle(term, keys, q, NUMPY) for term, keys in CASES.values()]
    results["rmse"] = [
        np.sqrt(oracle(term, {k: v for k, v in keys.items() if k not in LINEAR}, q, NUMPY))
        for term, keys in CASES.values()
    ]
    return {key: dict(zip(CASES, value, strict=True)) for key, value in results.items()}


LINEAR = ("loss_func", "use_huber", "f_use_norm", "intensive_ener_virial")
"""Keys that change what is minimised, but not the root mean square that is shown."""


def make_labels(rng, values):
    """Not far from what the model predicts, so that both branches of Huber's loss are taken."""
    shape = {
        "energy": values["E"].shape,
        "force": values["F"].shape,
        "virial": values["V"].shape,
        "atom_ener": values["E_i"].shape,
    }
    near = dict(zip(shape, ("E", "F", "V", "E_i"), strict=True))
    width = {"energy": 0.3, "force": 1.0, "virial": 1.5, "atom_ener": 0.05}
    labels = {key: values[near[key]] + width[key] * rng.normal(size=shape[key]) for key in shape}
    labels["atom_pref"] = np.repeat(rng.uniform(0, 2, (N_FRAMES, N)), 3, axis=1)
    labels["drdq"] = 0.5 * rng.normal(size=(N_FRAMES, 3 * N * N_Q))
    labels["atom_ener_coeff"] = rng.choice([-1.0, 1.0, 2.0], (N_FRAMES, N))
    return labels


@pytest.mark.parametrize("case", CASES)
def test_term(case, found):
    term, keys = CASES[case]
    prefactor = 7.0 + (3.0 - 7.0) * LR / START_LR
    expected = found["numpy"][case]
    assert expected > 1e-6
    np.testing.assert_allclose(found["reference"][case], expected, rtol=1e-12)
    # the prefactor is float32
    np.testing.assert_allclose(found["native"][case], prefactor * expected, rtol=3e-7)

    gradient = found["reference gradient"][case]
    size = np.abs(gradient).max()
    assert size > 1e-6
    np.testing.assert_allclose(
        found["native gradient"][case] / prefactor, gradient, rtol=0, atol=3e-7 * size
    )

    loss, batch = make_loss(term, keys), make_batch()
    shown = loss.displayed(found["values"][case], loss.weights(LR, START_LR, batch), batch)
    name = "mae" if keys.get("loss_func") == "mae" else "rmse"
    assert list(shown) == ["rmse", f"{name}_{term}"] == list(loss.columns)
    np.testing.assert_allclose(shown["rmse"], np.sqrt(prefactor * expected), rtol=3e-7)
    if name == "rmse":
        expected = found["rmse"][case] / (np.sqrt(N) if term in ("e", "v", "de") else 1)
    np.testing.assert_allclose(shown[f"{name}_{term}"], expected, rtol=1e-12)


def test_huber_takes_both_branches(found):
    """The cases are worth something: neither all quadratic nor all linear."""
    for term, _ in CASES.values():
        quadratic, huber = (found["numpy"][f"{term} {measure}"] for measure in ("mse", "huber"))
        if term in ("e", "v", "de"):
            quadratic /= N
        assert 0.1 * quadratic < huber < 0.45 * quadratic, term


def gradients(loss, outputs, labels, by, batch=None):
    """Total of the loss and its gradient, for arrays in place of the model."""
    weights = loss.weights(np.float32(LR), START_LR, batch or make_batch())
    with tf.Graph().as_default(), plain_session() as session:
        tensors = {key: tf.constant(value) for key, value in outputs.items()}
        flat = {key: tf.constant(np.ravel(value)) for key, value in labels.items()}
        total = loss.build(SimpleNamespace(**tensors), flat, tf.constant(weights)).total
        return session.run([total, tf.gradients(total, tensors[by])[0]])


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("nframes", [2, 3, 7])
def test_relative_energy_is_the_mean_over_pairs_and_ignores_constants(measure, nframes, rng):
    loss = make_loss("de", MEASURES[measure])
    outputs = {"energy": rng.normal(size=nframes) - 1e5, "natoms": N}
    label = outputs["energy"] + rng.normal(scale=0.2, size=nframes)
    batch = make_batch(nframes)
    total, gradient = gradients(loss, outputs, {"energy": label}, "energy", batch)
    d = outputs["energy"] - label
    pairs = [abs(d[a] - d[b]) for a in range(nframes) for b in range(a)]
    mean = {
        "mse": np.mean(np.square(pairs)) / N,
        "mae": np.mean(pairs) / N,
        "huber": np.mean(
            [0.5 * x**2 if x <= 0.02 else 0.02 * (x - 0.01) for x in np.divide(pairs, N)]
        ),
    }[measure]
    np.testing.assert_allclose(total, 6.0 * mean, rtol=1e-6)
    shifted = gradients(loss, outputs, {"energy": label + 12345.678}, "energy", batch)
    np.testing.assert_allclose(shifted[0], total, rtol=1e-8)
    np.testing.assert_allclose(shifted[1], gradient, rtol=0, atol=1e-8 * np.abs(gradient).max())
    np.testing.assert_allclose(gradient.sum(), 0, atol=1e-12)


def test_defaults_of_what_may_be_missing():
    def default(term, name, **keys):
        return next(f.default for f in make_loss(term, keys).labels if f.name == name)

    assert default("pf", "atom_pref", use_default_pf=True) == 1.0
    assert default("pf", "atom_pref") == 0.0
    assert default("e", "atom_ener_coeff", enable_atom_ener_coeff=True) == 1.0
    (drdq,) = (f for f in make_loss("gf", {}).labels if f.name == "drdq")
    assert drdq.width(N) == 3 * N * N_Q


def test_prefactor_is_float32_arithmetic():
    lr = np.float32(1.2345678e-4)
    f32 = np.float32
    value = Prefactor(1000.0, 1.0)(lr, 1e-3)
    assert value.dtype == np.float32
    assert value == f32(1.0) + lr * (f32(1000.0 - 1.0) * (f32(1.0) / f32(1e-3)))
    np.testing.assert_allclose(value, 1.0 + 999.0 * 1.2345678e-4 / 1e-3, rtol=1e-6)
    assert Prefactor(1000.0, 1.0)(f32(1e-3), 1e-3) == pytest.approx(1000.0, rel=1e-6)
    assert Prefactor(1000.0, 1.0)(f32(0.0), 1e-3) == 1.0


def test_only_active_terms_exist_in_the_order_of_the_columns():
    loss = EnergyLoss(LossEner(start_pref_v=0.0, limit_pref_v=1.0))
    assert loss.columns == ("rmse", "rmse_e", "rmse_f", "rmse_v")
    assert [field.name for field in loss.labels] == ["energy", "force", "virial"]
    assert EnergyLoss(LossEner()).columns == ("rmse", "rmse_e", "rmse_f")
    others = {f"limit_pref_{term}": 1.0 for term in ("v", "ae", "pf", "gf", "de")}
    columns = EnergyLoss(LossEner(numb_generalized_coord=1, **others)).columns
    assert columns[1:] == tuple(f"rmse_{term}" for term in ("e", "ae", "f", "v", "pf", "gf", "de"))


def test_nothing_to_train_is_an_error():
    with pytest.raises(InputError, match="every prefactor is zero"):
        EnergyLoss(LossEner.model_construct(**{**LossEner().to_dict(), **OFF}))
