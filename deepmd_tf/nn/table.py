# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets on a table: evaluated at a few hundred nodes, interpolated everywhere else.

An embedding net is a function of one number s, needed at tens of thousands of points in each
step. Its value and first two derivatives at K uniform nodes, joined by quintic Hermite
polynomials, give a C² function whose error falls as h⁶. The nodes are evaluated inside the graph,
so that gradients reach the weights, and K is chosen from the measured error, so that the table
*is* the net to the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.nn.activations import NUMPY, Activation
from deepmd_tf.nn.embedding import (
    EmbeddingNets,
    Layer,
    embedding_jets,
    stack_nets,
    static_value,
)

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


@dataclass(frozen=True)
class TableReport:
    """What a table was measured to be.

    Attributes
    ----------
    nodes
        K.
    error
        Largest |ΔG|/max|G| and |ΔG'|/max|G'| between the nodes, all nets.
    tolerance
        What ``error`` was asked to be.
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
"""Arrays of so many nodes stay in the cache, and NumPy multiplies them without waking threads,
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
            difference = np.abs(_interpolate(jets, h[:, :, None], t, order) - true).max(axis=2)
            np.maximum(found[order], difference, out=found[order])
            true = np.abs(true).max(axis=(1, 2))[:, None]
            np.maximum(largest[order], true, out=largest[order])
    # A net that hardly changes has no slope to be relative to; its size over the interval is.
    length = interval[:, 1:] - interval[:, :1]
    largest[1] = np.maximum(largest[1], largest[0] / length)
    return errors, np.maximum(largest, np.finfo(float).tiny)


def _interpolate(jets: np.ndarray, h: np.ndarray, t: float, order: int) -> np.ndarray:
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
    activation: Activation, layers: Sequence[Layer], interval: np.ndarray, tolerance: float
) -> TableReport:
    """The smallest of :data:`NODE_COUNTS` that meets ``tolerance``, or the best when none does.

    The choice depends on weights and interval alone, so that a restarted training makes the same
    one. The error falls as K⁻⁵, so numbers that are far too small are not tried, and others only
    where the error is largest unless they meet the tolerance there.
    """
    first = uniform_nodes(interval, FIRST_NODES)
    errors, scale = _errors(activation, layers, interval, first)
    errors = (errors / scale).max(axis=0)
    worst = (errors.argmax(axis=1) + 0.5) / (FIRST_NODES - 1)
    expected = FIRST_NODES * (errors.max() / tolerance) ** 0.2
    tried = []
    for n_nodes in NODE_COUNTS:
        if n_nodes < min(0.7 * expected, NODE_COUNTS[-4]):
            continue
        near = _near(uniform_nodes(interval, n_nodes), worst, 1.5 / (FIRST_NODES - 1))
        error = float((_errors(activation, layers, interval, near)[0] / scale).max())
        if error <= tolerance:
            error = interpolation_error(activation, layers, interval, n_nodes)
            if error <= tolerance:
                return TableReport(n_nodes, error, tolerance)
        tried.append((error, n_nodes))
    n_nodes = min(tried)[1]
    error = interpolation_error(activation, layers, interval, n_nodes)
    return TableReport(n_nodes, error, tolerance)


def _near(nodes: np.ndarray, places: np.ndarray, reach: float) -> np.ndarray:
    """Of uniform nodes [n_tables, K] those around ``places`` [n_tables], as many of each table.

    Places and reach are in units of the length.
    """
    last = nodes.shape[1] - 1
    count = min(int(np.ceil(2.0 * reach * last)) + 1, last)
    begin = np.clip(np.floor((places - reach) * last).astype(int), 0, last - count)
    return np.take_along_axis(nodes, begin[:, None] + np.arange(count + 1), axis=1)


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
    """

    def __init__(
        self, nets: EmbeddingNets, avg: tf.Tensor, std: tf.Tensor, largest_s: float
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
        """
        self.nets = nets
        self.avg = avg
        self.std = std
        self.largest_s = largest_s
        self.report: TableReport | None = None
        self._state: list[_SettableVariable] = []
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
            self.report, interval, empty = self._measure(*constants)
            nodes = np.concatenate([uniform_nodes(interval, self.report.nodes), empty], axis=1)
            jets = embedding_jets(NUMPY, self.nets.activation, constants[0], nodes)
            n_nodes = self.report.nodes
            self.interval = tf.constant(interval, dtype)
            self.table = tf.constant(jets[:, :n_nodes], dtype)
            self.at_zero = tf.constant(jets[:, n_nodes:, 0], dtype)
            return
        n_tables, ntypes = len(self.nets.keys), self.nets.ntypes
        with tf.variable_scope("embedding_table"):
            # Derived from other variables by refresh(), hence not in checkpoints.
            self._state = [
                _SettableVariable("n_nodes", tf.int32, ()),
                _SettableVariable("interval", dtype, (n_tables, 2)),
                _SettableVariable("empty", dtype, (n_tables, ntypes)),
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
            self.report, *values = self._measure(stack_nets(NUMPY, nets), avg, std)
            values = zip(self._state, (self.report.nodes, *values), strict=True)
            feed = {state.value: value for state, value in values}
            session.run([state.assign for state in self._state], feed)
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
        avg, std = np.asarray(avg, np.float64)[:, 0], np.asarray(std, np.float64)[:, 0]
        low, high = (0.0 - avg) / std, (self.largest_s - avg) / std
        net_of = self.nets.net_of
        interval = np.empty((len(self.nets.keys), 2))
        for net in range(len(self.nets.keys)):
            centers = np.nonzero((net_of == net).any(axis=1))[0]
            # A net that no pair uses (its types are excluded) still needs an interval.
            centers = centers if len(centers) else np.arange(self.nets.ntypes)
            first, last = low[centers].min(), high[centers].max()
            # Rounding takes s of a pair at the cutoff a little below that of an empty slot.
            interval[net] = first - EDGE_MARGIN * (last - first), last
        report = choose_nodes(self.nets.activation, layers, interval, self.tolerance)
        return report, interval, np.tile(low, (len(interval), 1))


class EmbeddingTables:
    """The tables of all environments of a descriptor.

    Attributes
    ----------
    tables
        One or more.
    """

    def __init__(self, tables: Sequence[EmbeddingTable]) -> None:
        self.tables = tuple(tables)

    @classmethod
    def join(cls, tables: Iterable[EmbeddingTable | None]) -> EmbeddingTables | None:
        """Those that exist; None when there is none."""
        found = [table for table in tables if table is not None]
        return cls(found) if found else None

    @property
    def report(self) -> TableReport | None:
        """The least accurate of the measured errors; None before they were measured."""
        reports = [table.report for table in self.tables]
        if None in reports:
            return None
        return max(reports, key=lambda report: report.error / report.tolerance)

    def refresh(self, session: tf.Session) -> TableReport:
        """See :meth:`EmbeddingTable.refresh`."""
        for table in self.tables:
            table.refresh(session)
        return self.report


class _SettableVariable:
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
