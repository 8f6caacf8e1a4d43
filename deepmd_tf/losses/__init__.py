# SPDX-License-Identifier: BSD-3-Clause
"""Losses: a sum over a table of terms, each *residual × measure × schedule*.

:class:`TermLoss` is that sum; :mod:`deepmd_tf.losses.energy` is the table of energy models.
"""

from deepmd_tf.losses.dos import DosLoss
from deepmd_tf.losses.energy import EnergyLoss, EnergySpinLoss
from deepmd_tf.losses.loss import TermLoss
from deepmd_tf.losses.measures import Measure
from deepmd_tf.losses.registry import LOSSES, make_loss, register
from deepmd_tf.losses.schedule import Prefactor
from deepmd_tf.losses.tensor import TensorLoss
from deepmd_tf.losses.term import MixedFrames, Term

register(EnergyLoss)
register(EnergySpinLoss)
register(TensorLoss)
register(DosLoss)

__all__ = [
    "LOSSES",
    "DosLoss",
    "EnergyLoss",
    "EnergySpinLoss",
    "Measure",
    "MixedFrames",
    "Prefactor",
    "TensorLoss",
    "Term",
    "TermLoss",
    "make_loss",
    "register",
]
