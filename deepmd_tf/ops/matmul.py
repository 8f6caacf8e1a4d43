# SPDX-License-Identifier: BSD-3-Clause
"""The product of two matrices, by this package's kernel."""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()


def matmul(
    a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False, name: str | None = None
) -> Any:
    """op(a) op(b), as ``tf.matmul`` of two matrices.

    The kernel uses AVX-512, unlike TensorFlow's for float64, and unlike oneDNN's for float32 it is
    as fast with transposed factors. The order of summation of an element depends neither on the
    number of threads nor on the size of the result. There is a CPU kernel only.

    Parameters
    ----------
    a
        float32 or float64 [m, k], or [k, m] with ``transpose_a``.
    b
        [k, n], or [n, k] with ``transpose_b``.

    Returns
    -------
    [m, n].

    Raises
    ------
    ValueError
        While the graph is built: shapes that do not fit.
    tf.errors.InvalidArgumentError
        While running: shapes that do not fit.
    """
    return native().dp_mat_mul(a, b, transpose_a=transpose_a, transpose_b=transpose_b, name=name)


@tf.RegisterGradient("DpMatMul")
def _matmul_gradient(op: Any, grad: Any) -> list[Any]:
    a, b = op.inputs
    # op(a) and op(b)ᵀ are what the gradients are made of
    transpose_a, transpose_b = op.get_attr("transpose_a"), op.get_attr("transpose_b")
    if transpose_a:
        d_a = matmul(b, grad, transpose_a=transpose_b, transpose_b=True)
    else:
        d_a = matmul(grad, b, transpose_b=not transpose_b)
    if transpose_b:
        d_b = matmul(grad, a, transpose_a=True, transpose_b=transpose_a)
    else:
        d_b = matmul(a, grad, transpose_a=not transpose_a)
    return [d_a, d_b]
