# SPDX-License-Identifier: BSD-3-Clause
"""Smooth three-body embedding, ``se_e3``."""

from __future__ import annotations

from collections.abc import Sequence

from deepmd_tf.config import DescriptorSeE3
from deepmd_tf.descriptors.base import Descriptor, Features
from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.environment import ANGULAR, Cutoff, EnvironmentSpec, Selection
from deepmd_tf.nn.angular import AngularNets
from deepmd_tf.nn.parameters import Parameters


class SeE3(Descriptor):
    r"""Sum over the pairs of neighbours of an embedding of their scalar product.

    .. math::

        D_i = \sum_{I \le J} \frac{1}{n_I n_J} \sum_{j \in I} \sum_{k \in J} e_{jk}\, G_{IJ}(e_{jk})
        \in \mathbb{R}^{M}, \qquad e_{jk} = \hat R_j \cdot \hat R_k

    with the components 1 to 3 of the rows of the environment, :math:`\hat R`, and n = ``sel``. The
    sums are over all slots of the types I and J, the empty ones and j = k included; of two
    neighbours of one type both orders count. D is invariant under rotation. Source: descriptor
    ``se_e3`` of DeePMD-kit.
    """

    config_class = DescriptorSeE3
    dialects = ("native", "stock", "compressed", "reference")

    config: DescriptorSeE3

    @property
    def dim_out(self) -> int:
        """M."""
        return self.config.neuron[-1]

    @property
    def table_count(self) -> int:
        return len(self._make_nets().keys)

    @property
    def arguments_per_pair(self) -> float:
        """Each neighbour has a product with all others; about half of the slots are filled."""
        return max(1.0, 0.5 * sum(self.config.counts))

    def environments(self) -> list[EnvironmentSpec]:
        config = self.config
        return [
            EnvironmentSpec(
                Cutoff(config.rcut, config.rcut_smth),
                Selection(config.counts),
                self.ntypes,
                ANGULAR,
                scope=self.scope,
                zero_mean=config.set_davg_zero,
            )
        ]

    def build(self, contractions: Sequence[Contraction], parameters: Parameters) -> Features:
        """D [n_frames, n, M]."""
        (contraction,) = contractions
        nets = self._make_nets()
        nets.build(parameters, self.config.counts)
        return Features(contraction.split(contraction.angles(nets)))

    def weight_count(self) -> int:
        return self._make_nets().weight_count()

    def _make_nets(self) -> AngularNets:
        return AngularNets.of(self.config, self.ntypes, one_sided=True, scope=self.scope)
