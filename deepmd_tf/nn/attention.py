# SPDX-License-Identifier: BSD-3-Clause
"""Layers of attention between the neighbours of an atom."""

from __future__ import annotations

import functools
import logging
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.config import AttentionConfig
from deepmd_tf.nn.first_values import Normal, Value
from deepmd_tf.nn.parameters import Parameters, count_weights
from deepmd_tf.nn.precision import INTERFACE_VARIABLE, interface_dtype, network_dtype

log = logging.getLogger(__name__)

SHIFT = 20.0
"""Smooth attention of two neighbours with weights w, w' has the exponent (a + 20) w w' − 20."""
MASKED = -(2.0**33)
"""Exponent of what is left out of attention that is not smooth."""
SMALLEST = 1e-12
"""Smallest square of the length that a vector is divided by."""


class Linear(NamedTuple):
    """x ↦ x W + b: matrix [n_in, n_out] and bias [n_out]."""

    matrix: tf.Tensor
    bias: tf.Tensor


class AttentionLayer(NamedTuple):
    """Weights of one layer."""

    query: Linear
    key: Linear
    value: Linear
    out: Linear
    gamma: tf.Tensor
    beta: tf.Tensor


class AttentionLayers:
    r"""Layers of attention of a descriptor: each adds to the columns G of a neighbour what others
    give it, and normalises.

    .. math::

        G_i \mapsto LN\Big(G_i + \sum_j P_{ij} d_{ij} \hat v_j W + b\Big), \qquad
        P = softmax(\hat q_i \cdot \hat k_j), \quad d_{ij} = \hat r_i \cdot \hat r_j

    with query, key and value of length 1 from G, the directions r of the neighbours (``attn_dotr``)
    and LN the normalisation of a row to mean 0 and variance 1, then scaled and shifted.
    ``attn_mask`` leaves out j = i behind the softmax. Smooth attention has the exponents
    (q·k + 20) w w' − 20 and is multiplied with w w', the switches of both neighbours.

    Empty slots and excluded neighbours (:meth:`alone`) give nothing and get b.

    Parameters
    ----------
    config
        The section of the descriptor.
    width
        M1, of G.
    seed
        Of the first of the weights; None draws anew.
    scope
        Suffix of their names.
    """

    def __init__(
        self, config: AttentionConfig, width: int, seed: int | None, scope: str = ""
    ) -> None:
        self.config = config
        self.width = width
        self.seed = seed
        self.scope = scope
        self.dtype = network_dtype(config.precision)
        self.layers: list[AttentionLayer] = []

    def weight_count(self) -> int:
        """Number of trained numbers."""
        m, n = self.width, self.config.attn
        linear = 3 * count_weights((m, n), timesteps=False) + count_weights((n, m), timesteps=False)
        return self.config.attn_layer * (linear + 2 * m)

    def build(self, parameters: Parameters) -> None:
        """Ask for the weights."""
        config, seed = self.config, self.seed
        if config.attn_layer and not config.smooth and interface_dtype() == tf.float32:
            _warn_of_single_precision()
        m, n = self.width, config.attn
        for level in range(config.attn_layer):
            linears = {}
            for part in names.ATTENTION_LINEAR:
                shape = (n, m) if part == names.ATTENTION_LINEAR[-1] else (m, n)
                linears[part] = self._linear(parameters, level, part, shape, seed)
                seed = None if seed is None else seed + 1
            seed = None if seed is None else seed + 1  # of the normalisation
            gamma, beta = (
                parameters.get(
                    names.attention_norm(level, part, self.scope),
                    (m,),
                    self.dtype,
                    Value(first),
                    config.trainable and config.trainable_ln,
                )
                for part, first in (("gamma", np.ones(m)), ("beta", np.zeros(m)))
            )
            query, key, value, out = linears.values()
            self.layers.append(AttentionLayer(query, key, value, out, gamma, beta))

    def _linear(
        self,
        parameters: Parameters,
        level: int,
        part: str,
        shape: tuple[int, int],
        seed: int | None,
    ) -> Linear:
        def get(kind: str, shape: tuple[int, ...], stddev: float, offset: int) -> tf.Tensor:
            init = Normal(0.0, stddev, None if seed is None else seed + offset)
            name = names.attention_weight(level, part, kind, self.scope)
            return parameters.get(name, shape, self.dtype, init, self.config.trainable)

        matrix = get("matrix", shape, sum(shape) ** -0.5, 0)
        return Linear(matrix, get("bias", shape[1:], 1.0, 1))

    def alone(self, g: tf.Tensor) -> tf.Tensor:
        """G [n, M1] after all layers of slots that get nothing from others."""
        for layer in self.layers:
            g = self._normalised(layer, g + layer.out.bias)
        return g

    def of_pairs(
        self,
        g: tf.Tensor,
        weights: tf.Tensor | None,
        rows: tf.Tensor,
        splits: tf.Tensor,
        *,
        sections: int,
        slots: int,
    ) -> tf.Tensor:
        """G [n_pairs, M1] after all layers, in a flat list of pairs.

        Parameters
        ----------
        g
            Before.
        weights
            [n_pairs], switches, or 0 for pairs that are left out; None: all are 1.
        rows
            [n_pairs, 4], environment rows.
        splits, sections
            Beginnings of the sections, and how many of them a centre has.
        slots
            ``sel``.
        """
        config = self.config
        for layer in self.layers:
            parts = layer.query, layer.key, layer.value
            matrix, bias = (tf.concat(side, axis=-1) for side in zip(*parts, strict=True))
            mixed = ops.neighbor_attention(
                ops.matmul(g, matrix) + bias,
                weights,
                splits,
                rows if config.attn_dotr else None,
                ntypes=sections,
                smooth=config.smooth,
                diagonal=not config.attn_mask,
                slots=slots,
            )
            g += ops.matmul(mixed, layer.out.matrix) + layer.out.bias
            normal = ops.layer_norm(g, epsilon=config.epsilon)
            g = normal * layer.gamma + layer.beta
        return g

    def of_slots(self, g: tf.Tensor, weights: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """G [n_centers, slots, M1] after all layers, in padded rows.

        ``weights`` [n_centers, slots] are switches, or 1 and 0; ``rows`` [n_centers, slots, 4].
        """
        config = self.config
        pairs = weights[:, :, None] * weights[:, None, :]
        factor = tf.ones([], g.dtype)
        if config.attn_dotr:
            direction = _unit(rows[:, :, 1:])
            factor = tf.matmul(direction, direction, transpose_b=True)
        for layer in self.layers:
            q, k, v = (
                _unit(self._linear_of(part, g)) for part in (layer.query, layer.key, layer.value)
            )
            exponent = tf.matmul(q, k, transpose_b=True)
            if config.smooth:
                exponent = (exponent + SHIFT) * pairs - SHIFT
                share = tf.nn.softmax(exponent) * pairs
            else:
                columns = weights[:, None, :]
                exponent = exponent * columns + MASKED * (1.0 - columns)
                share = tf.nn.softmax(exponent) * weights[:, :, None]
            share *= factor
            if config.attn_mask:
                share *= 1.0 - tf.eye(g.shape[1], dtype=g.dtype)
            g = self._normalised(layer, g + self._linear_of(layer.out, tf.matmul(share, v)))
        return g

    def _linear_of(self, linear: Linear, x: tf.Tensor) -> tf.Tensor:
        """x [..., n_in] by plain TensorFlow."""
        shape = tf.shape(x)
        flat = tf.reshape(x, [-1, x.shape.as_list()[-1]])
        y = tf.matmul(flat, linear.matrix) + linear.bias
        width = linear.bias.shape.as_list()[0]
        y = tf.reshape(y, tf.concat([shape[:-1], [width]], axis=0))
        y.set_shape([*x.shape.as_list()[:-1], width])
        return y

    def _normalised(self, layer: AttentionLayer, x: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(x, axis=-1, keepdims=True)
        apart = x - mean
        variance = tf.reduce_mean(apart * apart, axis=-1, keepdims=True)
        return apart / tf.sqrt(variance + self.config.epsilon) * layer.gamma + layer.beta


@functools.cache
def _warn_of_single_precision() -> None:
    """Once in a process: neighbours near the cutoff have their full share of attention, but rows
    that go to zero there, whose directions have few digits in float32."""
    log.warning(
        "the forces of se_atten with layers of attention and without smooth_type_embedding can be "
        "far off where the interface is float32 (%s=low) and neighbours are near the cutoff: set "
        "smooth_type_embedding and train anew, or evaluate in float64 (%s=high)",
        INTERFACE_VARIABLE,
        INTERFACE_VARIABLE,
    )


def _unit(x: tf.Tensor) -> tf.Tensor:
    square = tf.reduce_sum(x * x, axis=-1, keepdims=True)
    return x * tf.math.rsqrt(tf.maximum(square, tf.constant(SMALLEST, x.dtype)))
