# SPDX-License-Identifier: BSD-3-Clause
"""Observers, which follow a training without changing it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.record import Record

log = logging.getLogger(__name__)


class Training(Protocol):
    """Interface of a training for observers.

    Attributes
    ----------
    graph
        Open.
    step, num_steps
        Steps done, and those of the whole training.
    """

    graph: TrainingGraph
    step: int
    num_steps: int

    def state(self) -> dict[str, Any]:
        """State for a restart, besides the variables of a checkpoint."""

    def notify(self, event: str, *arguments: Any) -> None:
        """Call this method of all observers, one after the other."""

    def report_evaluated(self, *, validation: bool) -> None:
        """Pass on the diagnostics of what has been evaluated."""


class Observer:
    """Follows a training. The trainer calls these methods, which do nothing by default.

    Observers draw no random numbers and set no variables, so training gives the same numbers, to
    the last bit, with and without them.

    Attributes
    ----------
    state_key
        Name of :meth:`state` in the state of a checkpoint; None if there is none.
    """

    state_key: str | None = None

    def state(self) -> dict[str, Any]:
        """State from which :meth:`open` continues."""
        return {}

    @property
    def stops(self) -> bool:
        """Whether training is to end now."""
        return False

    def open(
        self,
        training: Training,
        after_step: int | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin anew, or continue after a step with what :meth:`state` returned there."""

    def began(self, training: Training) -> None:
        """The loop begins."""

    def wants_errors(self, step: int) -> bool:
        """Whether :meth:`measured` is to be called for the step after ``step``."""
        return False

    def measured(self, training: Training, errors: Mapping[str, float], lr: float) -> None:
        """Errors on the batch of a step, before its update."""

    def updated(self, training: Training, diagnostics: Diagnostics, seconds: float) -> None:
        """A step has been made, which took so long."""

    def evaluated(self, training: Training, diagnostics: Diagnostics, validation: bool) -> None:
        """Batches have been evaluated, not trained on."""

    def displayed(self, training: Training, record: Record) -> None:
        """Errors of a step that is a multiple of ``disp_freq``."""

    def step_ended(self, training: Training) -> None:
        """A step is done, and has been displayed if it is to be."""

    def validated(self, training: Training, errors: Mapping[str, float]) -> None:
        """Errors over all validation frames."""

    def sync(self) -> None:
        """A checkpoint is about to be written: wait until rows up to its step are on disk."""

    def save(self, training: Training) -> None:
        """Write the checkpoint."""

    def ended(self, training: Training) -> None:
        """The loop has ended and the last checkpoint is written."""

    def close(self) -> None:
        """Close files; also called after an error, and before :meth:`open`."""


class CheckpointWriter(Observer):
    """Writes the checkpoints."""

    def save(self, training: Training) -> None:
        """Write that of the present step."""
        graph = training.graph
        graph.checkpoints.save(graph.session, training.step, training.state())
        log.info("saved checkpoint %s", graph.config.training.save_ckpt)
