# SPDX-License-Identifier: BSD-3-Clause
"""Attention among the neighbours of each centre, and its derivatives.

A pair i has a query, a key and a value, and q_i, k_i, v_i are these divided by their lengths (at
least 1e-6). It has a weight w_i and, where rows are given, a direction r_i, the last three numbers
of its row divided by their length. For the pairs of one centre, with a_ij = q_i·k_j and
d_ij = r_i·r_j (1 without rows),

    O_i = Σ_j P_ij w_i w_j d_ij v_j

    P_ij = m_j exp(s_ij) / (e + Σ_l m_l exp(s_il))

==========  ===========================  =====  =====================================
form        s_ij                         m_j    e
==========  ===========================  =====  =====================================
plain       a_ij                         w_j    0
smooth      (a_ij + 20) w_i w_j − 20     1      exp(−20) · number of empty slots
==========  ===========================  =====  =====================================

In the plain form weights are 1, or 0 for a pair that is left out, and constants. In the smooth form
they are the values of a switching function, from 0 to 1, and empty slots are in the sum as pairs of
weight 0.

With L = ⟨Y, O⟩ the operations are O(x), ∂L/∂x and the second derivative ∂²L/∂x² · u, where x stands
for queries, keys, values, weights and rows, and u for a tangent of them.

============  ==========================  ===================================
              gradient by the adjoint     gradient by x
============  ==========================  ===================================
``O(x)``                                  vjp
``vjp``       hvp (derivative along u)    hvp
``hvp``       refused                     refused
============  ==========================  ===================================

That covers forces, Hessian–vector products, and gradients in the weights of losses on forces and
virials. A third derivative is refused while the graph is built: there is no gradient in the weights
of a loss on a Hessian. A centre with n pairs takes n² numbers of memory while a thread works on it;
nothing has the size of the selection.
"""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.guard import guard, unreachable
from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()

_MASK = "Attention that is not smooth has no gradient with respect to the weights of pairs."
_THIRD = "Attention among neighbours has no third derivative, as the training on Hessians needs."


def neighbor_attention(
    qkv: Any,
    weights: Any,
    splits: Any,
    rows: Any = None,
    *,
    ntypes: int,
    smooth: bool = False,
    diagonal: bool = True,
    slots: int = 0,
    name: str | None = None,
) -> Any:
    """O of the module's formula.

    Parameters
    ----------
    qkv
        float32 or float64 [n_pairs, 3·width]: query, key and value of each pair side by side, of
        any length.
    weights
        [n_pairs], or None for 1. Without ``smooth`` a gradient with respect to them raises
        ``LookupError``.
    splits
        int32 [n_centers·ntypes + 1]: pairs splits[c·ntypes] … splits[(c+1)·ntypes] − 1 are those of
        centre c (see :class:`deepmd_tf.ops.neighbors.NeighborList`).
    rows
        [n_pairs, 4], environment rows, of which the first column is not used; or None for d = 1.
    ntypes
        Sections per centre.
    smooth
        Which form.
    diagonal
        Whether the term j = i is in the sum over j. The sum that P is divided by has it always.
    slots
        Of a centre, in the smooth form: those that its pairs leave are empty. Without ``smooth``
        it is not used.

    Returns
    -------
    [n_pairs, width], independent of the number of threads. Zero for a pair with weight 0.

    Raises
    ------
    ValueError
        While the graph is built: ``smooth`` without slots.
    tf.errors.InvalidArgumentError
        While running: a shape that does not fit, or splits that fall or do not end at n_pairs.
    """
    if smooth and slots < 1:
        raise ValueError(f"slots is {slots}, expected the selection, which smooth attention needs")
    if weights is None:
        weights = tf.ones(tf.shape(qkv)[:1], tf.convert_to_tensor(qkv).dtype)
    return native().dp_neighbor_attention(
        qkv,
        weights if smooth else guard(weights, _MASK),
        splits,
        [] if rows is None else [rows],
        ntypes=ntypes,
        smooth=smooth,
        diagonal=diagonal,
        slots=slots,
        name=name,
    )


