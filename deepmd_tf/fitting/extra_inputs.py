# SPDX-License-Identifier: BSD-3-Clause
"""Inputs of fitting nets besides the descriptor: parameters of frames and of atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.environment import ModelInputs
from deepmd_tf.nn.first_values import Value
from deepmd_tf.nn.parameters import Parameters


@dataclass(frozen=True)
class MeasuredVectors:
    """Vectors that are measured before training and stored with the weights, but not trained.

    Attributes
    ----------
    parameters
        Source of the vectors.
    dtype
        Their type.
    first
        First values by node name, where they are new variables.
    """

    parameters: Parameters
    dtype: tf.DType
    first: Mapping[str, np.ndarray]

    def get(self, name: str, dim: int, default: float) -> tf.Tensor:
        """The vector called ``name``, [dim]; a new one that is not among the first values has
        ``default`` in all places."""
        init = Value(np.asarray(self.first.get(name, default)))
        return self.parameters.get(name, (dim,), self.dtype, init, trainable=False)


def normalised_parameters(
    inputs: ModelInputs,
    statistics: MeasuredVectors,
    dtype: tf.DType,
    *,
    dim_fparam: int,
    dim_aparam: int,
) -> list[list[tf.Tensor]]:
    """Frame and atomic parameters for the atoms of each type, (value − mean) / standard deviation.

    Parameters
    ----------
    inputs
        Inputs of the graph.
    statistics
        Source of means and inverse standard deviations; 0 and 1 where there were no data.
    dtype
        Type of the net.
    dim_fparam, dim_aparam
        How many enter the net.

    Returns
    -------
        For each type the tensors that there are, frame parameters first: [n_frames, 1, dim_fparam]
        (of mixed frames [1, n, dim_fparam]) and [n_frames, n, dim_aparam].
    """

    def normalised(values: tf.Tensor, average: str, inverse_std: str, dim: int) -> tf.Tensor:
        mean = statistics.get(average, dim, 0.0)
        inverse = statistics.get(inverse_std, dim, 1.0)
        return tf.cast((values - mean) * inverse, dtype)

    fparam = aparam = None
    if dim_fparam:
        average, inverse_std = names.FPARAM_AVG, names.FPARAM_ISTD
        fparam = normalised(inputs.fparam, average, inverse_std, dim_fparam)[:, None, :]
        if inputs.mixed:
            fparam = tf.repeat(fparam, inputs.n_loc, axis=1)
    if dim_aparam:
        aparam = normalised(inputs.aparam, names.APARAM_AVG, names.APARAM_ISTD, dim_aparam)
    by_type = []
    if fparam is not None:
        by_type.append(inputs.split_types(fparam) if inputs.mixed else [fparam] * inputs.ntypes)
    if aparam is not None:
        by_type.append(inputs.split_types(aparam))
    return [[values[t] for values in by_type] for t in range(inputs.ntypes)]


def join_columns(values: tf.Tensor, others: Sequence[tf.Tensor]) -> tf.Tensor:
    """Rows of a net: ``values`` [n_frames, n, dim] beside ``others``, each [n_frames, n or 1, ...],
    as [n_frames * n, sum of the last axes].
    """
    shape = tf.shape(values)[:2]
    parts = [values]
    for other in others:
        dim = other.shape.as_list()[-1]
        parts.append(tf.broadcast_to(other, tf.concat([shape, [dim]], axis=0)))
    joined = tf.concat(parts, axis=-1) if others else values
    return tf.reshape(joined, [-1, joined.shape.as_list()[-1]])
