# SPDX-License-Identifier: BSD-3-Clause
"""One term of a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf import metrics
from deepmd_tf.data import Batch
from deepmd_tf.fields import Field
from deepmd_tf.losses.measures import ROOT_MEAN_SQUARE, Mean, Measure, mean_square
from deepmd_tf.losses.schedule import Prefactor

Labels = Mapping[str, tf.Tensor]
"""Tensors of the data items of a batch by name, in any shape with the right number of elements."""
Residual = Callable[[Any, Labels], tf.Tensor]
"""(outputs of the model, labels) → prediction minus label, of any shape."""


@dataclass(frozen=True)
class Term:
    """prefactor(t) · N^(−power) · objective(N^(−inner_power) · residual).

    Attributes
    ----------
    name
        Suffix of its columns, e.g. ``f`` in ``rmse_f``, and of its prefactors.
    labels
        Data items that it needs. In a batch that lacks one of them the term is left out.
    residual
        Builds prediction minus label in the graph.
    prefactor
        Weight as a function of the learning rate.
    defaults
        Further data items that it reads, which have a default that serves as well as a file.
    element_weight
        Data item that weights the residuals, one number for each; None for 1.
    power
        Exponent of the number of atoms N by which the loss is divided.
    inner_power
        Exponent of N by which the residual is divided before it is measured.
    display_power
        Exponent of N by which the displayed error is divided.
    objective
        Mean that is minimised.
    metric
        Measure that is displayed.
    min_frames
        A batch of fewer frames does not have the term.
    """

    name: str
    labels: tuple[Field, ...]
    residual: Residual
    prefactor: Prefactor
    defaults: tuple[Field, ...] = ()
    element_weight: Field | None = None
    power: int = 0
    inner_power: int = 0
    display_power: int = 0
    objective: Mean = mean_square
    metric: Measure = ROOT_MEAN_SQUARE
    min_frames: int = 1

    @property
    def column(self) -> str:
        """Name of the displayed error."""
        return f"{self.metric.name}_{self.name}"

    def found_in(self, batch: Batch) -> bool:
        """Whether the batch has what the term needs."""
        complete = all(batch.arrays[label.find_key] for label in self.labels)
        return complete and batch.nframes >= self.min_frames

    def weight(self, lr: float, start_lr: float, batch: Batch) -> float:
        """What multiplies the objective: prefactor(lr) · N^(−power), 0 where labels are missing."""
        if not self.found_in(batch):
            return 0.0
        return float(self.prefactor(lr, start_lr)) * float(batch.natoms[0]) ** -self.power

    def displayed(self, metric: float, batch: Batch) -> float:
        """The number to show for the value ``metric``; nan where labels are missing."""
        if not self.found_in(batch):
            return float("nan")
        shown = self.metric.display(metric)
        return metrics.per_atom(shown, batch.natoms[0], self.display_power)

    def build(self, outputs: Any, labels: Labels) -> tuple[tf.Tensor, tf.Tensor]:
        """Objective and metric of a batch, float64 scalars, not weighted.

        Parameters
        ----------
        outputs
            Of the model, see :class:`~deepmd_tf.model.ModelOutputs`.
        labels
            Tensors of :attr:`labels` and :attr:`defaults`.
        """
        residual = self.residual(outputs, labels)
        if self.inner_power:
            natoms = tf.cast(tf.shape(outputs.atom_energy)[1], residual.dtype)
            residual /= natoms**self.inner_power
        weight = None
        if self.element_weight is not None:
            weight = tf.reshape(labels[self.element_weight.name], tf.shape(residual))
        objective = tf.cast(self.objective(residual, weight), tf.float64)
        if self.metric.mean is self.objective:
            return objective, objective
        return objective, tf.cast(self.metric.mean(residual, weight), tf.float64)
