# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets as splines: the tables of compressed models, in the layout of DeePMD-kit.

A row of a table is an interval of s, and holds for each output the six coefficients of the
polynomial that shares value, first and second derivative with the net at both of its ends. Rows are
``step`` wide where data are expected, and ten times as wide beyond.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError
from deepmd_tf.nn.activations import NUMPY, Activation
from deepmd_tf.nn.embedding_layers import Layer, embedding_jets, stack_nets
from deepmd_tf.nn.stored_spline import Spline
from deepmd_tf.nn.table import HERMITE, Octaves

COARSE = 10
"""Rows beyond the expected range are this many steps wide."""
SINGLE_WIDTH = 0.1
"""About the distance of nodes in float32: G, which changes on the scale of 1, is represented to
10⁻⁷, and its slope rounded to 10⁻⁶."""
MAX_BYTES = 2**31 - 2**24
"""A graph can be at most 2 GiB large; the rest of a model is small."""


@dataclass(frozen=True)
class SplineOptions:
    """How embedding nets are tabulated.

    Attributes
    ----------
    smallest_distance
        Fine rows reach down to this distance, Å.
    step
        Width of a fine row, in units of the normalised s.
    extrapolate
        The table ends at this multiple of the largest s of the fine rows.
    check_frequency
        Stored in the table; nothing reads it.

    Raises
    ------
    InputError
        When a number is out of its range.
    """

    smallest_distance: float
    step: float = 0.01
    extrapolate: float = 5.0
    check_frequency: int = -1

    def __post_init__(self) -> None:
        for value, what in (
            (self.smallest_distance, "the smallest distance in the training data"),
            (self.step, "the step"),
        ):
            if not (math.isfinite(value) and value > 0.0):
                raise InputError(f"{what} is {value:g}, expected a positive number")
        if not (math.isfinite(self.extrapolate) and self.extrapolate >= 1.0):
            raise InputError(f"the extrapolation is {self.extrapolate:g}, expected 1 or more")


@dataclass(frozen=True)
class SplineGrid:
    """Where the rows of a table are, in the precision of the table.

    Attributes
    ----------
    lower, upper, max
        Fine rows are in [lower, upper), coarse ones in [upper, max).
    fine, coarse
        Widths of the rows.
    n_fine, n_coarse
        Numbers of rows.
    symmetric
        Whether there are as many coarse rows below, in [−max, lower).
    """

    lower: Any
    upper: Any
    max: Any
    fine: Any
    coarse: Any
    n_fine: int
    n_coarse: int
    symmetric: bool = False

    @classmethod
    def make_symmetric(cls, upper: float, options: SplineOptions, dtype: np.dtype) -> SplineGrid:
        """Rows that cover −``upper`` to ``upper``, ten times as wide as others (scalar products are
        spread over a longer range than lengths), and on to ``options.extrapolate`` times that.
        """
        wide = dataclasses.replace(options, step=COARSE * options.step)
        grid = cls.make(-upper, upper, wide, dtype)
        last = grid.max
        while int((grid.lower + last) / grid.coarse) < grid.n_coarse:
            last = np.nextafter(last, type(last)(np.inf))
        return dataclasses.replace(grid, max=last, symmetric=True)

    @classmethod
    def make(
        cls, lower: float, upper: float, options: SplineOptions, dtype: np.dtype
    ) -> SplineGrid:
        """Rows that cover ``lower`` to ``upper``, and on to ``options.extrapolate`` times that.

        A runtime computes the numbers of rows from the limits, rounded down, so the limits are
        moved to where that gives them.
        """
        real = np.dtype(dtype).type
        fine, coarse = real(options.step), real(COARSE * options.step)
        n_fine = _count(upper - lower, options.step)
        n_coarse = _count((options.extrapolate - 1.0) * upper, COARSE * options.step)
        first = real(lower)
        middle = _end(first, fine, n_fine)
        return cls(first, middle, _end(middle, coarse, n_coarse), fine, coarse, n_fine, n_coarse)

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return self.n_fine + (2 if self.symmetric else 1) * self.n_coarse

    @property
    def nodes(self) -> np.ndarray:
        """[n_rows + 1] ends of the rows."""
        fine = float(self.lower) + float(self.fine) * np.arange(self.n_fine)
        coarse = float(self.upper) + float(self.coarse) * np.arange(self.n_coarse)
        low = -float(self.max) + float(self.coarse) * np.arange(self.n_coarse * self.symmetric)
        return np.concatenate([low, fine, coarse, [float(self.max)]])

    def info(self, check_frequency: int) -> np.ndarray:
        """[6], as the operations take it."""
        values = (self.lower, self.upper, self.max, self.fine, self.coarse, check_frequency)
        return np.array(values, type(self.lower))


