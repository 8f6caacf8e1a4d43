# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives of ``se_e2_a``."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow.compat.v1 as tf

from deepmd_tf.descriptors.base import SecondOrder
from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.descriptors.contraction_flat import FlatContraction
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.parameters import Parameters


class SeE2ASecondOrder(SecondOrder):
    """Of D = Aᵀ A[:, :M2], which is quadratic in A [4, M1].

    Parameters
    ----------
    build_nets
        Gives the embedding nets with their weights, for the rows of a contraction.
    divisor
        N, the number that moments are divided by.
    width, n_axis
        M1 and M2.
    """

    def __init__(
        self,
        build_nets: Callable[[Parameters, Contraction], EmbeddingNets],
        divisor: int,
        width: int,
        n_axis: int,
    ) -> None:
        self.build_nets = build_nets
        self.divisor = divisor
        self.width = width
        self.n_axis = n_axis
        self.dim_out = width * n_axis

    def pair_moments(
        self,
        contraction: FlatContraction,
        displacement: tf.Tensor,
        parameters: Parameters,
        pairs: slice,
        times: int,
    ) -> tf.Tensor:
        nets = self.build_nets(parameters, contraction)
        return contraction.pair_moments(nets, displacement, pairs, times, self.divisor)

    def tangents(self, moment: tf.Tensor, along: tf.Tensor) -> tf.Tensor:
        m2, dim = self.n_axis, self.dim_out
        moment = tf.broadcast_to(moment[:, None], tf.shape(along))
        # (dA)ᵀ A + Aᵀ dA in one product
        left = tf.concat([along, moment], axis=3)
        right = tf.concat([moment[..., :m2], along[..., :m2]], axis=3)
        product = tf.matmul(left, right, transpose_a=True)
        return tf.reshape(product, tf.concat([tf.shape(along)[:3], [dim]], axis=0))

    def curvature(self, adjoint: tf.Tensor, along: tf.Tensor) -> tf.Tensor:
        n_frames, k, n = tf.unstack(tf.shape(along)[:3])
        width, m2 = self.width, self.n_axis
        adjoint = tf.reshape(adjoint, [n_frames, 1, n, width, m2])
        left = tf.reshape(tf.matmul(along, adjoint), [n_frames, k, n * 4 * m2])
        right = tf.reshape(along[..., :m2], [n_frames, k, n * 4 * m2])
        half = tf.matmul(left, right, transpose_b=True)
        return half + tf.linalg.matrix_transpose(half)
