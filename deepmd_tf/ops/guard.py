# SPDX-License-Identifier: BSD-3-Clause
"""Inputs without a derivative: an error while the graph is built, never silently zero.

To TensorFlow ``None`` from a gradient function means a zero derivative, without a warning. So the
input passes through :func:`guard` before the operation, and the gradient function returns
:func:`unreachable`, a tensor, for it: TensorFlow then backpropagates to the guard, which raises.
"""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.library import tensorflow

tf = tensorflow()


def guard(tensor: Any, message: str) -> Any:
    """``tensor``, through which ``tf.gradients`` raises ``LookupError`` with this message."""
    tensor = tf.convert_to_tensor(tensor)
    if getattr(getattr(tensor, "op", None), "type", None) == "PreventGradient":
        return tensor
    return tf.raw_ops.PreventGradient(input=tensor, message=message)


def unreachable(tensor: Any) -> Any:
    """The gradient of a guarded input: NaN, should it ever be used."""
    return tensor * float("nan")
