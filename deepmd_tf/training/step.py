# SPDX-License-Identifier: BSD-3-Clause
"""The training step: which loss a batch is trained on, and what is fed for it."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.data import Batch
from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.feeds import BatchFeeds, StepFeed
from deepmd_tf.training.gradient_step import GradientStep
from deepmd_tf.training.hessian import Directions
from deepmd_tf.training.hessian_training import HessianTraining
from deepmd_tf.training.runner import GraphRunner
from deepmd_tf.training.shares import UNSHARED, Sharing


class TrainingStep:
    """One step of the optimizer on a batch.

    Parameters
    ----------
    runner
        Runs the graph.
    feeds
        What is fed.
    plain
        The step on a batch without Hessians.
    hessian
        Steps on batches with Hessians; None if the loss has none.
    sharing
        How ranks share the batch.
    """

    def __init__(
        self,
        runner: GraphRunner,
        feeds: BatchFeeds,
        plain: GradientStep,
        hessian: HessianTraining | None = None,
        sharing: Sharing = UNSHARED,
    ) -> None:
        self.hessian = hessian
        self._sharing = sharing
        self._runner = runner
        self._feeds = feeds
        self._plain = plain

    @property
    def directions(self) -> Directions | None:
        """The random directions that Hessians are multiplied by, if any."""
        return None if self.hessian is None else self.hessian.directions

    def train(self, batch: Batch, lr: np.float32) -> Diagnostics:
        """Make one step at learning rate ``lr``.

        Raises
        ------
        NotFinite
            If loss or gradient is not finite; no variable has changed then.
        """
        step, feed = self.prepare(batch, lr)
        diagnostics, _ = step.run(self._runner, feed, measure=False)
        return self._sharing.diagnostics(diagnostics)

    def train_and_measure(
        self, batch: Batch, lr: np.float32
    ) -> tuple[Diagnostics, dict[str, float]]:
        """Make one step; also the errors on its batch before the update, by column.

        They are those of :meth:`Evaluation.evaluate`, but the Hessian's, which is what the step has
        seen of it.
        """
        step, feed = self.prepare(batch, lr)
        diagnostics, values = step.run(self._runner, feed, measure=True)
        weights = self._feeds.loss_weights(batch, lr)
        errors = self._feeds.loss.displayed(np.asarray(values), weights, batch)
        return self._sharing.diagnostics(diagnostics), errors

    def train_and_trace(self, batch: Batch, lr: np.float32) -> tuple[Diagnostics, tf.RunMetadata]:
        """Make one step; also when each operation ran."""
        with self._runner.traced() as record:
            return self.train(batch, lr), record

    def prepare(self, batch: Batch, lr: np.float32) -> tuple[GradientStep, StepFeed]:
        """The step for a batch, and its feed; draws random directions if it needs them."""
        sharing = self._sharing
        feed = self._feeds.step(sharing.part(batch), lr)
        if (place := sharing.place(self._feeds.loss, batch)) is not None:
            feed = feed._replace(lr=np.float32(lr * sharing.lr_factor), place=place)
            batch = feed.batch
        if self.hessian is None or not self.hessian.labelled(batch):
            return self._plain, feed
        return self.hessian.prepare(feed)
