# SPDX-License-Identifier: BSD-3-Clause
"""``se_e2_a`` of molecules in which a mask says which atoms there are, ``se_a_mask``."""

from __future__ import annotations

from deepmd_tf.config import DescriptorSeAMask
from deepmd_tf.descriptors.se_e2_a import SeE2A
from deepmd_tf.environment import EnvironmentSpec, Selection
from deepmd_tf.environment.masked import ALL_ATOMS


class SeAMask(SeE2A):
    r"""The descriptor of DeepPot-SE over all atoms that are not masked, without a cutoff.

    .. math::

        A_i = \frac{1}{N} \sum_{j \ne i} m_i m_j \, R_{ij} \otimes G(1/r_{ij}), \qquad
        R_{ij} = \frac{1}{r_{ij}} (1, x_{ij}/r_{ij}, y_{ij}/r_{ij}, z_{ij}/r_{ij})

    and D as in :class:`~deepmd_tf.descriptors.se_e2_a.SeE2A`, with the mask m (0 or 1) and N = Σ
    ``sel``, the number of atoms. Rows are not normalised. D of a masked atom is 0. Source:
    descriptor ``se_a_mask`` of DeePMD-kit.
    """

    config_class = DescriptorSeAMask
    dialects = ("native", "stock", "reference")

    config: DescriptorSeAMask

    def environments(self) -> list[EnvironmentSpec]:
        config = self.config
        return [
            EnvironmentSpec(
                ALL_ATOMS,
                Selection(config.counts),
                self.ntypes,
                self.components,
                scope=self.scope,
                exclude_types=tuple((i, j) for i, j in config.exclude_types),
                masked=True,
            )
        ]
