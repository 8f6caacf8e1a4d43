# SPDX-License-Identifier: BSD-3-Clause
"""Embedding of distance and types for neighbours of all types together: ``se_atten`` (DPA-1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, cast

import tensorflow.compat.v1 as tf

from deepmd_tf.config import AttentionConfig, DescriptorSeAtten, DescriptorSeAttenV2
from deepmd_tf.descriptors.base import Descriptor, Features, SecondOrder
from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.descriptors.se_e2_a_second_order import SeE2ASecondOrder
from deepmd_tf.environment import Cutoff, EnvironmentSpec, Selection
from deepmd_tf.nn.attention import AttentionLayers
from deepmd_tf.nn.mixed_embedding import MixedEmbeddingNets
from deepmd_tf.nn.parameters import Parameters


class Attending(Protocol):
    """Sums of one selection of neighbours, in any layout."""

    def attended_moment(
        self, nets: MixedEmbeddingNets, attention: AttentionLayers, divisor: int
    ) -> tf.Tensor:
        """Σ R ⊗ G over slots, divided, of G after layers of attention: [n_centers, 4, M1]."""


class SeAtten(Descriptor):
    r"""The descriptor of DPA-1.

    .. math::

        A_i = \frac{1}{N} \sum_{p} R_p \otimes G_p \in \mathbb{R}^{4 \times M_1}, \qquad
        D_i = A_i^T A_i[:, :M_2] \in \mathbb{R}^{M_1 \times M_2}

    with the rows R of the environment, N = ``sel`` of the first training, M1 the width of the
    embedding and M2 = ``axis_neuron``. :math:`G_p = G_{CT}(s_p)` is a function of s for each pair
    of types (:class:`~deepmd_tf.nn.mixed_embedding.MixedEmbeddingNets`), to which layers of
    attention (:class:`~deepmd_tf.nn.attention.AttentionLayers`) add what other neighbours give.
    Source: D. Zhang et al., *Pretraining of attention-based deep learning potential model for
    molecular simulation*, npj Comput. Mater. 10, 94 (2024).
    """

    config_class: ClassVar[type[AttentionConfig]] = DescriptorSeAtten
    dialects = ("native", "stock", "compressed", "reference")

    config: AttentionConfig

    @property
    def dim_out(self) -> int:
        """M1 · M2."""
        return self.config.neuron[-1] * self.config.axis_neuron

    @property
    def divisor(self) -> int:
        """N, the number that moments are divided by."""
        (spec,) = self.environments()
        return self.divisor_of(spec)

    @property
    def table_count(self) -> int:
        return len(self.make_nets().keys)

    def environments(self) -> list[EnvironmentSpec]:
        config = self.config
        return [
            EnvironmentSpec(
                Cutoff(config.rcut, config.rcut_smth),
                Selection.mixed(sum(config.counts)),
                self.ntypes,
                scope=self.scope,
                exclude_types=tuple((i, j) for i, j in config.exclude_types),
                zero_mean=config.set_davg_zero,
            )
        ]

    def make_nets(self) -> MixedEmbeddingNets:
        """The embedding nets, not yet built."""
        config = self.config
        if self.types is None:
            raise ValueError("the descriptor needs a type embedding")
        return MixedEmbeddingNets.of(
            config,
            self.ntypes,
            types=self.types,
            one_sided=config.type_one_side,
            exclude_types=config.exclude_types,
            scope=self.scope,
            stripped=config.stripped,
            smooth=config.smooth,
            shifted=config.smooth and not config.set_davg_zero,
            rcut_smth=config.rcut_smth,
        )

    def build_nets(self, parameters: Parameters, contraction: Contraction) -> MixedEmbeddingNets:
        """The embedding nets with their weights, for these rows."""
        nets = self.make_nets()
        nets.build_mixed(parameters, contraction.environment.avg, contraction.environment.std)
        return nets

    def build(self, contractions: Sequence[Contraction], parameters: Parameters) -> Features:
        """D, index m1 · M2 + m2, and A [n_frames * n_loc, 4, M1]."""
        (contraction,) = contractions
        nets = self.build_nets(parameters, contraction)
        if self.config.attn_layer:
            attention = self.make_attention(nets)
            attention.build(parameters)
            moment = cast(Attending, contraction).attended_moment(nets, attention, self.divisor)
        else:
            moment = contraction.moment(nets, self.divisor)
        return Features(contraction.squares(moment, self.config.axis_neuron), (moment,))

    def make_attention(self, nets: MixedEmbeddingNets) -> AttentionLayers:
        """The layers of attention, not yet built."""
        return AttentionLayers(self.config, nets.width, nets.next_seed, self.scope)

    def weight_count(self) -> int:
        nets = self.make_nets()
        return nets.weight_count() + self.make_attention(nets).weight_count()

    def second_order(self) -> list[SecondOrder]:
        if self.config.attn_layer:
            return []  # a neighbour changes what others add to A
        width, n_axis = self.config.neuron[-1], self.config.axis_neuron
        return [SeE2ASecondOrder(self.build_nets, self.divisor, width, n_axis)]

    @property
    def trains_on_hessians(self) -> bool:
        return self.config.attn_layer == 0


class SeAttenV2(SeAtten):
    """:class:`SeAtten` with a factor of the types that goes to zero at the cutoff."""

    config_class = DescriptorSeAttenV2
