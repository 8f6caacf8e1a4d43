# SPDX-License-Identifier: BSD-3-Clause
"""Smooth two-body embedding with full radial and angular information, ``se_e2_a``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import tensorflow.compat.v1 as tf

from deepmd_tf.config import AnyDescriptorConfig, DescriptorSeE2A, MatrixKeys
from deepmd_tf.descriptors.base import Features, SecondOrder
from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.descriptors.se_e2_a_second_order import SeE2ASecondOrder
from deepmd_tf.descriptors.two_body import TwoBodyDescriptor
from deepmd_tf.environment import ANGULAR
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.shared_embedding import SharedEmbeddingNets


class SeE2A(TwoBodyDescriptor):
    r"""The descriptor of DeepPot-SE.

    .. math::

        A_i = \frac{1}{N} \sum_{p} R_p \otimes G(s_p) \in \mathbb{R}^{4 \times M_1}, \qquad
        D_i = A_i^T A_i[:, :M_2] \in \mathbb{R}^{M_1 \times M_2}

    with the rows R of the environment, N = Σ ``sel`` of the first training, M1 the width of the
    embedding and M2 = ``axis_neuron``. D is invariant under rotation, and under permutation of
    equal atoms. With a type embedding te there is one embedding net for all types, of s and the
    vectors of the types, G(s, te(neighbour)) or two-sided G(s, te(neighbour), te(centre)). Source:
    L. Zhang et al., *End-to-end symmetry preserving inter-atomic potential energy model for finite
    and extended systems*, NeurIPS 2018.
    """

    config_class: ClassVar[type[AnyDescriptorConfig]] = DescriptorSeE2A
    components = ANGULAR

    config: MatrixKeys

    @property
    def dim_out(self) -> int:
        """M1 · M2."""
        return self.config.neuron[-1] * self.config.axis_neuron

    @property
    def turning_width(self) -> int:
        """M1."""
        return self.config.neuron[-1]

    @property
    def divisor(self) -> int:
        """N, the number that moments are divided by."""
        (spec,) = self.environments()
        return self.divisor_of(spec)

    def make_nets(self) -> EmbeddingNets:
        if self.types is None:
            return super().make_nets()
        return SharedEmbeddingNets.of(
            self.config, self.ntypes, **self.net_options, types=self.types
        )

    def nets_for(self, parameters: Parameters, contraction: Contraction) -> EmbeddingNets:
        """The embedding nets with their weights, for the rows of a contraction."""
        return self.build_nets(parameters)

    def moment(self, contraction: Contraction, parameters: Parameters) -> tf.Tensor:
        """A [n_frames * n_loc, 4, M1]."""
        return contraction.moment(self.nets_for(parameters, contraction), self.divisor)

    def build(self, contractions: Sequence[Contraction], parameters: Parameters) -> Features:
        """D, index m1 · M2 + m2, and A [n_frames * n_loc, 4, M1]."""
        (contraction,) = contractions
        moment = self.moment(contraction, parameters)
        squares = contraction.squares(moment, self.config.axis_neuron)
        return Features(squares, (moment,), (moment,))

    def second_order(self) -> list[SecondOrder]:
        width, n_axis = self.config.neuron[-1], self.config.axis_neuron
        return [SeE2ASecondOrder(self.nets_for, self.divisor, width, n_axis)]
