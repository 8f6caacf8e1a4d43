# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets of distance and types for neighbours of all types together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.nn.activations import NUMPY, TENSORFLOW
from deepmd_tf.nn.embedding_layers import Layer, advance, constant_layers, static_value
from deepmd_tf.nn.parameters import Parameters, count_weights
from deepmd_tf.nn.shared_embedding import SharedEmbeddingNets

TWO_SIDED, ONE_SIDED = "two_side_ebd", "one_side_ebd"
"""Of the names of the net of two type vectors, and of one."""


class MixedEmbeddingNets(SharedEmbeddingNets):
    r"""Nets of s, the type T of the neighbour and C of the centre, with T = ``ntypes`` for an empty
    slot, whose vector te is zero.

    Joined, :math:`G_{CT}(s) = G(s, te(T), te(C))`, or in one-sided embedding without te(C).
    Stripped,

    .. math::

        G_{CT}(s) = g(s) (1 + t_{CT} w), \qquad t_{CT} = h(te(T), te(C)),

    with two nets g and h of equal layers; w is 1, or with ``smooth`` 1 − (1 − ρ)³, at most 1, and
    ρ = ``rcut_smth`` · (s of the pair, not normalised): zero at the cutoff.

    Parameters
    ----------
    stripped, smooth
        Which of these. Joined nets have a :meth:`switch` for attention only.
    rcut_smth
        Å.
    shifted
        Whether excluded neighbours count, with rows of the mean of s.
    options
        Of :class:`~deepmd_tf.nn.shared_embedding.SharedEmbeddingNets`.

    Attributes
    ----------
    layers
        Of the net of s, and of the vectors where they are joined. There once it was built.
    """

    def __init__(
        self,
        *,
        stripped: bool,
        smooth: bool,
        rcut_smth: float,
        shifted: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options | ({"one_sided": False} if stripped else {}))
        self.stripped = stripped
        self.smooth = smooth
        self.rcut_smth = rcut_smth
        self.shifted = shifted and bool(self.excluded)
        self.layers: list[Layer] = []
        self._vectors: tf.Tensor | None = None
        self._factors: tf.Tensor | None = None
        self._ramps: tf.Tensor | None = None

    @property
    def n_in(self) -> int:
        return 1 if self.stripped else super().n_in

    def weight_count(self) -> int:
        count = count_weights((self.n_in, *self.neuron), timesteps=self.resnet_dt)
        if not self.stripped:
            return count
        widths = (self.n_factor_in, *self.neuron)
        return count + count_weights(widths, timesteps=self.resnet_dt)

    @property
    def n_factor_in(self) -> int:
        """Inputs of the net h of the types."""
        return self.types.width * (1 if self.one_sided else 2)

    @property
    def factor_name(self) -> str:
        """Of the names of its weights."""
        return ONE_SIDED if self.one_sided else TWO_SIDED

    def seeds(self) -> tuple[int | None, int | None]:
        """Seeds of g and h."""
        if self.seed is None:
            return None, None
        return self.seed, self.seed + 3 * (len(self.neuron) + 1)

    @property
    def next_seed(self) -> int | None:
        """Of the weights that follow in a descriptor."""
        steps = (2 if self.stripped else 1) * 3 * (len(self.neuron) + 1)
        return None if self.seed is None else self.seed + steps

    @property
    def factors(self) -> tf.Tensor:
        """t [ntypes · (ntypes + 1), M1] of stripped nets, by the type of the centre, then that of
        the neighbour; a constant where the weights are.
        """
        if self._factors is None:
            raise ValueError("the nets are not built, or have no factors")
        return self._factors

    def build_mixed(self, parameters: Parameters, avg: tf.Tensor, std: tf.Tensor) -> None:
        """Ask for the weights.

        Parameters
        ----------
        parameters
            Source of the weights.
        avg, std
            [ntypes, ...], normalisation of the rows; the first column is that of s.
        """
        seed, factor_seed = self.seeds()
        self.layers = self._build_net(parameters, None, None, seed)
        self._vectors = tf.cast(self.types.vectors(parameters), self.dtype)
        if self.stripped:
            width = self.n_factor_in
            layers = self._build_net(parameters, None, self.factor_name, factor_seed, width)
            self._factors = self._build_factors(parameters, layers)
        if self.smooth:
            self._ramps = self._build_ramps(avg, std)
        self.nets = [self._function(parameters, *key) for key in self.keys]
        self._used = [
            net
            for net, key in enumerate(self.keys)
            if all(t is None or parameters.of_net(t) is parameters for t in key)
        ] or [0]

    def apply_rows(
        self,
        s: tf.Tensor,
        center: tf.Tensor,
        neighbor: tf.Tensor,
        switched: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """G of pairs, whatever their types, by plain layers: [n, M1].

        Parameters
        ----------
        s
            [n, 1], normalised.
        center, neighbor
            int32 [n], types.
        switched
            [n, 1], w in place of its formula.
        """
        vectors = self._vectors
        columns = [s]
        if not self.stripped:
            columns.append(tf.gather(vectors, neighbor))
            if not self.one_sided:
                columns.append(tf.gather(vectors, center))
        x = tf.concat(columns, axis=1) if len(columns) > 1 else s
        for layer in self.layers:
            (x,) = advance(TENSORFLOW, self.activation, layer, (x,))
        if not self.stripped:
            return x
        factor = tf.gather(self.factors, center * (self.ntypes + 1) + neighbor)
        if not self.smooth:
            return x * factor + x
        if switched is None:
            switched = self.switch(s, center)
        return x * (factor * switched) + x

    def switch(self, s: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
        """w [n, 1] at normalised s [n, 1] around centres of these types."""
        ramp = tf.gather(self._ramps, center)
        rest = 1.0 - (ramp[:, :1] * s + ramp[:, 1:])
        return tf.clip_by_value(1.0 - rest * rest * rest, 0.0, 1.0)

    def knots(self, avg: np.ndarray, std: np.ndarray) -> np.ndarray | None:
        """[n_nets], normalised s at which the third derivative of a function jumps; None: at none.

        ``avg`` and ``std`` [ntypes] are those of s.
        """
        if not (self.smooth and self.stripped) or self.rcut_smth <= 0.0:
            return None
        of_center = (1.0 / self.rcut_smth - avg) / std
        return np.array([of_center[center] for center, _ in self.keys])

    def _function(self, parameters: Parameters, center: int | None, neighbor: int) -> list[Layer]:
        """The net of one pair of types, as layers of s."""
        first, last = self.layers[0], self.layers[-1]
        if not self.stripped:
            beside = [neighbor] if center is None else [neighbor, center]
            vectors = self.types.rows(parameters, beside, self.dtype)
            return [dataclasses.replace(first, beside=vectors), *self.layers[1:]]
        row = (center or 0) * (self.ntypes + 1) + neighbor
        changes: dict[str, Any] = {"factor": _row(self.factors, row, self.dtype)}
        if self.smooth:
            changes["ramp"] = _row(self._ramps, center or 0, self.dtype)
        return [*self.layers[:-1], dataclasses.replace(last, **changes)]

    def _build_factors(self, parameters: Parameters, layers: Sequence[Layer]) -> tf.Tensor:
        vectors = self.types.vectors(parameters)
        known, constants = static_value(vectors), constant_layers(layers)
        xp: Any = TENSORFLOW
        if known is not None and constants is not None:
            xp, layers, vectors = NUMPY, constants, known
        else:
            vectors = tf.cast(vectors, self.dtype)
        n = self.ntypes + 1
        pairs = [(t, c) for c in range(self.ntypes) for t in range(n)]
        neighbor, center = (np.array(side) for side in zip(*pairs, strict=True))
        take = (lambda values, rows: values[rows]) if xp is NUMPY else tf.gather
        sides = [neighbor] if self.one_sided else [neighbor, center]
        x = xp.concat([take(vectors, side) for side in sides], 1)
        for layer in layers:
            (x,) = advance(xp, self.activation, layer, (x,))
        name = f"{names.embedding_scope(None, self.scope)}/{self.factor_name}"
        return tf.constant(x, self.dtype, name=name) if xp is NUMPY else x

    def _build_ramps(self, avg: tf.Tensor, std: tf.Tensor) -> tf.Tensor:
        """[ntypes, 2], slope and offset of ρ as a function of the normalised s."""
        known_std, known_avg = static_value(std), static_value(avg)
        if known_std is None or known_avg is None:
            columns = tf.stack([std[:, 0], avg[:, 0]], axis=1)
            return tf.cast(self.rcut_smth * columns, self.dtype)
        columns = np.stack([known_std[:, 0], known_avg[:, 0]], axis=1)
        return tf.constant(self.rcut_smth * columns, self.dtype)


class StrippedEmbeddingNets(MixedEmbeddingNets):
    r"""Stripped nets as ``se_a_ebd_v2`` has them, :math:`G_{CT}(s) = g(s) (1 + t)`: one-sided
    :math:`t = h(te(T))`, two-sided :math:`t = h(te(T), te(C))`; the first weights drawn are those
    of h.

    Parameters
    ----------
    one_sided
        Which of these.
    options
        Of :class:`MixedEmbeddingNets`.
    """

    def __init__(self, *, one_sided: bool, **options: Any) -> None:
        super().__init__(stripped=True, smooth=False, rcut_smth=0.0, **options)
        self.one_sided = one_sided

    def seeds(self) -> tuple[int | None, int | None]:
        first, second = super().seeds()
        return second, first


def _row(values: tf.Tensor, row: int, dtype: tf.DType) -> tf.Tensor:
    """One row [1, n]; a constant where the values are."""
    known = static_value(values)
    return values[row : row + 1] if known is None else tf.constant(known[row : row + 1], dtype)
