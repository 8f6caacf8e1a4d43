# SPDX-License-Identifier: BSD-3-Clause
"""Stock dialect: the ops and the layout that stock runtimes know."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.environment.base import Environment, PullBack, SlotGeometry
from deepmd_tf.environment.spec import ANGULAR
from deepmd_tf.ops import stock, stock_mixed


class StockEnvironment(Environment):
    """Padded rows from ``ProdEnvMatA``, forces from ``ProdForceSeA`` and ``ProdVirialSeA``; for
    rows without directions ``ProdEnvMatR``, ``ProdForceSeR`` and ``ProdVirialSeR``; for neighbours
    of all types together ``ProdEnvMatAMix`` in place of the first.

    The derivative of the rows is an output of the first op, not a gradient: the graph is
    differentiable once. There are such operations for a selection by type, and for one with types.
    """

    def build(self) -> None:
        spec, inputs = self.spec, self.inputs
        if not (spec.selection.by_type or spec.selection.typed):
            raise ValueError("the stock dialect tells neighbours apart by their types")
        rcut, rcut_smth = spec.cutoff.rcut, spec.cutoff.rcut_smth
        atoms = (inputs.coord, inputs.type, inputs.natoms, inputs.box, inputs.mesh)
        rows = (*atoms, self.avg, self.std)
        counts = list(spec.selection.counts)
        env: stock.PaddedEnvironment | stock_mixed.MixedEnvironment
        if spec.selection.mixes:
            env = stock_mixed.prod_env_mat_a_mix(
                *rows, rcut_r=rcut, rcut_r_smth=rcut_smth, sel_a=counts
            )
            self.neighbor_types = tf.reshape(env.ntype, [-1, spec.selection.n_slots])
        elif spec.components == ANGULAR:
            env = stock.prod_env_mat_a(*rows, rcut_r=rcut, rcut_r_smth=rcut_smth, sel_a=counts)
        else:
            env = stock.prod_env_mat_r(*rows, rcut=rcut, rcut_smth=rcut_smth, sel=counts)
        rmat, deriv, rij, nlist = (names.suffixed(n, spec.scope) for n in names.STOCK_ROWS)
        self.rows = tf.identity(tf.reshape(env.descrpt, [-1, spec.row_width]), name=rmat)
        self._deriv = tf.identity(env.descrpt_deriv, name=deriv)
        self._rij = tf.identity(self._strained_slots(env.rij, env.nlist), name=rij)
        self._nlist = tf.identity(env.nlist, name=nlist)
        if spec.selection.typed and spec.selection.by_type:
            of_slot = np.repeat(np.arange(spec.ntypes, dtype=np.int32), counts)
            filled = tf.reshape(self._nlist, [-1, spec.selection.n_slots]) >= 0
            self.neighbor_types = tf.where_v2(filled, of_slot, spec.ntypes)

    def _strained_slots(self, rij: tf.Tensor, nlist: tf.Tensor) -> tf.Tensor:
        """``rij``, or where there are spins what changes with a strain; ``nlist`` is −1 in empty
        slots."""
        if self.inputs.spins is None:
            return rij
        n_frames, n_loc, n_all = tf.shape(nlist)[0], self.inputs.n_loc, self.inputs.n_all
        frames = n_all * tf.range(n_frames)[:, None]
        slots = self.spec.selection.n_slots
        center = frames + tf.repeat(tf.range(n_loc), slots)
        neighbor = tf.where_v2(nlist < 0, center, frames + nlist)
        x = tf.reshape(rij, [-1, 3])
        found = self.strained(x, tf.reshape(center, [-1]), tf.reshape(neighbor, [-1]))
        return tf.reshape(found, tf.shape(rij))

    def geometry(self) -> SlotGeometry:
        return SlotGeometry(self._rij, self._nlist)

    def pull_back(self, gradient: tf.Tensor) -> PullBack:
        gradient = tf.reshape(gradient, [-1, self.inputs.n_loc * self.spec.row_width])
        of_force = (gradient, self._deriv, self._nlist, self.inputs.natoms)
        of_virial = (gradient, self._deriv, self._rij, self._nlist, self.inputs.natoms)
        if self.spec.components == ANGULAR:
            slots = self.spec.selection.n_slots
            force = stock.prod_force_se_a(*of_force, n_a_sel=slots)
            virial, atom_virial = stock.prod_virial_se_a(*of_virial, n_a_sel=slots)
        else:
            force = stock.prod_force_se_r(*of_force)
            virial, atom_virial = stock.prod_virial_se_r(*of_virial)
        n_all = self.inputs.n_all
        return PullBack(
            force=tf.reshape(force, [-1, 3 * n_all]),
            virial=tf.reshape(virial, [-1, 9]),
            atom_virial=tf.reshape(atom_virial, [-1, 9 * n_all]),
        )
