# SPDX-License-Identifier: BSD-3-Clause
"""One embedding net for all types, of s and of vectors that stand for the types."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.parameters import Parameters, count_weights
from deepmd_tf.nn.type_embedding import TypeEmbedding


class SharedEmbeddingNets(EmbeddingNets):
    r"""Embedding nets of several types that share their weights.

    One net with the inputs :math:`(s, te(T))` in one-sided and :math:`(s, te(T), te(C))` in
    two-sided embedding, T the type of the neighbour, C that of the centre, te the type embedding.
    For each pair of types it is a function of s alone,

    .. math::

        G_{CT}(s) = G(s, te(T), te(C)),

    whose first layer has a bias of its own; these functions are what :class:`EmbeddingNets` has as
    its nets, in the same order. Layers are those of :class:`EmbeddingNets`; a skip connection of
    the first one carries the vectors too.

    Parameters
    ----------
    types
        The type embedding of the model.
    options
        Of :class:`EmbeddingNets`.
    """

    def __init__(self, *, types: TypeEmbedding, **options: Any) -> None:
        super().__init__(**options)
        self.types = types
        self._used: list[int] = []

    @property
    def n_in(self) -> int:
        """Inputs of the net: s and the vectors."""
        return 1 + self.types.width * (1 if self.one_sided else 2)

    def weight_count(self) -> int:
        """Numbers in the net, with a timestep in every layer if there are any."""
        return count_weights((self.n_in, *self.neuron), timesteps=self.resnet_dt)

    @property
    def used(self) -> list[int]:
        """Indices of the functions in the graph: those of types that have atoms and slots."""
        return self._used

    def build(self, parameters: Parameters, slots: Sequence[int] | None = None) -> None:
        """Ask for the weights; see :meth:`EmbeddingNets.build`."""
        first, *others = self._build_net(parameters, None, None, self.seed)
        for center, neighbor in self.keys:
            # the order of the inputs behind s
            beside = [neighbor] if center is None else [neighbor, center]
            vectors = self.types.rows(parameters, beside, self.dtype)
            self.nets.append([dataclasses.replace(first, beside=vectors), *others])
        self._used = [
            net
            for net, (center, neighbor) in enumerate(self.keys)
            if not parameters.of_net(center, slots is None or slots[neighbor] > 0).at_rest
        ] or [0]
