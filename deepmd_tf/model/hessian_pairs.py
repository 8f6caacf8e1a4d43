# SPDX-License-Identifier: BSD-3-Clause
"""Second derivatives of sums over pairs of atoms, from three directions at each pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.environment import AtomRange, ModelInputs
from deepmd_tf.environment.native import NativeEnvironment

Terms = Callable[[tf.Tensor, slice], tuple[tf.Tensor, tf.Tensor]]
"""Terms of pairs at displacements [3 n_pairs, 3], three for each of the pairs, and the adjoints of
the sums they are part of: both [3 n_pairs, …]."""


@dataclass(frozen=True)
class PairDerivatives:
    """Pairs, moved along x, y and z: the neighbour against the centre.

    Attributes
    ----------
    inputs, atoms
        Inputs of the graph, and the centres of the pairs; None: all.
    center, neighbor
        int32 [n_pairs], rows in [n_frames * n].
    curved
        [3 n_pairs, 3], second derivatives of ⟨adjoint, term⟩ along the three directions.
    tangents
        [3 n_pairs, …], derivatives of the terms along them.
    """

    inputs: ModelInputs
    atoms: AtomRange | None
    center: tf.Tensor
    neighbor: tf.Tensor
    curved: tf.Tensor
    tangents: tf.Tensor

    @classmethod
    def of(
        cls,
        environment: NativeEnvironment,
        atoms: AtomRange | None,
        terms: Terms,
    ) -> PairDerivatives:
        """Of the pairs of all centres, or of ``atoms``."""
        inputs, pairs = environment.inputs, slice(None)
        if atoms is not None:
            pairs = environment.pairs_of(atoms)
        center, neighbor = environment.pairs.center[pairs], environment.pairs.neighbor[pairs]
        displacement = tf.repeat(environment.displacement[pairs], 3, axis=0)
        added, adjoint = terms(displacement, pairs)
        (pulled,) = tf.gradients(added, [displacement], grad_ys=[adjoint])
        unit = tf.tile(tf.eye(3, dtype=inputs.dtype), [tf.size(center), 1])
        # linear in the adjoint, so its derivative by it is that of the terms
        curved, tangents = tf.gradients(pulled, [displacement, adjoint], grad_ys=[unit])
        return cls(inputs, atoms, center, neighbor, curved, tangents)

    def geometry(self) -> tf.Tensor:
        """Σ ⟨adjoint, ∂_a ∂_b term⟩ over the pairs, [n_frames, 3 n_loc, 3 n_loc]."""
        n = self.inputs.n_loc
        center, neighbor = self.center % n, self.neighbor % n
        found = self._scatter(self.curved, neighbor, n) - self._scatter(self.curved, center, n)
        return tf.reshape(found, [-1, 3 * n, 3 * n])

    def by_atom(self, shape: Sequence[int]) -> tf.Tensor:
        """Derivatives of the sums of each centre, whose terms have this shape: [n_frames, 3 n_loc,
        n, *shape]."""
        n, atoms = self.inputs.n_loc, self.atoms
        begin, count = (0, n) if atoms is None else (atoms.begin, atoms.end - atoms.begin)
        tangents = tf.reshape(self.tangents, [-1, prod(shape)])
        tangents = self._scatter(tangents, self.center % n - begin, count)
        n_frames = tf.shape(self.inputs.coord)[0]
        return tf.reshape(tangents, [n_frames, 3 * n, count, *shape])

    def _scatter(self, values: tf.Tensor, place: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Sum of values [3 n_pairs, k] in [n_atoms * 3 * size, k], by direction (atom, xyz) and a
        further place; moving the centre is the opposite of moving the neighbour."""
        n_atoms = tf.shape(self.inputs.coord)[0] * self.inputs.n_loc
        center_row, neighbor_row = (
            tf.reshape((3 * atom[:, None] + tf.range(3)) * size + place[:, None], [-1])
            for atom in (self.center, self.neighbor)
        )
        return ops.scatter_pairs(values, center_row, neighbor_row, 3 * n_atoms * size)


def chosen_atoms(values: tf.Tensor, inputs: ModelInputs, atoms: AtomRange | None) -> tf.Tensor:
    """[n_frames, n, ...] of ``atoms`` from [n_frames * n_loc, ...]."""
    shape = [tf.shape(inputs.coord)[0], inputs.n_loc, *values.shape.as_list()[1:]]
    values = tf.reshape(values, shape)
    return values if atoms is None else values[:, atoms.begin : atoms.end]
