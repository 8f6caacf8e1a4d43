# SPDX-License-Identifier: BSD-3-Clause
"""``se_e2_a`` whose embedding net is multiplied with a function of the types, ``se_a_ebd_v2``."""

from __future__ import annotations

from deepmd_tf.config import DescriptorSeAEbdV2
from deepmd_tf.descriptors.se_atten import SeAtten
from deepmd_tf.environment import Cutoff, EnvironmentSpec, Selection
from deepmd_tf.nn.mixed_embedding import MixedEmbeddingNets, StrippedEmbeddingNets


class SeAEbdV2(SeAtten):
    r"""The sums of :class:`~deepmd_tf.descriptors.se_atten.SeAtten` over neighbours that are
    selected by type.

    .. math::

        G_{CT}(s) = g(s) (1 + h(te(T))) \quad \text{or} \quad g(s) (1 + h(te(T), te(C))),

    with ``type_one_side`` or without, T the type of the neighbour, C that of the centre and te the
    type embedding, which is zero for an empty slot. Pairs of types in ``exclude_types`` add
    nothing. Source: descriptor ``se_a_ebd_v2`` of DeePMD-kit.
    """

    config_class = DescriptorSeAEbdV2

    config: DescriptorSeAEbdV2  # type: ignore[assignment]

    def environments(self) -> list[EnvironmentSpec]:
        config = self.config
        return [
            EnvironmentSpec(
                Cutoff(config.rcut, config.rcut_smth),
                Selection(config.counts, typed=True),
                self.ntypes,
                scope=self.scope,
                exclude_types=tuple((i, j) for i, j in config.exclude_types),
                zero_mean=config.set_davg_zero,
            )
        ]

    def make_nets(self) -> MixedEmbeddingNets:
        config = self.config
        if self.types is None:
            raise ValueError("the descriptor needs a type embedding")
        return StrippedEmbeddingNets.of(
            config,
            self.ntypes,
            types=self.types,
            one_sided=config.type_one_side,
            exclude_types=config.exclude_types,
            scope=self.scope,
        )
