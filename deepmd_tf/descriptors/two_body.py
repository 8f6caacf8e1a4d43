# SPDX-License-Identifier: BSD-3-Clause
"""Base of descriptors of embedding nets for pairs of atoms: one environment, one set of nets."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from deepmd_tf.config import EmbeddingConfig, EmbeddingKeys
from deepmd_tf.descriptors.base import Descriptor
from deepmd_tf.environment import Cutoff, EnvironmentSpec, Selection
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.parameters import Parameters


class TwoBodyDescriptor(Descriptor):
    """Base class: neighbours selected by type, and an embedding net for each (pair of) type(s)."""

    dialects: tuple[str, ...] = ("native", "stock", "compressed", "reference")
    components: ClassVar[int]
    """Of the rows: :data:`~deepmd_tf.environment.ANGULAR` or RADIAL."""

    config: EmbeddingKeys

    @property
    def table_count(self) -> int:
        return len(self.make_nets().keys)

    def environments(self) -> list[EnvironmentSpec]:
        config = cast(EmbeddingConfig, self.config)
        return [
            EnvironmentSpec(
                Cutoff(config.rcut, config.rcut_smth),
                Selection(config.counts),
                self.ntypes,
                self.components,
                scope=self.scope,
                exclude_types=tuple((i, j) for i, j in config.exclude_types),
                zero_mean=config.set_davg_zero,
            )
        ]

    @property
    def net_options(self) -> dict[str, Any]:
        """Arguments of embedding nets that are not keys of nets."""
        return {
            "one_sided": self.config.type_one_side,
            "exclude_types": self.config.exclude_types,
            "scope": self.scope,
        }

    def make_nets(self) -> EmbeddingNets:
        """The embedding nets, not yet built."""
        return EmbeddingNets.of(self.config, self.ntypes, **self.net_options)

    def build_nets(self, parameters: Parameters) -> EmbeddingNets:
        """The embedding nets with their weights."""
        nets = self.make_nets()
        nets.build(parameters, self.config.counts)
        return nets

    def weight_count(self) -> int:
        return self.make_nets().weight_count()
