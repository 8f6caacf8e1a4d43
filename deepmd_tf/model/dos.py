# SPDX-License-Identifier: BSD-3-Clause
"""Models of densities of states."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.environment import ModelInputs
from deepmd_tf.model.atomic import AtomicModel, AtomicOutputs, Statistics
from deepmd_tf.nn.parameters import Parameters


@dataclass(frozen=True)
class DosOutputs:
    """Tensors of a built model, named as in frozen files.

    Attributes
    ----------
    dos
        float64 [n_frames, numb_dos].
    atom_dos
        [n_frames, n_loc, numb_dos].
    descriptor
        [n_frames, n_loc, dim].
    diagnostics
        See :class:`~deepmd_tf.environment.Environment`.
    inputs, atoms
        What they were built from: inputs, and values of atoms with all that leads to them.
    """

    dos: tf.Tensor
    atom_dos: tf.Tensor
    descriptor: tf.Tensor
    diagnostics: dict[str, tf.Tensor]
    inputs: ModelInputs
    atoms: AtomicOutputs

    @property
    def natoms(self) -> tf.Tensor:
        """int32, number of atoms of a frame."""
        return self.inputs.n_loc


class DosModel(AtomicModel):
    """Density of states of a frame, the sum of those of its atoms."""

    def build(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str = "native",
        statistics: Statistics | None = None,
    ) -> DosOutputs:
        """Build the graph; arguments as those of :meth:`AtomicModel.build_atoms`."""
        atoms = self.build_atoms(inputs, parameters, dialect, statistics)
        atom_dos = tf.identity(atoms.values, name=names.O_ATOM_DOS)
        dos = tf.reduce_sum(tf.cast(atom_dos, tf.float64), axis=1)
        return DosOutputs(
            dos=tf.identity(dos, name=names.O_DOS),
            atom_dos=atom_dos,
            descriptor=tf.identity(atoms.descriptor(inputs), name=names.O_DESCRIPTOR),
            diagnostics=atoms.diagnostics(),
            inputs=inputs,
            atoms=atoms,
        )
