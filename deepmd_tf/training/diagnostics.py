# SPDX-License-Identifier: BSD-3-Clause
"""How well the data of a batch fit the model: neighbours beyond ``sel``, atoms too close."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf


class Diagnostics(NamedTuple):
    """How well the data of a batch fit the model.

    Attributes
    ----------
    dropped
        int64 [ntypes], neighbours of each type that were beyond ``sel``; of one environment after
        the other.
    max_found
        int64, likewise the largest number of neighbours of a type around one atom.
    outside
        Pairs closer than the embedding table reaches.
    """

    dropped: np.ndarray
    max_found: np.ndarray
    outside: int

    @classmethod
    def unpack(cls, vector: np.ndarray) -> Diagnostics:
        """From the value of what :func:`pack_diagnostics` returns."""
        ntypes = len(vector) // 2
        return cls(vector[:ntypes], vector[ntypes:-1], vector[-1])

    def join(self, other: Diagnostics) -> Diagnostics:
        """Diagnostics of two batches together."""
        return Diagnostics(
            self.dropped + other.dropped,
            np.maximum(self.max_found, other.max_found),
            max(self.outside, other.outside),
        )


def pack_diagnostics(diagnostics: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The diagnostics of a model's outputs as one int64 vector [2 ntypes + 1]."""
    outside = diagnostics.get("outside", tf.constant(0, tf.int64))
    parts = (diagnostics["dropped"], diagnostics["max_found"], tf.reshape(outside, [1]))
    return tf.concat([tf.cast(part, tf.int64) for part in parts], axis=0)
