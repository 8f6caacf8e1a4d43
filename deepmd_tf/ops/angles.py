# SPDX-License-Identifier: BSD-3-Clause
"""Sums over pairs of neighbours of a tabulated function of the product of their vectors.

With the vectors R_j, components 1 to 3 of the rows, of the slots j of a centre, e_jk = R_j · R_k
and the function f_IJ of the types of two slots,

    Φ(T, R, Y) = Σ_c Σ_{I ≤ J} Σ_{j∈I} Σ_{k∈J} ⟨Y[c], f_IJ(e_jk)⟩

is linear in the table T of the functions and in the adjoint Y. With Φ⁽ⁿ⁾(V₁ … Vₙ), its derivative
along n tangents of the rows, the three operations are the derivatives of that by Y
(:func:`angle_sums`), by T (:func:`angle_table`) and by the rows (:func:`angle_rows`). Their
gradients are the other two, with a tangent more or less. There are two tangents at most, one for
:func:`angle_rows`, which is enough for the gradient by the weights of losses on forces and on
products of Hessians and vectors; a third derivative by the rows is refused.

Between the nodes f is a polynomial of degree five that shares value, slope and curvature with the
nodes at both ends. Memory does not grow with the number of pairs of neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from deepmd_tf.ops.guard import guard, unreachable
from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()

UNIT = 0.25
"""Length of the first octave of nodes."""
MOST_TANGENTS = 2

_EMPTY = "Sums over pairs of neighbours have no gradient with respect to empty slots."
_THIRD = "Sums over pairs of neighbours have no third derivative with respect to the rows."


class AngleSlots(NamedTuple):
    """The slots of all centres beside the rows of the filled ones; all tensors.

    Attributes
    ----------
    splits
        int32 [n_centers·ntypes + 1]: rows splits[i] … splits[i+1] − 1 are those of section i =
        c·ntypes + t, centre c and neighbour type t.
    empty
        [n_centers, 4]: the row of an empty slot. Where its components 1 to 3 are zero, empty slots
        are left out: f(0) = 0 is taken for granted. No gradient; asking for it raises
        ``LookupError``.
    count
        [n_centers·ntypes]: number of empty slots of each section. Likewise.
    table_of
        int32 [ntypes·ntypes]: table of the functions of two types, −1: they add nothing.
    """

    splits: Any
    empty: Any
    count: Any
    table_of: Any


def node_places(octaves: Any, per_octave: Any, dtype: Any) -> Any:
    """Places [2·octaves·per_octave + 1] of the nodes, from −e_max to e_max.

    On each side of 0 there are octaves of ``per_octave`` intervals each, :data:`UNIT`/per_octave
    wide in the first, and twice as wide in every further one.
    """
    k = tf.range(octaves * per_octave + 1)
    octave = tf.cast(k // per_octave, dtype)
    place = tf.cast(k % per_octave, dtype) / tf.cast(per_octave, dtype)
    side = tf.cast(UNIT, dtype) * (tf.cast(2.0, dtype) ** octave * (1 + place) - 1)
    return tf.concat([-side[:0:-1], side], axis=0)


def angle_sums(
    table: Any,
    rows: Any,
    slots: AngleSlots,
    grid: Any,
    tangents: Sequence[Any] = (),
    *,
    ntypes: int,
    name: str | None = None,
) -> Any:
    """∂Φ⁽ⁿ⁾/∂Y: Σ_{I ≤ J} Σ_{j∈I} Σ_{k∈J} f_IJ(e_jk), or its derivative along tangents.

    Parameters
    ----------
    table
        float32 or float64 [n_tables, n_nodes, 3, n_columns]: f, f' and f'' at the nodes; see
        :func:`node_places`. Beyond the last nodes f is the parabola of their numbers.
    rows
        [n_pairs, 4]; component 0 is not used.
    slots
        Whose rows they are, and the empty slots.
    grid
        int32 [2]: octaves and intervals of an octave.
    tangents
        [n_pairs, 4] each, two at most.
    ntypes
        Sections per centre.

    Returns
    -------
    [n_centers, n_columns], independent of the number of threads. A NaN in a row stays in its
    centre.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape that does not fit, splits that fall or do not end at n_pairs, a table
        that does not exist, a grid that the table does not have.
    LookupError
        While the graph is built: a gradient with respect to ``empty`` or ``count``, or a third one
        with respect to the rows.
    """
    rows = _last(rows, tangents, MOST_TANGENTS)
    return native().dp_angle_sums(
        table, rows, *_guarded(slots), grid, list(tangents), ntypes=ntypes, name=name
    )


def angle_rows(
    table: Any,
    adjoint: Any,
    rows: Any,
    slots: AngleSlots,
    grid: Any,
    tangents: Sequence[Any] = (),
    *,
    ntypes: int,
    name: str | None = None,
) -> Any:
    """∂Φ⁽ⁿ⁾/∂R: [n_pairs, 4], component 0 is zero.

    ``adjoint`` is [n_centers, n_columns]; one tangent at most; the rest as in :func:`angle_sums`.
    """
    rows = _last(rows, tangents, MOST_TANGENTS - 1)
    return native().dp_angle_rows(
        table, adjoint, rows, *_guarded(slots), grid, list(tangents), ntypes=ntypes, name=name
    )


def angle_table(
    adjoint: Any,
    rows: Any,
    slots: AngleSlots,
    grid: Any,
    tangents: Sequence[Any] = (),
    *,
    ntypes: int,
    n_tables: int,
    name: str | None = None,
) -> Any:
    """∂Φ⁽ⁿ⁾/∂T: [n_tables, n_nodes, 3, n_columns], the coefficient of each number of the table.

    ``adjoint`` is [n_centers, n_columns]; the rest as in :func:`angle_sums`.
    """
    rows = _last(rows, tangents, MOST_TANGENTS)
    return native().dp_angle_table(
        adjoint,
        rows,
        *_guarded(slots),
        grid,
        list(tangents),
        ntypes=ntypes,
        n_tables=n_tables,
        name=name,
    )


def _guarded(slots: AngleSlots) -> list[Any]:
    return [slots.splits, guard(slots.empty, _EMPTY), guard(slots.count, _EMPTY), slots.table_of]


def _last(rows: Any, tangents: Sequence[Any], most: int) -> Any:
    """The rows, guarded where there is no further derivative by them."""
    if len(tangents) > most:
        raise ValueError(f"there are {len(tangents)} tangents, expected {most} at most")
    return guard(rows, _THIRD) if len(tangents) == most else rows


class _Call(NamedTuple):
    """Inputs of one of the operations, beginning with the rows, and its number of types."""

    rows: Any
    slots: AngleSlots
    grid: Any
    tangents: list[Any]
    ntypes: int

    @classmethod
    def of(cls, op: Any, first: int) -> _Call:
        rows, splits, empty, count, table_of, grid, *tangents = op.inputs[first:]
        slots = AngleSlots(splits, empty, count, table_of)
        return cls(rows, slots, grid, tangents, op.get_attr("ntypes"))

    def sums(self, table: Any, *more: Any) -> Any:
        return angle_sums(
            table, self.rows, self.slots, self.grid, [*self.tangents, *more], ntypes=self.ntypes
        )

    def table(self, adjoint: Any, n_tables: int, *more: Any) -> Any:
        return angle_table(
            adjoint,
            self.rows,
            self.slots,
            self.grid,
            [*self.tangents, *more],
            ntypes=self.ntypes,
            n_tables=n_tables,
        )

    def gradients(self, table: Any, adjoint: Any, *more: Any) -> list[Any]:
        """By all inputs, of Φ along the tangents and ``more``."""
        along = [*self.tangents, *more]

        def by_rows(tangents: Sequence[Any]) -> Any:
            return angle_rows(
                table, adjoint, self.rows, self.slots, self.grid, tangents, ntypes=self.ntypes
            )

        others = [by_rows(along[:i] + along[i + 1 :]) for i in range(len(self.tangents))]
        empty, count = unreachable(self.slots.empty), unreachable(self.slots.count)
        last = len(along) == MOST_TANGENTS
        d_rows = unreachable(self.rows) if last else by_rows(along)
        return [d_rows, None, empty, count, None, None, *others]


@tf.RegisterGradient("DpAngleSums")
def _angle_sums_gradient(op: Any, grad: Any) -> list[Any]:
    call, table = _Call.of(op, 1), op.inputs[0]
    return [call.table(grad, table.shape[0]), *call.gradients(table, grad)]


@tf.RegisterGradient("DpAngleRows")
def _angle_rows_gradient(op: Any, grad: Any) -> list[Any]:
    call, (table, adjoint) = _Call.of(op, 2), op.inputs[:2]
    return [
        call.table(adjoint, table.shape[0], grad),
        call.sums(table, grad),
        *call.gradients(table, adjoint, grad),
    ]


@tf.RegisterGradient("DpAngleTable")
def _angle_table_gradient(op: Any, grad: Any) -> list[Any]:
    call, adjoint = _Call.of(op, 1), op.inputs[0]
    return [call.sums(grad), *call.gradients(grad, adjoint)]
