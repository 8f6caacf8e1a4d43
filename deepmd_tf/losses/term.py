# SPDX-License-Identifier: BSD-3-Clause
"""One term of a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
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


class MixedFrames(NamedTuple):
    """Frames of a batch that have different numbers of atoms or different labels.

    The batch has the size N of its largest frame; frame a has N_a atoms and is filled up with
    virtual atoms, of which residuals are 0.

    Attributes
    ----------
    ratio
        float64 [n_frames], N / N_a.
    found
        float64 [n_terms, n_frames], 1 where the frame has the labels of the term, else 0.
    """

    ratio: tf.Tensor
    found: tf.Tensor


@dataclass(frozen=True)
class Powers:
    """Exponents of the number of atoms N of a frame.

    Attributes
    ----------
    loss
        The loss is divided by this power of N.
    residual
        The residual is, before it is measured.
    display
        The displayed error is.
    count
        A frame has residuals in proportion to this power: 0 for an energy, 1 for forces, 2 for a
        Hessian.
    """

    loss: int = 0
    residual: int = 0
    display: int = 0
    count: int = 0


INTENSIVE = Powers()
"""N does not enter."""


@dataclass(frozen=True)
class Term:
    """prefactor(t) · N^(−powers.loss) · objective(N^(−powers.residual) · residual).

    In a batch of mixed frames that is the mean over the frames of what each has by itself, and 0
    without its labels. The displayed error is that over all residuals of the frames with labels.

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
    powers
        How the number of atoms N enters.
    objective
        Mean that is minimised.
    metric
        Measure that is displayed.
    min_frames
        A batch of fewer frames does not have the term.
    types
        Types of the atoms that N counts; None: all.
    keys
        Keys of its weight in the section ``loss``; by default those of a :class:`Prefactor`.
    """

    name: str
    labels: tuple[Field, ...]
    residual: Residual
    prefactor: Prefactor
    defaults: tuple[Field, ...] = ()
    element_weight: Field | None = None
    powers: Powers = INTENSIVE
    objective: Mean = mean_square
    metric: Measure = ROOT_MEAN_SQUARE
    min_frames: int = 1
    types: tuple[int, ...] | None = None
    keys: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """Name of the displayed error."""
        return f"{self.metric.name}_{self.name}"

    @property
    def weight_keys(self) -> tuple[str, ...]:
        """Keys of its weight in the section ``loss``."""
        return self.keys or (f"start_pref_{self.name}", f"limit_pref_{self.name}")

    def natoms(self, batch: Batch) -> int:
        """N of a batch, that of its largest frame."""
        if self.types is None:
            return int(batch.natoms[0])
        return int(sum(batch.natoms[2 + atom_type] for atom_type in self.types))

    def frames_in(self, batch: Batch) -> np.ndarray:
        """bool [n_frames], which frames have what the term needs."""
        if batch.nframes < self.min_frames:
            return np.zeros(batch.nframes, bool)
        return np.all([batch.found(label.name) for label in self.labels], axis=0)

    def found_in(self, batch: Batch) -> bool:
        """Whether some frame of the batch has what the term needs."""
        return bool(self.frames_in(batch).any())

    def weight(self, lr: float | np.float32, start_lr: float, batch: Batch) -> float:
        """What multiplies the objective: prefactor(lr) · N^(−powers.loss), N that of the largest
        frame; 0 where labels are missing.
        """
        if not self.found_in(batch):
            return 0.0
        return float(self.prefactor(lr, start_lr)) * float(self.natoms(batch)) ** -self.powers.loss

    def displayed(self, metric: float, batch: Batch) -> float:
        """The number to show for the value ``metric``; nan where labels are missing."""
        if not self.found_in(batch):
            return float("nan")
        shown = self.metric.display(metric)
        return metrics.per_atom(shown, self.natoms(batch), self.powers.display)

    def build(
        self, outputs: Any, labels: Labels, mixed: MixedFrames | None = None, number: int = 0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Objective and metric of a batch, float64 scalars, not weighted.

        Parameters
        ----------
        outputs
            Of the model: ``natoms``, N of a frame, and what the residual reads.
        labels
            Tensors of :attr:`labels` and :attr:`defaults`.
        mixed, number
            Where frames differ, how; and which of the terms this is.
        """
        residual = self.residual(outputs, labels)
        if self.powers.residual:
            residual /= tf.cast(outputs.natoms, residual.dtype) ** self.powers.residual
        weight = None
        if self.element_weight is not None:
            weight = tf.reshape(labels[self.element_weight.name], tf.shape(residual))
        if mixed is not None:
            return self._build_mixed(residual, weight, mixed.ratio, mixed.found[number])
        objective = tf.cast(self.objective(residual, weight), tf.float64)
        if self.metric.mean is self.objective:
            return objective, objective
        return objective, tf.cast(self.metric.mean(residual, weight), tf.float64)

    def _build_mixed(
        self, residual: tf.Tensor, weight: tf.Tensor | None, ratio: tf.Tensor, found: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """:meth:`build` with a weight for each frame, 1 if all are alike.

        A frame has N_a^count of the N^count residuals that a mean counts, and what is divided by
        powers of N here and elsewhere is to be divided by those of N_a.
        """
        n_frames, powers = tf.size(ratio), self.powers
        residual = tf.reshape(residual, [n_frames, -1])
        if weight is not None:
            weight = tf.reshape(weight, [n_frames, -1])

        def mean(function: Mean, of_frame: tf.Tensor, power: int) -> tf.Tensor:
            scale = tf.cast(ratio, residual.dtype)[:, None] ** power
            w = tf.cast(of_frame, residual.dtype)
            w = w if weight is None else w[:, None] * weight
            return tf.cast(function(residual * scale, w), tf.float64)

        objective = mean(
            self.objective, found * ratio ** (powers.count + powers.loss), powers.residual
        )
        counted = tf.reduce_sum(found * ratio**-powers.count)
        share = tf.math.divide_no_nan(tf.cast(n_frames, tf.float64) * found, counted)
        metric = mean(self.metric.mean, share, powers.residual + powers.display)
        return objective, metric
