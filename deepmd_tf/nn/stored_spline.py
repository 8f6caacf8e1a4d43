# SPDX-License-Identifier: BSD-3-Clause
"""A table of a compressed model, in place of an embedding net that there are no weights of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

POWERS = 6
"""Coefficients of a polynomial."""
MOST_ROWS = 10**7


@dataclass(frozen=True)
class Spline:
    """Functions of one number, as the operations of DeePMD-kit read them.

    Attributes
    ----------
    coefficients
        [n_rows, 6 M1]: output k, power p of the distance from the beginning of the row, at 6 k + p.
    info
        [6]: lower, upper, max, widths of the rows below and above ``upper``, and a number that is
        not used. Below ``lower`` and from ``max`` on the functions are straight lines.

    Raises
    ------
    ValueError
        When these are no table.
    """

    coefficients: np.ndarray
    info: np.ndarray

    def __post_init__(self) -> None:
        rows, info = self.coefficients, self.info
        if rows.ndim != 2 or 0 in rows.shape or rows.shape[1] % POWERS or info.shape != (POWERS,):
            raise ValueError(f"shapes {rows.shape} and {info.shape}")
        lower, upper, last, fine, coarse = self.limits
        if not (np.isfinite(info[:5]).all() and lower < upper <= last and min(fine, coarse) > 0):
            raise ValueError(f"limits and widths of rows {info.tolist()}")
        if math.ceil((last - lower) / fine) > MOST_ROWS:
            raise ValueError(f"{info.tolist()}, which are too many rows")

    @classmethod
    def zero(cls, width: int, dtype: np.dtype) -> Spline:
        """That of a net that nothing needs."""
        return cls(np.zeros((1, POWERS * width), dtype), np.array([0, 1, 1, 1, 1, -1], dtype))

    @property
    def width(self) -> int:
        """M1."""
        return self.coefficients.shape[1] // POWERS

    @property
    def limits(self) -> tuple[float, float, float, float, float]:
        """lower, upper, max, and the widths of the rows below and above ``upper``."""
        lower, upper, last, fine, coarse = (float(value) for value in self.info[:5])
        return lower, upper, last, fine, coarse

    def apply(self, x: tf.Tensor) -> tf.Tensor:
        """The functions at ``x`` [n, 1]: [n, M1]; any number of derivatives."""
        lower, upper, last, fine, coarse = self.limits
        inside = tf.clip_by_value(x, tf.constant(lower, x.dtype), tf.constant(last, x.dtype))
        n_fine = int((upper - lower) / fine)
        row = tf.where_v2(
            inside < upper,
            tf.floor((inside - lower) / fine),
            n_fine + tf.floor((inside - upper) / coarse),
        )
        row = tf.stop_gradient(tf.clip_by_value(row, 0.0, len(self.coefficients) - 1.0))
        begin = tf.where_v2(row < n_fine, lower + row * fine, upper + (row - n_fine) * coarse)
        table = tf.reshape(tf.constant(self.coefficients, x.dtype), [-1, self.width, POWERS])
        rows = tf.gather(table, tf.cast(row[:, 0], tf.int32))
        value, slope = tf.zeros_like(rows[:, :, 0]), tf.zeros_like(rows[:, :, 0])
        # At the ends the derivative is that of the line, not the zero of what was clipped.
        distance = tf.stop_gradient(inside) - begin
        within = tf.logical_and(x > lower, x < last)
        distance += tf.where_v2(within, x - tf.stop_gradient(x), tf.zeros_like(x))
        for power in reversed(range(POWERS)):
            slope = slope * distance + value
            value = value * distance + rows[:, :, power]
        return value + slope * tf.where_v2(within, tf.zeros_like(x), x - tf.stop_gradient(inside))

    def jets(self, x: np.ndarray) -> np.ndarray:
        """Functions and two derivatives at ``x`` [n] within the table: float64 [n, 3, M1]."""
        lower, upper, last, fine, coarse = self.limits
        n_fine = int((upper - lower) / fine)
        # of a node at the end of a row either row will do
        k = np.where(x < upper, (x - lower) / fine, n_fine + (x - upper) / coarse)
        row = np.clip(np.floor(k + 1e-6).astype(int), 0, len(self.coefficients) - 1)
        begin = np.where(row < n_fine, lower + row * fine, upper + (row - n_fine) * coarse)
        rows = self.coefficients.astype(np.float64)[row].reshape(len(x), self.width, POWERS)
        distance = (np.minimum(x, last) - begin)[:, None]
        polynomial = np.moveaxis(rows, -1, 0)
        jet = []
        for _ in range(3):
            jet.append(np.polynomial.polynomial.polyval(distance, polynomial, tensor=False))
            polynomial = polynomial[1:] * np.arange(1, len(polynomial))[:, None, None]
        jet[0] += jet[1] * np.maximum(x - last, 0.0)[:, None]
        return np.stack(jet, axis=1)
