# SPDX-License-Identifier: BSD-3-Clause
"""Smooth two-body embedding with full radial and angular information, ``se_e2_a``."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from deepmd_tf.config import DescriptorSeE2A
from deepmd_tf.environment import Cutoff, Environment
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.precision import network_dtype


class SeE2A:
    r"""The descriptor of DeepPot-SE.

    .. math::

        A_i = \frac{1}{N} \sum_{p} R_p \otimes G(s_p) \in \mathbb{R}^{4 \times M_1}, \qquad
        D_i = A_i^T A_i[:, :M_2] \in \mathbb{R}^{M_1 \times M_2}

    with the rows R of the environment, N = Σ ``sel`` of the first training, M1 the width of the
    embedding and M2 = ``axis_neuron``. D is invariant under rotation, and under permutation of
    equal atoms. Source: L. Zhang et al., *End-to-end symmetry preserving inter-atomic potential
    energy model for finite and extended systems*, NeurIPS 2018.

    Parameters
    ----------
    config
        The ``descriptor`` section, with ``sel`` resolved to numbers.
    original_sel
        See :class:`~deepmd_tf.environment.Cutoff`.
    """

    def __init__(
        self, config: DescriptorSeE2A, original_sel: tuple[int, ...] | None = None
    ) -> None:
        self.config = config
        self.cutoff = Cutoff(config.rcut, config.rcut_smth, tuple(config.sel), original_sel)

    @property
    def dim_out(self) -> int:
        """M1 · M2."""
        return self.config.neuron[-1] * self.config.axis_neuron

    def make_nets(self) -> EmbeddingNets:
        """The embedding nets, not yet built."""
        config = self.config
        return EmbeddingNets(
            neuron=config.neuron,
            activation=get_activation(config.activation_function),
            resnet_dt=config.resnet_dt,
            dtype=network_dtype(config.precision),
            one_sided=config.type_one_side,
            ntypes=self.cutoff.ntypes,
            exclude_types=config.exclude_types,
            seed=config.seed,
            trainable=config.trainable,
        )

    def build(self, environment: Environment, parameters: Parameters) -> tf.Tensor:
        """D of every local atom: [n_frames * n_loc, M1 * M2], index m1 · M2 + m2."""
        nets = self.make_nets()
        nets.build(parameters)
        moment = environment.moment(nets)
        descriptor = tf.matmul(moment, moment[:, :, : self.config.axis_neuron], transpose_a=True)
        return tf.reshape(descriptor, [-1, self.dim_out])
