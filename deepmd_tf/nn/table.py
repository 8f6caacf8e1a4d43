# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets on a table: evaluated at a few hundred nodes, interpolated everywhere else.

An embedding net is a function of one number s, needed at tens of thousands of points in each
step. Its value and first two derivatives at K uniform nodes, joined by quintic Hermite
polynomials, give a C² function whose error falls as h⁶. The nodes are evaluated inside the graph,
so that gradients reach the weights, and K is chosen from the measured error, so that the table
*is* the net to the tolerance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.nn.activations import NUMPY, Activation
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.embedding_layers import Layer, embedding_jets, stack_nets, static_value

NODE_COUNTS = (
    *(32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512),
    *(640, 768, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 4096),
)
"""Numbers of nodes to choose from."""
FIRST_NODES = 64
"""The error of this many nodes says where to begin to try."""
TOLERANCE = {tf.float64: 1e-10, tf.float32: 1e-6}
"""Largest relative error of G and G' by type of the nets. In float32 rounding limits G' to 1e-5,
more with more nodes, so that few nodes are best."""
CONSTANT_TOLERANCE = {**TOLERANCE, tf.float64: 1e-11}
"""The same where weights are constants: the nodes are evaluated once, so that more cost nothing.
A virial that is small by cancellation then holds 1e-10 too."""

EDGE_MARGIN = 1e-6
"""The table begins this fraction of its length below the s of an empty slot."""

MOST_LONGER = 8.0
"""A table for all distances becomes as many times longer, where it then has a knot."""
PER_OCTAVE = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Numbers of intervals of an octave to choose from."""
NEAREST = 1e-5
"""Å. A table for all distances is checked down to here; the neighbour list refuses closer atoms."""


@dataclass(frozen=True)
class TableReport:
    """Accuracy of an embedding table.

    Attributes
    ----------
    nodes
        K.
    error
        Largest |ΔG|/max|G| and |ΔG'|/max|G'| between the nodes, all nets.
    tolerance
        Requested accuracy, in the unit of ``error``.
    """

    nodes: int
    error: float
    tolerance: float

    @property
    def accurate(self) -> bool:
        """Whether the tolerance was met."""
        return self.error <= self.tolerance


def uniform_nodes(interval: np.ndarray, n_nodes: int) -> np.ndarray:
    """[n_tables, K] uniform nodes from interval[:, 0] to interval[:, 1]."""
    return interval[:, :1] + (interval[:, 1:] - interval[:, :1]) * np.linspace(0.0, 1.0, n_nodes)


def aligned(interval: np.ndarray, knots: np.ndarray | None, n_nodes: int) -> np.ndarray:
    """Intervals [n_tables, 2], a little longer, such that of ``n_nodes`` uniform nodes one is at
    the knot of its table, if that lies behind the first step. There the third derivative of a
    function jumps, which a polynomial across it cannot follow.
    """
    if knots is None:
        return interval
    low, high = interval.T
    steps = (knots - low) / (high - low) * (n_nodes - 1)
    inside = (steps >= 1.0) & (steps < n_nodes - 1)
    steps = np.where(inside, steps, 1.0)
    longer = steps / np.maximum(np.floor(steps), 1.0)
    return np.stack([low, low + longer * (high - low)], axis=1)


def interpolation_error(
    activation: Activation, layers: Sequence[Layer], interval: np.ndarray, n_nodes: int
) -> float:
    """Relative error of value and slope between ``n_nodes`` nodes, the worst of all nets.

    The leading error of quintic Hermite interpolation at the fraction t between two nodes is
    proportional to (t (1 − t))³. Between all nodes the value is compared where this is largest,
    t = 1/2, and the slope where its derivative is, t = (1 ± 1/√5)/2.
    """
    errors, scale = _errors(activation, layers, interval, uniform_nodes(interval, n_nodes))
    return float((errors / scale).max())


PLACES = ((0.5, 0), (0.5 - 0.5 / np.sqrt(5.0), 1), (0.5 + 0.5 / np.sqrt(5.0), 1))
"""Where between two nodes the value (0) and the slope (1) are compared."""
NODES_AT_ONCE = 32
"""Number of nodes whose arrays stay in the cache. NumPy multiplies them without waking threads,
which takes longer than the product, and seconds on a busy machine."""


def _errors(
    activation: Activation, layers: Sequence[Layer], interval: np.ndarray, nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Largest |ΔG| and |ΔG'| between neighbours of ``nodes`` [n_tables, n], and what they are
    relative to: [2, n_tables, n − 1] and [2, n_tables, 1].
    """
    errors = np.zeros((2, len(nodes), nodes.shape[1] - 1))
    largest = np.zeros((2, len(nodes), 1))
    for begin in range(0, nodes.shape[1] - 1, NODES_AT_ONCE):
        block = nodes[:, begin : begin + NODES_AT_ONCE + 1]
        found = errors[:, :, begin : begin + NODES_AT_ONCE]
        jets = embedding_jets(NUMPY, activation, layers, block)
        h = block[:, 1:] - block[:, :-1]
        for t, order in PLACES:
            true = embedding_jets(NUMPY, activation, layers, block[:, :-1] + t * h)[:, :, order]
            difference = np.abs(interpolate(jets, h[:, :, None], t, order) - true).max(axis=2)
            np.maximum(found[order], difference, out=found[order])
            true = np.abs(true).max(axis=(1, 2))[:, None]
            np.maximum(largest[order], true, out=largest[order])
    # A net that hardly changes has no slope to be relative to; its size over the interval is.
    length = interval[:, 1:] - interval[:, :1]
    largest[1] = np.maximum(largest[1], largest[0] / length)
    return errors, np.maximum(largest, np.finfo(float).tiny)


