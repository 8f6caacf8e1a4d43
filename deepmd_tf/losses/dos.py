# SPDX-License-Identifier: BSD-3-Clause
"""The loss of models of densities of states."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf import fields
from deepmd_tf.config import FittingDos, LossDos, ModelConfig
from deepmd_tf.fields import Field
from deepmd_tf.losses.loss import TermLoss
from deepmd_tf.losses.schedule import Prefactor
from deepmd_tf.losses.term import Labels, Powers, Residual, Term


def _difference(label: Field, *, running: bool) -> Residual:
    """g − ĝ, or the running sums of both over the grid, [n_frames (n_loc), numb_dos]."""

    def residual(outputs: Any, labels: Labels) -> tf.Tensor:
        found = getattr(outputs, label.name)
        expected = tf.cast(labels[label.name], found.dtype)
        shape = [-1, label.dof]
        difference = tf.reshape(found, shape) - tf.reshape(expected, shape)
        return tf.cumsum(difference, axis=1) if running else difference

    return residual


class DosLoss(TermLoss):
    """The terms of the ``loss`` section of a model of densities of states, in the order of their
    columns.

    ========  =========================================  ==============
    name      residual x                                 loss
    ========  =========================================  ==============
    ``dos``   g − ĝ of a frame                           mean x² / N
    ``ados``  g_i − ĝ_i of an atom                       mean x²
    ``cdf``   running sums of x of ``dos`` on the grid   mean x² / N
    ``acdf``  the same of ``ados``                       mean x²
    ========  =========================================  ==============

    N is the number of atoms of a frame. Displayed is √(mean x²), of ``dos`` and ``cdf`` divided by
    N. The terms read ``dos`` and ``atom_dos`` of the model, see
    :class:`~deepmd_tf.model.dos.DosOutputs`.

    Parameters
    ----------
    config
        The section ``loss``.
    model
        The section ``model``, whose fitting net says how many energies there are.
    """

    config_class = LossDos

    def __init__(self, config: LossDos, model: ModelConfig) -> None:
        fitting = model.fitting_net
        if not isinstance(fitting, FittingDos):
            raise ValueError(f'a model of type "{fitting.type}" has no densities of states')
        of_frame = fields.DOS.with_dof(fitting.numb_dos)
        of_atoms = fields.ATOM_DOS.with_dof(fitting.numb_dos)

        def term(name: str, label: Field, powers: Powers, *, running: bool = False) -> Term:
            residual = _difference(label, running=running)
            return Term(name, (label,), residual, Prefactor.of(config, name), powers=powers)

        extensive, by_atom = Powers(loss=1, display=1), Powers(count=1)
        super().__init__(
            (
                term("dos", of_frame, extensive),
                term("ados", of_atoms, by_atom),
                term("cdf", of_frame, extensive, running=True),
                term("acdf", of_atoms, by_atom, running=True),
            )
        )

    @classmethod
    def of(cls, config: LossDos, model: ModelConfig | None) -> DosLoss:
        if model is None:
            raise ValueError("the loss of densities of states needs to know the model")
        return cls(config, model)
