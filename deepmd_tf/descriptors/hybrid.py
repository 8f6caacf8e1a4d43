# SPDX-License-Identifier: BSD-3-Clause
"""Several descriptors together, ``hybrid``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import tensorflow.compat.v1 as tf

from deepmd_tf.config import DescriptorHybrid
from deepmd_tf.descriptors.base import Descriptor, Features, SecondOrder
from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.descriptors.layouts import LAYOUTS
from deepmd_tf.descriptors.registry import make_descriptor
from deepmd_tf.environment import EnvironmentSpec
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.type_embedding import TypeEmbedding


class Hybrid(Descriptor):
    r"""The features of several descriptors side by side.

    .. math::

        D_i = (D_i^{(0)}, D_i^{(1)}, \dots)

    Each has its own environment, averages and nets, whose names have its place in the list as
    scope: ``_0``, ``_1`` … Source: descriptor ``hybrid`` of DeePMD-kit.

    Attributes
    ----------
    members
        The descriptors of the list.
    dialects
        Those in which all members exist.
    """

    config_class = DescriptorHybrid

    config: DescriptorHybrid

    def __init__(
        self,
        config: DescriptorHybrid,
        ntypes: int,
        original_sel: Mapping[str, tuple[int, ...]] | None = None,
        scope: str = "",
        types: TypeEmbedding | None = None,
    ) -> None:
        super().__init__(config, ntypes, original_sel, scope, types)
        self.members = [
            make_descriptor(part.config, ntypes, original_sel, scope + part.scope, types)
            for part in config.parts()
        ]
        self.dialects = tuple(d for d in LAYOUTS if all(d in m.dialects for m in self.members))

    @property
    def dim_out(self) -> int:
        """Σ of those of the members."""
        return sum(member.dim_out for member in self.members)

    @property
    def turning_width(self) -> int:
        """Σ of those of the members."""
        return sum(member.turning_width for member in self.members)

    @property
    def table_count(self) -> int:
        return sum(member.table_count for member in self.members)

    @property
    def arguments_per_pair(self) -> float:
        """As if each member had as many of the pairs."""
        return sum(member.arguments_per_pair for member in self.members) / len(self.members)

    def environments(self) -> list[EnvironmentSpec]:
        return [spec for member in self.members for spec in member.environments()]

    def build(self, contractions: Sequence[Contraction], parameters: Parameters) -> Features:
        """D [n_frames, n, dim_out], in the order of the list."""
        rest = iter(contractions)
        found = [
            member.build(list(itertools.islice(rest, len(member.environments()))), parameters)
            for member in self.members
        ]
        # nets of members may be of different precision
        types = {part.dtype for features in found for part in features.by_type}
        common = types.pop() if len(types) == 1 else contractions[0].inputs.dtype
        by_type = [
            tf.concat([tf.cast(part, common) for part in parts], axis=-1)
            for parts in zip(*(features.by_type for features in found), strict=True)
        ]
        whole = all(features.moments for features in found)
        moments = [moment for features in found for moment in features.moments]
        matrices = [matrix for features in found for matrix in features.matrices]
        return Features(by_type, tuple(moments) if whole else (), tuple(matrices))

    def weight_count(self) -> int:
        return sum(member.weight_count() for member in self.members)

    @property
    def trains_on_hessians(self) -> bool:
        return all(member.trains_on_hessians for member in self.members)

    def second_order(self) -> list[SecondOrder]:
        found = [member.second_order() for member in self.members]
        return [second for part in found for second in part] if all(found) else []
