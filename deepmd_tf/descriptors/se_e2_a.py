# SPDX-License-Identifier: BSD-3-Clause
"""Smooth two-body embedding with full radial and angular information, ``se_e2_a``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow.compat.v1 as tf

from deepmd_tf.config import DescriptorSeE2A
from deepmd_tf.environment import Cutoff, Environment
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.precision import network_dtype

if TYPE_CHECKING:
    from deepmd_tf.environment.native import NativeEnvironment


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

    def build_moment(self, environment: Environment, parameters: Parameters) -> tf.Tensor:
        """A of every local atom: [n_frames * n_loc, 4, M1]."""
        return environment.moment(self._built_nets(parameters))

    def build_pair_moments(
        self,
        environment: NativeEnvironment,
        displacement: tf.Tensor,
        parameters: Parameters,
        pairs: slice,
        times: int,
    ) -> tf.Tensor:
        """What each pair adds to A: [n_pairs * times, 4, M1]; see
        :meth:`~deepmd_tf.environment.native.NativeEnvironment.pair_moments`.
        """
        nets = self._built_nets(parameters)
        return environment.pair_moments(nets, displacement, pairs, times)

    def contract(self, environment: Environment, moment: tf.Tensor) -> list[tf.Tensor]:
        """D from A of every local atom, [n_frames * n_loc, 4, M1], for the atoms of each type as
        :meth:`ModelInputs.split_types` cuts them: [n_frames, n, M1 * M2], index m1 · M2 + m2.
        """
        return environment.descriptors(moment, self.config.axis_neuron)

    def contract_tangents(self, moment: tf.Tensor, tangents: tf.Tensor) -> tf.Tensor:
        """Derivatives of D along tangents of A: [n_frames, k, n, M1 * M2].

        ``moment`` is [n_frames, n, 4, M1], ``tangents`` [n_frames, k, n, 4, M1].
        """
        m2 = self.config.axis_neuron
        moment = tf.broadcast_to(moment[:, None], tf.shape(tangents))
        # (dA)ᵀ A + Aᵀ dA in one product
        left = tf.concat([tangents, moment], axis=3)
        right = tf.concat([moment[..., :m2], tangents[..., :m2]], axis=3)
        product = tf.matmul(left, right, transpose_a=True)
        return tf.reshape(product, tf.concat([tf.shape(tangents)[:3], [self.dim_out]], axis=0))

    def curvature(self, adjoint: tf.Tensor, tangents: tf.Tensor) -> tf.Tensor:
        """Second derivative of ⟨adjoint, D⟩ along pairs of tangents of A: [n_frames, k, k].

        ``adjoint`` is [n_frames, n, M1 * M2], ``tangents`` [n_frames, k, n, 4, M1].
        """
        n_frames, k, n = tf.unstack(tf.shape(tangents)[:3])
        width, m2 = self.config.neuron[-1], self.config.axis_neuron
        adjoint = tf.reshape(adjoint, [n_frames, 1, n, width, m2])
        left = tf.reshape(tf.matmul(tangents, adjoint), [n_frames, k, n * 4 * m2])
        right = tf.reshape(tangents[..., :m2], [n_frames, k, n * 4 * m2])
        half = tf.matmul(left, right, transpose_b=True)
        return half + tf.linalg.matrix_transpose(half)

    def _built_nets(self, parameters: Parameters) -> EmbeddingNets:
        nets = self.make_nets()
        nets.build(parameters)
        return nets
