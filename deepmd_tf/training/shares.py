# SPDX-License-Identifier: BSD-3-Clause
"""A step that ranks share: each takes some frames of the batch, and adds what it finds.

All terms of a loss are means over the frames a of a batch, so that with n_r of n frames on rank r

.. math:: L = \\sum_r \\frac{n_r}{n} L_r , \\qquad
          \\frac{∂L}{∂θ} = \\sum_r \\frac{n_r}{n} \\frac{∂L_r}{∂θ} ,

as one rank would find for the whole batch, up to rounding. Sums are made in float64, in the order
of the ranks; then all ranks make the same update of the same weights.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

import numpy as np

from deepmd_tf.config import Config
from deepmd_tf.data import Batch
from deepmd_tf.errors import InputError
from deepmd_tf.losses import TermLoss
from deepmd_tf.parallel import ALONE, Ranks
from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.feeds import Place, StepFeed
from deepmd_tf.training.gradient_step import LossGradient, Reducer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sharing:
    """How batches are shared.

    Attributes
    ----------
    ranks
        Among whom.
    lr_factor
        The optimizer's learning rate by that of the schedule (``scale_by_worker``).
    before
        Reducers of the part of each rank.
    """

    ranks: Ranks = ALONE
    lr_factor: float = 1.0
    before: tuple[Reducer, ...] = ()

    @property
    def reducers(self) -> tuple[Reducer, ...]:
        """Reducers of every step."""
        return self.before if self.ranks.size == 1 else (*self.before, self.reduce)

    def place(self, loss: TermLoss, batch: Batch) -> Place | None:
        """Where the frames of this rank are; None if they are all."""
        if self.ranks.size == 1:
            return None
        begin, end = self._ends(batch)
        return Place(begin, end, batch.nframes, _shares(loss, batch, begin, end))

    def part(self, batch: Batch) -> Batch:
        """The frames of this rank."""
        return batch if self.ranks.size == 1 else batch.cut(*self._ends(batch))

    def reduce(self, step: StepFeed, part: LossGradient) -> LossGradient:
        """A reducer: adds the parts of all ranks."""
        if step.place is None:
            raise ValueError("a step of several ranks without a place among them")
        begin, end, total, shares = step.place
        own = (end - begin) / total
        parts = [np.ravel(gradient) for gradient in part.gradients]
        counted = _counted(part.values, shares)
        summed = self.ranks.total(
            np.concatenate(
                [
                    [own * part.loss],
                    counted.ravel(),
                    *(np.multiply(own, g, dtype=float) for g in parts),
                ]
            )
        )
        ends = np.cumsum([1, counted.size, *(len(g) for g in parts)])
        loss, values, *found = np.split(summed, ends[:-1])
        gradients = [
            one.reshape(np.shape(g)).astype(g.dtype, copy=False)
            for one, g in zip(found, part.gradients, strict=True)
        ]
        return LossGradient(float(loss[0]), values.reshape(shares.shape), gradients)

    def values(self, place: Place | None, found: np.ndarray | None) -> np.ndarray:
        """Objectives and metrics of all frames, of those of each rank; None: it has no frames."""
        if place is None:
            return np.asarray(found)
        counted = _counted(0.0 if found is None else found, place.shares)
        return self.ranks.total(counted.ravel()).reshape(counted.shape)

    def diagnostics(self, packed: np.ndarray) -> Diagnostics:
        """Diagnostics of a batch of all ranks, from packed ones of the part of each."""
        if self.ranks.size == 1:
            return Diagnostics.unpack(packed)
        rows = self.ranks.rows(packed).astype(np.int64)
        return functools.reduce(Diagnostics.join, map(Diagnostics.unpack, rows))

    def _ends(self, batch: Batch) -> tuple[int, int]:
        """The first frame of this rank, and the first that is not of it any more."""
        n, rank, size = batch.nframes, self.ranks.rank, self.ranks.size
        return n * rank // size, n * (rank + 1) // size


UNSHARED = Sharing()
"""One process has all frames."""


def make_sharing(config: Config, ranks: Ranks) -> Sharing:
    """How ranks share the batches of a training; says what that makes of them."""
    rate, per_process = config.learning_rate, config.training.batch_size_per == "process"
    scale, default = rate.scale_by_worker, type(rate).model_fields["scale_by_worker"].default
    if ranks.size == 1:
        if scale != default:
            log.info("learning_rate/scale_by_worker has no effect: training is done by one process")
        return UNSHARED
    grown = {"linear": float(ranks.size), "sqrt": ranks.size**0.5, "none": 1.0}
    factor = grown[scale] if per_process else 1.0
    log.info(
        "training on %d processes: %s",
        ranks.size,
        f"batch_size is of each, so a step has {ranks.size} times as many frames"
        if per_process
        else "batch_size is of a step, whose frames they share",
    )
    log.info(
        "the learning rate is %g times that of the schedule (%s): it begins at %g",
        factor,
        f"scale_by_worker is {scale}" if per_process else "a step has no more frames",
        factor * rate.start_lr,
    )
    return Sharing(ranks, factor)


def require_shareable(loss: TermLoss, ranks: Ranks, *, dry_run: bool) -> None:
    """See that ranks can share the training: the loss is a mean over frames.

    Raises
    ------
    InputError
        If a term compares the frames of a batch with each other; or for a dry run.
    """
    if ranks.size > 1 and dry_run:
        raise InputError(
            f"--dry-run: a dry run is made by one process, not by {ranks.size}; start it without "
            "mpirun or srun"
        )
    for term in loss.terms:
        if ranks.size > 1 and term.min_frames > 1:
            raise InputError(
                f"loss.start_pref_{term.name}: this term compares the frames of a batch with each "
                f"other, which are on {ranks.size} processes here; train on one process, or set "
                f"start_pref_{term.name} and limit_pref_{term.name} to 0"
            )


def _counted(values: np.ndarray | float, shares: np.ndarray) -> np.ndarray:
    """Values times what they count; 0 where that is nothing, though they may not be numbers."""
    return np.multiply(values, shares, out=np.zeros_like(shares), where=shares > 0)


def _shares(loss: TermLoss, batch: Batch, begin: int, end: int) -> np.ndarray:
    """What objectives and metrics of frames from ``begin`` to ``end`` count in those of the batch.

    Objectives are means over frames; metrics over all residuals of frames with labels, of which a
    frame of N_a of N atoms has (N_a / N)^count.
    """
    shares = np.full((2, len(loss.terms)), (end - begin) / batch.nframes)
    ratio = batch.sizes / float(batch.natoms[0])
    for k, term in enumerate(loss.terms):
        counted = term.frames_in(batch) * ratio**term.powers.count
        if counted.any():
            shares[1, k] = counted[begin:end].sum() / counted.sum()
    return shares
