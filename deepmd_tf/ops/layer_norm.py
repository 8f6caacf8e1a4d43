# SPDX-License-Identifier: BSD-3-Clause
"""Rows with mean 0 and variance 1, and the derivatives of that.

y(x) = (x − mean x) / √(variance of x + ε) is a gradient, of width·√(variance + ε). So ∂y/∂x is
symmetric, the derivative along a tangent and its transpose are one operation, and so it is with
the second derivative.

================  ========================  ====================
                  gradient by g, u          gradient by x
================  ========================  ====================
``y(x)``                                    vjp
``vjp(x, g)``     g: vjp                    hvp
``hvp(x, g, u)``  g, u: hvp                 refused
================  ========================  ====================

A third derivative is refused while the graph is built.

References
----------
J. L. Ba, J. R. Kiros, G. E. Hinton, arXiv:1607.06450 (2016).
"""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.guard import guard, unreachable
from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()

_EPSILON = "Layer normalisation has no gradient with respect to epsilon."
_THIRD = "Layer normalisation has no third derivative, as the training on Hessians needs."


def layer_norm(x: Any, *, epsilon: Any, name: str | None = None) -> Any:
    """y: out[p] = (x[p] − mean) / √(variance + epsilon), of the numbers of row p.

    Parameters
    ----------
    x
        float32 or float64 [n, width].
    epsilon
        ε, at least 0, a number or a float64 scalar. A gradient with respect to it raises
        ``LookupError``.

    Returns
    -------
    [n, width], independent of the number of threads.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape that does not fit, a negative epsilon.
    """
    return native().dp_layer_norm(x, _constant(epsilon), name=name)


def layer_norm_vjp(x: Any, g: Any, *, epsilon: Any, name: str | None = None) -> Any:
    """∂⟨g, y⟩/∂x, which is also the derivative of y along g.

    ``g`` and the result are [n, width]; the rest as in :func:`layer_norm`.
    """
    return native().dp_layer_norm_vjp(x, g, _constant(epsilon), name=name)


def layer_norm_hvp(x: Any, g: Any, u: Any, *, epsilon: Any, name: str | None = None) -> Any:
    """∂⟨u, :func:`layer_norm_vjp`⟩/∂x.

    ``g`` and ``u``, which may be exchanged, and the result are [n, width]; the rest as in
    :func:`layer_norm`. The gradient with respect to ``x`` raises ``LookupError``.
    """
    return native().dp_layer_norm_hvp(guard(x, _THIRD), g, u, _constant(epsilon), name=name)


def _constant(epsilon: Any) -> Any:
    return guard(tf.convert_to_tensor(epsilon, tf.float64), _EPSILON)


@tf.RegisterGradient("DpLayerNorm")
def _layer_norm_gradient(op: Any, grad: Any) -> list[Any]:
    x, epsilon = op.inputs
    return [layer_norm_vjp(x, grad, epsilon=epsilon), unreachable(epsilon)]


@tf.RegisterGradient("DpLayerNormVjp")
def _layer_norm_vjp_gradient(op: Any, grad: Any) -> list[Any]:
    x, g, epsilon = op.inputs
    return [
        layer_norm_hvp(x, g, grad, epsilon=epsilon),
        layer_norm_vjp(x, grad, epsilon=epsilon),
        unreachable(epsilon),
    ]


@tf.RegisterGradient("DpLayerNormHvp")
def _layer_norm_hvp_gradient(op: Any, grad: Any) -> list[Any]:
    x, g, u, epsilon = op.inputs
    return [
        unreachable(x),
        layer_norm_hvp(x, grad, u, epsilon=epsilon),
        layer_norm_hvp(x, g, grad, epsilon=epsilon),
        unreachable(epsilon),
    ]
