# SPDX-License-Identifier: BSD-3-Clause
"""Environments of all atoms that a mask leaves in, without cutoff and periodic images."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.environment.base import Environment, PullBack
from deepmd_tf.environment.inputs import ModelInputs
from deepmd_tf.environment.native import NativeEnvironment
from deepmd_tf.environment.reference import ReferenceEnvironment
from deepmd_tf.environment.spec import Cutoff, EnvironmentSpec
from deepmd_tf.ops import stock

ALL_ATOMS = Cutoff(2.0e4, 1.0e4)
"""No two atoms of a molecule are farther apart, so that s(r) = 1/r for every pair."""


def mask_of(inputs: ModelInputs) -> tf.Tensor:
    """int32 [n_frames, n_all], the first atomic parameter as a whole number; 0: masked."""
    if inputs.aparam is None:
        raise ValueError("a masked environment needs an atomic parameter")
    return tf.reshape(tf.cast(inputs.aparam[:, :, 0], tf.int32), tf.shape(inputs.type))


def unmasked_types(inputs: ModelInputs) -> tf.Tensor:
    """int32 [n_frames, n_all], types, -1 where an atom is masked."""
    return tf.where_v2(tf.equal(mask_of(inputs), 0), -1, inputs.type)


def require_all_atoms(inputs: ModelInputs, spec: EnvironmentSpec) -> tf.Operation:
    """Fails where the atoms are others than the environment is made for."""
    return tf.debugging.assert_equal(
        inputs.natoms[1:],
        [spec.selection.n_slots, *spec.selection.counts],
        message="a model with a mask needs the atoms of its descriptor's sel, no ghosts; natoms",
    )


class UnmaskedAtoms(Environment):
    """What the native and the reference environment search, and the forces that they find, where a
    mask leaves atoms out; the class of the dialect comes behind it.
    """

    def searched_types(self) -> tf.Tensor:
        with tf.control_dependencies([require_all_atoms(self.inputs, self.spec)]):
            return unmasked_types(self.inputs)

    @property
    def mesh(self) -> tf.Tensor:
        return tf.zeros([0], tf.int32)

    def pull_back(self, gradient: tf.Tensor) -> PullBack:
        """With a virial of zero, as there is no cell."""
        found = super().pull_back(gradient)  # type: ignore[safe-super]
        return PullBack(found.force, *map(tf.zeros_like, (found.virial, found.atom_virial)))


class MaskedNativeEnvironment(UnmaskedAtoms, NativeEnvironment):
    """Pairs of atoms that are not masked, as those of :class:`NativeEnvironment`."""


class MaskedReferenceEnvironment(UnmaskedAtoms, ReferenceEnvironment):
    """Slots of atoms that are not masked, as those of :class:`ReferenceEnvironment`."""


class MaskedStockEnvironment(Environment):
    """Padded rows from ``DescrptSeAMask``, forces from ``ProdForceSeAMask``.

    The operation has a slot for each atom, in sections by type, so that ``sel`` must be the
    numbers of atoms of each type.
    """

    def build(self) -> None:
        inputs, spec = self.inputs, self.spec
        with tf.control_dependencies([require_all_atoms(inputs, spec)]):
            self._mask = mask_of(inputs)
        env = stock.descrpt_se_a_mask(
            inputs.coord, inputs.type, self._mask, inputs.box, inputs.natoms, inputs.mesh
        )
        rmat, deriv, _, nlist = (names.suffixed(n, spec.scope) for n in names.STOCK_ROWS)
        self.rows = tf.identity(tf.reshape(env.descrpt, [-1, spec.row_width]), name=rmat)
        self._deriv = tf.identity(env.descrpt_deriv, name=deriv)
        self._nlist = tf.identity(env.nlist, name=nlist)

    def pull_back(self, gradient: tf.Tensor) -> PullBack:
        gradient = tf.reshape(gradient, [-1, self.inputs.n_loc * self.spec.row_width])
        n_atoms = self.spec.selection.n_slots
        force = stock.prod_force_se_a_mask(
            gradient, self._deriv, self._mask, self._nlist, total_atom_num=n_atoms
        )
        n_frames, n_all = tf.shape(self.inputs.coord)[0], self.inputs.n_all
        dtype = self.inputs.dtype
        return PullBack(
            force=tf.reshape(force, [-1, 3 * n_all]),
            virial=tf.zeros([n_frames, 9], dtype),
            atom_virial=tf.zeros(tf.stack([n_frames, 9 * n_all]), dtype),
        )
