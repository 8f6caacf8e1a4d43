# SPDX-License-Identifier: BSD-3-Clause
"""The moment of an embedding that is evaluated at every pair, without a table.

The trilinear form Ψ(R, G, Y) = Σ_p ⟨Y[c(p)], R[p] ⊗ G[p]⟩ depends on the rows R, the columns G and
an adjoint Y. The three operations are its partial derivatives, so the gradients of each are the
other two, to any order.
"""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()


def contract(rows: Any, columns: Any, splits: Any, *, ntypes: int, name: str | None = None) -> Any:
    """∂Ψ/∂Y: out[c][a][m] = Σ over the pairs p of centre c of rows[p][a] · columns[p][m].

    Parameters
    ----------
    rows
        float32 or float64 [n_pairs, 4], environment rows.
    columns
        [n_pairs, n_columns], the embedding of every pair.
    splits
        int32 [n_centers·ntypes + 1]: pairs splits[c·ntypes] … splits[(c+1)·ntypes] − 1 are those of
        centre c (see :class:`deepmd_tf.ops.neighbors.NeighborList`).
    ntypes
        Sections per centre.

    Returns
    -------
    [n_centers, 4, n_columns]; zero for a centre without neighbours. Each centre is summed in the
    order of its pairs, whatever the number of threads.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape that does not fit, or splits that fall or do not end at n_pairs.
    """
    return native().dp_contract(rows, columns, splits, ntypes=ntypes, name=name)


def contract_rows(
    columns: Any, adjoint: Any, splits: Any, *, ntypes: int, name: str | None = None
) -> Any:
    """∂Ψ/∂R: out[p][a] = Σ_m adjoint[c(p)][a][m] · columns[p][m].

    ``columns`` is [n_pairs, n_columns], ``adjoint`` [n_centers, 4, n_columns], the result
    [n_pairs, 4]; the rest as in :func:`contract`.
    """
    return native().dp_contract_rows(columns, adjoint, splits, ntypes=ntypes, name=name)


def contract_columns(
    rows: Any, adjoint: Any, splits: Any, *, ntypes: int, name: str | None = None
) -> Any:
    """∂Ψ/∂G: out[p][m] = Σ_a rows[p][a] · adjoint[c(p)][a][m].

    ``rows`` is [n_pairs, 4], ``adjoint`` [n_centers, 4, n_columns], the result [n_pairs,
    n_columns]; the rest as in :func:`contract`.
    """
    return native().dp_contract_columns(rows, adjoint, splits, ntypes=ntypes, name=name)


@tf.RegisterGradient("DpContract")
def _contract_gradient(op: Any, grad: Any) -> list[Any]:
    rows, columns, splits = op.inputs
    ntypes = op.get_attr("ntypes")
    return [
        contract_rows(columns, grad, splits, ntypes=ntypes),
        contract_columns(rows, grad, splits, ntypes=ntypes),
        None,
    ]


@tf.RegisterGradient("DpContractRows")
def _contract_rows_gradient(op: Any, grad: Any) -> list[Any]:
    columns, adjoint, splits = op.inputs
    ntypes = op.get_attr("ntypes")
    return [
        contract_columns(grad, adjoint, splits, ntypes=ntypes),
        contract(grad, columns, splits, ntypes=ntypes),
        None,
    ]


@tf.RegisterGradient("DpContractColumns")
def _contract_columns_gradient(op: Any, grad: Any) -> list[Any]:
    rows, adjoint, splits = op.inputs
    ntypes = op.get_attr("ntypes")
    return [
        contract_rows(grad, adjoint, splits, ntypes=ntypes),
        contract(rows, grad, splits, ntypes=ntypes),
        None,
    ]
