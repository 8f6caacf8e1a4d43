# SPDX-License-Identifier: BSD-3-Clause
"""The batches of a training, in an order that a restart continues."""

from __future__ import annotations

import logging
from typing import Any

from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.errors import DataError

log = logging.getLogger(__name__)


class TrainingBatches:
    """Training and validation batches.

    Parameters
    ----------
    training, validation
        Where batches come from; no validation data: None.
    count
        Validation batches of each display.

    Attributes
    ----------
    next, last
        Training batch of the next and of the last step.
    """

    def __init__(self, training: DataSystems, validation: DataSystems | None, count: int) -> None:
        self.training = training
        self.validation = validation
        self.count = count
        self.next: Batch  # set by `begin` or `resume`
        self.last: Batch | None = None

    def begin(self) -> None:
        """Begin anew. Two batches are drawn, and the first of them is not used: the order of the
        data is then that of DeePMD-kit for the same seed.
        """
        self.training.get_batch()
        self.next = self.training.get_batch()

    def resume(self, state: dict[str, Any] | None) -> None:
        """Continue after a checkpoint with the state of then; None begins anew."""
        if state is None:
            self.begin()
            return
        # training data last: the random generator, which both share, is then as it was
        if self.validation is not None and state["validation_data"] is not None:
            _restore(self.validation, state["validation_data"], "validation")
        if _restore(self.training, state["training_data"], "training"):
            # read again: the loss may have terms by now whose labels were not asked for then
            self.next = self.training.pick(**state["next_batch"])
        else:
            self.next = self.training.get_batch()

    def advance(self) -> None:
        """The next batch has been trained on: draw another one."""
        self.last, self.next = self.next, self.training.get_batch()

    def draw_validation(self) -> list[Batch]:
        """Validation batches for a display; none without validation data."""
        if self.validation is None:
            return []
        return [self.validation.get_batch() for _ in range(self.count)]

    def state(self) -> dict[str, Any]:
        """State for :meth:`resume`."""
        return {**self.order(), "next_batch": self.next.origin()}

    def order(self) -> dict[str, Any]:
        """All that the batches that are drawn from now on depend on."""
        return {
            "training_data": self.training.get_state(),
            "validation_data": None if self.validation is None else self.validation.get_state(),
        }

    def set_order(self, order: dict[str, Any]) -> None:
        """Draw from now on what follows :meth:`order`, of the same data."""
        if self.validation is not None:
            self.validation.set_state(order["validation_data"])
        self.training.set_state(order["training_data"])


def _restore(data: DataSystems, state: dict[str, Any], name: str) -> bool:
    """Let the data go on in the order of before; False, with a warning, if they have changed."""
    try:
        data.set_state(state)
    except DataError as error:
        log.warning(
            "%s; the order of the %s data begins anew, so the numbers are not those of an "
            "uninterrupted training",
            error,
            name,
        )
        return False
    return True
