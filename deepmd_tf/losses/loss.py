# SPDX-License-Identifier: BSD-3-Clause
"""A loss: the weighted sum of a table of terms."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import fields
from deepmd_tf.config import LossConfig, ModelConfig
from deepmd_tf.data import Batch
from deepmd_tf.errors import InputError
from deepmd_tf.losses.term import Labels, MixedFrames, Term


class LossTensors(NamedTuple):
    """Tensors of the loss.

    Attributes
    ----------
    total
        float64 scalar, Σ_k weight_k · objective_k: what is minimised.
    values
        float64 [2, n_terms]: objectives and metrics of the batch, neither weighted nor normalised.
    """

    total: tf.Tensor
    values: tf.Tensor


class TermLoss:
    """Weighted sum of the active ones of some terms.

    The weights of a step, find_k · prefactor_k(lr) · N^(−power_k), are computed in Python
    (:meth:`weights`) and fed as one small vector, so the graph holds nothing but residuals and
    measures.

    Parameters
    ----------
    terms
        All terms, in the order of their columns. Those whose prefactor is always zero are left out.

    Raises
    ------
    InputError
        If no term has a prefactor.
    """

    config_class: ClassVar[type[LossConfig]]
    """The section of the input script, of subclasses that are registered."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms = tuple(term for term in terms if term.prefactor.active)
        if not self.terms:
            raise InputError(
                "loss: every prefactor is zero, so there is nothing to train; set start_pref_* and "
                "limit_pref_* of at least one term"
            )

    @classmethod
    def of(cls, config: Any, model: ModelConfig | None) -> TermLoss:
        """The loss of an input script, of its section ``loss`` and, where that does not say all,
        of its section ``model``.
        """
        return cls(config)

    @property
    def hessian(self) -> int | None:
        """Place of the term of the Hessian, which training builds in a way of its own; None if
        there is none."""
        return next((k for k, term in enumerate(self.terms) if term.name == "h"), None)

    @property
    def labels(self) -> tuple[fields.Field, ...]:
        """Data items that the active terms read, each once."""
        items = (item for term in self.terms for item in (*term.labels, *term.defaults))
        return tuple(dict.fromkeys(items))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the displayed errors: the root of the loss, then one of each term."""
        return ("rmse", *(term.column for term in self.terms))

    def weights(self, lr: float | np.float32, start_lr: float, batch: Batch) -> np.ndarray:
        """Weights of the terms for one batch, float64 [n_terms].

        Parameters
        ----------
        lr, start_lr
            Learning rate of the step, and the one that the schedule starts with.
        batch
            Its number of atoms and its ``find_<label>`` count: a term whose labels are missing has
            weight 0.
        """
        return np.array([t.weight(lr, start_lr, batch) for t in self.terms], dtype=np.float64)

    def found(self, batch: Batch) -> np.ndarray:
        """Which frames have the labels of which terms, float64 [n_terms, n_frames]: 1 or 0."""
        return np.array([term.frames_in(batch) for term in self.terms], dtype=np.float64)

    def build(
        self,
        outputs: Any,
        labels: Labels,
        weights: tf.Tensor,
        *,
        without: Collection[str] = (),
        mixed: MixedFrames | None = None,
    ) -> LossTensors:
        """Add the loss to the graph.

        Parameters
        ----------
        outputs
            Of the model: an object with the tensors that the residuals of the terms read.
        labels
            Tensors of the data items by name, in any shape with the right number of elements.
        weights
            float64 [n_terms], see :meth:`weights`.
        without
            Names of terms that are taken as 0.
        mixed
            Where the frames of a batch differ, how.
        """
        zero = (tf.zeros([], tf.float64),) * 2
        built = [
            zero if term.name in without else term.build(outputs, labels, mixed, number)
            for number, term in enumerate(self.terms)
        ]
        objectives, metrics = ([pair[i] for pair in built] for i in (0, 1))
        # one after the other: the order in which add_n adds depends on timing
        total = functools.reduce(
            operator.add, (weights[k] * value for k, value in enumerate(objectives))
        )
        total = tf.identity(total, name="loss")
        return LossTensors(
            total, tf.stack([tf.stack(objectives), tf.stack(metrics)], name="loss_values")
        )

    def displayed(self, values: np.ndarray, weights: np.ndarray, batch: Batch) -> dict[str, float]:
        """Errors to show, in the order of :attr:`columns`.

        Parameters
        ----------
        values
            :attr:`LossTensors.values` of a batch.
        weights, batch
            As in :meth:`weights`.
        """
        objectives, metrics = values
        errors = {"rmse": float(np.sqrt(np.dot(weights, objectives)))}
        for term, metric in zip(self.terms, metrics, strict=True):
            errors[term.column] = term.displayed(metric, batch)
        return errors
