# SPDX-License-Identifier: BSD-3-Clause
"""Run compiled operations on arrays; deviations and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from plain_session import plain_session

DTYPES = (np.float64, np.float32)


def run(build: Callable[..., Any], *arrays: Any, **keywords: Any) -> Any:
    """Values of ``build(*tensors, **keywords)``, the tensors being fed with the arrays."""
    with tf.Graph().as_default(), plain_session() as session:
        holders = [tf.placeholder(np.asarray(a).dtype, np.shape(a)) for a in arrays]
        return session.run(build(*holders, **keywords), dict(zip(holders, arrays, strict=True)))


def relative(value: np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation, relative to the largest expected number."""
    return float(np.max(np.abs(value - expected)) / np.max(np.abs(expected)))


def difference(function: Callable[[float], Any], step: float = 1e-3) -> Any:
    """df/dt at t = 0, by differences of fourth order."""
    values = {i: function(i * step) for i in (-2, -1, 1, 2)}
    return (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)
