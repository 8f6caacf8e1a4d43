# SPDX-License-Identifier: BSD-3-Clause
"""Activation functions with their first and second derivatives.

Each function is written once, for TensorFlow tensors and for NumPy arrays: it takes the namespace
``xp`` (:data:`TENSORFLOW` or :data:`NUMPY`) and the argument, and returns the *jet* (φ, φ', φ'').
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.config.values import ACTIVATIONS

NUMPY = SimpleNamespace(
    tanh=np.tanh,
    exp=np.exp,
    log1p=np.log1p,
    abs=np.abs,
    maximum=np.maximum,
    where=np.where,
    matmul=np.matmul,
    split=np.split,
    stack=np.stack,
    concat=np.concatenate,
    zeros_like=np.zeros_like,
    ones_like=np.ones_like,
)
TENSORFLOW = SimpleNamespace(
    tanh=tf.tanh,
    exp=tf.exp,
    log1p=tf.math.log1p,
    abs=tf.abs,
    maximum=tf.maximum,
    where=tf.where_v2,
    matmul=tf.matmul,
    split=tf.split,
    stack=tf.stack,
    concat=tf.concat,
    zeros_like=tf.zeros_like,
    ones_like=tf.ones_like,
)

Jet = tuple[Any, Any, Any]


@dataclass(frozen=True)
class Activation:
    """An activation function.

    Attributes
    ----------
    name
        As in the input script.
    jet
        ``jet(xp, x)`` gives φ(x), φ'(x), φ''(x).
    smooth
        Whether φ'' is continuous. Only then is the function represented by an interpolation table.
    """

    name: str
    jet: Callable[[Any, Any], Jet]
    smooth: bool = True

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """φ(x) in the TensorFlow graph."""
        return self.jet(TENSORFLOW, x)[0]


def _sigmoid(xp: Any, x: Any) -> Any:
    return 0.5 * (1.0 + xp.tanh(0.5 * x))


def _linear(xp: Any, x: Any) -> Jet:
    return x, xp.ones_like(x), xp.zeros_like(x)


def tanh_jet(t: Any) -> Jet:
    """The jet of tanh where its value is t."""
    slope = 1.0 - t * t
    return t, slope, -2.0 * t * slope


def _tanh_jet(xp: Any, x: Any) -> Jet:
    return tanh_jet(xp.tanh(x))


def _sigmoid_jet(xp: Any, x: Any) -> Jet:
    s = _sigmoid(xp, x)
    slope = s * (1.0 - s)
    return s, slope, slope * (1.0 - 2.0 * s)


def _softplus_jet(xp: Any, x: Any) -> Jet:
    s = _sigmoid(xp, x)
    # log(1 + exp(x)) without overflow for large |x|
    value = xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))
    return value, s, s * (1.0 - s)


def _silu_jet(xp: Any, x: Any) -> Jet:
    s = _sigmoid(xp, x)
    slope = s * (1.0 - s)
    return x * s, s + x * slope, slope * (2.0 + x * (1.0 - 2.0 * s))


def _gelu_jet(xp: Any, x: Any) -> Jet:
    # 0.5 x (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3)
    a = math.sqrt(2.0 / math.pi)
    u = a * (x + 0.044715 * x * x * x)
    du = a * (1.0 + 3.0 * 0.044715 * x * x)
    ddu = a * 6.0 * 0.044715 * x
    t = xp.tanh(u)
    slope = 1.0 - t * t
    return (
        0.5 * x * (1.0 + t),
        0.5 * (1.0 + t) + 0.5 * x * slope * du,
        slope * du + 0.5 * x * slope * (ddu - 2.0 * t * du * du),
    )


def _relu_jet(xp: Any, x: Any) -> Jet:
    zero, one = xp.zeros_like(x), xp.ones_like(x)
    return xp.maximum(x, 0.0), xp.where(x > 0.0, one, zero), zero


def _relu6_jet(xp: Any, x: Any) -> Jet:
    zero, one = xp.zeros_like(x), xp.ones_like(x)
    inside = (x > 0.0) & (x < 6.0)
    return (
        xp.where(inside, x, xp.where(x > 0.0, 6.0 * one, zero)),
        xp.where(inside, one, zero),
        zero,
    )


def _silut_jet(threshold: float) -> Callable[[Any, Any], Jet]:
    """silu(x) below ``threshold``, above it tanh(slope (x - threshold)) + silu(threshold)."""
    at = np.float64(threshold)
    silu, slope, _ = (float(v) for v in _silu_jet(NUMPY, at))

    def jet(xp: Any, x: Any) -> Jet:
        low = _silu_jet(xp, x)
        t, dt, ddt = _tanh_jet(xp, slope * (x - threshold))
        high = (t + silu, slope * dt, slope * slope * ddt)
        return tuple(xp.where(x < threshold, a, b) for a, b in zip(low, high, strict=True))

    return jet


_JETS = {
    "none": _linear,
    "linear": _linear,
    "relu": _relu_jet,
    "relu6": _relu6_jet,
    "softplus": _softplus_jet,
    "sigmoid": _sigmoid_jet,
    "tanh": _tanh_jet,
    "gelu": _gelu_jet,
    "gelu_tf": _gelu_jet,
    "silu": _silu_jet,
}
"""Formulas of :data:`deepmd_tf.config.values.ACTIVATIONS`; that of ``silut`` has a parameter."""
DEFAULT_SILUT_THRESHOLD = 3.0


def get_activation(name: str | None) -> Activation:
    """The activation called ``name`` in the input script (case-insensitive; None is linear).

    ``silut`` takes its threshold after a colon, ``silut:10.0``; 3.0 is the default. Its second
    derivative jumps at the threshold.

    Raises
    ------
    ValueError
        For another name than :data:`deepmd_tf.config.values.ACTIVATIONS`.
    """
    key = "none" if name is None else name.lower()
    if key in _JETS:
        return Activation(key, _JETS[key], smooth=key not in ("relu", "relu6"))
    kind, _, argument = key.partition(":")
    if kind == "silut":
        threshold = float(argument) if argument else DEFAULT_SILUT_THRESHOLD
        return Activation(key, _silut_jet(threshold), smooth=False)
    raise ValueError(f'unknown activation function "{name}"; allowed are {", ".join(ACTIVATIONS)}')
