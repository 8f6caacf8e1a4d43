# SPDX-License-Identifier: BSD-3-Clause
r"""Second derivatives of a mixture with a tabulated pair potential.

The energy of an atom is a function f(m, N) of the energy N of the nets and of three sums over its
neighbours, m = (Σ r w, Σ w, Σ φ/2), and it is linear in N:

.. math::

    ∂_a ∂_b E = \frac{∂f}{∂m} · ∂_a ∂_b m + ∂_a m^T \frac{∂^2 f}{∂m^2} ∂_b m
        + \frac{∂^2 f}{∂m ∂N} · (∂_a m \, ∂_b N + ∂_b m \, ∂_a N) + (1 - λ) \, ∂_a ∂_b N .
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import tensorflow.compat.v1 as tf

from deepmd_tf.environment import PairGeometry
from deepmd_tf.model.energy import ModelOutputs
from deepmd_tf.model.pair_terms import (
    PairSums,
    SoftMin,
    distances,
    soft_min_terms,
    spline,
)
from deepmd_tf.model.short_range import Blend, ShortRange
from deepmd_tf.nn.parameters import Parameters


class Derivatives(NamedTuple):
    """Of f, by atom.

    Attributes
    ----------
    first
        ∂f/∂m, [n_centers, 3].
    second
        ∂²f/∂m², [n_centers, 3, 3].
    mixed
        ∂²f/∂m∂N, [n_centers, 3].
    """

    first: tf.Tensor
    second: tf.Tensor
    mixed: tf.Tensor


class BlendCurvature:
    """The three sums of the mixture, at the pairs of a graph in the native dialect.

    Parameters
    ----------
    outputs, parameters
        Of a model with a table.
    short_range
        Its short-range potential.

    Attributes
    ----------
    environment
        Place of the environment whose pairs the table sees.
    """

    def __init__(
        self, outputs: ModelOutputs, parameters: Parameters, short_range: ShortRange
    ) -> None:
        blend = outputs.atoms.blend
        if blend is None:
            raise ValueError("the model has no table of pair potentials")
        self._inputs = outputs.inputs
        self._soft_min = short_range.soft_min
        self._table = short_range.table(parameters)
        self._geometry = cast(PairGeometry, blend.environment.geometry())
        self._pairs = PairSums(outputs.inputs, self._geometry)
        sums = self._pairs.sum(
            self._functions(self._geometry.displacement, self._geometry, self._pairs.nearest)
        )
        self.derivatives = _derivatives(blend, self._soft_min, sums)
        self.share_of_nets = 1.0 - blend.switch.values
        moments = outputs.atoms.features.moments
        self._by_moments = tf.gradients(tf.reduce_sum(blend.nets), list(moments))
        of_models = [part.environment for part in outputs.atoms.contractions]
        self.environment = of_models.index(blend.environment)

    def at_pairs(self, displacement: tf.Tensor, pairs: slice) -> tuple[tf.Tensor, tf.Tensor]:
        """The sums' terms of ``pairs`` at ``displacement`` [3 n_pairs, 3], three for each pair, and
        ∂f/∂m of their centres: each [3 n_pairs, 3]."""
        center, neighbor = self._geometry.center, self._geometry.neighbor
        chosen = PairGeometry(
            displacement, tf.repeat(center[pairs], 3), tf.repeat(neighbor[pairs], 3)
        )
        nearest = tf.repeat(self._pairs.nearest[pairs], 3)
        adjoint = tf.gather(self.derivatives.first, self._pairs.local[pairs])
        return self._functions(displacement, chosen, nearest), tf.repeat(adjoint, 3, axis=0)

    def products(
        self,
        along: tf.Tensor,
        tangents: Sequence[tf.Tensor],
        chosen: Callable[[tf.Tensor], tf.Tensor],
    ) -> tf.Tensor:
        """The terms with products of first derivatives, [n_frames, k, k].

        Parameters
        ----------
        along
            ∂m of atoms, [n_frames, k, n, 3].
        tangents
            Of the moments of these atoms in each environment, [n_frames, k, n, …].
        chosen
            Gives what belongs to the atoms, [n_frames, n, …], of values of all, [n_centers, …].
        """
        nets = functools.reduce(
            tf.add,
            [
                tf.cast(
                    tf.reduce_sum(
                        part * chosen(adjoint)[:, None], axis=list(range(3, part.shape.rank))
                    ),
                    along.dtype,
                )
                for part, adjoint in zip(tangents, self._by_moments, strict=True)
            ],
        )
        second, mixed = chosen(self.derivatives.second), chosen(self.derivatives.mixed)
        bent = tf.einsum("fain,finm,fbim->fab", along, second, along)
        cross = tf.einsum("fain,fin,fbi->fab", along, mixed, nets)
        return bent + cross + tf.linalg.matrix_transpose(cross)

    def _functions(
        self, displacement: tf.Tensor, geometry: PairGeometry, nearest: tf.Tensor
    ) -> tf.Tensor:
        """(r w, w, φ/2) of pairs, [n, 3]."""
        r = distances(displacement)
        energy = 0.5 * spline(r, geometry, self._inputs, self._table, native=True)
        return tf.concat(
            [soft_min_terms(r, nearest, self._soft_min.alpha), energy[:, None]], axis=1
        )


def _derivatives(blend: Blend, soft_min: SoftMin, sums: tf.Tensor) -> Derivatives:
    nets, bias = (
        tf.cast(tf.reshape(values, [-1]), tf.float64)
        for values in (blend.nets, blend.pairs - blend.table.values)
    )
    share = soft_min.switch(sums[:, :2])
    energy = share * (sums[:, 2] + tf.stop_gradient(bias)) + (1.0 - share) * nets
    (first,) = tf.gradients(energy, [sums])
    rows = [tf.gradients(first[:, k], [sums, nets]) for k in range(3)]
    second = tf.stack([row[0] for row in rows], axis=1)
    mixed = [tf.zeros_like(nets) if row[1] is None else row[1] for row in rows]
    return Derivatives(first, second, tf.stack(mixed, axis=1))
