# SPDX-License-Identifier: BSD-3-Clause
"""Base of descriptors like ``se_e2_a`` whose nets take the type embedding and the averages."""

from __future__ import annotations

from typing import cast

from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.descriptors.se_e2_a import SeE2A
from deepmd_tf.nn.mixed_embedding import MixedEmbeddingNets
from deepmd_tf.nn.parameters import Parameters


class MixedNetsDescriptor(SeE2A):
    """Base class: the sums of :class:`~deepmd_tf.descriptors.se_e2_a.SeE2A` with
    :class:`~deepmd_tf.nn.mixed_embedding.MixedEmbeddingNets`.
    """

    def nets_for(self, parameters: Parameters, contraction: Contraction) -> MixedEmbeddingNets:
        nets, environment = cast(MixedEmbeddingNets, self.make_nets()), contraction.environment
        nets.build_mixed(parameters, environment.avg, environment.std)
        return nets
