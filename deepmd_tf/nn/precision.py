# SPDX-License-Identifier: BSD-3-Clause
"""Floating-point types of the interface and of the networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow.compat.v1 as tf

from deepmd_tf import environment_variables
from deepmd_tf.errors import InputError

INTERFACE_VARIABLE = environment_variables.INTERFACE_PRECISION
_interface: ContextVar[tf.DType | None] = ContextVar("interface type of the model", default=None)


@contextmanager
def use_interface(dtype: tf.DType) -> Iterator[None]:
    """Build models with this type of interface, whatever the environment says.

    A model that was trained with one type is rebuilt with the same one.
    """
    token = _interface.set(dtype)
    try:
        yield
    finally:
        _interface.reset(token)


def interface_dtype() -> tf.DType:
    """Type of coordinates, forces and virials: float64, or float32 under ``DP_INTERFACE_PREC=low``.

    Energies of whole frames are float64 in both cases.
    """
    if (dtype := _interface.get()) is not None:
        return dtype
    value = os.environ.get(INTERFACE_VARIABLE, "high").lower()
    if value not in ("high", "low"):
        raise InputError(
            f'environment variable {INTERFACE_VARIABLE} is "{value}"; allowed are "high" (float64) '
            'and "low" (float32)'
        )
    return tf.float64 if value == "high" else tf.float32


def network_dtype(precision: str) -> tf.DType:
    """Type in which a network computes; ``"default"`` is the type of the interface."""
    if precision == "default":
        return interface_dtype()
    return {"float32": tf.float32, "float64": tf.float64}[precision]
