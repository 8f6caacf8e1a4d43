# SPDX-License-Identifier: BSD-3-Clause
"""Stock dialect: the ops and the layout that stock runtimes know."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.environment.base import Cutoff, PullBack
from deepmd_tf.environment.inputs import ModelInputs
from deepmd_tf.environment.padded import PaddedEnvironment
from deepmd_tf.ops import stock


class StockEnvironment(PaddedEnvironment):
    """Rows from ``ProdEnvMatA``, forces from ``ProdForceSeA`` and ``ProdVirialSeA``.

    The derivative of the rows is an output of the first op, not a gradient: the graph is
    differentiable once.
    """

    def __init__(self, inputs: ModelInputs, cutoff: Cutoff, avg: tf.Tensor, std: tf.Tensor) -> None:
        super().__init__(inputs, cutoff, avg, std)
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

    def pull_back(self, atom_energy: tf.Tensor) -> PullBack:
        (gradient,) = tf.gradients(atom_energy, [self.rows])
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
