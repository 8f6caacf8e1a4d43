# SPDX-License-Identifier: BSD-3-Clause
"""The loss of models of dipole moments and polarisabilities."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf import fields
from deepmd_tf.config import LossTensor, ModelConfig
from deepmd_tf.fields import Field
from deepmd_tf.losses.loss import TermLoss
from deepmd_tf.losses.schedule import Constant
from deepmd_tf.losses.term import Labels, Powers, Residual, Term


def _global(label: Field) -> Residual:
    """Σ P_i − P̂ of each frame, [n_frames, size]."""

    def residual(outputs: Any, labels: Labels) -> tf.Tensor:
        total = tf.reduce_sum(outputs.of_selected, axis=1)
        return total - tf.reshape(labels[label.name], tf.shape(total))

    return residual


def _atomic(label: Field, weighted: bool) -> Residual:
    """w_i (P_i − P̂_i) of each selected atom, [n_frames, n_selected, size]."""

    def residual(outputs: Any, labels: Labels) -> tf.Tensor:
        values = tf.reshape(labels[label.name], tf.shape(outputs.atomic))
        difference = outputs.of_selected - outputs.select(values)
        if not weighted:
            return difference
        weight = labels[fields.ATOMIC_WEIGHT.name]
        weight = tf.reshape(weight, [tf.shape(values)[0], tf.shape(values)[1], 1])
        return difference * outputs.select(weight)

    return residual


class TensorLoss(TermLoss):
    """The terms of the ``loss`` section of a model of tensors, in the order of their columns.

    ======  =====================================  ======================================
    name    residual x                             loss
    ======  =====================================  ======================================
    ``lc``  w_i (P_i − P̂_i), atoms in sel_type     ``pref_atomic`` · mean x²
    ``gl``  Σ P_i − P̂                              ``pref`` · mean x² / N
    ======  =====================================  ======================================

    N is the number of atoms in ``sel_type`` of a frame; w = 1, or ``atomic_weight`` with
    ``enable_atomic_weight``. Displayed is √(mean x²), of ``gl`` divided by N.

    The terms read ``of_selected``, ``atomic`` and ``select`` of the model, see
    :class:`~deepmd_tf.model.tensor.TensorOutputs`.

    Parameters
    ----------
    config
        The section ``loss``.
    model
        The section ``model``, whose fitting net says which tensors of which atoms these are.
    """

    config_class = LossTensor

    def __init__(self, config: LossTensor, model: ModelConfig) -> None:
        of_frame, of_atoms = model.tensor_items
        types, weighted = of_atoms.types, config.enable_atomic_weight
        weight = fields.ATOMIC_WEIGHT if types is None else fields.ATOMIC_WEIGHT.of_types(types)
        super().__init__(
            (
                Term(
                    "lc",
                    (of_atoms,),
                    _atomic(of_atoms, weighted),
                    Constant(config.pref_atomic),
                    defaults=(weight,) if weighted else (),
                    powers=Powers(count=1),
                    types=types,
                    keys=("pref_atomic",),
                ),
                Term(
                    "gl",
                    (of_frame,),
                    _global(of_frame),
                    Constant(config.pref),
                    powers=Powers(loss=1, display=1),
                    types=types,
                    keys=("pref",),
                ),
            )
        )

    @classmethod
    def of(cls, config: LossTensor, model: ModelConfig | None) -> TensorLoss:
        if model is None:
            raise ValueError("the loss of tensors needs to know the model")
        return cls(config, model)
