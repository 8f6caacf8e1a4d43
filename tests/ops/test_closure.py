# SPDX-License-Identifier: BSD-3-Clause
"""Environment rows, moment and pair maps together: forces, Hessian, weight gradients of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import difference
from plain_session import plain_session

from deepmd_tf import ops

TYPES = np.array([0, 1, 0, 1], np.int32)
NTYPES = 2
NODES = 48


class Cluster:
    """Energy of four atoms, Σ (moment of a tabulated net)², and its derivatives as graph nodes."""

    def __init__(self, dtype: type) -> None:
        n = len(TYPES)
        sections = [(i, t) for i in range(n) for t in range(NTYPES)]
        members = [[j for j in range(n) if j != i and TYPES[j] == t] for i, t in sections]
        center = np.repeat([i for i, _ in sections], [len(m) for m in members]).astype(np.int32)
        neighbor = np.concatenate(members).astype(np.int32)
        splits = np.cumsum([0] + [len(m) for m in members]).astype(np.int32)
        table_of = np.array([t for _, t in sections], np.int32)
        avg, std = np.full((NTYPES, 4), 0.1), np.full((NTYPES, 4), 0.5)

        self.coord = tf.placeholder(dtype, [n, 3])
        self.weights = tf.placeholder(dtype, [NTYPES, 3])
        x = ops.gather_pairs(self.coord, center, neighbor)
        rows = ops.env_matrix(
            x, center, TYPES, avg.astype(dtype), std.astype(dtype), rcut=4.0, rcut_smth=1.0
        )
        ends = np.array([[-0.5, 2.5]] * NTYPES, dtype)
        moment = ops.moment(
            self._table(dtype), ends, rows[:, 0], rows, splits, table_of, ntypes=NTYPES
        )
        self.energy = tf.reduce_sum(moment**2)
        (self.gradient,) = tf.gradients(self.energy, self.coord)
        flat = tf.reshape(self.gradient, [-1])
        self.hessian = tf.stack([tf.gradients(flat[i], self.coord)[0] for i in range(3 * n)])
        self.hessian = tf.reshape(self.hessian, [3 * n, 3 * n])
        self.losses = [tf.reduce_sum(self.gradient**2), tf.reduce_sum(self.hessian**2)]
        self.slopes = [tf.gradients(loss, self.weights)[0] for loss in self.losses]

    def _table(self, dtype: type) -> Any:
        """tanh(w s + w²), w the weights, with its derivatives, at the nodes."""
        s = tf.constant(np.linspace(-0.5, 2.5, NODES), dtype)[:, None]
        w = self.weights[:, None, :]
        y = tf.tanh(w * s + w**2)
        y1 = w * (1 - y**2)
        return tf.stack([y, y1, -2 * w * y * y1], axis=2)


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
def test_closure(rng: np.random.Generator, dtype: type) -> None:
    """Gradient, Hessian and the weight gradients of losses on both, by differences in float64."""
    coord = np.array([[0, 0, 0], [1.3, 0.2, 0], [0.1, 1.7, 0.3], [-0.4, 0.5, 1.6]])
    weights = rng.normal(size=(NTYPES, 3))
    tolerance = 1e-7 if dtype is np.float64 else 2e-2

    def evaluator(dtype: type) -> tuple[tf.Session, Any]:
        graph = tf.Graph()
        with graph.as_default():
            return plain_session(graph), Cluster(dtype)

    session, cluster = evaluator(dtype)
    with session:
        feed = {cluster.coord: coord, cluster.weights: weights}
        gradient, hessian, slopes = session.run(
            [cluster.gradient, cluster.hessian, cluster.slopes], feed
        )
    assert np.abs(hessian - hessian.T).max() < tolerance * np.abs(hessian).max()
    np.testing.assert_allclose(gradient.sum(0), 0, atol=tolerance * np.abs(gradient).max())

    session, cluster = evaluator(np.float64)
    with session:

        def along(fetch: Any, d_coord: Any, d_weights: Any) -> np.ndarray:
            def value(t: float) -> np.ndarray:
                feed = {
                    cluster.coord: coord + t * d_coord,
                    cluster.weights: weights + t * d_weights,
                }
                return np.asarray(session.run(fetch, feed))

            return difference(value, 5e-4)

        d_coord, d_weights = rng.normal(size=coord.shape), rng.normal(size=weights.shape)
        pairs = [
            (np.sum(gradient * d_coord), along(cluster.energy, d_coord, 0)),
            (hessian @ d_coord.ravel(), along(cluster.gradient, d_coord, 0).ravel()),
        ]
        pairs += [
            (np.sum(slope * d_weights), along(loss, 0, d_weights))
            for slope, loss in zip(slopes, cluster.losses, strict=True)
        ]
    for value, slope in pairs:
        np.testing.assert_allclose(value, slope, atol=tolerance * np.abs(slope).max())
