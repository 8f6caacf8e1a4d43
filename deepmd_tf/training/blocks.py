# SPDX-License-Identifier: BSD-3-Clause
"""Whole Hessians in bounded memory: frame by frame, and in a frame some atoms at a time.

The Hessian is a sum of parts for ranges of atoms, most often of the second derivatives of their
energies by all coordinates (:func:`~deepmd_tf.model.hessian.hessian_part`). A loss L on it needs
the sum; its gradient in the weights θ is the same sum again,

.. math:: \\frac{dL}{dθ} = \\sum_i \\Big\\langle \\frac{∂L}{∂H}, \\frac{∂H_i}{∂θ} \\Big\\rangle ,

so blocks of atoms are evaluated twice, first for the matrices, then for the gradient; both are
those of all atoms at once, up to rounding.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.data import Batch
from deepmd_tf.environment import AtomRange
from deepmd_tf.model.base import Model
from deepmd_tf.model.energy import ModelOutputs
from deepmd_tf.model.hessian import hessian_part
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.training.feeds import BatchFeeds, StepFeed
from deepmd_tf.training.gradient_step import LossGradient
from deepmd_tf.training.runner import Feed, GraphRunner

PAIRS_AT_ONCE = 4_000
"""Atoms whose second derivatives are computed at once, times the atoms that they are taken by;
about 0.25 MB for each in a step, with a descriptor of 1600 numbers in float64."""


class TrainedModel(NamedTuple):
    """A model in the graph, its outputs and its parameters."""

    model: Model
    outputs: ModelOutputs
    parameters: VariableParameters


def fits_at_once(n_frames: int, natoms: int) -> bool:
    """Whether whole Hessians of ``n_frames`` frames need no blocks."""
    return n_frames * natoms**2 <= PAIRS_AT_ONCE


def atom_ranges(natoms: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the blocks of a frame, equal but for one atom."""
    number = -(-natoms // max(1, PAIRS_AT_ONCE // natoms))
    bounds = [natoms * k // number for k in range(number + 1)]
    return itertools.pairwise(bounds)


class HessianBlocks:
    """The part of a training graph that is run in blocks.

    Parameters
    ----------
    runner
        Runs the graph.
    feeds
        What is fed.
    atoms
        Placeholders of the atoms of a block.
    part
        Their part of the Hessian, [1, 3 n, 3 n].
    matrices
        Placeholder of Hessians.
    measured
        Objective and metric of ``matrices``, and, where the gradient is wanted, the derivative of
        the objective by them.
    gradients
        Derivatives of Σ matrices · part in each trained variable; None where the Hessian does not
        depend on it.
    """

    def __init__(
        self,
        runner: GraphRunner,
        feeds: BatchFeeds,
        atoms: AtomRange,
        part: tf.Tensor,
        matrices: tf.Tensor,
        measured: list[tf.Tensor],
        gradients: list[tf.Tensor | None],
    ) -> None:
        self._runner = runner
        self._feeds = feeds
        self._atoms = atoms
        self._part = part
        self._matrices = matrices
        self._measured = measured
        self._gradients = gradients

    @classmethod
    def build(
        cls,
        runner: GraphRunner,
        trained: TrainedModel,
        feeds: BatchFeeds,
        *,
        with_gradient: bool,
    ) -> HessianBlocks:
        """Add the nodes; those of the gradient only if it is wanted."""
        outputs = trained.outputs
        atoms = AtomRange(*(tf.placeholder(tf.int32, [], f"t_{end}") for end in ("begin", "end")))
        matrices = tf.placeholder(outputs.inputs.dtype, [None, None, None], name="t_matrices")
        part = hessian_part(*trained, atoms)
        term = feeds.loss.terms[cast(int, feeds.loss.hessian)]
        objective, metric = term.build(dataclasses.replace(outputs, hessian=matrices), feeds.labels)
        measured, gradients = [tf.stack([objective, metric])], []
        if with_gradient:
            measured += tf.gradients(objective, [matrices])
            gradients = tf.gradients(
                part,
                trained.parameters.trainable,
                grad_ys=[matrices],
                # in pairs, see session_config
                aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE,
            )
        return cls(runner, feeds, atoms, part, matrices, measured, gradients)

    def measure(self, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        """Objective and metric of the Hessians of a batch, and the derivative of the objective by
        them, [n_frames, 3 n, 3 n], where the gradient is wanted.
        """
        matrices = np.concatenate(
            [
                sum(self._runner.run("hessian part", self._part, feed) for feed in blocks)
                for blocks in self._blocks(batch)
            ]
        )
        feed = Feed([self._matrices], [matrices]).extended(self._feeds.hessian(batch))
        found = self._runner.run("hessian values", self._measured, feed)
        return found[0], found[1] if len(found) > 1 else None

    def add(self, step: StepFeed, part: LossGradient) -> LossGradient:
        """A reducer: adds the term of the Hessian to a loss that is without it."""
        if not step.batch.nframes:
            return part
        term = self._feeds.loss.hessian
        values, total = part.values, part.gradients
        values[:, term], measured = self.measure(step.batch)
        adjoint = np.asarray(measured)
        adjoint = adjoint * adjoint.dtype.type(step.weights[term])
        for block in self._gradients_by_block(step.batch, adjoint):
            total = [a if b is None else a + b for a, b in zip(total, block, strict=True)]
        return LossGradient(step.weights @ values[0], values, total)

    def _gradients_by_block(
        self, batch: Batch, adjoint: np.ndarray
    ) -> Iterator[list[np.ndarray | None]]:
        """Derivatives of Σ adjoint · H in each trained variable, of one block after the other;
        their sum is that of the batch. None for a variable that H does not depend on.
        """
        depends = [g for g in self._gradients if g is not None]
        for k, blocks in enumerate(self._blocks(batch)):
            for feed in blocks:
                feed = feed.extended((self._matrices, adjoint[k : k + 1]))
                found = iter(self._runner.run("hessian gradients", depends, feed))
                yield [None if g is None else next(found) for g in self._gradients]

    def _blocks(self, batch: Batch) -> Iterator[Iterator[Feed]]:
        """For each frame, what is fed for each of its blocks."""
        for frame in self._feeds.single_frames(batch):
            ranges = atom_ranges(int(batch.natoms[0]))
            yield (frame.extended(*zip(self._atoms, ends, strict=True)) for ends in ranges)
