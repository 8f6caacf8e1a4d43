# SPDX-License-Identifier: BSD-3-Clause
"""Sums over the neighbours of each atom: what descriptors are made of, whatever the layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf.environment import Environment, ModelInputs
from deepmd_tf.nn.angular import AngularNets
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.spline import SplineOptions

Term = Callable[[int, tf.Tensor], tf.Tensor]
"""(number of a net, rows [n, components]) → what each of these neighbours adds, [n, width]."""


@dataclass(frozen=True)
class TableOptions:
    """Whether functions of s are tabulated.

    Attributes
    ----------
    smallest_distance
        The table of the native dialect reaches down to this distance, Å; closer pairs are
        counted in ``diagnostics["outside"]``, and extrapolated linearly unless there is
        ``all_distances``. None: no table, the nets are evaluated at every pair.
    all_distances
        Whether the table goes on to any smaller distance; with constant weights only.
    splines
        Tables of a compressed model.
    """

    smallest_distance: float | None = None
    all_distances: bool = False
    splines: SplineOptions | None = None


class Contraction(ABC):
    """An environment, and the sums over its slots in the layout that its rows have.

    Parameters
    ----------
    environment
        Built.
    options
        Whether embedding nets are tabulated.

    Attributes
    ----------
    table
        The table of the embedding nets, where the layout has one, once they were summed: an
        :class:`~deepmd_tf.nn.table.EmbeddingTable`, or of pairs of neighbours an
        :class:`~deepmd_tf.nn.angle_table.AngleTable`; else None.
    diagnostics
        Those of the environment, and ``outside`` (int64, pairs closer than the smallest distance of
        the table) where there is a table.
    """

    table: Any = None

    def __init__(self, environment: Environment, options: TableOptions) -> None:
        self.environment = environment
        self.options = options
        self.diagnostics = dict(environment.diagnostics)

    @property
    def inputs(self) -> ModelInputs:
        """Inputs of the graph."""
        return self.environment.inputs

    @abstractmethod
    def moment(self, nets: EmbeddingNets, divisor: int) -> tf.Tensor:
        """Σ over slots of R ⊗ G(s), divided by ``divisor``: [n_frames * n_loc, components, M1].

        s is component 0 of the row R. All calls are for the same nets.
        """

    @abstractmethod
    def sum(self, nets: EmbeddingNets, term: Term, width: int) -> tf.Tensor:
        """Σ over slots of ``term``, called once for each net with the rows of the slots that it is
        for: [n_frames * n_loc, width]. Excluded pairs of types add nothing.
        """

    @abstractmethod
    def total(self, nets: EmbeddingNets) -> tf.Tensor:
        """Σ over slots of G(s), s component 0 of the row: [n_frames * n_loc, M1]; from a table
        where the layout has one. All calls are for the same nets.
        """

    @abstractmethod
    def angles(self, nets: AngularNets) -> tf.Tensor:
        """Σ over the types I ≤ J and over the slots j of I and k of J of e G(e), divided by the
        numbers of slots of both types: [n_frames * n_loc, M1].

        e is the scalar product of the components 1 to 3 of the rows of j and k. All calls are for
        the same nets.
        """

    def squares(self, moment: tf.Tensor, n_axis: int) -> list[tf.Tensor]:
        """Products of the columns of each moment A, Aᵀ A[:, :n_axis], for the atoms of each type as
        :meth:`ModelInputs.split_types` cuts them: [n_frames, n, M1 * n_axis].

        ``moment`` is that of all local atoms, [n_frames * n_loc, components, M1].
        """
        components, width = moment.shape.as_list()[1:]
        framed = tf.reshape(moment, [-1, self.inputs.n_loc, components, width])
        found = []
        # What is cut is the moments, since descriptors are n_axis / 4 times as large.
        for part in self.inputs.split_types(framed):
            product = self._squares(tf.reshape(part, [-1, components, width]), n_axis)
            shape = tf.concat([tf.shape(part)[:2], [width * n_axis]], axis=0)
            found.append(tf.reshape(product, shape))
        return found

    def _squares(self, moment: tf.Tensor, n_axis: int) -> tf.Tensor:
        """The same of atoms [n, components, M1], in any shape."""
        return tf.matmul(moment, moment[:, :, :n_axis], transpose_a=True)

    def split(self, values: tf.Tensor) -> list[tf.Tensor]:
        """Values of all local atoms, [n_frames * n_loc, width], for the atoms of each type as
        :meth:`ModelInputs.split_types` cuts them: [n_frames, n, width].
        """
        framed = tf.reshape(values, [-1, self.inputs.n_loc, values.shape.as_list()[-1]])
        return self.inputs.split_types(framed)

    def at(self, inputs: ModelInputs, built: Sequence[Contraction] = ()) -> Contraction:
        """The same for other frames, with the same table; ``built`` are others of these frames."""
        environments = [part.environment for part in built]
        other = type(self)(self.environment.at(inputs, environments), self.options)
        other.table = self.table
        return other
