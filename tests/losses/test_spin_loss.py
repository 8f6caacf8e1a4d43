# SPDX-License-Identifier: BSD-3-Clause
"""The loss of models with spins: real and virtual atoms apart, against NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf.config import LossEnerSpin
from deepmd_tf.data import Batch
from deepmd_tf.data.batch import PERIODIC_MESH
from deepmd_tf.losses import LOSSES, EnergySpinLoss

NF, REAL, VIRTUAL = 3, 5, 2
N = REAL + VIRTUAL
START_LR, LR = 1e-3, np.float32(2.5e-4)
PREFACTORS = {"e": (0.02, 1.0), "ae": (0.5, 2.0), "fr": (1000.0, 1.0), "fm": (1e4, 10.0)}
KEYS = {
    f"{when}_pref_{term}": value
    for term, pair in (PREFACTORS | {"v": (0.1, 1.0)}).items()
    for when, value in zip(("start", "limit"), pair, strict=True)
}
SHAPES = {"energy": (NF,), "atom_ener": (NF, N), "force": (NF, 3 * N), "virial": (NF, 9)}
OUTPUTS = {"energy": "energy", "atom_ener": "atom_energy", "force": "force", "virial": "virial"}


def arrays(rng):
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


@pytest.fixture
def case(rng):
    """What the model gives, and a batch of labels."""
    labels = arrays(rng) | {"atom_ener_coeff": rng.normal(size=(NF, N))}
    found = {f"find_{name}": np.float32(1.0) for name in labels}
    natoms = np.array([N, N, 2, 3, VIRTUAL], np.int32)
    batch = Batch(labels | found, natoms, PERIODIC_MESH, 0, "", np.arange(NF))
    predicted = arrays(rng)
    predicted["atom_ener"][:, REAL:] = 0.0
    return predicted, batch


def run(loss, predicted, batch):
    """Loss, its gradients by what the model gives, and displayed errors."""
    weights = loss.weights(LR, START_LR, batch)
    with tf.Graph().as_default(), plain_session() as session:
        given = {name: tf.constant(values) for name, values in predicted.items()}
        outputs = SimpleNamespace(
            **{OUTPUTS[name]: tensor for name, tensor in given.items()},
            natoms=tf.constant(N),
            inputs=SimpleNamespace(n_real=tf.constant(REAL)),
        )
        labels = {item.name: tf.constant(batch.arrays[item.name].ravel()) for item in loss.labels}
        built = loss.build(outputs, labels, tf.constant(weights))
        slopes = tf.gradients(built.total, list(given.values()), unconnected_gradients="zero")
        total, values, slopes = session.run([built.total, built.values, slopes])
    return total, dict(zip(given, slopes, strict=True)), loss.displayed(values, weights, batch)


def squares(predicted, labels, coefficients=False):
    """Mean squares of what each term compares."""
    away = {name: predicted[name] - labels[name] for name in SHAPES}
    if coefficients:
        sums = np.sum(labels["atom_ener_coeff"] * predicted["atom_ener"], axis=1)
        away["energy"] = sums - labels["energy"]
    parts = {
        "e": away["energy"],
        "ae": away["atom_ener"][:, :REAL],
        "fr": away["force"][:, : 3 * REAL],
        "fm": away["force"][:, 3 * REAL :],
        "v": away["virial"],
    }
    return {name: np.mean(part**2) for name, part in parts.items()}


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("coefficients", [False, True])
def test_loss_and_displayed_errors(case, power, coefficients):
    predicted, batch = case
    keys = {"intensive_ener_virial": power == 2, "enable_atom_ener_coeff": coefficients}
    loss = EnergySpinLoss(LossEnerSpin(**KEYS, **keys))
    total, _, shown = run(loss, predicted, batch)
    means = squares(predicted, batch.arrays, coefficients)
    share = float(LR) / START_LR
    expected = 0.0
    for term, square in means.items():
        start, limit = (KEYS[f"{when}_pref_{term}"] for when in ("start", "limit"))
        scale = float(N) ** -power if term in ("e", "v") else 1.0
        expected += (limit + (start - limit) * share) * scale * square
    assert total == pytest.approx(expected, rel=1e-6)
    assert list(shown) == ["rmse", "rmse_e", "rmse_ae", "rmse_fr", "rmse_fm", "rmse_v"]
    for term, square in means.items():
        per_atom = N if term in ("e", "v") else 1
        assert shown[f"rmse_{term}"] == pytest.approx(np.sqrt(square) / per_atom)


def test_gradient_is_the_slope_of_the_loss(case, rng):
    predicted, batch = case
    loss = EnergySpinLoss(LossEnerSpin(**KEYS))
    along, step = arrays(rng), 1e-5

    def total(k):
        moved = {name: predicted[name] + k * step * along[name] for name in predicted}
        return run(loss, moved, batch)[0]

    _, slopes, _ = run(loss, predicted, batch)
    found = sum(np.sum(slopes[name] * along[name]) for name in along)
    assert found == pytest.approx((total(1) - total(-1)) / (2 * step), rel=1e-6)
    assert not slopes["atom_ener"][:, REAL:].any()


def test_terms_without_labels(case):
    predicted, batch = case
    batch.arrays["find_force"] = np.float32(0.0)
    loss = EnergySpinLoss(LossEnerSpin())
    total, slopes, shown = run(loss, predicted, batch)
    assert np.isnan([shown["rmse_fr"], shown["rmse_fm"]]).all()
    assert total > 0 and not slopes["force"].any()


def test_it_is_registered():
    assert LOSSES["ener_spin"] is EnergySpinLoss
