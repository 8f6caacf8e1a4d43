# SPDX-License-Identifier: BSD-3-Clause
"""Native dialect: flat pair lists, no padding, twice differentiable in coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.environment.base import Environment, PairGeometry, PullBack
from deepmd_tf.environment.inputs import AtomRange
from deepmd_tf.environment.spec import ANGULAR
from deepmd_tf.ops.neighbors import NeighborList


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

    pairs: NeighborList
    displacement: tf.Tensor

    def build(self) -> None:
        known = next((other for other in self.built if self._has_pairs_of(other)), None)
        if isinstance(known, NativeEnvironment):
            self.pairs, self.displacement = known.pairs, known.displacement
        else:
            self._find_pairs()
        pairs = self.pairs
        found = {"dropped": pairs.dropped, "max_found": pairs.max_found}
        if not self.spec.selection.by_type:  # the first numbers are about all types together
            found = {key: values[:1] for key, values in found.items()}
        self.diagnostics.update(found)
        self._row_avg = self.avg[:, : self.spec.components]
        self._row_std = self.std[:, : self.spec.components]
        self.rows = self.rows_at(self.displacement, pairs.center)

    def _has_pairs_of(self, other: Environment) -> bool:
        one, two = self.spec, other.spec
        same = one.cutoff.rcut == two.cutoff.rcut and one.selection == two.selection
        return same and one.masked == two.masked

    def _find_pairs(self) -> None:
        inputs, selection = self.inputs, self.spec.selection
        types, natoms = self.searched_types(), inputs.natoms
        sel, total = list(selection.counts), -1
        if selection.mixes:
            sel, (total,) = [-1] * self.spec.ntypes, sel
        elif not selection.by_type:
            types = tf.minimum(types, 0)
            natoms = tf.concat([natoms[:2], natoms[:1]], axis=0)
        pairs = ops.neighbor_list(
            inputs.coord,
            types,
            natoms,
            inputs.box,
            self.mesh,
            rcut=self.spec.cutoff.rcut,
            sel=sel,
            total=total,
            close=self.close,
        )
        self.pairs = pairs
        coord = tf.reshape(inputs.coord, [-1, 3])
        self.displacement = ops.gather_pairs(coord, pairs.center, pairs.neighbor, pairs.shift)

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
        """[n_centers, n_sections], number of empty slots in each section of the selection."""
        selection = self.spec.selection
        # TensorFlow does arithmetic of integers on the host, and float64 holds them all.
        splits = tf.cast(self.pairs.splits, tf.float64)
        if selection.mixes:
            splits = splits[:: self.spec.ntypes]
        count = tf.reshape(splits[1:] - splits[:-1], [-1, selection.n_sections])
        return tf.cast(tf.constant(selection.counts, tf.float64) - count, dtype)

    def pairs_of(self, atoms: AtomRange) -> slice:
        """The pairs of these centres, in a graph that is given one frame."""
        splits, sections = self.pairs.splits, self.spec.pair_sections
        return slice(splits[atoms.begin * sections], splits[atoms.end * sections])

    def geometry(self) -> PairGeometry:
        return PairGeometry(self.displacement, self.pairs.center, self.pairs.neighbor)

    def pull_back(self, gradient: tf.Tensor) -> PullBack:
        return self.pull_back_of([self.rows], [gradient])

    def pull_back_of(
        self, tensors: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor], *, shared: bool = False
    ) -> PullBack:
        (gradient,) = tf.gradients(tensors, [self.displacement], grad_ys=gradients)
        center, neighbor = self.pairs[:2]
        x = self.strained(self.displacement, center, neighbor)
        shape, n_all = tf.shape(self.inputs.type), self.inputs.n_all
        force, virial, atom_virial = ops.pair_forces(gradient, x, center, neighbor, shape)
        if shared:
            n_rows = shape[0] * shape[1]
            of_centers, of_neighbors = (
                ops.pair_virial(gradient, x, atom, n_rows) for atom in (center, neighbor)
            )
            atom_virial = 0.5 * (of_centers + of_neighbors)
        return PullBack(
            force=tf.reshape(force, [-1, 3 * n_all]),
            virial=virial,
            atom_virial=tf.reshape(atom_virial, [-1, 9 * n_all]),
        )
