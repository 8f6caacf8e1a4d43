# SPDX-License-Identifier: BSD-3-Clause
"""Feeds of the graph for a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.data import Batch
from deepmd_tf.environment import ModelInputs
from deepmd_tf.fields import HESSIAN, Field
from deepmd_tf.losses import MixedFrames, TermLoss
from deepmd_tf.training.runner import Feed


class Place(NamedTuple):
    """Where the frames of a rank are in the batch of all ranks.

    Attributes
    ----------
    begin, end, total
        Its first frame, the one after its last, and how many there are.
    shares
        float64 [2, n_terms]: what its objectives and metrics count in those of all.
    """

    begin: int
    end: int
    total: int
    shares: np.ndarray


class StepFeed(NamedTuple):
    """The input of a step.

    Attributes
    ----------
    batch
        What is trained on.
    feed
        Inputs of the model, labels and ``weights``.
    weights
        float64 [n_terms], of the terms of the loss.
    lr
        Learning rate, which only the optimizer needs.
    place
        Where ``batch`` is in that of all ranks; None: it is the whole.
    """

    batch: Batch
    feed: Feed
    weights: np.ndarray
    lr: np.float32
    place: Place | None = None


@dataclass(frozen=True)
class BatchFeeds:
    """Placeholders of batches, and their values.

    Attributes
    ----------
    loss
        Its labels and the weights of its terms are fed.
    start_lr
        Learning rate that the schedule starts with.
    items
        Names of data items that are inputs of the model besides the coordinates.
    inputs, labels
        Placeholders of the model, and of labels by name.
    weights
        Placeholder, float64 [n_terms].
    frames
        How frames differ, where those of a batch may have different atoms.
    """

    loss: TermLoss
    start_lr: float
    items: tuple[str, ...]
    inputs: list[tf.Tensor]
    labels: dict[str, tf.Tensor]
    weights: tf.Tensor
    frames: MixedFrames | None = None

    @classmethod
    def build(
        cls,
        loss: TermLoss,
        inputs: ModelInputs,
        *,
        start_lr: float,
        items: Sequence[Field],
        mixed: bool,
    ) -> BatchFeeds:
        """Add the placeholders of labels and weights; those of ``inputs`` are there."""
        labels = {f.name: _label_placeholder(f, inputs.dtype) for f in loss.labels}
        weights = tf.placeholder(tf.float64, [len(loss.terms)], name="t_loss_weights")
        frames = _mixed_frames(loss, inputs) if mixed else None
        read, fed = tuple(item.name for item in items), list(inputs.placeholders.values())
        return cls(loss, start_lr, read, fed, labels, weights, frames)

    def loss_weights(self, batch: Batch, lr: np.float32) -> np.ndarray:
        """Weights of the terms, float64 [n_terms]."""
        return self.loss.weights(lr, self.start_lr, batch)

    def evaluation(self, batch: Batch) -> Feed:
        """Inputs of the model, and the labels but Hessians, which not every graph needs."""
        labels = [name for name in self.labels if name != HESSIAN.name]
        feed = Feed(
            [*self.inputs, *(self.labels[name] for name in labels)],
            [*self._inputs(batch), *(batch.arrays[name].reshape(-1) for name in labels)],
        )
        if self.frames is None:
            return feed
        return feed.extended((self.frames.found, self.loss.found(batch)))

    def hessian(self, batch: Batch) -> tuple[tf.Tensor, np.ndarray]:
        """Placeholder and value of the label left out in :meth:`evaluation`."""
        return self.labels[HESSIAN.name], batch.arrays[HESSIAN.name].reshape(-1)

    def step(self, batch: Batch, lr: np.float32) -> StepFeed:
        """For a step on a loss without Hessians."""
        weights = self.loss_weights(batch, lr)
        feed = self.evaluation(batch).extended((self.weights, weights))
        return StepFeed(batch, feed, weights, lr)

    def single_frames(self, batch: Batch) -> list[Feed]:
        """Inputs of the model of each frame by itself."""
        read = ("coord", "type", "box", *self.items)
        arrays = ({n: batch.arrays[n][[k]] for n in read} for k in range(batch.nframes))
        frames = (dataclasses.replace(batch, arrays=one) for one in arrays)
        return [Feed(self.inputs, self._inputs(frame)) for frame in frames]

    def _inputs(self, batch: Batch) -> list[Any]:
        arrays = batch.arrays
        return [
            arrays["coord"].reshape(-1),
            arrays["type"].reshape(-1),
            batch.natoms,
            arrays["box"].reshape(-1),
            batch.mesh,
            *(arrays[name].reshape(-1) for name in self.items),
        ]


def _mixed_frames(loss: TermLoss, inputs: ModelInputs) -> MixedFrames:
    """How the frames of a batch differ."""
    sizes = tf.reduce_sum(tf.cast(inputs.type >= 0, tf.float64), axis=1)
    found = tf.placeholder(tf.float64, [len(loss.terms), None], name="t_found")
    return MixedFrames(tf.cast(inputs.n_loc, tf.float64) / sizes, found)


def _label_placeholder(field: Field, dtype: tf.DType) -> tf.Tensor:
    dtype = tf.float64 if field.numbers.high_precision else dtype
    return tf.placeholder(dtype, [None], name=names.placeholder(field.name))