def neighbor_attention_vjp(
    qkv: Any,
    weights: Any,
    adjoint: Any,
    splits: Any,
    rows: Any = None,
    *,
    ntypes: int,
    smooth: bool = False,
    diagonal: bool = True,
    slots: int = 0,
    name: str | None = None,
) -> tuple[Any, Any, list[Any]]:
    """∂⟨Y, O⟩ by qkv, weights and rows.

    ``adjoint`` Y is [n_pairs, width]; the rest as in :func:`neighbor_attention`. Returns the
    derivatives [n_pairs, 3·width], [n_pairs], zero without ``smooth``, and a list that has
    [n_pairs, 4] if there are rows. Second derivatives of them raise ``LookupError``.
    """
    return tuple(
        native().dp_neighbor_attention_vjp(
            qkv,
            weights if smooth else guard(weights, _MASK),
            adjoint,
            splits,
            [] if rows is None else [rows],
            ntypes=ntypes,
            smooth=smooth,
            diagonal=diagonal,
            slots=slots,
            name=name,
        )
    )


def neighbor_attention_hvp(
    qkv: Any,
    weights: Any,
    qkv_tangent: Any,
    weights_tangent: Any,
    adjoint: Any,
    splits: Any,
    rows: Any = None,
    rows_tangent: Any = None,
    *,
    ntypes: int,
    smooth: bool = False,
    diagonal: bool = True,
    slots: int = 0,
    name: str | None = None,
) -> tuple[Any, Any, Any, list[Any]]:
    """Derivatives of ⟨u, :func:`neighbor_attention_vjp`⟩ by qkv, weights, adjoint and rows.

    The tangent u has the shapes of what it is a tangent of; the rest as in
    :func:`neighbor_attention_vjp`. Returns the derivatives [n_pairs, 3·width], [n_pairs], [n_pairs,
    width] and a list that has [n_pairs, 4] if there are rows. The third, by the adjoint, is the
    derivative of O along u. Every gradient raises ``LookupError``.
    """
    return tuple(
        native().dp_neighbor_attention_hvp(
            *(guard(x, _THIRD) for x in (qkv, weights, qkv_tangent, weights_tangent, adjoint)),
            splits,
            [] if rows is None else [guard(rows, _THIRD)],
            [] if rows is None else [guard(rows_tangent, _THIRD)],
            ntypes=ntypes,
            smooth=smooth,
            diagonal=diagonal,
            slots=slots,
            name=name,
        )
    )


def _attributes(op: Any) -> dict[str, Any]:
    return {name: op.get_attr(name) for name in ("ntypes", "smooth", "diagonal", "slots")}


@tf.RegisterGradient("DpNeighborAttention")
def _attention_gradient(op: Any, grad: Any) -> list[Any]:
    qkv, weights, splits, *rows = op.inputs
    keys = _attributes(op)
    d_qkv, d_weights, d_rows = neighbor_attention_vjp(qkv, weights, grad, splits, *rows, **keys)
    return [d_qkv, d_weights if keys["smooth"] else unreachable(weights), None, *d_rows]


@tf.RegisterGradient("DpNeighborAttentionVjp")
def _vjp_gradient(op: Any, of_qkv: Any, of_weights: Any, *of_rows: Any) -> list[Any]:
    qkv, weights, adjoint, splits, *rows = op.inputs
    keys = _attributes(op)
    d_qkv, d_weights, d_adjoint, d_rows = neighbor_attention_hvp(
        qkv, weights, of_qkv, of_weights, adjoint, splits, *rows, *of_rows, **keys
    )
    d_weights = d_weights if keys["smooth"] else unreachable(weights)
    return [d_qkv, d_weights, d_adjoint, None, *d_rows]


@tf.RegisterGradient("DpNeighborAttentionHvp")
def _hvp_gradient(op: Any, *_: Any) -> list[Any]:
    return [unreachable(x) if x.dtype.is_floating else None for x in op.inputs]
