# SPDX-License-Identifier: BSD-3-Clause
"""The moment of a tabulated embedding net, differentiable to any order.

An embedding net G is a function of one scalar s. Quintic Hermite interpolation between a few
hundred nodes reproduces the net to rounding. With G^(d) the d-th derivative of the interpolant of
table T,

    Φ_d(T, s, R, Y) = 1/divisor Σ_p Σ_j ⟨Y[c(p)], R[p][j] ⊗ G^(d+j)(s_p)⟩

is linear in T, in the rows R and in the adjoint Y. The three operations are its partial
derivatives: :func:`moment` (Y), :func:`moment_rows` (R), :func:`moment_table` (T). The gradients of
each are the other two, and the derivative with respect to s raises d by one. So the family is
closed under differentiation, and G [n_pairs, n_columns] is never stored.

Between the nodes the interpolant is a polynomial of degree five: the error of the d-th derivative
is of order h^(6−d), with h the step, and derivatives from the sixth on are zero. Rounding grows
the other way: differences of neighbouring nodes are divided by h^d, so that in float32 a few dozen
nodes are better than a few hundred.

References
----------
D. Lu et al., J. Chem. Theory Comput. 18, 5559 (2022), for the tabulation of embedding nets.
"""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.guard import guard, unreachable
from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()

_RANGE = "The moment of a table has no gradient with respect to the range of the table."


def moment(
    table: Any,
    range: Any,
    s: Any,
    rows: Any,
    splits: Any,
    table_of: Any,
    *,
    ntypes: int,
    order: int = 0,
    divisor: int = 1,
    octaves: int = 0,
    per_octave: int = 0,
    name: str | None = None,
) -> Any:
    """∂Φ/∂Y: out[c][a][m] = Σ_p Σ_j rows[p][j][a] · G_m^(order+j)(s_p), p the pairs of centre c.

    Parameters
    ----------
    table
        float32 or float64 [n_tables, n_nodes, 3, n_columns]: G, dG/ds and d²G/ds² at the nodes: 2
        uniform ones or more, then those of the octaves.
    range
        [n_tables, 2]: first and last uniform node. Below the first node of all, and above the last
        one, G is extrapolated linearly with the value and slope at the end; see
        :func:`moment_outside`. Not differentiable: a gradient with respect to it raises
        ``LookupError``.
    s
        [n_pairs]: argument of the net.
    rows
        [n_pairs, orders, 4] or, for one order, [n_pairs, 4]: environment rows. ``orders`` must be
        known when the graph is built.
    splits
        int32 [n_centers·ntypes + 1]: pairs splits[i] … splits[i+1] − 1 are those of section i =
        c·ntypes + t, centre c and neighbour type t (see
        :class:`deepmd_tf.ops.neighbors.NeighborList`). Pairs sorted by distance are fast.
    table_of
        int32 [n_centers·ntypes]: table of each section; −1 leaves the section out.
    ntypes
        Sections per centre.
    order
        Derivative of G that ``rows[:, 0]`` multiplies.
    divisor
        Divisor of the sum.
    octaves, per_octave
        Above the range come so many octaves of so many intervals each, whose width is 1, 2, 4 …
        times that of the uniform ones.

    Returns
    -------
    [n_centers, 4, n_columns], independent of the number of threads; a sum over neighbours, not
    their mean. NaN in s propagates to the moment of its centre.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape that does not fit, splits that fall or do not end at n_pairs, a table
        that does not exist, fewer than two uniform nodes, a range that does not rise.
    ValueError
        While the graph is built: the number of orders in ``rows`` is not known.
    LookupError
        While the graph is built: a gradient with respect to ``range``.
    """
    return native().dp_moment(
        table,
        guard(range, _RANGE),
        s,
        _with_orders(rows),
        splits,
        table_of,
        ntypes=ntypes,
        order=order,
        divisor=divisor,
        octaves=octaves,
        per_octave=per_octave,
        name=name,
    )


def moment_rows(
    table: Any,
    range: Any,
    s: Any,
    adjoint: Any,
    splits: Any,
    table_of: Any,
    *,
    ntypes: int,
    order: int = 0,
    orders: int = 1,
    divisor: int = 1,
    octaves: int = 0,
    per_octave: int = 0,
    name: str | None = None,
) -> Any:
    """∂Φ/∂R: out[p][j][a] = Σ_m adjoint[c(p)][a][m] · G_m^(order+j)(s_p), j < orders.

    ``adjoint`` is [n_centers, 4, n_columns], the result [n_pairs, orders, 4], zero in sections that
    are left out; the rest as in :func:`moment`.
    """
    return native().dp_moment_rows(
        table,
        guard(range, _RANGE),
        s,
        adjoint,
        splits,
        table_of,
        ntypes=ntypes,
        order=order,
        orders=orders,
        divisor=divisor,
        octaves=octaves,
        per_octave=per_octave,
        name=name,
    )


