# SPDX-License-Identifier: BSD-3-Clause
"""Rows, two layers of attention and moment together: forces, Hessian–vector products, and the
gradient in the weights of a loss on forces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import difference

from deepmd_tf import ops

RCUT = 4.0
SLOTS = 6
M, WIDTH, LAYERS = 5, 4, 2
SHAPES = [(4, M), *[(M, 3 * WIDTH), (3 * WIDTH,), (WIDTH, M), (M,)] * LAYERS]
COORD = np.array(
    [[0, 0, 0], [1.3, 0.2, 0], [0.1, 1.7, 0.3], [-0.4, 0.5, 1.6], [0.2, -3.6, 0.1], [20, 0, 0]]
)
"""The last but one has few neighbours, the last has none."""


class Cluster:
    """Energy of six atoms, Σ (moment of columns after attention)², and its derivatives."""

    def __init__(self, smooth: bool) -> None:
        self.smooth = smooth
        n = len(COORD)
        distance = np.linalg.norm(COORD[:, None] - COORD, axis=2)
        center, neighbor = np.nonzero((distance < RCUT) & (distance > 0))
        self.splits = np.searchsorted(center, np.arange(n + 1)).astype(np.int32)
        self.coord = tf.placeholder(tf.float64, COORD.shape)
        self.v = tf.placeholder(tf.float64, COORD.shape)
        self.weights = [tf.placeholder(tf.float64, shape) for shape in SHAPES]
        center, neighbor = center.astype(np.int32), neighbor.astype(np.int32)
        x = ops.gather_pairs(self.coord, center, neighbor)
        average, deviation = np.full((1, 4), 0.1), np.full((1, 4), 0.5)
        types = np.zeros(n, np.int32)
        rows = ops.env_matrix(x, center, types, average, deviation, rcut=RCUT, rcut_smth=1.0)
        moment = ops.contract(rows, self._columns(rows), self.splits, ntypes=1)
        self.energy = tf.reduce_sum(moment**2)
        (self.gradient,) = tf.gradients(self.energy, self.coord)
        (self.product,) = tf.gradients(self.gradient, self.coord, self.v)
        self.loss = tf.reduce_sum(self.gradient**2)
        self.slopes = tf.gradients(self.loss, self.weights)

    def _columns(self, rows: Any) -> Any:
        first, *layers = self.weights
        g = tf.tanh(ops.matmul(rows, first))
        switch = None
        if self.smooth:
            u = 1 - (0.5 * rows[:, 0] + 0.1)
            switch = tf.clip_by_value(1 - u**3, 0, 1)
        for k in range(LAYERS):
            w_qkv, b_qkv, w_out, b_out = layers[4 * k : 4 * k + 4]
            mixed = ops.neighbor_attention(
                ops.matmul(g, w_qkv) + b_qkv,
                switch,
                self.splits,
                rows,
                ntypes=1,
                smooth=self.smooth,
                slots=SLOTS,
            )
            g = ops.layer_norm(g + ops.matmul(mixed, w_out) + b_out, epsilon=1e-3)
        return g


@pytest.mark.parametrize("smooth", [False, True])
def test_closure(rng: np.random.Generator, smooth: bool) -> None:
    weights = [rng.normal(size=shape) for shape in SHAPES]
    v = rng.normal(size=COORD.shape)
    along = [rng.normal(size=shape) for shape in SHAPES]
    with tf.Graph().as_default(), tf.Session() as session:
        cluster = Cluster(smooth)

        def value(fetched: Any, move: float = 0, turn: float = 0) -> Any:
            feed = {cluster.coord: COORD + move * v, cluster.v: v}
            turned = zip(cluster.weights, weights, along, strict=True)
            feed |= {holder: w + turn * u for holder, w, u in turned}
            return session.run(fetched, feed)

        gradient, product, slopes = value([cluster.gradient, cluster.product, cluster.slopes])
        pairs = [
            (np.sum(gradient * v), difference(lambda t: value(cluster.energy, move=t), 3e-4)),
            (product, difference(lambda t: value(cluster.gradient, move=t), 3e-4)),
            (
                sum(np.sum(s * u) for s, u in zip(slopes, along, strict=True)),
                difference(lambda t: value(cluster.loss, turn=t), 3e-4),
            ),
        ]
    assert not gradient[-1].any()
    for found, slope in pairs:
        np.testing.assert_allclose(found, slope, atol=1e-7 * np.abs(slope).max())
