# SPDX-License-Identifier: BSD-3-Clause
r"""Second derivatives of a mixture with a tabulated pair potential.

The energy of an atom is a function f(m, N) of the energy N of the nets and of three sums over its
neighbours, m = (Σ r w, Σ w, Σ φ/2), and it is linear in N:

.. math::

    ∂_a ∂_b E = \frac{∂f}{∂m} · ∂_a ∂_b m + ∂_a m^T \frac{∂^2 f}{∂m^2} ∂_b m
        + \frac{∂^2 f}{∂m ∂N} · (∂_a m \, ∂_b N + ∂_b m \, ∂_a N) + (1 - λ) \, ∂_a ∂_b N .
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import tensorflow.compat.v1 as tf

from deepmd_tf.environment import AtomRange, PairGeometry
from deepmd_tf.environment.native import NativeEnvironment
from deepmd_tf.model.composite import PairTableModel
from deepmd_tf.model.energy import ModelOutputs
from deepmd_tf.model.hessian_pairs import PairDerivatives, chosen_atoms
from deepmd_tf.model.pair_terms import PairSums, SoftMin, distances, soft_min_terms, spline
from deepmd_tf.model.short_range import Blend, ShortRange
from deepmd_tf.nn.parameters import Parameters


class BlendCurvature:
    """The terms of the mixture, of a graph in the native dialect.

    Parameters
    ----------
    short_range
        The short-range potential of the model.
    outputs, parameters, atoms
        As for :func:`~deepmd_tf.model.hessian.full_hessian`.
    """

    def __init__(
        self,
        short_range: ShortRange,
        outputs: ModelOutputs,
        parameters: Parameters,
        atoms: AtomRange | None,
    ) -> None:
        blend = outputs.atoms.blend
        if blend is None:
            raise ValueError("the model has no table of pair potentials")
        self._blend = blend
        self._outputs = outputs
        self._atoms = atoms
        self._soft_min = short_range.soft_min
        self._table = short_range.table(parameters)
        self._environment = cast(NativeEnvironment, blend.environment)
        geometry = self._environment.geometry()
        self._pairs = PairSums(outputs.inputs, geometry)
        sums = self._pairs.sum(
            self._functions(geometry.displacement, geometry, self._pairs.nearest)
        )
        self._derivatives = _derivatives(blend, self._soft_min, sums)

    def share_of_nets(self, features: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Derivatives of the features along directions, times √(1 − λ): the second derivative of N
        is quadratic in them.

        Parameters
        ----------
        features
            Of the atoms of each type, [n_frames, k, n, dim].
        """
        share = tf.sqrt(self._chosen(tf.reshape(1.0 - self._blend.switch.values, [-1])))
        by_type = self._outputs.inputs.split_tangents(share, 1, self._atoms)
        return [
            along * tf.cast(factor, along.dtype)[:, None, :, None]
            for along, factor in zip(features, by_type, strict=True)
        ]

    def matrix(self, features: Sequence[tf.Tensor]) -> tf.Tensor:
        """All terms but the last, [n_frames, 3 n_loc, 3 n_loc]; ``features`` as those of
        :meth:`share_of_nets`.
        """
        pairs = PairDerivatives.of(self._environment, self._atoms, self._terms)
        along, nets = pairs.by_atom([3]), self._slope_of_nets(features)
        _, second, mixed = map(self._chosen, self._derivatives)
        bent = tf.einsum("fain,finm,fbim->fab", along, second, along)
        cross = tf.einsum("fain,fin,fbi->fab", along, mixed, tf.cast(nets, along.dtype))
        found = bent + cross + tf.linalg.matrix_transpose(cross)
        return pairs.geometry() + tf.cast(found, self._outputs.inputs.dtype)

    def _chosen(self, values: tf.Tensor) -> tf.Tensor:
        return chosen_atoms(values, self._outputs.inputs, self._atoms)

    def _terms(self, displacement: tf.Tensor, pairs: slice) -> tuple[tf.Tensor, tf.Tensor]:
        """Of the three sums; see :data:`~deepmd_tf.model.hessian_pairs.Terms`."""
        _, center, neighbor = self._environment.geometry()
        geometry = PairGeometry(
            displacement, tf.repeat(center[pairs], 3), tf.repeat(neighbor[pairs], 3)
        )
        nearest = tf.repeat(self._pairs.nearest[pairs], 3)
        adjoint = tf.gather(self._derivatives.first, self._pairs.local[pairs])
        return self._functions(displacement, geometry, nearest), tf.repeat(adjoint, 3, axis=0)

    def _functions(
        self, displacement: tf.Tensor, geometry: PairGeometry, nearest: tf.Tensor
    ) -> tf.Tensor:
        """(r w, w, φ/2) of pairs, [n, 3]."""
        r = distances(displacement)
        energy = 0.5 * spline(r, geometry, self._outputs.inputs, self._table, native=True)
        weights = soft_min_terms(r, nearest, self._soft_min.alpha)
        return tf.concat([weights, energy[:, None]], axis=1)

    def _slope_of_nets(self, features: Sequence[tf.Tensor]) -> tf.Tensor:
        """∂N of the atoms along the directions, [n_frames, k, n]."""
        by_type = self._outputs.atoms.features.by_type
        slopes = tf.gradients(
            tf.reduce_sum(self._blend.nets), by_type, unconnected_gradients="zero"
        )
        if self._atoms is not None:
            begin, count = self._outputs.inputs.within_types(self._atoms)
            slopes = [s[:, begin[t] : begin[t] + count[t]] for t, s in enumerate(slopes)]
        parts = [
            tf.reduce_sum(along * tf.cast(slope, along.dtype)[:, None], axis=3)
            for along, slope in zip(features, slopes, strict=True)
        ]
        return tf.concat(parts, axis=2)


def pair_hessian(
    model: PairTableModel, outputs: ModelOutputs, parameters: Parameters, atoms: AtomRange | None
) -> tf.Tensor:
    """Second derivatives of a tabulated pair potential by itself, [n_frames, 3 n_loc, 3 n_loc];
    arguments as those of :func:`~deepmd_tf.model.hessian.full_hessian`."""
    (contraction,) = outputs.atoms.contractions
    environment = cast(NativeEnvironment, contraction.environment)
    table, (_, center, neighbor) = model.table(parameters), environment.geometry()

    def terms(displacement: tf.Tensor, pairs: slice) -> tuple[tf.Tensor, tf.Tensor]:
        geometry = PairGeometry(
            displacement, tf.repeat(center[pairs], 3), tf.repeat(neighbor[pairs], 3)
        )
        r = distances(displacement)
        energy = 0.5 * spline(r, geometry, outputs.inputs, table, native=True)
        return energy, tf.ones_like(energy)

    return PairDerivatives.of(environment, atoms, terms).geometry()


class _Derivatives(NamedTuple):
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


def _derivatives(blend: Blend, soft_min: SoftMin, sums: tf.Tensor) -> _Derivatives:
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
    return _Derivatives(first, second, tf.stack(mixed, axis=1))
