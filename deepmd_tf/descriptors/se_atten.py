# SPDX-License-Identifier: BSD-3-Clause
"""Embedding of distance and types for neighbours of all types together: ``se_atten`` (DPA-1)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Protocol, cast

import tensorflow.compat.v1 as tf

from deepmd_tf.config import AttentionConfig, DescriptorSeAtten, DescriptorSeAttenV2
from deepmd_tf.descriptors.base import SecondOrder
from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.descriptors.mixed_nets import MixedNetsDescriptor
from deepmd_tf.environment import EnvironmentSpec, Selection
from deepmd_tf.nn.attention import AttentionLayers
from deepmd_tf.nn.mixed_embedding import MixedEmbeddingNets
from deepmd_tf.nn.parameters import Parameters


class Attending(Protocol):
    """Sums of one selection of neighbours, in any layout."""

    def attended_moment(
        self, nets: MixedEmbeddingNets, attention: AttentionLayers, divisor: int
    ) -> tf.Tensor:
        """Σ R ⊗ G over slots, divided, of G after layers of attention: [n_centers, 4, M1]."""


class SeAtten(MixedNetsDescriptor):
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

    config: AttentionConfig

    def environments(self) -> list[EnvironmentSpec]:
        selection = Selection.mixed(sum(self.config.counts))
        return [dataclasses.replace(spec, selection=selection) for spec in super().environments()]

    def make_nets(self) -> MixedEmbeddingNets:
        """The embedding nets, not yet built."""
        config = self.config
        if self.types is None:
            raise ValueError("the descriptor needs a type embedding")
        return MixedEmbeddingNets.of(
            config,
            self.ntypes,
            **self.net_options,
            types=self.types,
            stripped=config.stripped,
            smooth=config.smooth,
            shifted=config.smooth and not config.set_davg_zero,
            rcut_smth=config.rcut_smth,
        )

    def moment(self, contraction: Contraction, parameters: Parameters) -> tf.Tensor:
        if not self.config.attn_layer:
            return super().moment(contraction, parameters)
        nets = self.nets_for(parameters, contraction)
        attention = self.make_attention(nets)
        attention.build(parameters)
        return cast(Attending, contraction).attended_moment(nets, attention, self.divisor)

    def make_attention(self, nets: MixedEmbeddingNets) -> AttentionLayers:
        """The layers of attention, not yet built."""
        return AttentionLayers(self.config, nets.width, nets.next_seed, self.scope)

    def weight_count(self) -> int:
        nets = self.make_nets()
        return nets.weight_count() + self.make_attention(nets).weight_count()

    def second_order(self) -> list[SecondOrder]:
        if self.config.attn_layer:
            return []  # a neighbour changes what others add to A
        return super().second_order()

    @property
    def trains_on_hessians(self) -> bool:
        return self.config.attn_layer == 0


class SeAttenV2(SeAtten):
    """:class:`SeAtten` with a factor of the types that goes to zero at the cutoff."""

    config_class = DescriptorSeAttenV2
