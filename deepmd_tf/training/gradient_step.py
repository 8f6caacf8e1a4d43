# SPDX-License-Identifier: BSD-3-Clause
"""A step of the optimizer: compute the gradient, reduce it, apply it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.config import OptimizerAdam
from deepmd_tf.losses.loss import LossTensors
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.training.feeds import StepFeed
from deepmd_tf.training.optimizer import NOT_FINITE, Adam
from deepmd_tf.training.runner import Feed, GraphRunner


class NotFinite(Exception):
    """Loss or gradient of a batch is not finite; nothing was changed.

    Attributes
    ----------
    loss
        Σ_k weight_k · objective_k.
    weights
        Names of the variables whose gradient, or its square, is not finite.
    """

    def __init__(self, loss: float, weights: Sequence[str]) -> None:
        super().__init__(NOT_FINITE)
        self.loss = loss
        self.weights = tuple(weights)


class LossGradient(NamedTuple):
    """A loss and its gradient, outside of the graph.

    Attributes
    ----------
    loss
        Σ_k weight_k · objective_k.
    values
        float64 [2, n_terms], see :class:`~deepmd_tf.losses.loss.LossTensors`.
    gradients
        ∂loss/∂θ of each trained variable θ, in their order.
    """

    loss: float
    values: np.ndarray
    gradients: list[np.ndarray]


class Reducer(Protocol):
    """Turns the gradient of a part of what a step trains on into that of more of it."""

    def __call__(self, step: StepFeed, part: LossGradient) -> LossGradient:
        """Add what is not in ``part``; its arrays may be overwritten."""


class Optimizer:
    """The optimizer, the variables that it trains, and the number of its steps.

    Parameters
    ----------
    adam
        The optimizer.
    parameters
        What is trained.
    rate
        Placeholder, float32 [], the learning rate.
    counter
        The variable that counts the steps.
    """

    def __init__(
        self,
        adam: Adam,
        parameters: VariableParameters,
        rate: tf.Tensor,
        counter: tf.Variable,
    ) -> None:
        self._adam = adam
        self.variables = parameters.trainable
        self._names = parameters.trainable_names
        self._stacks = parameters.stacks
        self.rate = rate
        self.counter = counter
        self._fed: tuple[list[tf.Tensor], tf.Operation] | None = None

    @classmethod
    def build(cls, config: OptimizerAdam, parameters: VariableParameters) -> Optimizer:
        """Add the placeholder and the counter."""
        rate = tf.placeholder(tf.float32, [], name="t_learning_rate")
        adam = Adam(rate, config.adam_beta1, config.adam_beta2)
        counter = tf.Variable(
            0,
            name=names.GLOBAL_STEP,
            trainable=False,
            dtype=tf.int64,
            use_resource=False,
            collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.GLOBAL_STEP],
        )
        return cls(adam, parameters, rate, counter)

    def gradients(self, loss: tf.Tensor) -> list[tf.Tensor | None]:
        """Add ∂loss/∂θ of each trained variable θ; None where there is none."""
        return tf.gradients(
            loss,
            self.variables,
            # in pairs, see session_config
            aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE,
        )

    def apply(self, loss: tf.Tensor, gradients: Sequence[tf.Tensor | None]) -> tf.Operation:
        """Add the update, which changes nothing unless loss and gradients are finite."""
        return self._adam.step(loss, gradients, self.variables, self.counter, self._stacks)

    def add_fed_update(self) -> None:
        """Add the update by gradients that are fed, once for all steps that need it."""
        if self._fed is None:
            gradients = [tf.placeholder(v.dtype.base_dtype, v.shape) for v in self.variables]
            loss = tf.placeholder(tf.float64, [])
            self._fed = [loss, *gradients], self.apply(loss, gradients)

    def update(self, runner: GraphRunner, found: LossGradient, lr: np.float32) -> None:
        """Run that update.

        Raises
        ------
        NotFinite
            If loss or gradient is not finite; no variable has changed then.
        """
        if self._fed is None:
            raise ValueError("there is no update by gradients that are fed")
        placeholders, update = self._fed
        feed = Feed([*placeholders, self.rate], [found.loss, *found.gradients, lr])
        with self.finite(lambda: (found.loss, found.gradients)):
            runner.run("update", update, feed)

    @contextmanager
    def finite(self, diagnose: Callable[[], tuple[float, Sequence[Any]]]) -> Iterator[None]:
        """Raise :class:`NotFinite` where the update is refused.

        ``diagnose`` returns the loss, and the gradient of each trained variable.
        """
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            if NOT_FINITE not in error.message:
                raise
            loss, gradients = diagnose()
            with np.errstate(all="ignore"):
                finite = [bool(np.isfinite(np.square(g).sum())) for g in gradients]
            weights = zip(self._names, finite, strict=True)
            raise NotFinite(float(loss), [name for name, good in weights if not good]) from None


class GradientStep(Protocol):
    """A step on one loss."""

    loss: LossTensors

    def run(
        self, runner: GraphRunner, step: StepFeed, *, measure: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Make the step.

        Returns
        -------
        tuple
            Packed :class:`~deepmd_tf.training.diagnostics.Diagnostics` of the batch, and, if it is
            to ``measure``, :attr:`LossTensors.values` before the update.

        Raises
        ------
        NotFinite
            If loss or gradient is not finite; no variable has changed then.
        """


