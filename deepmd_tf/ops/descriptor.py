# SPDX-License-Identifier: BSD-3-Clause
"""The descriptor of a moment and its derivatives.

D(A) = Aᵀ A[:, :M2] is quadratic in the moment A. Its derivative along a tangent, jvp, is linear in
both, and so is the transpose of that, vjp; the gradients of these two are the same two, to any
order.
"""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()


def descriptor(moment: Any, *, n_axis: int, name: str | None = None) -> Any:
    """D: out[i][m1·M2 + m2] = Σ_a moment[i][a][m1] · moment[i][a][m2].

    Parameters
    ----------
    moment
        A, float32 or float64 [n, 4, M1].
    n_axis
        M2, from 1 to M1: as many of the first columns are multiplied with all.

    Returns
    -------
    [n, M1·M2]; the same bits for any number of threads.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape that does not fit, or fewer columns than ``n_axis``.
    """
    return native().dp_descriptor(moment, n_axis=n_axis, name=name)


def descriptor_jvp(moment: Any, tangent: Any, *, n_axis: int, name: str | None = None) -> Any:
    """Derivative of D along B: out[i][m1·M2 + m2] = Σ_a A[i][a][m1] B[i][a][m2] + B[i][a][m1]
    A[i][a][m2].

    ``moment`` A and ``tangent`` B are [n, 4, M1], and may be exchanged; the result is [n, M1·M2];
    the rest as in :func:`descriptor`.
    """
    return native().dp_descriptor_jvp(moment, tangent, n_axis=n_axis, name=name)


def descriptor_vjp(adjoint: Any, moment: Any, *, n_axis: int, name: str | None = None) -> Any:
    """∂⟨Y, D⟩/∂A: out[i][a][m] = Σ_m2 A[i][a][m2] Y[i][m][m2], and for m < M2 in addition Σ_m1
    A[i][a][m1] Y[i][m1][m].

    ``adjoint`` Y is [n, M1·M2], ``moment`` A [n, 4, M1] like the result; the rest as in
    :func:`descriptor`.
    """
    return native().dp_descriptor_vjp(adjoint, moment, n_axis=n_axis, name=name)


@tf.RegisterGradient("DpDescriptor")
def _descriptor_gradient(op: Any, grad: Any) -> Any:
    return descriptor_vjp(grad, op.inputs[0], n_axis=op.get_attr("n_axis"))


@tf.RegisterGradient("DpDescriptorJvp")
def _descriptor_jvp_gradient(op: Any, grad: Any) -> list[Any]:
    moment, tangent = op.inputs
    n_axis = op.get_attr("n_axis")
    return [
        descriptor_vjp(grad, tangent, n_axis=n_axis),
        descriptor_vjp(grad, moment, n_axis=n_axis),
    ]


@tf.RegisterGradient("DpDescriptorVjp")
def _descriptor_vjp_gradient(op: Any, grad: Any) -> list[Any]:
    adjoint, moment = op.inputs
    n_axis = op.get_attr("n_axis")
    return [
        descriptor_jvp(grad, moment, n_axis=n_axis),
        descriptor_vjp(adjoint, grad, n_axis=n_axis),
    ]
