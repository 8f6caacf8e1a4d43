# SPDX-License-Identifier: BSD-3-Clause
"""Splines of embedding nets: where rows are, what they hold, and how fast they converge."""

from __future__ import annotations

import numpy as np
import pytest

from deepmd_tf.errors import InputError
from deepmd_tf.nn.activations import NUMPY, get_activation
from deepmd_tf.nn.embedding_layers import Layer, embedding_jets, stack_nets
from deepmd_tf.nn.spline import SplineGrid, SplineOptions, check_size, spline_coefficients


def make_net(rng: np.random.Generator, idt: bool = False) -> list[Layer]:
    sizes = ((1, 3), (3, 6), (6, 6))
    return [
        Layer(
            0.5 * rng.normal(size=size),
            rng.normal(size=size[1]),
            rng.uniform(0.5, 1.5, (1, size[1])) if idt else None,
        )
        for size in sizes
    ]


def net_values(layers: list[Layer], x: np.ndarray) -> np.ndarray:
    jets = embedding_jets(NUMPY, get_activation("tanh"), stack_nets(NUMPY, [layers]), x[None])
    return jets[0, :, 0]


@pytest.mark.parametrize("idt", [False, True])
def test_polynomials_are_the_net(rng: np.random.Generator, idt: bool) -> None:
    """Between the nodes too; the error falls as the sixth power of the step."""
    layers = make_net(rng, idt)
    errors = []
    for step in (0.1, 0.05):
        nodes = np.concatenate([np.arange(-1, 1.999, step), [2, 2.5, 3]])
        table = spline_coefficients(get_activation("tanh"), layers, nodes)
        assert table.shape == (len(nodes) - 1, 36)
        worst = 0.0
        for fraction in (0.0, 0.3, 0.5, 1.0):
            d = fraction * np.diff(nodes)
            value = table.reshape(-1, 6, 6) @ (d[:, None] ** np.arange(6))[:, :, None]
            difference = np.abs(value[:, :, 0] - net_values(layers, nodes[:-1] + d))
            assert fraction not in (0.0, 1.0) or difference.max() < 1e-13
            worst = max(worst, difference[:-2].max())
        errors.append(worst)
    assert errors[0] / errors[1] == pytest.approx(64, rel=0.5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_runtime_finds_all_rows(rng: np.random.Generator, dtype: type) -> None:
    """Numbers of rows from the limits, as C++ has them, whatever the step is."""
    for _ in range(300):
        lower, upper = -float(rng.integers(0, 5)), float(rng.integers(1, 60))
        options = SplineOptions(0.5, rng.choice([0.01, 0.03, 0.1, 0.007]), rng.choice([1, 1.7, 5]))
        grid = SplineGrid.make(lower, upper, options, np.dtype(dtype))
        info = grid.info(-1)
        assert info.dtype == dtype and info.shape == (6,)
        n_fine = int((info[1] - info[0]) / info[3])
        assert n_fine == grid.n_fine
        assert n_fine + int((info[2] - info[1]) / info[4]) == grid.n_rows
        assert info[0] == lower and info[1] >= upper * (1 - 1e-5)
        assert info[2] >= options.extrapolate * upper * (1 - 1e-5)
        assert len(grid.nodes) == grid.n_rows + 1 and (np.diff(grid.nodes) > 0).all()
        widths = np.repeat([options.step, 10 * options.step], [grid.n_fine, grid.n_coarse])
        np.testing.assert_allclose(np.diff(grid.nodes), widths, rtol=2e-2)


def test_limits_of_stock_files() -> None:
    """With the usual options the limits are whole numbers, and the rows as many as in stock's."""
    grid = SplineGrid.make(-1.0, 9.0, SplineOptions(0.8), np.dtype(np.float64))
    assert grid.info(-1).tolist() == [-1.0, 9.0, 45.0, 0.01, 0.1, -1.0]
    assert (grid.n_fine, grid.n_coarse) == (1000, 360)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "the step is 0, expected a positive number"),
        ({"step": np.nan}, "the step is nan"),
        ({"smallest_distance": -1.0}, "smallest distance in the training data is -1"),
        ({"smallest_distance": np.inf}, "smallest distance in the training data is inf"),
        ({"extrapolate": 0.5}, "the extrapolation is 0.5, expected 1 or more"),
    ],
)
def test_options_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplineOptions(**({"smallest_distance": 0.8} | options))


def test_tables_that_no_file_can_hold() -> None:
    options = SplineOptions(0.8, step=1e-6)
    grids = [SplineGrid.make(-1.0, 9.0, options, np.dtype(np.float64))]
    with pytest.raises(InputError, match=r"60\.8 GiB.*larger step"):
        check_size(grids, 100, np.dtype(np.float64))