class FusedStep:
    """Gradient and update in one run of the graph: gradients never leave it.

    Parameters
    ----------
    name
        Of the step, different for each.
    loss
        What is minimised.
    optimizer
        What changes the variables.
    fetches
        The update, and packed diagnostics.
    checked
        Loss and gradients, by which a refused update is explained.
    """

    def __init__(
        self,
        name: str,
        loss: LossTensors,
        optimizer: Optimizer,
        fetches: list[Any],
        checked: list[tf.Tensor],
    ) -> None:
        self.name = name
        self.loss = loss
        self.fetches = fetches
        self._optimizer = optimizer
        self._checked = checked

    @classmethod
    def build(
        cls, name: str, loss: LossTensors, optimizer: Optimizer, diagnostics: tf.Tensor
    ) -> FusedStep:
        """Add the gradients and the update."""
        gradients = ops.join_weights(optimizer.gradients(loss.total))
        fetches = [optimizer.apply(loss.total, gradients), diagnostics]
        zero = tf.constant(0.0)
        checked = [loss.total, *(zero if g is None else g for g in gradients)]
        return cls(name, loss, optimizer, fetches, checked)

    def feed(self, step: StepFeed) -> Feed:
        """All that is fed for :attr:`fetches`."""
        return step.feed.extended((self._optimizer.rate, step.lr))

    def run(
        self, runner: GraphRunner, step: StepFeed, *, measure: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See :meth:`GradientStep.run`."""
        feed = self.feed(step)
        name, fetches = f"{self.name} step", self.fetches
        if measure:
            name, fetches = f"{name} and errors", [*fetches, self.loss.values]
        with self._optimizer.finite(lambda: self._diagnose(runner, feed)):
            _, diagnostics, *values = runner.run(name, fetches, feed)
        return diagnostics, values[0] if measure else None

    def _diagnose(self, runner: GraphRunner, feed: Feed) -> tuple[float, list[Any]]:
        """Loss and gradients of a step that was refused."""
        loss, *gradients = runner.run(f"{self.name} gradients", self._checked, feed)
        return loss, gradients


class ReducedStep:
    """Gradients leave the graph, are reduced, and are fed to the update.

    Parameters
    ----------
    name, loss, optimizer
        See :class:`FusedStep`.
    fetches
        Gradients of all trained variables, values of the loss, and packed diagnostics.
    reducers
        Are called one after the other; what the last one returns is applied if it is finite.
    """

    def __init__(
        self,
        name: str,
        loss: LossTensors,
        optimizer: Optimizer,
        fetches: list[Any],
        reducers: Sequence[Reducer],
    ) -> None:
        self.name = name
        self.loss = loss
        self.reducers = tuple(reducers)
        self._optimizer = optimizer
        self._fetches = fetches

    @classmethod
    def build(
        cls,
        name: str,
        loss: LossTensors,
        optimizer: Optimizer,
        diagnostics: tf.Tensor,
        reducers: Sequence[Reducer],
    ) -> ReducedStep:
        """Add the gradients, and the update that all such steps share."""
        gradients = [
            tf.zeros_like(variable) if gradient is None else gradient
            for variable, gradient in zip(
                optimizer.variables, optimizer.gradients(loss.total), strict=True
            )
        ]
        optimizer.add_fed_update()
        return cls(name, loss, optimizer, [gradients, loss.values, diagnostics], reducers)

    def run(
        self, runner: GraphRunner, step: StepFeed, *, measure: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See :meth:`GradientStep.run`."""
        if step.batch.nframes:
            gradients, values, diagnostics = runner.run(
                f"{self.name} gradients", self._fetches, step.feed
            )
        else:  # fewer frames than ranks; means of nothing are no numbers
            gradients, values, diagnostics = (
                tf.nest.map_structure(_zeros, fetched) for fetched in self._fetches
            )
        found = LossGradient(step.weights @ values[0], values, gradients)
        for reduce in self.reducers:
            found = reduce(step, found)
        self._optimizer.update(runner, found, step.lr)
        return diagnostics, found.values if measure else None


def _zeros(tensor: tf.Tensor) -> np.ndarray:
    return np.zeros(tensor.shape.as_list(), tensor.dtype.as_numpy_dtype)


@dataclass(frozen=True)
class StepBuilder:
    """Adds the steps of a training graph.

    Attributes
    ----------
    optimizer
        What changes the variables.
    diagnostics
        Packed :class:`~deepmd_tf.training.diagnostics.Diagnostics`, fetched with each step.
    reducers
        Of all steps.
    """

    optimizer: Optimizer
    diagnostics: tf.Tensor
    reducers: Sequence[Reducer] = ()

    def build(self, name: str, loss: LossTensors, *before: Reducer) -> GradientStep:
        """A step on ``loss``, one operation unless it has reducers; those of it alone come
        ``before`` those of all steps.
        """
        reducers = (*before, *self.reducers)
        if reducers:
            return ReducedStep.build(name, loss, self.optimizer, self.diagnostics, reducers)
        return FusedStep.build(name, loss, self.optimizer, self.diagnostics)
