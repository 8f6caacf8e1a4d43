# SPDX-License-Identifier: BSD-3-Clause
"""Tables that came with a model are the functions that the operation of DeePMD-kit computes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.errors import InputError
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.embedding_layers import Layer
from deepmd_tf.nn.spline import FixedTable, SplineGrid, SplineOptions, spline_coefficients
from deepmd_tf.nn.stored_spline import Spline
from deepmd_tf.ops.stock import tabulate_fusion_se_r


def make(rng: np.random.Generator, upper: float, **options: float) -> Spline:
    layers = [Layer(0.5 * rng.normal(size=(1, 5)), rng.normal(size=5))]
    grid = SplineGrid.make(-1.0, upper, SplineOptions(0.5, **options), np.dtype(float))
    table = spline_coefficients(get_activation("tanh"), layers, grid.nodes)
    return Spline(table, grid.info(-1))


@pytest.mark.parametrize("options", [{}, {"extrapolate": 1.0}, {"step": 0.03, "extrapolate": 1.7}])
def test_every_form_is_one_function(rng, options):
    """Values and slopes, below the table, in its fine and coarse rows, and beyond."""
    splines = [make(rng, upper, **options) for upper in (3.0, 5.0)]
    x = np.sort(np.concatenate([rng.uniform(-3.0, 40.0, 900), [-1.0, 0.0, 3.0, 5.0, 15.0, 25.0]]))
    unit = np.tile([1.0, 0.0, 0.0, 0.0], (len(x), 1))
    for net, spline in enumerate(splines):
        with tf.Graph().as_default(), tf.Session() as session:
            s = tf.constant(x)
            theirs = tabulate_fusion_se_r(
                spline.coefficients, spline.info, s[:, None], last_layer_size=spline.width
            )[:, 0]
            fixed = FixedTable(splines, tf.float64)
            native = ops.moment(
                fixed.table,
                fixed.interval,
                s,
                tf.constant(unit),
                tf.range(len(x) + 1),
                tf.fill([len(x)], net),
                ntypes=1,
            )[:, 0]
            found = [
                session.run([g, tf.gradients(tf.reduce_sum(g), s)[0]])
                for g in (spline.apply(s[:, None]), native, theirs)
            ]
        *ours, (value, slope) = found
        limit = spline.limits[2] if net == 0 else np.inf
        for own_value, own_slope in ours:
            # the shorter table has further nodes, which round the corner where its line begins
            np.testing.assert_allclose(own_value, value, rtol=0, atol=3e-5)
            inside = x < limit
            np.testing.assert_allclose(own_value[inside], value[inside], rtol=0, atol=1e-12)
            np.testing.assert_allclose(own_slope[inside], slope[inside], rtol=0, atol=1e-9)


def test_what_is_no_table(rng):
    good = make(rng, 3.0)
    for coefficients, info in (
        (good.coefficients[:, :-1], good.info),
        (good.coefficients, good.info[:5]),
        (good.coefficients, np.full(6, np.nan)),
        (good.coefficients, np.array([0.0, 1.0, 1e9, 1e-9, 1e-8, -1.0])),
    ):
        with pytest.raises(ValueError, match=r"\d|nan"):
            Spline(coefficients, info)


def test_tables_that_no_graph_can_hold(rng, monkeypatch):
    monkeypatch.setattr("deepmd_tf.nn.spline.MAX_BYTES", 1000)
    with pytest.raises(InputError, match="in a graph"):
        FixedTable([make(rng, 3.0)], tf.float64)
