# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets of three bodies on a table.

A net G is needed at the product e of the vectors of two neighbours, millions of times in a step.
The function that is summed, f = e G(e), is tabulated as functions of s are
(:mod:`deepmd_tf.nn.table`). Products are as often negative as positive, and those of close
neighbours are large: nodes are symmetric to 0, and their distance doubles from octave to octave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.nn.activations import NUMPY, TENSORFLOW, Activation
from deepmd_tf.nn.angular import AngularNets, largest_product
from deepmd_tf.nn.embedding_layers import Layer, embedding_jets, stack_nets, static_value
from deepmd_tf.nn.table import (
    CONSTANT_TOLERANCE,
    NEAREST,
    PER_OCTAVE,
    PLACES,
    TOLERANCE,
    SettableVariable,
    TableReport,
    interpolate,
)
from deepmd_tf.ops.angles import UNIT, node_places

NEAR = 1.0
"""A product that is as good as 0: rows are of the size of 1."""


@dataclasses.dataclass(frozen=True)
class AngleGrid:
    """Nodes of a table, see :func:`deepmd_tf.ops.angles.node_places`.

    Attributes
    ----------
    octaves
        On each side of 0.
    per_octave
        Intervals of each of them.
    """

    octaves: int
    per_octave: int

    @property
    def largest(self) -> float:
        """Place of the last node."""
        return UNIT * (2.0**self.octaves - 1.0)

    @property
    def places(self) -> np.ndarray:
        """[n_nodes] float64."""
        octave, place = np.divmod(np.arange(self.octaves * self.per_octave + 1), self.per_octave)
        side = UNIT * (2.0**octave * (1.0 + place / self.per_octave) - 1.0)
        return np.concatenate([-side[:0:-1], side])


def octaves_for(largest: float) -> int:
    """Octaves that reach as far as ``largest``, and one at least."""
    return max(1, int(np.ceil(np.log2(1.0 + largest / UNIT))))


def product_jets(xp: Any, jets: Any, e: Any) -> Any:
    """f = e G, f' and f'' [n_nets, K, 3, M1] from G, G', G'' and the places [K]."""
    e = e[:, None]
    g, slope, bend = (jets[:, :, d] for d in range(3))
    return xp.stack([e * g, g + e * slope, 2 * slope + e * bend], 2)


def choose_grid(
    activation: Activation, layers: Sequence[Layer], largest: float, tolerance: float
) -> tuple[AngleGrid, float]:
    """The fewest nodes that meet ``tolerance`` as far as ``largest``, or the best when none do.

    Returns
    -------
    grid
        The nodes.
    error
        Largest error between the nodes, of all nets: that of f' relative to the largest f' up to
        the end of the octave, or up to :data:`NEAR`, and that of f relative to that times the
        place of its end.
    """
    octaves = max(octaves_for(largest), octaves_for(NEAR))
    tried: list[tuple[float, int]] = []
    fewest = 0.0
    for per_octave in PER_OCTAVE:
        if per_octave < min(fewest, PER_OCTAVE[-3]):
            continue
        error = grid_error(activation, layers, AngleGrid(octaves, per_octave))
        tried.append((error, per_octave))
        if error <= tolerance:
            break
        fewest = 0.7 * per_octave * (error / tolerance) ** 0.2
    error, per_octave = min(tried)
    return AngleGrid(octaves, per_octave), error


def grid_error(activation: Activation, layers: Sequence[Layer], grid: AngleGrid) -> float:
    """The error of :func:`choose_grid`, measured where that of interpolation is largest."""
    n_nets = len(layers[0].matrix)

    def jets(places: np.ndarray) -> np.ndarray:
        found = embedding_jets(NUMPY, activation, layers, np.tile(places, (n_nets, 1)))
        return product_jets(NUMPY, found, places)

    nodes = grid.places
    at_nodes, h = jets(nodes), np.diff(nodes)
    errors, size = np.zeros((2, n_nets, len(h))), np.zeros((n_nets, len(h)))
    for t, order in PLACES:
        true = jets(nodes[:-1] + t * h)
        found = interpolate(at_nodes, h[:, None], t, order)
        np.maximum(errors[order], np.abs(found - true[:, :, order]).max(axis=2), out=errors[order])
        np.maximum(size, np.abs(true[:, :, 1]).max(axis=2), out=size)
    side = np.repeat(np.arange(grid.octaves), grid.per_octave)
    octave = np.concatenate([side[::-1], side])
    of_octave = np.stack(
        [size[:, octave == one].max(axis=1) for one in range(grid.octaves)], axis=1
    )
    of_octave = np.maximum.accumulate(of_octave, axis=1)
    last = octaves_for(NEAR) - 1
    slope = np.maximum(of_octave[:, np.clip(octave, last, None)], np.finfo(float).tiny)
    ends = np.maximum(UNIT * (2.0 ** (octave + 1.0) - 1.0), NEAR)
    return float(max((errors[1] / slope).max(), (errors[0] / (slope * ends)).max()))