def spline_coefficients(
    activation: Activation, layers: Sequence[Layer], nodes: np.ndarray
) -> np.ndarray:
    """Coefficients [n_rows, 6 M1] of a net between ``nodes`` [n_rows + 1]: output k, power p of the
    distance from the beginning of the row, at 6 k + p.
    """
    (jets,) = embedding_jets(NUMPY, activation, stack_nets(NUMPY, [layers]), nodes[None])
    h = np.diff(nodes)[:, None]
    ends = [side[:, d] * h**d for side in (jets[:-1], jets[1:]) for d in range(3)]
    # The difference of two near values is exact; that of their multiples would not be.
    ends[3] = ends[3] - ends[0]
    coefficients = np.einsum("qp,qrk->rkp", np.array(HERMITE[1:]), np.stack(ends[1:]))
    coefficients[:, :, 0] += ends[0]
    coefficients /= h[:, :, None] ** np.arange(6)
    return coefficients.reshape(len(h), -1)


class FixedTable:
    """The nodal table of splines that came with a model: a constant of the native dialect.

    Its nodes are as far apart as the fine rows are wide, so that they divide the coarse ones. A
    polynomial of degree five is determined by value and two derivatives at two points: between the
    nodes in a row the interpolant is that polynomial. In float32 they are farther apart
    (:data:`SINGLE_WIDTH`): slopes hold the rounding of values, divided by the distance of nodes.

    Attributes
    ----------
    table
        [n_nets, K, 3, M1]: functions and two derivatives at the nodes.
    interval
        [n_nets, 2]: first and last node.
    octaves
        None.

    Raises
    ------
    InputError
        When the table is too large for a graph.
    """

    octaves = Octaves()

    def __init__(self, splines: Sequence[Spline], dtype: tf.DType) -> None:
        first, _, last, width, _ = np.array([spline.limits for spline in splines]).T
        if dtype != tf.float64:
            width *= np.maximum(1.0, np.rint(SINGLE_WIDTH / width))
        # One number of nodes for all: shorter tables are continued, as straight lines. The first
        # interval of a line rounds the corner between it and the polynomial.
        intervals = max(_count(length, 1.0) for length in (last - first) / width)
        size = len(splines) * (intervals + 1) * 3 * splines[0].width * dtype.size
        if size > MAX_BYTES:
            raise InputError(
                f"the tables of the compressed model would take {size / 2**30:.1f} GiB in a graph, "
                "and there can be 2 at most; start from the model before it was compressed"
            )
        nodes = first[:, None] + width[:, None] * np.arange(intervals + 1)
        jets = [spline.jets(x) for spline, x in zip(splines, nodes, strict=True)]
        self.table = tf.constant(np.stack(jets), dtype)
        self.interval = tf.constant(nodes[:, [0, -1]], dtype)


def check_size(grids: Sequence[SplineGrid], width: int, dtype: np.dtype) -> None:
    """Whether tables of ``width`` functions fit into a file.

    Raises
    ------
    InputError
        When they do not.
    """
    size = 6 * width * np.dtype(dtype).itemsize * sum(grid.n_rows for grid in grids)
    if size > MAX_BYTES:
        raise InputError(
            f"the tables would take {size / 2**30:.1f} GiB, and a model file can have 2 at most; "
            "take a larger step, or a smaller extrapolation"
        )


def _count(length: float, width: float) -> int:
    # Without the margin, rounding could make one row too many.
    return max(1, math.ceil(length / width - 1e-6))


def _end(start: Any, width: Any, n: int) -> Any:
    """About start + n·width, such that (end − start)/width is n when rounded down."""
    real = type(start)
    end = real(start + real(n) * width)
    while int((end - start) / width) < n:
        end = np.nextafter(end, real(np.inf))
    return end
