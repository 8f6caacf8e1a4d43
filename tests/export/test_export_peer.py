# SPDX-License-Identifier: BSD-3-Clause
"""Files in the stock dialect, evaluated by the stock wheel, give our numbers; and the reverse."""

from __future__ import annotations

import numpy as np
import pytest
import stock_wheel
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot

pytestmark = stock_wheel.needs_stock

TOLERANCE = 1e-10
MODELS = {
    "two-sided": {},
    "one-sided": {"descriptor": {"type_one_side": True, "resnet_dt": True}},
    "excluded": {"descriptor": {"exclude_types": [[0, 0]]}},
    "one-sided excluded": {"descriptor": {"exclude_types": [[0, 1]], "type_one_side": True}},
    "sel too small": {"descriptor": {"sel": [3, 5]}},
    "other activations": {
        "descriptor": {"activation_function": "gelu"},
        "fitting_net": {"activation_function": "softplus", "resnet_dt": False},
    },
    "atom_ener": {"fitting_net": {"atom_ener": [-2.0, -0.5]}},
    "rcut no float32": {"descriptor": {"rcut": 4.1, "rcut_smth": 0.7}},
}


def cases(rng):
    """Frames in a triclinic cell, without one, outside of it, in one smaller than the cutoff."""
    coords, cells, types = water_like(rng, n_frames=2)
    yield "triclinic", (coords, cells, types)
    yield "open", (coords, None, types)
    shift = rng.integers(-1, 2, (2, 24, 3)) @ cells[0].reshape(3, 3)
    yield "images", (coords + shift, cells, types)
    # few enough atoms for sel: which of two equally far images is dropped is nobody's business
    coords, _, types = water_like(rng, n_atoms=3, n_frames=1, length=3.3)
    yield "small cell", (coords, 3.3 * np.eye(3).reshape(1, 9), types)


def assert_same(got, expected, label):
    for key in stock_wheel.KEYS:
        error = np.abs(got[key] - expected[key]).max() / np.abs(expected[key]).max()
        assert error < TOLERANCE, f"{label}, {key}: relative difference {error:.1e}"


@pytest.mark.parametrize("name", MODELS)
def test_our_file_in_the_stock_wheel(tmp_path, rng, name):
    prefix, _ = save_checkpoint(tmp_path, small_input(**MODELS[name]))
    path = freeze(prefix, tmp_path / "model.pb").path
    labels, arguments = zip(*cases(rng), strict=True)
    results = stock_wheel.evaluate(path, tmp_path, arguments)
    with DeepPot(prefix) as pot:
        for label, frames, stock in zip(labels, arguments, results, strict=True):
            ours = dict(zip(stock_wheel.KEYS, pot.eval(*frames, atomic=True), strict=True))
            assert_same(ours, stock, f"{name}, {label}")
            descriptor = pot.eval_descriptor(*frames)
            np.testing.assert_allclose(descriptor, stock["descriptor"], rtol=0, atol=1e-12)


def test_float32_interface_in_the_stock_wheel(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("DP_INTERFACE_PREC", "low")
    prefix, _ = save_checkpoint(tmp_path)
    path = freeze(prefix, tmp_path / "model.pb").path
    frames = water_like(rng)
    with DeepPot(prefix) as pot:
        ours = pot.eval(*frames)
    (stock,) = stock_wheel.evaluate(path, tmp_path, [frames])
    for key, value in zip(stock_wheel.KEYS, ours, strict=False):
        scale = np.abs(stock[key]).max()
        np.testing.assert_allclose(value, stock[key], rtol=0, atol=1e-5 * scale)
