# SPDX-License-Identifier: BSD-3-Clause
"""Models of dipole moments and polarisabilities: tensors of atoms, their sum, derivatives of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.descriptors import Features
from deepmd_tf.environment import ModelInputs, PullBack
from deepmd_tf.fitting import FittingOutput, TensorFitting
from deepmd_tf.model.atomic import AtomicModel, AtomicOutputs, Statistics
from deepmd_tf.nn.parameters import Parameters

VECTOR = (0, 1, 2)
SYMMETRIC = (0, 1, 2, 1, 4, 5, 2, 5, 8)
"""Of each component of a tensor, the first that is the same."""


class TensorOutputs:
    """Tensors of a built model. Those of derivatives are added to the graph when they are first
    asked for: a training needs none.

    Parameters
    ----------
    inputs
        Placeholders that the graph was built on.
    atoms
        Tensors of atoms [n_frames, n_loc, size], with all that leads to them.
    selected
        Types of the atoms that have a tensor.
    nodes
        Names of the tensors of the selected atoms and of their sum, in frozen files.

    Attributes
    ----------
    atomic
        [n_frames, n_loc, size], zeros for atoms of other types.
    of_selected
        [n_frames, n_selected, size], the same without them, atoms sorted by type.
    total
        float64 [n_frames, size], the sum.
    descriptor
        [n_frames, n_loc, dim].
    diagnostics
        See :class:`~deepmd_tf.environment.Environment`.
    """

    def __init__(
        self,
        inputs: ModelInputs,
        atoms: AtomicOutputs,
        selected: tuple[int, ...],
        nodes: tuple[str, str],
    ) -> None:
        self.inputs = inputs
        self.atoms = atoms
        self.selected = selected
        self.diagnostics = atoms.diagnostics()
        self.atomic = atoms.values
        self.descriptor = tf.identity(atoms.descriptor(inputs), name=names.O_DESCRIPTOR)
        of_atoms, of_frame = nodes
        self.size = self.atomic.shape.as_list()[-1]
        self.of_selected = self.select(self.atomic)
        flat = tf.shape(self.of_selected)[1] * self.size
        tf.reshape(self.of_selected, [-1, flat], name=of_atoms)
        total = tf.reduce_sum(tf.cast(self.of_selected, tf.float64), axis=1)
        self.total = tf.identity(total, name=of_frame)

    @property
    def natoms(self) -> tf.Tensor:
        """int32, number of atoms of a frame."""
        return self.inputs.n_loc

    def select(self, values: tf.Tensor) -> tf.Tensor:
        """Values [n_frames, n_loc, ...] of the selected atoms, [n_frames, n_selected, ...]."""
        parts = self.inputs.split_types(values)
        return tf.concat([parts[atom_type] for atom_type in self.selected], axis=1)

    @property
    def force(self) -> tf.Tensor:
        """[n_frames, size * 3 n_all], minus the derivative of each component of :attr:`total` with
        respect to the coordinates."""
        return self._derivatives.force

    @property
    def virial(self) -> tf.Tensor:
        """[n_frames, size * 9], minus the derivative of each component with respect to strain."""
        return self._derivatives.virial

    @property
    def atom_virial(self) -> tf.Tensor:
        """[n_frames, size * 9 n_all], the contribution of each pair at its neighbour."""
        return self._derivatives.atom_virial

    @functools.cached_property
    def _derivatives(self) -> PullBack:
        with self.atomic.graph.as_default():
            same_as = VECTOR if self.size == len(VECTOR) else SYMMETRIC
            parts = {c: self._pull_back(c) for c in sorted(set(same_as))}
            force, virial, atom_virial = (
                tf.concat([getattr(parts[c], name) for c in same_as], axis=1)
                for name in PullBack._fields
            )
            return PullBack(
                tf.identity(force, name=names.O_FORCE),
                tf.identity(virial, name=names.O_VIRIAL),
                tf.identity(atom_virial, name=names.O_ATOM_VIRIAL),
            )

    def _pull_back(self, component: int) -> PullBack:
        environments = [part.environment for part in self.atoms.contractions]
        gradients = tf.gradients(
            tf.reduce_sum(self.atomic[:, :, component]),
            [environment.rows for environment in environments],
            unconnected_gradients="zero",
        )
        return PullBack.sum(
            [e.pull_back(gradient) for e, gradient in zip(environments, gradients, strict=True)]
        )


class TensorModel(AtomicModel):
    """Base of models of tensors; the tensor of a frame is the sum of those of its atoms."""

    nodes: ClassVar[tuple[str, str]]
    """Names of the tensors of atoms and of frames in frozen files."""

    fitting: TensorFitting

    def build(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str = "native",
        statistics: Statistics | None = None,
    ) -> TensorOutputs:
        """Build the graph of the tensors of atoms and frames; arguments as those of
        :meth:`AtomicModel.build_atoms`.
        """
        atoms = self.build_atoms(inputs, parameters, dialect, statistics)
        return TensorOutputs(inputs, atoms, self.fitting.selected, self.nodes)

    def fit(
        self,
        features: Features,
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None,
        native: bool,
    ) -> FittingOutput:
        turning = tf.reshape(
            features.turning(inputs.dtype), [-1, inputs.n_loc * self.fitting.width * 3]
        )
        turning = tf.identity(turning, name=names.O_ROT_MAT)
        framed = tf.reshape(turning, [-1, inputs.n_loc, self.fitting.width * 3])
        return self.fitting.build(
            features.by_type,
            inputs,
            parameters,
            first,
            native,
            turning=inputs.split_types(framed),
        )


class DipoleModel(TensorModel):
    """Dipole moment of a frame, the sum of those of its atoms."""

    nodes = (names.O_DIPOLE, names.O_GLOBAL_DIPOLE)


class PolarModel(TensorModel):
    """Polarisability of a frame, the sum of those of its atoms."""

    nodes = (names.O_POLAR, names.O_GLOBAL_POLAR)
