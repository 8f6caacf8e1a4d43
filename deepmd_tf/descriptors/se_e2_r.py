# SPDX-License-Identifier: BSD-3-Clause
"""Smooth two-body embedding with radial information, ``se_e2_r``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.config import DescriptorSeE2R
from deepmd_tf.descriptors.base import Features, SecondOrder
from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.descriptors.contraction_flat import FlatContraction
from deepmd_tf.descriptors.two_body import TwoBodyDescriptor
from deepmd_tf.environment import RADIAL
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.parameters import Parameters

RESCALE = 0.2
"""Factor of the mean over slots, as in DeePMD-kit."""


class SeE2RSecondOrder(SecondOrder):
    """D is linear in A = Σ_p G(s_p), so that it has no curvature of its own."""

    def __init__(
        self, nets: Callable[[Parameters], EmbeddingNets], factor: float, width: int
    ) -> None:
        self._nets = nets
        self._factor = factor
        self.dim_out = width

    def pair_moments(
        self,
        contraction: FlatContraction,
        displacement: tf.Tensor,
        parameters: Parameters,
        pairs: slice,
        times: int,
    ) -> tf.Tensor:
        return contraction.pair_totals(self._nets(parameters), displacement, pairs, times)

    def tangents(self, moment: tf.Tensor, along: tf.Tensor) -> tf.Tensor:
        return along * self._factor

    def curvature(self, adjoint: tf.Tensor, along: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(along)
        return tf.zeros([shape[0], shape[1], shape[1]], along.dtype)


class SeE2R(TwoBodyDescriptor):
    r"""Mean of an embedding over neighbours, without directions.

    .. math::

        D_i = \frac{0.2}{N} \sum_{p} G(s_p) \in \mathbb{R}^{M_1}

    over all N = Σ ``sel`` slots, the empty ones included, whose s is that of a neighbour at the
    cutoff. Excluded pairs of types add nothing with two-sided embedding, and the constant
    sel_t G_t(0) for the excluded type t with one-sided embedding. Source: descriptor ``se_e2_r`` of
    DeePMD-kit.
    """

    config_class = DescriptorSeE2R
    components = RADIAL

    config: DescriptorSeE2R

    @property
    def dim_out(self) -> int:
        """M1."""
        return self.config.neuron[-1]

    def build(self, contractions: Sequence[Contraction], parameters: Parameters) -> Features:
        """D [n_frames, n, M1]."""
        (contraction,) = contractions
        nets = self.build_nets(parameters)
        total = contraction.total(nets)
        constant = 0.0
        if nets.one_sided and nets.excluded:
            constant = self._excluded(nets, contraction.inputs.local_type)
        return Features(contraction.split((total + constant) * self._factor), (total,))

    @property
    def _factor(self) -> float:
        return RESCALE / sum(self.config.counts)

    def second_order(self) -> list[SecondOrder]:
        return [SeE2RSecondOrder(self.build_nets, self._factor, self.dim_out)]

    def _excluded(self, nets: EmbeddingNets, center: tf.Tensor) -> tf.Tensor:
        """Σ sel_t G_t(0) over the types t that a centre does not see: [n_centers, M1]."""
        counts = np.where(nets.net_of < 0, np.asarray(self.config.counts), 0)[:, nets.used]
        zero = tf.zeros([1, 1], nets.dtype)
        at_zero = tf.concat([nets.apply(net, zero) for net in nets.used], axis=0)
        # operations of TensorFlow, since this stands in graphs of every dialect
        of_type = tf.matmul(tf.constant(counts, nets.dtype), at_zero)
        return tf.matmul(tf.one_hot(center, self.ntypes, dtype=nets.dtype), of_type)
