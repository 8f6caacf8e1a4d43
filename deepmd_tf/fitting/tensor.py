# SPDX-License-Identifier: BSD-3-Clause
"""Dipole moments and polarisabilities of atoms, from descriptors and directions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import FittingDipole, FittingPolar, FittingTensor
from deepmd_tf.environment import ModelInputs
from deepmd_tf.errors import InputError
from deepmd_tf.fitting.base import FittingOutput
from deepmd_tf.fitting.extra_inputs import MeasuredVectors
from deepmd_tf.fitting.nets import FittingNets
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.type_embedding import TypeEmbedding


class TensorFitting(ABC):
    """Base of fittings of tensors, which turn with the atoms.

    The nets see invariant descriptors only. Directions come in by the rows x, y, z of the moments
    of an atom (:meth:`Features.turning <deepmd_tf.descriptors.Features.turning>`), which turn as it
    does. Atoms of types that are not selected, and virtual ones, have zeros.

    Parameters
    ----------
    config
        The ``fitting_net`` section.
    ntypes
        Number of atom types.
    types
        Their embedding, if the model has one.
    width
        M1, the columns of the moments.
    """

    config_class: type[Any]

    def __init__(
        self,
        config: FittingTensor,
        ntypes: int,
        types: TypeEmbedding | None = None,
        width: int = 1,
    ) -> None:
        self.config = config
        self.ntypes = ntypes
        self.types = types
        self.width = width
        self.selected = config.selected(ntypes)
        if max(self.selected) >= ntypes:
            raise InputError(
                f"model.fitting_net.sel_type has the type {max(self.selected)}, but there are "
                f"{ntypes} types, 0 to {ntypes - 1}"
            )
        self.nets = FittingNets(config, ntypes, types, self.n_out, selected=self.selected)

    @property
    @abstractmethod
    def n_out(self) -> int:
        """Numbers that the net of an atom gives."""

    @abstractmethod
    def tensors(self, output: tf.Tensor, turning: tf.Tensor) -> tf.Tensor:
        """Tensors of atoms [n, size] from the outputs of their net [n, n_out] and their directions
        [n, M1, 3].
        """

    def weight_count(self, dim_descriptor: int) -> int:
        """See :meth:`Fitting.weight_count <deepmd_tf.fitting.base.Fitting.weight_count>`."""
        return self.nets.weight_count(dim_descriptor)

    def build(
        self,
        descriptors: Sequence[tf.Tensor],
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None = None,
        native: bool = False,
        *,
        turning: Sequence[tf.Tensor] = (),
    ) -> FittingOutput:
        """Tensors of atoms [n_frames, n_loc, size], in the type of the interface.

        Parameters
        ----------
        descriptors, inputs, parameters, first, native
            See :meth:`Fitting.build <deepmd_tf.fitting.base.Fitting.build>`.
        turning
            Directions of the atoms of each type, [n_frames, n, M1 * 3].
        """
        measured = MeasuredVectors(parameters, inputs.dtype, first or {})
        by_type = self.nets.passes(descriptors, inputs, parameters, measured, native)
        size = self.config.width
        found = []
        for atom_type, descriptor in enumerate(descriptors):
            shape = tf.concat([tf.shape(descriptor)[:2], [size]], axis=0)
            if atom_type in by_type:
                directions = tf.cast(turning[atom_type], self.nets.dtype)
                tensors = self.tensors(
                    tf.reshape(by_type[atom_type].output, [-1, self.n_out]),
                    tf.reshape(directions, [-1, self.width, 3]),
                )
                tensors = tf.cast(tf.reshape(tensors, shape), inputs.dtype)
                tensors = self.placed(tensors, atom_type, measured)
            else:
                tensors = tf.zeros(shape, inputs.dtype)
            found.append(tensors)
        return FittingOutput(inputs.without_virtual(inputs.join_types(found)), by_type)

    def placed(self, tensors: tf.Tensor, atom_type: int, measured: MeasuredVectors) -> tf.Tensor:
        """What becomes of the tensors [n_frames, n, size] of a type, of whatever direction."""
        return tensors


class DipoleFitting(TensorFitting):
    r"""Dipole moments, :math:`\mu_i = \sum_m N_{t(i)}(D_i)_m \, T_{im}`, with the M1 directions
    :math:`T_i = A_i[1{:}4]^T` of the moment A; in the unit of the labels.

    With a type embedding there is one net of D and te for all types. Source: L. Zhang et al., *Deep
    neural network for the dielectric response of insulators*, Phys. Rev. B 102, 041121 (2020).
    """

    config_class = FittingDipole

    @property
    def n_out(self) -> int:
        return self.width

    def tensors(self, output: tf.Tensor, turning: tf.Tensor) -> tf.Tensor:
        return tf.matmul(output[:, None, :], turning)[:, 0]


class PolarFitting(TensorFitting):
    r"""Polarisabilities, :math:`\alpha_i = s_i \, T_i^T M_i T_i + c_i 1`, with the M1 directions
    :math:`T_i = A_i[1{:}4]^T` of the moment A; in the unit of the labels.

    M is the diagonal matrix of M1 numbers of the net (``fit_diag``), or :math:`N + N^T` of its
    M1 × M1 numbers. The factor s is ``scale`` and the shift c is ``t_constant_matrix``
    (``shift_diag``). With a type embedding atoms take the entries of their type; without one, those
    of the *position* of their type in ``sel_type``, as in DeePMD-kit. Source: as
    :class:`DipoleFitting`.
    """

    config_class = FittingPolar

    config: FittingPolar

    @property
    def n_out(self) -> int:
        return self.width if self.config.fit_diag else self.width**2

    def entry(self, atom_type: int) -> int:
        """Which entry of ``scale`` and ``t_constant_matrix`` the atoms of a selected type take."""
        return self.selected.index(atom_type) if self.types is None else atom_type

    def tensors(self, output: tf.Tensor, turning: tf.Tensor) -> tf.Tensor:
        if self.config.fit_diag:
            product = output[:, :, None] * turning
        else:
            matrix = tf.reshape(output, [-1, self.width, self.width])
            product = tf.matmul(matrix + tf.transpose(matrix, [0, 2, 1]), turning)
        return tf.reshape(tf.matmul(turning, product, transpose_a=True), [-1, 9])

    def placed(self, tensors: tf.Tensor, atom_type: int, measured: MeasuredVectors) -> tf.Tensor:
        entry = self.entry(atom_type)
        scale = self.config.scales(self.ntypes)[entry]
        shift = measured.get(names.POLAR_SHIFT, self.ntypes, 0.0)[entry]
        return tensors * scale + shift * tf.constant(np.eye(3).reshape(9), tensors.dtype)
