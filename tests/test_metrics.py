# SPDX-License-Identifier: BSD-3-Clause
"""Errors of random predictions against one line of NumPy each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepmd_tf.metrics import (
    ENERGY_QUANTITIES,
    Errors,
    ErrorSum,
    Evaluated,
    Spread,
    cell_volumes,
    r_squared,
)

NAMES = ("energy", "force", "virial", "atom_ener", "atom_pref", "hessian")


def frames(rng, nf: int, nat: int, found: float = 1.0) -> tuple[dict, dict]:
    shapes = {"energy": (nf,), "force": (nf, 3 * nat), "virial": (nf, 9), "atom_ener": (nf, nat)}
    shapes["hessian"] = (nf, 9 * nat**2)
    prediction = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    labels = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    labels["atom_pref"] = np.repeat(rng.random((nf, nat)), 3, axis=1)
    labels["box"] = rng.normal(size=(nf, 9))
    return prediction, labels | {f"find_{name}": np.float32(found) for name in NAMES}


def mae(d, w=None) -> float:
    return np.average(np.abs(d), weights=w)


def rmse(d, w=None) -> float:
    return np.sqrt(np.average(d**2, weights=w))


def test_energy_errors_of_one_system(rng) -> None:
    nf, nat = 4, 5
    prediction, labels = frames(rng, nf, nat)
    errors = Errors(ENERGY_QUANTITIES)
    errors.add(Evaluated(prediction, labels, natoms=nat, periodic=True))
    d = {key: prediction[key] - labels[key] for key in prediction}
    volume = np.abs(np.linalg.det(labels["box"].reshape(-1, 3, 3)))
    weight = labels["atom_pref"]
    expected = {
        "energy": (d["energy"], None),
        "energy_per_atom": (d["energy"] / nat, None),
        "force": (d["force"], None),
        "weighted_force": (d["force"], weight),
        "virial": (d["virial"], None),
        "virial_per_atom": (d["virial"] / nat, None),
        "stress": (-d["virial"] / volume[:, None], None),
        "atom_energy": (d["atom_ener"], None),
        "hessian": (d["hessian"], None),
    }
    assert [quantity.name for quantity in errors] == list(expected)
    for found, (name, (difference, w)) in zip(errors.values(), expected.items(), strict=True):
        assert found.mae == pytest.approx(mae(difference, w), rel=1e-13), name
        assert found.rmse == pytest.approx(rmse(difference, w), rel=1e-13), name
        size = difference.size if w is None else w.sum()
        assert found.weight == pytest.approx(size), name


def test_average_over_systems_is_weighted_by_elements(rng) -> None:
    total = Errors(ENERGY_QUANTITIES)
    parts = []
    for nf, nat in ((2, 3), (5, 7)):
        prediction, labels = frames(rng, nf, nat)
        part = Errors(ENERGY_QUANTITIES)
        part.add(Evaluated(prediction, labels, natoms=nat, periodic=True))
        parts.append(part)
        total += part
    for quantity, error in total.items():
        one, two = (part[quantity] for part in parts)
        w = [one.weight, two.weight]
        assert error.mae == pytest.approx(np.average([one.mae, two.mae], weights=w))
        square = np.average([one.rmse**2, two.rmse**2], weights=w)
        assert error.rmse == pytest.approx(np.sqrt(square))


def test_frames_added_in_parts_give_the_error_of_the_whole(rng) -> None:
    nat = 3
    prediction, labels = frames(rng, 6, nat)
    whole, parts = Errors(ENERGY_QUANTITIES), Errors(ENERGY_QUANTITIES)
    whole.add(Evaluated(prediction, labels, natoms=nat, periodic=True))
    for part in (slice(0, 1), slice(1, 6)):
        cut = {key: v[part] if np.ndim(v) else v for key, v in labels.items()}
        cut_prediction = {key: v[part] for key, v in prediction.items()}
        parts.add(Evaluated(cut_prediction, cut, natoms=nat, periodic=True))
    for quantity, error in whole.items():
        assert parts[quantity].mae == pytest.approx(error.mae)
        assert parts[quantity].rmse == pytest.approx(error.rmse)


def test_absent_labels_and_free_systems_do_not_count(rng) -> None:
    prediction, labels = frames(rng, 2, 3, found=0.0)
    errors = Errors(ENERGY_QUANTITIES)
    errors.add(Evaluated(prediction, labels, natoms=3, periodic=True))
    assert all(math.isnan(e.mae) and math.isnan(e.rmse) for e in errors.values())

    prediction, labels = frames(rng, 2, 3)
    del prediction["atom_ener"], prediction["hessian"]
    errors.add(Evaluated(prediction, labels, natoms=3, periodic=False))
    counted = {quantity.name for quantity, error in errors.items() if error.weight > 0}
    assert counted == {"energy", "energy_per_atom", "force", "weighted_force"}


def test_single_precision_is_summed_in_double() -> None:
    error = ErrorSum()
    error.add(np.full(10**6, 1e4, dtype=np.float32), np.full(10**6, 1e4 - 1, dtype=np.float32))
    assert error.mae == error.rmse == 1.0


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"prediction \(2,\) does not fit the label \(3,\)"):
        ErrorSum().add(np.zeros(2), np.zeros(3))


def test_volume_of_a_left_handed_cell() -> None:
    np.testing.assert_allclose(cell_volumes(np.diag([1.0, 2.0, -3.0]).reshape(1, 9)), [6.0])


@pytest.mark.parametrize("offset", [0.0, -1e4])
def test_r_squared_of_parts_is_that_of_the_whole(rng, offset):
    labels = offset + rng.normal(size=60)
    predictions = labels + 0.3 * rng.normal(size=60)
    error, spread = ErrorSum(), Spread()
    for part in (slice(0, 1), slice(1, 40), slice(40, 40), slice(40, 60)):
        error.add(predictions[part], labels[part])
        spread.add(labels[part])
    expected = 1 - np.sum((predictions - labels) ** 2) / np.sum((labels - labels.mean()) ** 2)
    assert r_squared(error, spread) == pytest.approx(expected, rel=1e-10)
    assert spread.mean == pytest.approx(labels.mean(), rel=1e-14)


def test_r_squared_of_equal_labels_is_no_number():
    spread = Spread()
    spread.add(np.ones(3))
    assert math.isnan(r_squared(ErrorSum(3, 1, 1), spread))
    assert math.isnan(r_squared(ErrorSum(), Spread()))
