# SPDX-License-Identifier: BSD-3-Clause
"""Tabulated functions of the distance of two atoms, and their derivatives."""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.guard import guard, unreachable
from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()

_FIXED = "a table of pair potentials is not trained"


def pair_spline(
    r: Any,
    center: Any,
    neighbor: Any,
    type: Any,
    info: Any,
    data: Any,
    *,
    order: int = 0,
    name: str | None = None,
) -> Any:
    """d^order φ_ij/dr^order of each pair, with i and j the types of its atoms.

    The gradient with respect to ``r`` is the same with ``order`` + 1, to any order.

    Parameters
    ----------
    r
        float32 or float64 [n_pairs], Å.
    center, neighbor
        int32 [n_pairs], rows frame · nall + atom of the two atoms.
    type
        int32 [nf, nall]; a pair with an atom of type −1 has 0.
    info
        float64 [4]: first distance r₀, step h, number of intervals n, number of types.
    data
        float64 [ntypes · ntypes · n · 4], eV: for each ordered pair of types and each interval k
        the coefficients of u³, u², u and 1, with u = (r − r₀)/h − k; beyond the last one φ = 0.

    Returns
    -------
    [n_pairs], eV/Å^order

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: two atoms are closer than r₀, or a shape, index or type does not fit.
    """
    table = (guard(values, _FIXED) for values in (info, data))
    return native().dp_pair_spline(r, center, neighbor, type, *table, order=order, name=name)


@tf.RegisterGradient("DpPairSpline")
def _gradient(op: Any, grad: Any) -> list[Any]:
    slope = pair_spline(*op.inputs, order=op.get_attr("order") + 1)
    return [grad * slope, None, None, None, *map(unreachable, op.inputs[4:])]
