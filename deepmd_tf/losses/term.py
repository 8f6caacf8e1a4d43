# SPDX-License-Identifier: BSD-3-Clause
"""One term of a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf import metrics
from deepmd_tf.fields import Field
from deepmd_tf.losses.measures import MEAN_SQUARE, Measure
from deepmd_tf.losses.schedule import Prefactor

Residual = Callable[[Any, Mapping[str, tf.Tensor]], tf.Tensor]
"""(outputs of the model, labels by name of field) → prediction minus label, of any shape."""


@dataclass(frozen=True)
class Term:
    """weight(t) · N^(−power) · objective(residual).

    Attributes
    ----------
    name
        Suffix of its columns, e.g. ``f`` in ``rmse_f``.
    labels
        Data items that it needs. The first one decides whether a batch has the term: its ``find_``
        flag multiplies the weight.
    residual
        Builds prediction minus label in the graph.
    prefactor
        Weight as a function of the learning rate.
    power
        Exponent of the number of atoms N by which the loss is divided.
    display_power
        Exponent of N by which the displayed error is divided: 1 shows it per atom.
    objective
        Measure that is minimised.
    metric
        Measure that is displayed.
    """

    name: str
    labels: tuple[Field, ...]
    residual: Residual
    prefactor: Prefactor
    power: int = 0
    display_power: int = 0
    objective: Measure = MEAN_SQUARE
    metric: Measure = MEAN_SQUARE

    @property
    def column(self) -> str:
        """Name of the displayed error."""
        return f"{self.metric.name}_{self.name}"

    def weight(self, lr: float, start_lr: float, find: float, natoms: int) -> float:
        """What multiplies the objective: find · prefactor(lr) · N^(−power)."""
        return float(find) * float(self.prefactor(lr, start_lr)) * float(natoms) ** -self.power

    def displayed(self, metric: float, find: float, natoms: int) -> float:
        """The number to show for the value ``metric``; nan where the label is missing."""
        if not find:
            return float("nan")
        return metrics.per_atom(self.metric.display(metric), natoms, self.display_power)