class AngleTable:
    """Nodal table of the functions f = e G(e) / (sel sel) in the graph.

    As :class:`~deepmd_tf.nn.table.EmbeddingTable`, whose arguments it has: constant where the
    weights are, else computed in each step on nodes that :meth:`refresh` sets.

    Attributes
    ----------
    table
        [n_used, n_nodes, 3, M1]: f, f', f'' at the nodes, of the nets that are not at rest.
    grid
        int32 [2]: octaves and intervals of each.
    largest
        Where the last node is.
    """

    def __init__(
        self,
        nets: AngularNets,
        avg: tf.Tensor,
        std: tf.Tensor,
        largest_s: float,
        counts: Sequence[int],
        *,
        all_distances: bool = False,
    ) -> None:
        self.nets = nets
        self.avg = avg
        self.std = std
        self.largest_s = 1.0 / NEAREST if all_distances else largest_s
        self.counts = counts
        self.report: TableReport | None = None
        self._state: list[SettableVariable] = []

    def build(self) -> None:
        """Build the graph of the table."""
        dtype = self.nets.dtype
        constants = self.nets.constants()
        avg, std = static_value(self.avg), static_value(self.std)
        if constants is not None and avg is not None and std is not None:
            layers = stack_nets(NUMPY, constants)
            grid = self._measure(layers, avg, std, CONSTANT_TOLERANCE[dtype])
            places = grid.places
            jets = embedding_jets(
                NUMPY, self.nets.activation, layers, np.tile(places, (len(constants), 1))
            )
            scale = self._scale[:, None, None, None]
            self.table = tf.constant(scale * product_jets(NUMPY, jets, places), dtype)
            self.grid = tf.constant([grid.octaves, grid.per_octave], tf.int32)
            self.largest = tf.constant(grid.largest, dtype)
            return
        with tf.variable_scope("angle_table"):
            # Derived from other variables by refresh(), hence not in checkpoints.
            self._state = [
                SettableVariable("grid", tf.int32, (2,)),
                SettableVariable("largest", dtype, ()),
            ]
        self.grid, self.largest = (state.variable for state in self._state)
        octaves, per_octave = tf.unstack(self.grid)
        places = node_places(octaves, per_octave, dtype)
        used = self.nets.used
        (jets,) = self.nets.jets(tf.tile(places[None], [len(used), 1]))
        scale = tf.constant(self._scale[used][:, None, None, None], dtype)
        table = scale * product_jets(TENSORFLOW, jets, places)
        self.table = tf.ensure_shape(table, [len(used), None, 3, self.nets.width])

    @property
    def _scale(self) -> np.ndarray:
        """1 / (sel sel) of each net; 0 where there are no slots."""
        numbers = np.array([self.counts[i] * self.counts[j] for i, j in self.nets.pairs], float)
        return np.where(numbers > 0, 1.0 / np.maximum(numbers, 1.0), 0.0)

    def refresh(self, session: tf.Session) -> TableReport:
        """Set the nodes from the present values of the variables, and report the measured error."""
        if self._state:
            avg, std = session.run([self.avg, self.std])
            layers = stack_nets(NUMPY, self.nets.arrays(session))
            grid = self._measure(layers, avg, std, TOLERANCE[self.nets.dtype])
            values = ([grid.octaves, grid.per_octave], grid.largest)
            feed = {state.value: v for state, v in zip(self._state, values, strict=True)}
            session.run([state.assign for state in self._state], feed)
        if self.report is None:
            raise ValueError("the table is not built")
        return self.report

    def _measure(
        self, layers: Sequence[Layer], avg: np.ndarray, std: np.ndarray, tolerance: float
    ) -> AngleGrid:
        largest = largest_product(avg, std, self.largest_s)
        grid, error = choose_grid(self.nets.activation, layers, largest, tolerance)
        self.report = TableReport(len(grid.places), error, tolerance)
        return grid