def interpolate(jets: np.ndarray, h: np.ndarray, t: float, order: int) -> np.ndarray:
    """G (order 0) or G' (order 1) at the fraction t between nodes, by quintic Hermite polynomials.

    ``jets`` [n_tables, K, 3, M1] are G, G', G'' at the nodes, ``h`` their distance.
    """
    basis = [np.polynomial.Polynomial(c).deriv(order)(t) for c in HERMITE]
    ends = [side[:, :, d] * h**d for side in (jets[:, :-1], jets[:, 1:]) for d in range(3)]
    return sum(b * end for b, end in zip(basis, ends, strict=True)) / h**order


HERMITE = (
    (1, 0, 0, -10, 15, -6),
    (0, 1, 0, -6, 8, -3),
    (0, 0, 0.5, -1.5, 1.5, -0.5),
    (0, 0, 0, 10, -15, 6),
    (0, 0, 0, -4, 7, -3),
    (0, 0, 0, 0.5, -1, 0.5),
)
"""Coefficients, from t⁰ to t⁵, of the polynomials that carry G, h G', h² G'' of the left node, then
of the right one."""


def choose_nodes(
    activation: Activation,
    layers: Sequence[Layer],
    interval: np.ndarray,
    tolerance: float,
    knots: np.ndarray | None = None,
) -> TableReport:
    """The smallest of :data:`NODE_COUNTS` that meets ``tolerance``, or the best when none does.

    The choice depends on weights and interval alone, so that a restarted training makes the same
    one. The error falls as K⁻⁵, so numbers that are far too small are not tried, and others only
    where the error is largest unless they meet the tolerance there. With ``knots`` the interval is
    :func:`aligned` to each number of nodes.
    """
    first = uniform_nodes(aligned(interval, knots, FIRST_NODES), FIRST_NODES)
    errors, scale = _errors(activation, layers, interval, first)
    errors = (errors / scale).max(axis=0)
    worst = (errors.argmax(axis=1) + 0.5) / (FIRST_NODES - 1)
    expected = FIRST_NODES * (errors.max() / tolerance) ** 0.2
    tried = []
    for n_nodes in NODE_COUNTS:
        if n_nodes < min(0.7 * expected, NODE_COUNTS[-4]):
            continue
        whole = aligned(interval, knots, n_nodes)
        near = _near(uniform_nodes(whole, n_nodes), worst, 1.5 / (FIRST_NODES - 1))
        error = float((_errors(activation, layers, interval, near)[0] / scale).max())
        if error <= tolerance:
            error = interpolation_error(activation, layers, whole, n_nodes)
            if error <= tolerance:
                return TableReport(n_nodes, error, tolerance)
        tried.append((error, n_nodes))
    n_nodes = min(tried)[1]
    whole = aligned(interval, knots, n_nodes)
    error = interpolation_error(activation, layers, whole, n_nodes)
    return TableReport(n_nodes, error, tolerance)


