# SPDX-License-Identifier: BSD-3-Clause
"""Native dialect: flat pair lists, no padding, twice differentiable in coordinates."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.environment.base import Cutoff, Environment, PullBack
from deepmd_tf.environment.inputs import AtomRange, ModelInputs
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.table import EmbeddingTable


class NativeEnvironment(Environment):
    """Rows of existing pairs only; empty slots enter as one term per centre and neighbour type.

    Parameters
    ----------
    smallest_distance
        The embedding table reaches down to this distance, Å; closer pairs are extrapolated linearly
        and counted in ``diagnostics["outside"]``. None: no table, the nets are evaluated at every
        pair.
    """

    native = True

    def __init__(
        self,
        inputs: ModelInputs,
        cutoff: Cutoff,
        avg: tf.Tensor,
        std: tf.Tensor,
        smallest_distance: float | None,
    ) -> None:
        super().__init__(inputs, cutoff, avg, std)
        self.smallest_distance = smallest_distance
        pairs = ops.neighbor_list(
            inputs.coord,
            inputs.type,
            inputs.natoms,
            inputs.box,
            inputs.mesh,
            rcut=cutoff.rcut,
            sel=list(cutoff.sel),
        )
        self.pairs = pairs
        self.diagnostics.update(dropped=pairs.dropped, max_found=pairs.max_found)
        coord = tf.reshape(inputs.coord, [-1, 3])
        self.displacement = ops.gather_pairs(coord, pairs.center, pairs.neighbor, pairs.shift)
        self._row_avg = avg[:, :4]
        self._row_std = std[:, :4]
        self.rows = self._rows_at(self.displacement, pairs.center)

    def _rows_at(self, displacement: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
        return ops.env_matrix(
            displacement,
            center,
            tf.reshape(self.inputs.type, [-1]),
            self._row_avg,
            self._row_std,
            rcut=self.cutoff.rcut,
            rcut_smth=self.cutoff.rcut_smth,
        )

    def moment(self, nets: EmbeddingNets) -> tf.Tensor:
        net_of_section = self._net_of_section(nets)
        rows = tf.cast(self.rows, nets.dtype)
        empty = self._empty_slots(nets, self._at_zero(nets))
        moment = self._sum(nets, rows, self.pairs.splits, net_of_section, nets.ntypes, empty)
        if self.table is not None:
            self.diagnostics["outside"] = ops.moment_outside(
                self.table.interval,
                rows[:, 0],
                self.pairs.splits,
                net_of_section,
                ntypes=nets.ntypes,
            )
        return moment

    def pairs_of(self, atoms: AtomRange) -> slice:
        """The pairs of these centres, in a graph that is given one frame."""
        splits, ntypes = self.pairs.splits, self.cutoff.ntypes
        return slice(splits[atoms.begin * ntypes], splits[atoms.end * ntypes])

    def pair_moments(
        self, nets: EmbeddingNets, displacement: tf.Tensor, pairs: slice, times: int
    ) -> tf.Tensor:
        """What each of ``pairs`` adds to :meth:`moment`: [n_pairs * times, 4, M1].

        ``displacement`` [n_pairs * times, 3] is so many displacements, Å, for each pair, one behind
        the other.
        """
        splits = self.pairs.splits
        net_of_pair = tf.repeat(self._net_of_section(nets), splits[1:] - splits[:-1])[pairs]
        n_terms = tf.shape(displacement)[0]
        rows = self._rows_at(displacement, tf.repeat(self.pairs.center[pairs], times))
        # sections of one term each
        return self._sum(
            nets,
            tf.cast(rows, nets.dtype),
            tf.range(n_terms + 1),
            tf.repeat(net_of_pair, times),
            1,
        )

    def at(self, inputs: ModelInputs) -> NativeEnvironment:
        """The same environment for other frames, with the same embedding table."""
        other = NativeEnvironment(inputs, self.cutoff, self.avg, self.std, self.smallest_distance)
        other.table = self.table
        return other

    def descriptors(self, moment: tf.Tensor, n_axis: int) -> list[tf.Tensor]:
        if self.inputs.mixed:
            return super().descriptors(moment, n_axis)
        counts = self.inputs.natoms[2:]
        parts = ops.descriptor(moment, counts, n_axis=n_axis)
        n_frames, dim = tf.shape(self.inputs.coord)[0], moment.shape.as_list()[-1] * n_axis
        return [tf.reshape(part, [n_frames, counts[t], dim]) for t, part in enumerate(parts)]

    def _squares(self, moment: tf.Tensor, n_axis: int) -> tf.Tensor:
        return ops.descriptor(moment, n_axis=n_axis)

    def pull_back(self, moment: tf.Tensor, adjoint: tf.Tensor) -> PullBack:
        (gradient,) = tf.gradients(moment, [self.displacement], grad_ys=[adjoint])
        pairs, n_all = self.pairs, self.inputs.n_all
        force, virial, atom_virial = ops.pair_forces(
            gradient, self.displacement, pairs.center, pairs.neighbor, tf.shape(self.inputs.type)
        )
        return PullBack(
            force=tf.reshape(force, [-1, 3 * n_all]),
            virial=virial,
            atom_virial=tf.reshape(atom_virial, [-1, 9 * n_all]),
        )

    def _net_of_section(self, nets: EmbeddingNets) -> tf.Tensor:
        """int32 [n_centers * ntypes]: net of each section of the pair list, -1 for none."""
        # A last row for virtual atoms, which have no net.
        table = tf.concat([tf.constant(nets.net_of), tf.fill([1, nets.ntypes], -1)], axis=0)
        center = self.inputs.local_type
        center = tf.where_v2(center < 0, nets.ntypes, center)
        return tf.reshape(tf.gather(table, center), [-1])

    def _tabulated(self, nets: EmbeddingNets) -> bool:
        """Whether there is a table; made when it is first asked for."""
        if self.smallest_distance is None or not nets.activation.smooth:
            return False
        if self.table is None:
            largest_s = self.cutoff.inverse_distance(self.smallest_distance)
            table = EmbeddingTable(nets, self.avg, self.std, largest_s)
            table.build()
            if table.report is not None and not table.report.accurate:
                # Constant weights that no number of nodes represents.
                self.smallest_distance = None
                return False
            self.table = table
        return True

    def _sum(
        self,
        nets: EmbeddingNets,
        rows: tf.Tensor,
        splits: tf.Tensor,
        net_of_section: tf.Tensor,
        sections: int,
        start: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Σ R ⊗ G(s) over the rows [n, 4] of so many sections, normalised, and to that ``start``:
        [n_sections / sections, 4, M1].
        """
        if not self._tabulated(nets):
            columns = self._columns(nets, rows, splits, net_of_section)
            moment = ops.contract(rows, columns, splits, ntypes=sections)
            moment /= self.cutoff.normalization
            return moment if start is None else start + moment
        return ops.moment_of_rows(
            self.table.table,
            self.table.interval,
            rows,
            splits,
            net_of_section,
            start,
            ntypes=sections,
            divisor=self.cutoff.normalization,
        )

    def _columns(
        self, nets: EmbeddingNets, rows: tf.Tensor, splits: tf.Tensor, net_of_section: tf.Tensor
    ) -> tf.Tensor:
        """G(s) of each row by the nets themselves: [n, M1]."""
        n_nets = len(nets.keys)
        net_of_row = tf.repeat(net_of_section, splits[1:] - splits[:-1])
        # Rows without a net form a last part, whose columns are zero.
        part = tf.where_v2(net_of_row < 0, n_nets, net_of_row)
        s = tf.dynamic_partition(rows[:, :1], part, n_nets + 1)
        where = tf.dynamic_partition(tf.range(tf.size(part)), part, n_nets + 1)
        columns = [nets.apply(net, s[net]) for net in range(n_nets)]
        columns.append(tf.zeros([tf.size(where[-1]), nets.width], nets.dtype))
        return tf.dynamic_stitch(where, columns)

    def _at_zero(self, nets: EmbeddingNets) -> tf.Tensor:
        """G at the s of an empty slot, by net and centre type: [n_nets, ntypes, M1]."""
        if self._tabulated(nets):
            return self.table.at_zero
        empty = tf.cast(self._empty_row(), nets.dtype)[:, :1]
        return tf.stack([nets.apply(net, empty) for net in range(len(nets.keys))])

    def _empty_row(self) -> tf.Tensor:
        """[ntypes, 4], the row of an empty slot of each centre type."""
        return -self._row_avg / self._row_std

    def _empty_slots(self, nets: EmbeddingNets, at_zero: tf.Tensor) -> tf.Tensor:
        """Sum over the empty slots, n_empty R_empty ⊗ G(s_empty), normalised: [n_centers, 4, M1].

        ``at_zero`` [n_nets, ntypes, M1] is G(s_empty) of each net and centre type.
        """
        ntypes, width = nets.ntypes, nets.width
        splits = self.pairs.splits
        count = tf.reshape(splits[1:] - splits[:-1], [-1, ntypes])
        n_empty = tf.cast(tf.constant(self.cutoff.sel, tf.int32) - count, nets.dtype)
        center = tf.one_hot(self.inputs.local_type, ntypes, dtype=nets.dtype)
        weight = tf.reshape(center[:, :, None] * n_empty[:, None, :], [-1, ntypes * ntypes])
        net_of = nets.net_of
        if (net_of < 0).any():  # a last net, which is zero
            at_zero = tf.concat([at_zero, tf.zeros([1, ntypes, width], nets.dtype)], axis=0)
            net_of = np.where(net_of < 0, len(nets.keys), net_of)
        center_type = np.broadcast_to(np.arange(ntypes)[:, None], net_of.shape)
        # [centre type, neighbour type, M1]
        g = tf.gather_nd(at_zero, np.stack([net_of, center_type], axis=-1).astype(np.int32))
        row = tf.cast(self._empty_row() / self.cutoff.normalization, nets.dtype)
        term = tf.reshape(row[:, None, :, None] * g[:, :, None, :], [ntypes * ntypes, 4 * width])
        return tf.reshape(ops.matmul(weight, term), [-1, 4, width])
