# SPDX-License-Identifier: BSD-3-Clause
"""The descriptor of a moment and its derivatives.

D(A) = Aᵀ A[:, :M2] is quadratic in the moment A. Its directional derivative, jvp, is linear in A
and in the tangent, and so is its transpose, vjp, in A and the cotangent. The gradients of jvp and
vjp are jvp and vjp again, to any order.
"""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()


def descriptor(moment: Any, counts: Any = None, *, n_axis: int, name: str | None = None) -> Any:
    """D: out[i][m1·M2 + m2] = Σ_a moment[i][a][m1] · moment[i][a][m2].

    Parameters
    ----------
    moment
        A, float32 or float64 [n, 4, M1].
    counts
        int32 [n_parts], for frames with equal atoms: number of atoms in each consecutive part of a
        frame. None: all atoms are one part.
    n_axis
        M2, from 1 to M1: number of leading columns that are multiplied with all columns.

    Returns
    -------
    [n, M1·M2], independent of the number of threads. With ``counts``, a list with one tensor for
    each part: its atoms, frame by frame.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape that does not fit, fewer columns than ``n_axis``, or a number of
        atoms that is no multiple of the sum of ``counts``.
    ValueError
        While the graph is built: the number of parts is not known.
    """
    parts = native().dp_descriptor(
        moment, _list(counts), n_axis=n_axis, parts=_parts(counts), name=name
    )
    return parts[0] if counts is None else parts


def descriptor_jvp(
    moment: Any, tangent: Any, counts: Any = None, *, n_axis: int, name: str | None = None
) -> Any:
    """Derivative of D along B: out[i][m1·M2 + m2] = Σ_a A[i][a][m1] B[i][a][m2] + B[i][a][m1]
    A[i][a][m2].

    ``moment`` A and ``tangent`` B are [n, 4, M1], and may be exchanged; the result is [n, M1·M2],
    or a list; the rest as in :func:`descriptor`.
    """
    parts = native().dp_descriptor_jvp(
        moment, tangent, _list(counts), n_axis=n_axis, parts=_parts(counts), name=name
    )
    return parts[0] if counts is None else parts


def descriptor_vjp(
    adjoint: Any, moment: Any, counts: Any = None, *, n_axis: int, name: str | None = None
) -> Any:
    """∂⟨Y, D⟩/∂A: out[i][a][m] = Σ_m2 A[i][a][m2] Y[i][m][m2], and for m < M2 in addition Σ_m1
    A[i][a][m1] Y[i][m1][m].

    ``adjoint`` Y is [n, M1·M2], with ``counts`` a list; ``moment`` A is [n, 4, M1] like the result;
    the rest as in :func:`descriptor`.
    """
    adjoints = [adjoint] if counts is None else adjoint
    return native().dp_descriptor_vjp(adjoints, moment, _list(counts), n_axis=n_axis, name=name)


def _list(counts: Any) -> list[Any]:
    return [] if counts is None else [counts]


def _parts(counts: Any) -> int:
    if counts is None:
        return 1
    shape = tf.convert_to_tensor(counts).shape
    if shape.rank != 1 or shape[0] is None:
        raise ValueError(f"counts has shape {shape}; expected a known number of parts")
    return shape[0]


def _vjp(adjoint: Any, moment: Any, counts: list[Any], op: Any) -> Any:
    return native().dp_descriptor_vjp(adjoint, moment, counts, n_axis=op.get_attr("n_axis"))


@tf.RegisterGradient("DpDescriptor")
def _descriptor_gradient(op: Any, *grads: Any) -> list[Any]:
    moment, *counts = op.inputs
    return [_vjp(grads, moment, counts, op), *[None] * len(counts)]


@tf.RegisterGradient("DpDescriptorJvp")
def _descriptor_jvp_gradient(op: Any, *grads: Any) -> list[Any]:
    moment, tangent, *counts = op.inputs
    return [
        _vjp(grads, tangent, counts, op),
        _vjp(grads, moment, counts, op),
        *[None] * len(counts),
    ]


@tf.RegisterGradient("DpDescriptorVjp")
def _descriptor_vjp_gradient(op: Any, grad: Any) -> list[Any]:
    parts, n_axis = op.get_attr("parts"), op.get_attr("n_axis")
    adjoint, (moment, *counts) = op.inputs[:parts], op.inputs[parts:]
    d_adjoint = native().dp_descriptor_jvp(grad, moment, counts, n_axis=n_axis, parts=parts)
    return [*d_adjoint, _vjp(adjoint, grad, counts, op), *[None] * len(counts)]
