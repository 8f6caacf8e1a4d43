# SPDX-License-Identifier: BSD-3-Clause
"""Inputs that must not be differentiated: refused while the graph is built, never zero silently.

A gradient function that returns ``None`` for a float input says that the derivative is zero, and
nobody is told. So the input goes through :func:`guard` before the operation sees it, and the
gradient function of the operation returns :func:`unreachable`, a tensor, for it: only then does
TensorFlow follow the path to the guard, which raises.
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
    """What a gradient function returns for a guarded input: NaN, should it ever be used."""
    return tensor * float("nan")
