# SPDX-License-Identifier: BSD-3-Clause
"""Losses: a sum over a list of terms, each *residual × measure × schedule*.

:class:`EnergyLoss` is that sum for energy models; :mod:`deepmd_tf.losses.energy` holds its table of
terms.
"""

from deepmd_tf.losses.energy import EnergyLoss
from deepmd_tf.losses.measures import Measure
from deepmd_tf.losses.schedule import Prefactor
from deepmd_tf.losses.term import MixedFrames, Term

__all__ = ["EnergyLoss", "Measure", "MixedFrames", "Prefactor", "Term"]
