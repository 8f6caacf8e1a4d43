# SPDX-License-Identifier: BSD-3-Clause
"""Stock dialect: the ops and the layout that stock runtimes know."""

from __future__ import annotations

import logging

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.environment.base import Cutoff, PullBack
from deepmd_tf.environment.inputs import ModelInputs
from deepmd_tf.environment.padded import PaddedEnvironment
from deepmd_tf.nn.embedding import EmbeddingNets, static_value
from deepmd_tf.nn.spline import SplineGrid, SplineOptions, check_size, spline_coefficients
from deepmd_tf.ops import stock

log = logging.getLogger(__name__)


class StockEnvironment(PaddedEnvironment):
    """Rows from ``ProdEnvMatA``, forces from ``ProdForceSeA`` and ``ProdVirialSeA``.

    The derivative of the rows is an output of the first op, not a gradient: the graph is
    differentiable once.

    Parameters
    ----------
    splines
        Makes a compressed model: embedding nets, avg and std are constants, and in place of a net
        ``TabulateFusionSeA`` reads a table of it.
    """

    def __init__(
        self,
        inputs: ModelInputs,
        cutoff: Cutoff,
        avg: tf.Tensor,
        std: tf.Tensor,
        splines: SplineOptions | None = None,
    ) -> None:
        super().__init__(inputs, cutoff, avg, std)
        self.splines = splines
        self._grids: list[SplineGrid] = []
        env = stock.prod_env_mat_a(
            inputs.coord,
            inputs.type,
            inputs.natoms,
            inputs.box,
            inputs.mesh,
            avg,
            std,
            rcut_a=-1.0,
            rcut_r=cutoff.rcut,
            rcut_r_smth=cutoff.rcut_smth,
            sel_a=list(cutoff.sel),
            sel_r=[0] * cutoff.ntypes,
        )
        width = 4 * cutoff.n_slots
        self.rows = tf.identity(tf.reshape(env.descrpt, [-1, width]), name=names.O_RMAT)
        self._deriv = tf.identity(env.descrpt_deriv, name=names.O_RMAT_DERIV)
        self._rij = tf.identity(env.rij, name=names.O_RIJ)
        self._nlist = tf.identity(env.nlist, name=names.O_NLIST)

    def moment(self, nets: EmbeddingNets) -> tf.Tensor:
        if self.splines is not None:
            self._grids = self._make_grids(nets, self.splines)
        return super().moment(nets)

    def _make_grids(self, nets: EmbeddingNets, options: SplineOptions) -> list[SplineGrid]:
        """Where the table of each net has its rows."""
        dtype = nets.dtype.as_numpy_dtype
        avg, std = static_value(self.avg)[:, 0], static_value(self.std)[:, 0]
        largest_s = self.cutoff.inverse_distance(options.smallest_distance)
        lower, upper = -avg / std, (largest_s - avg) / std
        log.info("training data with lower boundary: %s", lower)
        log.info("training data with upper boundary: %s", upper)
        grids = []
        for net in range(len(nets.keys)):
            # Centre types of no slots stand for atoms that there are none of.
            users = (nets.net_of == net).any(axis=1) & (np.array(self.cutoff.sel) > 0)
            users = users if users.any() else np.ones(nets.ntypes, bool)
            ends = np.floor(lower[users].min()), np.ceil(upper[users].max())
            grids.append(SplineGrid.make(*ends, options, dtype))
        check_size(grids, nets.width, dtype)
        return grids

    def _section_moment(self, nets: EmbeddingNets, net: int, section: tf.Tensor) -> tf.Tensor:
        if self.splines is None:
            return super()._section_moment(nets, net, section)
        grid, key = self._grids[net], nets.keys[net]
        table = spline_coefficients(nets.activation, nets.constants()[net], grid.nodes)
        info = grid.info(self.splines.check_frequency)
        return stock.tabulate_fusion_se_a(
            tf.constant(table, nets.dtype, name=names.embedding_table(*key)),
            tf.constant(info, nets.dtype, name=names.embedding_table_info(*key)),
            tf.reshape(section[:, :, 0], [-1, 1]),
            section,
            last_layer_size=nets.width,
        )

    def pull_back(self, moment: tf.Tensor, adjoint: tf.Tensor) -> PullBack:
        (gradient,) = tf.gradients(moment, [self.rows], grad_ys=[adjoint])
        width = 4 * self.cutoff.n_slots
        gradient = tf.reshape(gradient, [-1, self.inputs.n_loc * width])
        natoms, slots = self.inputs.natoms, self.cutoff.n_slots
        force = stock.prod_force_se_a(
            gradient, self._deriv, self._nlist, natoms, n_a_sel=slots, n_r_sel=0
        )
        virial, atom_virial = stock.prod_virial_se_a(
            gradient, self._deriv, self._rij, self._nlist, natoms, n_a_sel=slots, n_r_sel=0
        )
        n_all = self.inputs.n_all
        return PullBack(
            force=tf.reshape(force, [-1, 3 * n_all]),
            virial=tf.reshape(virial, [-1, 9]),
            atom_virial=tf.reshape(atom_virial, [-1, 9 * n_all]),
        )