def moment_table(
    range: Any,
    s: Any,
    rows: Any,
    adjoint: Any,
    splits: Any,
    table_of: Any,
    n_nodes: Any,
    *,
    ntypes: int,
    order: int = 0,
    divisor: int = 1,
    octaves: int = 0,
    per_octave: int = 0,
    name: str | None = None,
) -> Any:
    """∂Φ/∂T: the coefficient of each number of the table in Φ.

    ``adjoint`` is [n_centers, 4, n_columns], ``n_nodes`` an int32 scalar, the result [n_tables,
    n_nodes, 3, n_columns]; the rest as in :func:`moment`.
    """
    return native().dp_moment_table(
        guard(range, _RANGE),
        s,
        _with_orders(rows),
        adjoint,
        splits,
        table_of,
        n_nodes,
        ntypes=ntypes,
        order=order,
        divisor=divisor,
        octaves=octaves,
        per_octave=per_octave,
        name=name,
    )


def moment_of_rows(
    table: Any,
    range: Any,
    rows: Any,
    splits: Any,
    table_of: Any,
    start: Any = None,
    *,
    ntypes: int,
    divisor: int = 1,
    octaves: int = 0,
    per_octave: int = 0,
    name: str | None = None,
) -> Any:
    """:func:`moment` where s is the first component of the rows: start + Σ_p R_p ⊗ G(R_p0) /
    divisor.

    ``rows`` is [n_pairs, 4], ``start`` [n_centers, 4, n_columns] or None for 0; the rest as in
    :func:`moment`. The derivative with respect to the rows, with both of its terms, is one
    operation, :func:`moment_of_rows_vjp`.
    """
    starts = [] if start is None else [start]
    return native().dp_moment_of_rows(
        table,
        guard(range, _RANGE),
        rows,
        splits,
        table_of,
        starts,
        ntypes=ntypes,
        divisor=divisor,
        octaves=octaves,
        per_octave=per_octave,
        name=name,
    )


def moment_of_rows_vjp(
    table: Any,
    range: Any,
    rows: Any,
    adjoint: Any,
    splits: Any,
    table_of: Any,
    *,
    ntypes: int,
    divisor: int = 1,
    octaves: int = 0,
    per_octave: int = 0,
    name: str | None = None,
) -> Any:
    """∂⟨Y, M⟩/∂R of M = :func:`moment_of_rows`: out[p] = ⟨Y, G(s)⟩ + e_0 Σ_a R[p][a] ⟨Y[a], G'(s)⟩.

    ``adjoint`` Y is [n_centers, 4, n_columns], the result [n_pairs, 4]; the rest as in
    :func:`moment_of_rows`. Its gradients are members of the family again, with
    :func:`moment_tangent_rows`.
    """
    return native().dp_moment_of_rows_vjp(
        table,
        guard(range, _RANGE),
        rows,
        adjoint,
        splits,
        table_of,
        ntypes=ntypes,
        divisor=divisor,
        octaves=octaves,
        per_octave=per_octave,
        name=name,
    )


def moment_tangent_rows(rows: Any, tangent: Any, *, name: str | None = None) -> tuple[Any, Any]:
    """Arguments with which :func:`moment` is the derivative of :func:`moment_of_rows` along V.

    R ⊗ G(R_0) changes by V ⊗ G + V_0 R ⊗ G'.

    Parameters
    ----------
    rows, tangent
        R and V, float32 or float64 [n_pairs, 4].

    Returns
    -------
    s
        R_0, [n_pairs].
    tangent_rows
        (V, V_0 R), [n_pairs, 2, 4].
    """
    return tuple(native().dp_moment_tangent_rows(rows, tangent, name=name))


def moment_outside(
    range: Any, s: Any, splits: Any, table_of: Any, *, ntypes: int, name: str | None = None
) -> Any:
    """Number (int64 scalar) of pairs whose s is outside the range of their table, or a NaN.

    Arguments as in :func:`moment`; sections that are left out do not count. An integer: no
    gradient.
    """
    return native().dp_moment_outside(range, s, splits, table_of, ntypes=ntypes, name=name)


tf.no_gradient("DpMomentOutside")


def _with_orders(rows: Any) -> Any:
    rows = tf.convert_to_tensor(rows)
    if rows.shape.rank == 2:
        return tf.expand_dims(rows, 1)
    _orders(rows)
    return rows


def _orders(rows: Any) -> int:
    if rows.shape.rank != 3 or rows.shape[1] is None:
        raise ValueError(
            f"rows has shape {rows.shape}; expected [n_pairs, orders, 4] with a known number of "
            "orders, or [n_pairs, 4]"
        )
    return rows.shape[1]