def _near(nodes: np.ndarray, places: np.ndarray, reach: float) -> np.ndarray:
    """Of uniform nodes [n_tables, K] those around ``places`` [n_tables], as many of each table.

    Places and reach are in units of the length.
    """
    last = nodes.shape[1] - 1
    count = min(int(np.ceil(2.0 * reach * last)) + 1, last)
    begin = np.clip(np.floor((places - reach) * last).astype(int), 0, last - count)
    return np.take_along_axis(nodes, begin[:, None] + np.arange(count + 1), axis=1)


@dataclass(frozen=True)
class Octaves:
    """Nodes beyond a table, for atoms closer than in any data.

    Octave e = 0, 1, … has ``intervals`` intervals, 2^e times as wide as those of the table. Nets
    level off, or become straight lines, as s = 1/r grows, on the scale of s itself: a few hundred
    nodes are enough until the last one, from which a straight line goes on for ever.

    Attributes
    ----------
    count
        Number of octaves.
    intervals
        In each octave.
    """

    count: int = 0
    intervals: int = 0

    def nodes(self, interval: np.ndarray, n_nodes: int) -> np.ndarray:
        """[n_tables, count · intervals] nodes above the uniform ones, see :func:`uniform_nodes`."""
        octave, place = np.divmod(1 + np.arange(self.count * self.intervals), self.intervals or 1)
        steps = (self.intervals + place) * 2.0**octave - self.intervals
        high = interval[:, 1:]
        return high + (high - interval[:, :1]) / (n_nodes - 1) * steps


def choose_octaves(
    activation: Activation,
    layers: Sequence[Layer],
    interval: np.ndarray,
    n_nodes: int,
    largest: np.ndarray,
    tolerance: float,
) -> tuple[Octaves, float]:
    """The fewest octaves above a table with which it meets ``tolerance`` as far as ``largest``.

    Parameters
    ----------
    activation, layers
        The nets.
    interval, n_nodes
        The table, see :func:`uniform_nodes`.
    largest
        [n_tables], s of the closest pair of atoms.
    tolerance
        Largest error between the nodes and beyond the last of them: |ΔG|/|G|, with the largest |G|
        up to there, and |ΔG'| relative to the largest |G'| of the table and to 10 |G|/s. The
        latter counts for close atoms, since ∂(s G)/∂s = G + s G'.

    Returns
    -------
    octaves
        The most accurate ones when none meet the tolerance.
    error
        Their error.
    """
    _, scale = _errors(activation, layers, interval, uniform_nodes(interval, n_nodes))
    low, high = interval[:, :1], interval[:, 1:]
    tried: list[tuple[float, int, Octaves]] = []
    fewest = 0.0
    for intervals in PER_OCTAVE:
        if intervals < min(fewest, PER_OCTAVE[-3]):
            continue
        width = intervals * (high - low) / (n_nodes - 1)
        count = int(np.ceil(np.log2(1.0 + (largest[:, None] - high) / width)).max())
        ends = high + width * (2.0 ** np.arange(max(count, 0) + 1) - 1.0)
        jets = embedding_jets(NUMPY, activation, layers, ends)
        size = np.maximum.accumulate(np.abs(jets[:, :, 0]).max(axis=2), axis=1)
        size = np.maximum(size, scale[0])
        accepted = np.stack([size, np.minimum(scale[1], 10.0 * size / (ends - low))])
        octaves = Octaves(_straight_from(jets, ends, tolerance * accepted), intervals)
        nodes = np.concatenate([high, octaves.nodes(interval, n_nodes)], axis=1)
        errors = _errors(activation, layers, interval, nodes)[0]
        errors /= np.repeat(accepted[:, :, : octaves.count], intervals, axis=2)
        tried.append((float(errors.max(initial=0.0)), intervals, octaves))
        if tried[-1][0] <= tolerance:
            break
        fewest = 0.7 * intervals * (tried[-1][0] / tolerance) ** 0.2
    error, _, octaves = min(tried)
    return octaves, error


