# SPDX-License-Identifier: BSD-3-Clause
"""``se_e2_a`` whose embedding net is multiplied with a function of the types, ``se_a_ebd_v2``."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from deepmd_tf.config import DescriptorConfig, DescriptorSeAEbdV2
from deepmd_tf.descriptors.mixed_nets import MixedNetsDescriptor
from deepmd_tf.environment import EnvironmentSpec, Selection
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.mixed_embedding import StrippedEmbeddingNets


class SeAEbdV2(MixedNetsDescriptor):
    r"""The sums of :class:`~deepmd_tf.descriptors.se_e2_a.SeE2A` with the embedding

    .. math::

        G_{CT}(s) = g(s) (1 + h(te(T))) \quad \text{or} \quad g(s) (1 + h(te(T), te(C))),

    with ``type_one_side`` or without, T the type of the neighbour, C that of the centre and te the
    type embedding, which is zero for an empty slot. Pairs of types in ``exclude_types`` add
    nothing. Source: descriptor ``se_a_ebd_v2`` of DeePMD-kit.
    """

    config_class: ClassVar[type[DescriptorConfig]] = DescriptorSeAEbdV2

    def environments(self) -> list[EnvironmentSpec]:
        selection = Selection(self.config.counts, typed=True)
        return [dataclasses.replace(spec, selection=selection) for spec in super().environments()]

    def make_nets(self) -> EmbeddingNets:
        if self.types is None:
            raise ValueError("the descriptor needs a type embedding")
        return StrippedEmbeddingNets.of(
            self.config, self.ntypes, **self.net_options, types=self.types
        )
