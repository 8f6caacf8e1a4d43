# SPDX-License-Identifier: BSD-3-Clause
"""Dipole moments and polarisabilities from a trained model, with the interface of DeePMD-kit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf.fields import Field
from deepmd_tf.inference.deep_eval import DeepEval
from deepmd_tf.model.kinds import MODEL_KINDS


class DeepTensor(DeepEval):
    """Base of trained models of tensors; opened, closed and asked for what it is as every
    :class:`~deepmd_tf.inference.deep_eval.DeepEval`.
    """

    def eval(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        atomic: bool = True,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        **kwargs: Any,
    ) -> np.ndarray:
        """Tensors of atoms or of frames.

        Parameters
        ----------
        coords, cells, atom_types, mixed_type
            As those of :meth:`DeepPot.eval <deepmd_tf.inference.deep_pot.DeepPot.eval>`.
        atomic
            Whether those of atoms are wanted, or their sum.
        fparam, aparam
            None: there are no parameters.

        Returns
        -------
        np.ndarray
            float64 [n_frames, n_atoms, size] in the unit of the training data, zeros for atoms of
            types that are not in :meth:`get_sel_type`; [n_frames, size] if not ``atomic``. A size
            of 9 is a matrix xx, xy, xz, yx, …

        Raises
        ------
        InputError
            As :meth:`DeepPot.eval <deepmd_tf.inference.deep_pot.DeepPot.eval>`.
        """
        frames = self.frames(coords, cells, atom_types, fparam, aparam, mixed_type, **kwargs)
        name = "atomic" if atomic else "total"
        wanted = [output for output in self.kind.outputs if output.name == name]
        return self.evaluate(frames, wanted)[name]

    def eval_full(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        atomic: bool = False,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        **kwargs: Any,
    ) -> tuple[np.ndarray, ...]:
        """Tensors with their derivatives, which are exact: of dipole moments the Born charges, of
        polarisabilities the Raman tensors, with the opposite sign.

        Parameters
        ----------
        coords, cells, atom_types, fparam, aparam, mixed_type
            As those of :meth:`eval`.
        atomic
            Whether the contributions of atoms are wanted too.

        Returns
        -------
        tensor
            float64 [n_frames, size].
        force
            [n_frames, size, n_atoms, 3], minus the derivative of each component with respect to the
            coordinates.
        virial
            [n_frames, size, 9], minus the derivative of each component with respect to strain.
        atom_tensor
            [n_frames, n_atoms, size]; only if ``atomic``.
        atom_virial
            [n_frames, size, n_atoms, 9], the share of each pair at its neighbour; only if
            ``atomic``.
        """
        frames = self.frames(coords, cells, atom_types, fparam, aparam, mixed_type, **kwargs)
        return tuple(self.evaluate(frames, self.kind.evaluated(parts=atomic)).values())

    def get_sel_type(self) -> list[int]:
        """Types of the atoms that have a tensor."""
        return list(self._model.sel_type)

    def compared(self, *, atomic: bool, hessian: bool | None) -> list[Field]:
        """The tensor of a frame, or with ``atomic`` those of atoms."""
        of_frame, of_atoms = super().compared(atomic=True, hessian=hessian)
        return [of_atoms.of_types(self._model.sel_type)] if atomic else [of_frame]


class DeepDipole(DeepTensor):
    """A trained model of dipole moments.

    Examples
    --------
    >>> with DeepDipole("dipole.pb") as model:
    ...     dipole, force, _ = model.eval_full(coords, cells, types)
    ...     born = -force.transpose(0, 2, 1, 3)  # [frame, atom, component, direction]
    """

    kind = MODEL_KINDS["dipole"]


class DeepPolar(DeepTensor):
    """A trained model of polarisabilities."""

    kind = MODEL_KINDS["polar"]


class DeepGlobalPolar(DeepPolar):
    """A trained model of polarisabilities, of which those of frames are wanted."""

    def eval(
        self,
        coords: ArrayLike,
        cells: ArrayLike | None,
        atom_types: ArrayLike,
        atomic: bool = False,
        fparam: ArrayLike | None = None,
        aparam: ArrayLike | None = None,
        mixed_type: bool = False,
        **kwargs: Any,
    ) -> np.ndarray:
        """As :meth:`DeepTensor.eval`, with another default of ``atomic``."""
        return super().eval(coords, cells, atom_types, atomic, fparam, aparam, mixed_type, **kwargs)