def _straight_from(jets: np.ndarray, ends: np.ndarray, accepted: np.ndarray) -> int:
    """The first of ``ends`` [n_tables, n] from which on straight lines are nets.

    ``jets`` [n_tables, n, 3, M1] are G, G', G'' there; ``accepted`` [2, n_tables, n] are errors of
    value and slope.
    """
    for first in range(ends.shape[1] - 2, -1, -1):
        slope = jets[:, first : first + 1, 1]
        line = (
            jets[:, first : first + 1, 0] + slope * (ends - ends[:, first : first + 1])[..., None]
        )
        differences = np.stack([np.abs(line - jets[:, :, 0]), np.abs(slope - jets[:, :, 1])])
        if (differences.max(axis=3) > accepted)[:, :, first:].any():
            return first + 1
    return 0


class EmbeddingTable:
    """Nodal table of embedding nets in the graph.

    With constant weights the table is a constant too. With variables it is recomputed in each
    step, on nodes that :meth:`refresh` sets; call it once the variables have their values, and
    again from time to time, since the error of a fixed number of nodes changes with the weights.

    Attributes
    ----------
    table
        [n_used, K, 3, M1]: G, G', G'' at the nodes, of the nets that are not at rest.
    interval
        [n_used, 2]: first and last node.
    at_zero
        [n_used, ntypes, M1]: G at the s of an empty slot of each centre type.
    octaves
        Further nodes of the table.
    """

    def __init__(
        self,
        nets: EmbeddingNets,
        avg: tf.Tensor,
        std: tf.Tensor,
        largest_s: float,
        *,
        all_distances: bool = False,
    ) -> None:
        """Store what the table is built from.

        Parameters
        ----------
        nets
            The nets, built.
        avg, std
            [ntypes, 4 n], normalisation of the environment rows by centre type; column 0 is that
            of s.
        largest_s
            w(r)/r at the smallest distance that the table is to cover, 1/Å.
        all_distances
            Whether octaves of nodes make it as accurate at any smaller distance; with constant
            weights only.
        """
        self.nets = nets
        self.avg = avg
        self.std = std
        self.largest_s = largest_s
        self.octaves = Octaves()
        self._all_distances = all_distances
        self.report: TableReport | None = None
        self._state: list[SettableVariable] = []
        self._is_constant = False

    @property
    def tolerance(self) -> float:
        """Largest relative error that is accepted."""
        return (CONSTANT_TOLERANCE if self._is_constant else TOLERANCE)[self.nets.dtype]

    def build(self) -> None:
        """Build the graph of the table."""
        dtype = self.nets.dtype
        constants = self._constants()
        self._is_constant = constants is not None
        if constants is not None:
            report, interval, empty = self._measure(*constants)
            if self._all_distances:
                report = self._measure_octaves(*constants, interval, report)
            self.report, n_nodes = report, report.nodes
            parts = [
                uniform_nodes(interval, n_nodes),
                self.octaves.nodes(interval, n_nodes),
                empty,
            ]
            jets = embedding_jets(
                NUMPY, self.nets.activation, constants[0], np.concatenate(parts, axis=1)
            )
            n_nodes = jets.shape[1] - empty.shape[1]
            self.interval = tf.constant(interval, dtype)
            self.table = tf.constant(jets[:, :n_nodes], dtype)
            self.at_zero = tf.constant(jets[:, n_nodes:, 0], dtype)
            return
        n_tables, ntypes = len(self.nets.keys), self.nets.ntypes
        with tf.variable_scope("embedding_table"):
            # Derived from other variables by refresh(), hence not in checkpoints.
            self._state = [
                SettableVariable("n_nodes", tf.int32, ()),
                SettableVariable("interval", dtype, (n_tables, 2)),
                SettableVariable("empty", dtype, (n_tables, ntypes)),
            ]
        n_nodes, *places = (state.variable for state in self._state)
        used = self.nets.used
        if len(used) < n_tables:
            # The number of nodes is chosen for all nets, so that it does not depend on which rest.
            places = [tf.gather(values, used) for values in places]
        self.interval, empty = places
        fraction = tf.cast(tf.range(n_nodes), dtype) / tf.cast(n_nodes - 1, dtype)
        low, high = self.interval[:, :1], self.interval[:, 1:]
        self.table, at_zero = self.nets.jets(low + (high - low) * fraction, empty)
        self.at_zero = at_zero[:, :, 0]

    def refresh(self, session: tf.Session) -> TableReport:
        """Set the nodes from the present values of the variables, and report the measured error."""
        if self._state:
            avg, std = session.run([self.avg, self.std])
            nets = self.nets.arrays(session)
            self.report, *measured = self._measure(stack_nets(NUMPY, nets), avg, std)
            values = (self.report.nodes, *measured)
            feed = {state.value: v for state, v in zip(self._state, values, strict=True)}
            session.run([state.assign for state in self._state], feed)
        if self.report is None:
            raise ValueError("the table is not built")
        return self.report

    def _constants(self) -> tuple[list[Layer], np.ndarray, np.ndarray] | None:
        """Stacked layers, avg and std as float64 arrays when all of them are constants, else
        None."""
        nets, avg, std = self.nets.constants(), static_value(self.avg), static_value(self.std)
        if nets is None or avg is None or std is None:
            return None
        return stack_nets(NUMPY, nets), avg, std

    def _measure(
        self, layers: Sequence[Layer], avg: np.ndarray, std: np.ndarray
    ) -> tuple[TableReport, np.ndarray, np.ndarray]:
        """Report, intervals [n_tables, 2], and s of empty slots [n_tables, ntypes]."""
        interval = self._interval(avg, std, self.largest_s)
        # Rounding takes s of a pair at the cutoff a little below that of an empty slot.
        interval[:, 0] -= EDGE_MARGIN * (interval[:, 1] - interval[:, 0])
        avg, std = (np.asarray(values, np.float64)[:, 0] for values in (avg, std))
        knots = self.nets.knots(avg, std)
        if self._all_distances and knots is not None:
            # Octaves have no node at a knot.
            near = knots < interval[:, 0] + MOST_LONGER * (interval[:, 1] - interval[:, 0])
            reach = np.where(near, knots + EDGE_MARGIN, interval[:, 1])
            interval[:, 1] = np.maximum(interval[:, 1], reach)
        report = choose_nodes(self.nets.activation, layers, interval, self.tolerance, knots)
        interval = aligned(interval, knots, report.nodes)
        return report, interval, np.tile((0.0 - avg) / std, (len(interval), 1))

    def _interval(self, avg: np.ndarray, std: np.ndarray, largest_s: float) -> np.ndarray:
        """[n_tables, 2], normalised s from that of an empty slot to ``largest_s``, all centres."""
        avg, std = np.asarray(avg, np.float64)[:, 0], np.asarray(std, np.float64)[:, 0]
        low, high = (0.0 - avg) / std, (largest_s - avg) / std
        net_of = self.nets.net_of
        interval = np.empty((len(self.nets.keys), 2))
        for net in range(len(self.nets.keys)):
            centers = np.nonzero((net_of == net).any(axis=1))[0]
            # A net that no pair uses (its types are excluded) still needs an interval.
            centers = centers if len(centers) else np.arange(self.nets.ntypes)
            interval[net] = low[centers].min(), high[centers].max()
        return interval

    def _measure_octaves(
        self,
        layers: Sequence[Layer],
        avg: np.ndarray,
        std: np.ndarray,
        interval: np.ndarray,
        report: TableReport,
    ) -> TableReport:
        """Set the octaves; the report of the table with them."""
        largest = self._interval(avg, std, 1.0 / NEAREST)[:, 1]
        self.octaves, error = choose_octaves(
            self.nets.activation, layers, interval, report.nodes, largest, report.tolerance
        )
        return dataclasses.replace(report, error=max(report.error, error))


class SettableVariable:
    """A variable outside of checkpoints that is set from Python: ``assign``, fed with ``value``."""

    def __init__(self, name: str, dtype: tf.DType, shape: tuple[int, ...]) -> None:
        self.variable = tf.Variable(
            lambda: tf.zeros(shape, dtype),
            name=name,
            trainable=False,
            use_resource=False,
            collections=[tf.GraphKeys.LOCAL_VARIABLES],
        )
        self.value = tf.placeholder(dtype, shape)
        self.assign = tf.assign(self.variable, self.value).op
