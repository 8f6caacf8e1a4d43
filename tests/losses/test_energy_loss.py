# SPDX-License-Identifier: BSD-3-Clause
"""Every term of the energy loss against a NumPy line; gradients against finite differences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf.config import LossEner
from deepmd_tf.errors import InputError
from deepmd_tf.losses import EnergyLoss, Prefactor

N_FRAMES, N_ATOMS = 3, 5
SHAPES = {"energy": (N_FRAMES,), "force": (N_FRAMES, 3 * N_ATOMS), "virial": (N_FRAMES, 9)}
FOUND = {"find_energy": 1.0, "find_force": 1.0, "find_virial": 1.0}
START_LR = 1e-3
OFF = dict.fromkeys((f"{when}_pref_{term}" for when in ("start", "limit") for term in "efv"), 0.0)


def config(**keys):
    return SimpleNamespace(intensive_ener_virial=False, **{**OFF, **keys})


@pytest.fixture
def prediction(rng):
    return {key: rng.normal(size=shape) for key, shape in SHAPES.items()}


@pytest.fixture
def label(rng, prediction):
    return {key: rng.normal(size=shape) for key, shape in SHAPES.items()}


def evaluate(loss, prediction, label, weights, derivative_of=None):
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = {key: tf.constant(value) for key, value in prediction.items()}
        flat = {key: tf.constant(value.ravel()) for key, value in label.items()}
        tensors = loss.build(SimpleNamespace(**outputs), flat, tf.constant(weights))
        fetches = [tensors.total, tensors.values]
        if derivative_of is not None:
            fetches.append(tf.gradients(tensors.total, outputs[derivative_of])[0])
        return session.run(fetches)


@pytest.mark.parametrize("intensive", [False, True])
@pytest.mark.parametrize(
    ("name", "key", "extensive"),
    [("e", "energy", True), ("f", "force", False), ("v", "virial", True)],
)
def test_term(name, key, extensive, intensive, prediction, label):
    keys = {f"start_pref_{name}": 3.0, f"limit_pref_{name}": 7.0}
    loss = EnergyLoss(config(**keys) if not intensive else intensive_config(**keys))
    lr = np.float32(2.5e-4)
    weights = loss.weights(lr, START_LR, FOUND, N_ATOMS)
    total, values = evaluate(loss, prediction, label, weights)

    mean_square = np.mean((prediction[key] - label[key]) ** 2)
    prefactor = 7.0 + (3.0 - 7.0) * (2.5e-4 / START_LR)
    power = (2 if intensive else 1) if extensive else 0
    expected = prefactor * mean_square / N_ATOMS**power
    # the prefactor is float32
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    np.testing.assert_allclose(values, [[mean_square], [mean_square]], rtol=1e-14)
    shown = loss.displayed(values, weights, FOUND, N_ATOMS)
    assert list(shown) == ["rmse", f"rmse_{name}"] == list(loss.columns)
    np.testing.assert_allclose(shown["rmse"], np.sqrt(total), rtol=1e-14)
    per_atom = N_ATOMS if extensive else 1
    np.testing.assert_allclose(shown[f"rmse_{name}"], np.sqrt(mean_square) / per_atom, rtol=1e-14)


def intensive_config(**keys):
    result = config(**keys)
    result.intensive_ener_virial = True
    return result


def test_sum_and_gradient(prediction, label):
    loss = EnergyLoss(
        config(start_pref_e=0.02, limit_pref_e=1, start_pref_f=1000, limit_pref_f=1, start_pref_v=2)
    )
    weights = loss.weights(np.float32(5e-4), START_LR, FOUND, N_ATOMS)
    for key in SHAPES:
        total, _, gradient = evaluate(loss, prediction, label, weights, derivative_of=key)
        assert np.isclose(
            total, weights @ [np.mean((prediction[k] - label[k]) ** 2) for k in SHAPES]
        )
        step = 1e-3  # the loss is quadratic
        at = (0,) * prediction[key].ndim
        shifted = {k: v.copy() for k, v in prediction.items()}
        shifted[key][at] += step
        above = evaluate(loss, shifted, label, weights)[0]
        shifted[key][at] -= 2 * step
        below = evaluate(loss, shifted, label, weights)[0]
        np.testing.assert_allclose(gradient[at], (above - below) / (2 * step), rtol=1e-6)


def test_missing_label_is_left_out_and_shown_as_nan(prediction, label):
    loss = EnergyLoss(config(start_pref_e=1, start_pref_f=1))
    flags = {**FOUND, "find_energy": 0.0}
    weights = loss.weights(np.float32(START_LR), START_LR, flags, N_ATOMS)
    assert weights.tolist() == [0.0, 1.0]
    total, values, gradient = evaluate(loss, prediction, label, weights, derivative_of="energy")
    np.testing.assert_allclose(total, np.mean((prediction["force"] - label["force"]) ** 2))
    assert not gradient.any()
    shown = loss.displayed(values, weights, flags, N_ATOMS)
    assert np.isnan(shown["rmse_e"])
    assert np.isfinite([shown["rmse"], shown["rmse_f"]]).all()


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


def test_nothing_to_train_is_an_error():
    with pytest.raises(InputError, match="every prefactor is zero"):
        EnergyLoss(config())
