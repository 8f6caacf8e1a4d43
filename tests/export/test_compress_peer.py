# SPDX-License-Identifier: BSD-3-Clause
"""Compressed models in the stock wheel, and its own compression of our files."""

from __future__ import annotations

import numpy as np
import pytest
import stock_wheel
from evaluation import Frames, evaluate_graph
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze

pytestmark = stock_wheel.needs_stock

MODELS = {
    "two-sided": {},
    "one-sided with timestep": {"type_one_side": True, "resnet_dt": True},
    "excluded": {"exclude_types": [[0, 0]]},
    "one-sided excluded": {"exclude_types": [[0, 1]], "type_one_side": True},
    "float32": {"precision": "float32"},
}


def cases(rng):
    """Sorted by type; in a triclinic cell, without one, and closer than the data were."""
    coords, cells, types = water_like(rng)
    types = np.sort(types)
    yield coords, cells, types
    yield coords[:1], None, types
    near = coords[:1].copy()
    near[0, 1] = near[0, 0] + [0.2, 0.1, 0.0]
    yield near, cells[:1], types


@pytest.mark.parametrize("name", MODELS)
def test_same_numbers_in_the_stock_wheel(tmp_path, rng, name):
    """By Python and by C++, with our evaluation of the graph, and with the original model."""
    prefix, _ = save_checkpoint(tmp_path, small_input(MODELS[name]))
    plain = freeze(prefix, tmp_path / "model.pb").path
    path = compress(plain, tmp_path / "compressed.pb").path
    arguments = list(cases(rng))
    ours = [evaluate_graph(path, Frames(*case)) for case in arguments]
    original = [evaluate_graph(plain, Frames(*case)) for case in arguments]
    tolerance, table_error = (1e-10, 1e-11) if name != "float32" else (1e-5, 1e-4)
    for cpp in (False, True):
        for mine, exact, stock in zip(
            ours, original, stock_wheel.evaluate(path, tmp_path, arguments, cpp=cpp), strict=True
        ):
            for key in stock_wheel.KEYS:
                scale = np.abs(mine[key]).max()
                theirs = stock[key].reshape(mine[key].shape)
                np.testing.assert_allclose(theirs, mine[key], rtol=0, atol=tolerance * scale)
                np.testing.assert_allclose(exact[key], mine[key], rtol=0, atol=table_error * scale)


@pytest.mark.parametrize("name", ["two-sided", "one-sided excluded"])
def test_stock_compresses_our_file(tmp_path, rng, name):
    """The tables are the same, so far as rounding goes."""
    prefix, _ = save_checkpoint(tmp_path, small_input(MODELS[name]))
    plain = freeze(prefix, tmp_path / "model.pb").path
    compress(plain, tmp_path / "ours.pb")
    stock_wheel.dp(["compress", "-i", "model.pb", "-o", "theirs.pb"], tmp_path)
    arguments = list(cases(rng))
    results = [
        stock_wheel.evaluate(tmp_path / file, tmp_path, arguments)
        for file in ("ours.pb", "theirs.pb")
    ]
    for mine, theirs in zip(*results, strict=True):
        for key in stock_wheel.KEYS:
            scale = np.abs(mine[key]).max()
            np.testing.assert_allclose(theirs[key], mine[key], rtol=0, atol=1e-11 * scale)