def _nodes(table: Any) -> Any:
    """Number of nodes of a table, as a constant if it is known."""
    return table.shape[1] if table.shape[1] is not None else tf.shape(table)[1]


def _split_orders(values: Any, rows: Any) -> tuple[Any, Any]:
    """From ⟨adjoint, G^(order+j)⟩, j ≤ orders: the gradients with respect to rows and to s."""
    orders = _orders(rows)
    if orders == 1:
        first, last = tf.split(values, 2, axis=1)
    else:
        first, last = values[:, :orders], values[:, 1:]
    return first, tf.reduce_sum(rows * last, axis=[1, 2])


def _attributes(op: Any, *names: str) -> dict[str, Any]:
    names = ("ntypes", "divisor", "octaves", "per_octave", *names)
    return {name: op.get_attr(name) for name in names}


@tf.RegisterGradient("DpMoment")
def _moment_gradient(op: Any, grad: Any) -> list[Any]:
    table, range, s, rows, splits, table_of = op.inputs
    attributes = _attributes(op, "order")
    values = moment_rows(
        table, range, s, grad, splits, table_of, orders=_orders(rows) + 1, **attributes
    )
    d_rows, d_s = _split_orders(values, rows)
    d_table = moment_table(range, s, rows, grad, splits, table_of, _nodes(table), **attributes)
    return [d_table, unreachable(range), d_s, d_rows, None, None]


@tf.RegisterGradient("DpMomentRows")
def _moment_rows_gradient(op: Any, grad: Any) -> list[Any]:
    table, range, s, adjoint, splits, table_of = op.inputs
    keys = _attributes(op)
    order, orders = op.get_attr("order"), op.get_attr("orders")
    raised = moment_rows(
        table, range, s, adjoint, splits, table_of, order=order + 1, orders=orders, **keys
    )
    d_s = tf.reduce_sum(grad * raised, axis=[1, 2])
    d_table = moment_table(
        range, s, grad, adjoint, splits, table_of, _nodes(table), order=order, **keys
    )
    d_adjoint = moment(table, range, s, grad, splits, table_of, order=order, **keys)
    return [d_table, unreachable(range), d_s, d_adjoint, None, None]


@tf.RegisterGradient("DpMomentOfRows")
def _moment_of_rows_gradient(op: Any, grad: Any) -> list[Any]:
    table, range, rows, splits, table_of, *start = op.inputs
    keys = _attributes(op)
    d_rows = moment_of_rows_vjp(table, range, rows, grad, splits, table_of, **keys)
    d_table = moment_table(range, rows[:, 0], rows, grad, splits, table_of, _nodes(table), **keys)
    return [d_table, unreachable(range), d_rows, None, None, *([grad] if start else [])]


@tf.RegisterGradient("DpMomentOfRowsVjp")
def _moment_of_rows_vjp_gradient(op: Any, grad: Any) -> list[Any]:
    table, range, rows, adjoint, splits, table_of = op.inputs
    keys = _attributes(op)
    s, along = moment_tangent_rows(rows, grad)
    d_adjoint = moment(table, range, s, along, splits, table_of, **keys)
    d_table = moment_table(range, s, along, adjoint, splits, table_of, _nodes(table), **keys)
    # `along` depends on the rows through its second part, and s does
    values = moment_rows(table, range, s, adjoint, splits, table_of, orders=3, **keys)
    d_along, d_s = _split_orders(values, along)
    d_rows = _add_first(grad[:, :1] * d_along[:, 1], d_s)
    return [d_table, unreachable(range), d_rows, d_adjoint, None, None]


@tf.RegisterGradient("DpMomentTangentRows")
def _moment_tangent_rows_gradient(op: Any, d_s: Any, d_along: Any) -> list[Any]:
    rows, tangent = op.inputs
    first, second = d_along[:, 0], d_along[:, 1]
    return [
        _add_first(tangent[:, :1] * second, d_s),
        _add_first(first, tf.reduce_sum(rows * second, axis=1)),
    ]


def _add_first(rows: Any, s: Any) -> Any:
    """``rows`` [n, 4] with ``s`` [n] added to the first column."""
    return rows + tf.pad(s[:, None], [[0, 0], [0, 3]])


@tf.RegisterGradient("DpMomentTable")
def _moment_table_gradient(op: Any, grad: Any) -> list[Any]:
    range, s, rows, adjoint, splits, table_of, _ = op.inputs
    attributes = _attributes(op, "order")
    values = moment_rows(
        grad, range, s, adjoint, splits, table_of, orders=_orders(rows) + 1, **attributes
    )
    d_rows, d_s = _split_orders(values, rows)
    d_adjoint = moment(grad, range, s, rows, splits, table_of, **attributes)
    return [unreachable(range), d_s, d_rows, d_adjoint, None, None, None]
