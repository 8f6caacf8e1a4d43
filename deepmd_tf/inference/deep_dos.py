# SPDX-License-Identifier: BSD-3-Clause
"""Densities of states from a trained model, with the interface of DeePMD-kit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf.fields import Field
from deepmd_tf.inference.deep_eval import DeepEval
from deepmd_tf.model.kinds import MODEL_KINDS


class DeepDOS(DeepEval):
    """A trained model of densities of states; opened, closed and asked for what it is as every
    :class:`~deepmd_tf.inference.deep_eval.DeepEval`.

    Examples
    --------
    >>> with DeepDOS("dos.pb") as model:
    ...     (dos,) = model.eval(coords, cells, types)
    """

    kind = MODEL_KINDS["dos"]

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
    ) -> tuple[np.ndarray, ...]:
        """Densities of states of frames.

        Parameters
        ----------
        coords, cells, atom_types, fparam, aparam, mixed_type
            As those of :meth:`DeepPot.eval <deepmd_tf.inference.deep_pot.DeepPot.eval>`.
        atomic
            Whether those of atoms are wanted, too.

        Returns
        -------
        dos
            float64 [n_frames, numb_dos], in the unit of the training data.
        atom_dos
            [n_frames, n_atoms, numb_dos]; only if ``atomic``.
        """
        frames = self.frames(coords, cells, atom_types, fparam, aparam, mixed_type, **kwargs)
        return tuple(self.evaluate(frames, self.kind.evaluated(parts=atomic)).values())

    def get_numb_dos(self) -> int:
        """Number of energies of the grid."""
        return self._model.numb_dos

    @property
    def points(self) -> int:
        return self.get_numb_dos()

    def compared(self, *, atomic: bool, hessian: bool | None) -> list[Field]:
        """Densities of frames, with ``atomic`` also those of atoms."""
        items = super().compared(atomic=atomic, hessian=hessian)
        return [item.with_dof(self.points) for item in items]
