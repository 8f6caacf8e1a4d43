# SPDX-License-Identifier: BSD-3-Clause
"""Native dialect: flat pair lists, no padding, twice differentiable in coordinates."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.environment.base import Environment, PullBack
from deepmd_tf.environment.inputs import AtomRange
from deepmd_tf.environment.spec import ANGULAR


class NativeEnvironment(Environment):
    """Rows of existing pairs only, [n_pairs, components], ordered by frame, centre, section and
    distance.

    Attributes
    ----------
    pairs
        The pair list, with the beginnings ``splits`` of the sections of all centres.
    displacement
        [n_pairs, 3], Å, from the centre to the neighbour.
    """

    native = True

    def build(self) -> None:
        inputs, selection = self.inputs, self.spec.selection
        types, natoms = self.searched_types(), inputs.natoms
        if not selection.by_type:
            types = tf.minimum(types, 0)
            natoms = tf.concat([natoms[:2], natoms[:1]], axis=0)
        pairs = ops.neighbor_list(
            inputs.coord,
            types,
            natoms,
            inputs.box,
            self.mesh,
            rcut=self.spec.cutoff.rcut,
            sel=list(selection.counts),
            close=self.close,
        )
        self.pairs = pairs
        self.diagnostics.update(dropped=pairs.dropped, max_found=pairs.max_found)
        if not selection.by_type:
            others = [[0, self.spec.ntypes - 1]]
            self.diagnostics = {k: tf.pad(v, others) for k, v in self.diagnostics.items()}
        coord = tf.reshape(inputs.coord, [-1, 3])
        self.displacement = ops.gather_pairs(coord, pairs.center, pairs.neighbor, pairs.shift)
        self._row_avg = self.avg[:, : self.spec.components]
        self._row_std = self.std[:, : self.spec.components]
        self.rows = self.rows_at(self.displacement, pairs.center)

    def searched_types(self) -> tf.Tensor:
        """int32 [n_frames, n_all], types of the atoms among which neighbours are looked for; -1
        takes no part.
        """
        return self.inputs.type

    @property
    def mesh(self) -> tf.Tensor:
        """Where the neighbour list comes from."""
        return self.inputs.mesh

    def rows_at(self, displacement: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
        """Rows of neighbours at these displacements [n, 3], Å, from atoms ``center`` [n]."""
        avg, std, missing = self._row_avg, self._row_std, ANGULAR - self.spec.components
        if missing:
            avg = tf.pad(avg, [[0, 0], [0, missing]])
            std = tf.pad(std, [[0, 0], [0, missing]], constant_values=1)
        rows = ops.env_matrix(
            displacement,
            center,
            tf.reshape(self.inputs.type, [-1]),
            avg,
            std,
            rcut=self.spec.cutoff.rcut,
            rcut_smth=self.spec.cutoff.rcut_smth,
        )
        return rows[:, : self.spec.components] if missing else rows

    def empty_row(self) -> tf.Tensor:
        """[ntypes, components], the row of an empty slot of each centre type."""
        return -self._row_avg / self._row_std

    def empty_count(self, dtype: tf.DType) -> tf.Tensor:
        """[n_centers, n_sections], number of empty slots."""
        selection, splits = self.spec.selection, self.pairs.splits
        count = tf.reshape(splits[1:] - splits[:-1], [-1, selection.n_sections])
        return tf.cast(tf.constant(selection.counts, tf.int32) - count, dtype)

    def pairs_of(self, atoms: AtomRange) -> slice:
        """The pairs of these centres, in a graph that is given one frame."""
        splits, sections = self.pairs.splits, self.spec.selection.n_sections
        return slice(splits[atoms.begin * sections], splits[atoms.end * sections])

    def pull_back(self, gradient: tf.Tensor) -> PullBack:
        (gradient,) = tf.gradients(self.rows, [self.displacement], grad_ys=[gradient])
        pairs, n_all = self.pairs, self.inputs.n_all
        force, virial, atom_virial = ops.pair_forces(
            gradient, self.displacement, pairs.center, pairs.neighbor, tf.shape(self.inputs.type)
        )
        return PullBack(
            force=tf.reshape(force, [-1, 3 * n_all]),
            virial=virial,
            atom_virial=tf.reshape(atom_virial, [-1, 9 * n_all]),
        )
