# SPDX-License-Identifier: BSD-3-Clause
"""The part of a training graph that is for batches with Hessians."""

from __future__ import annotations

import dataclasses
from typing import cast

import tensorflow.compat.v1 as tf

from deepmd_tf.data import Batch
from deepmd_tf.fields import HESSIAN
from deepmd_tf.losses.loss import LossTensors
from deepmd_tf.model.energy import ModelOutputs
from deepmd_tf.model.hessian import (
    full_hessian,
    hessian_vector_product,
    hessian_vector_products,
)
from deepmd_tf.training.blocks import HessianBlocks, TrainedModel, fits_at_once
from deepmd_tf.training.feeds import BatchFeeds, StepFeed
from deepmd_tf.training.gradient_step import GradientStep, StepBuilder
from deepmd_tf.training.hessian import Directions, HessianPlan
from deepmd_tf.training.runner import GraphRunner


class HessianTraining:
    """Losses and steps on batches with Hessians; batches without them do not pay for it.

    Parameters
    ----------
    plan
        How Hessians are trained on.
    feeds
        What is fed.
    blocks
        Whole Hessians in blocks.
    step
        On the loss with the Hessian, or its products with random directions.
    rest
        The loss without the Hessian.
    step_in_blocks
        On ``rest``, to which ``blocks`` are added; None if no batch needs it.
    directions
        Random directions; None for whole Hessians.
    """

    def __init__(
        self,
        plan: HessianPlan,
        feeds: BatchFeeds,
        blocks: HessianBlocks,
        step: GradientStep,
        rest: LossTensors,
        step_in_blocks: GradientStep | None,
        directions: Directions | None,
    ) -> None:
        self.plan = plan
        self.blocks = blocks
        self.step = step
        self.rest = rest
        self.directions = directions
        self._feeds = feeds
        self._step_in_blocks = step_in_blocks

    @classmethod
    def build(
        cls,
        plan: HessianPlan,
        runner: GraphRunner,
        trained: TrainedModel,
        feeds: BatchFeeds,
        steps: StepBuilder,
        seed: int | None,
    ) -> HessianTraining:
        """Add the losses, and the steps on what has Hessians; ``seed`` is that of directions."""
        loss, outputs = feeds.loss, trained.outputs
        blocks = HessianBlocks.build(runner, trained, feeds, with_gradient=plan.in_blocks)
        whole = plan.mode.rule == "full"
        directions = None if whole else Directions.build(plan.mode, seed, outputs.inputs.dtype)
        seen = _with_hessian(trained, directions)
        step = steps.build("hessian", loss.build(seen, feeds.labels, feeds.weights))

        rest = loss.build(outputs, feeds.labels, feeds.weights, without=("h",))
        # the energy, for a loss that has no other term
        rest = rest._replace(total=rest.total + 0.0 * tf.reduce_sum(outputs.energy))
        in_blocks = steps.build("blocks", rest, blocks.add) if plan.in_blocks else None
        return cls(plan, feeds, blocks, step, rest, in_blocks, directions)

    def labelled(self, batch: Batch) -> bool:
        """Whether the batch has Hessians."""
        return bool(batch.arrays[HESSIAN.find_key])

    def fits(self, batch: Batch) -> bool:
        """Whether whole Hessians of the batch can be built at once."""
        return fits_at_once(batch.nframes, int(batch.natoms[0]))

    def whole_at_once(self, batch: Batch) -> bool:
        """Whether :attr:`step` is on whole Hessians, and the batch has some that fit."""
        return self.labelled(batch) and self.directions is None and self.fits(batch)

    def prepare(self, feed: StepFeed) -> tuple[GradientStep, StepFeed]:
        """The step for a batch with Hessians, and its feed; draws directions if it needs them."""
        batch = feed.batch
        if self.directions is None and not self.fits(batch):
            return cast(GradientStep, self._step_in_blocks), feed
        more = [self._feeds.hessian(batch)]
        if self.directions is not None:
            begin, end, total = feed.place[:3] if feed.place else (0, batch.nframes, batch.nframes)
            drawn = self.directions.draw(total, int(batch.natoms[0]))[begin:end]
            more.append((self.directions.placeholder, drawn))
        return self.step, feed._replace(feed=feed.feed.extended(*more))


def _with_hessian(trained: TrainedModel, directions: Directions | None) -> ModelOutputs:
    """Outputs with the Hessian, or with its products with directions."""
    outputs = trained.outputs
    if directions is None:
        return dataclasses.replace(outputs, hessian=full_hessian(*trained))
    v = directions.placeholder
    if directions.mode.count > 1:
        products = hessian_vector_products(*trained, v)
    else:
        products = hessian_vector_product(outputs, v)[:, None]
    return dataclasses.replace(outputs, hessian=products, directions=v)
