# SPDX-License-Identifier: BSD-3-Clause
"""Counts on a grid that grows are those of NumPy on the final grid."""

from __future__ import annotations

import numpy as np
import pytest

from deepmd_tf.analysis.histogram import GrowingHistogram


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("offset", [0.0, -52.4, 1e6])
def test_counts_are_those_of_the_final_grid(rng, dimensions, offset):
    grid = GrowingHistogram(dimensions, 64)
    parts = [offset + scale * rng.normal(size=(50, dimensions)) for scale in (1e-3, 0.1, 7.0, 0.01)]
    for part in parts:
        grid.add(part)
    points = np.concatenate(parts)
    centres, counts = grid.occupied()
    assert counts.sum() == len(points)
    cells, expected = np.unique(np.floor(points / grid.width), axis=0, return_counts=True)
    np.testing.assert_array_equal(centres / grid.width - 0.5, cells)
    np.testing.assert_array_equal(counts, expected)
    # no coarser than it must be
    assert 64 * grid.width < 8 * (points.max() - points.min())


def test_a_far_point_and_one_that_is_no_number():
    grid = GrowingHistogram(2, 32)
    grid.add(np.array([[1e-9, 2e-9], [1.5e-9, np.nan]]))
    grid.add(np.array([[-1e12, 1e12]]))
    centres, counts = grid.occupied()
    assert counts.tolist() == [1, 1]
    np.testing.assert_allclose(centres[0], [-1e12, 1e12], atol=grid.width)
    np.testing.assert_allclose(centres[1], [0, 0], atol=grid.width)


@pytest.mark.parametrize("value", [0.0, 3.25, -1e300])
def test_equal_points(value):
    grid = GrowingHistogram(1, 16)
    grid.add(np.full((5, 1), value))
    centres, counts = grid.occupied()
    assert counts.tolist() == [5]
    assert centres[0, 0] == pytest.approx(value, rel=1e-9, abs=1e-20)


def test_nothing():
    grid = GrowingHistogram(1, 16)
    grid.add(np.zeros((0, 1)))
    assert len(grid.occupied()[1]) == 0


def test_dense_counts_belong_to_the_occupied_cells(rng):
    grid = GrowingHistogram(2, 16)
    grid.add(rng.normal(size=(40, 2)))
    counts, index = grid.dense()
    np.testing.assert_array_equal(counts[tuple(index.T)], grid.occupied()[1])
    assert counts.sum() == 40
