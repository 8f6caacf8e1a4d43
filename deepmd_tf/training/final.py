# SPDX-License-Identifier: BSD-3-Clause
"""What is said at the end of a training: errors, the file to take, the next command."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from deepmd_tf.data import DataSystems
from deepmd_tf.errors import DeepmdError
from deepmd_tf.metrics import Errors, Quantity
from deepmd_tf.model.kinds import kind_of
from deepmd_tf.training.evaluation import Evaluation
from deepmd_tf.training.observer import Observer, Training
from deepmd_tf.training.open_data import OpenedData
from deepmd_tf.training.validation import (
    ATOMS_AT_ONCE,
    FullValidation,
    add_errors,
    predicted,
    significant,
)

log = logging.getLogger(__name__)

FEWEST_STEPS = 200
"""Shorter trainings are tried out, and evaluating would take longer than they do."""
MOST_ATOMS = 20_000
"""Of the training data, and of the validation data, that are evaluated; a few seconds."""


class FinalErrors(Observer):
    """Evaluates training and validation data when the training has ended.

    Parameters
    ----------
    data
        Of the training.
    validation
        Full validation, which knows the best step; None without.
    """

    def __init__(self, data: OpenedData, validation: FullValidation | None) -> None:
        self.data = {"training": data.training, "validation": data.validation}
        self.validation = validation

    def ended(self, training: Training) -> None:
        """Say it, unless the training has been interrupted."""
        stopped = self.validation is not None and self.validation.stops
        if training.step < FEWEST_STEPS or not (stopped or training.step == training.num_steps):
            return
        graph = training.graph
        kind = kind_of(graph.config.model)
        rows: dict[str, Errors] = {}
        shown = any(quantity.symbol for quantity in kind.quantities)
        for name, data in self.data.items() if shown else ():
            if data is None:
                continue
            try:
                frames, rows[name] = errors_of_some(data, graph.evaluation, kind.quantities)
            except DeepmdError as error:  # the training is done, and its checkpoint is written
                log.warning("%s data: %s", name, error)
                continue
            log.info("%s errors are of %d of %d frames", name, frames, _frames(data))
        graph.evaluation.pop_diagnostics()
        for line in table(rows, training.step):
            log.info(line)
        prefix = graph.config.training.save_ckpt
        best = ""
        if self.validation is not None and self.validation.config.save_best:
            steps = self.validation.best_steps
            if steps and steps[0] != training.step:
                value = self.validation.words(self.validation.progress.best[0][0])
                metric = self.validation.config.validation_metric
                best = f"; the best by {metric}, {value}, is {self.validation.prefix}-{steps[0]}"
        log.info("the model is %s-%d%s", prefix, training.step, best)
        log.info(
            "next: dp --tf freeze -c %s -o model.pb, then dp --tf test -m model.pb -s DATA",
            self.validation.prefix if best and self.validation is not None else prefix,
        )


def errors_of_some(
    data: DataSystems, evaluation: Evaluation, quantities: Sequence[Quantity]
) -> tuple[int, Errors]:
    """Errors of the first frames of each system, about :data:`MOST_ATOMS` atoms together; how many.

    Raises
    ------
    DataError
        When a frame cannot be evaluated.
    """
    errors, frames = Errors(quantities), 0
    for index, system in enumerate(data.systems):
        limit = max(1, MOST_ATOMS // (len(data.systems) * system.natoms))
        for batch in system.batches(max_atoms=ATOMS_AT_ONCE, limit=limit, system=index):
            frames += batch.nframes
            add_errors(errors, data, batch, predicted(data, batch, evaluation.predict))
    return frames, errors


def table(rows: Mapping[str, Errors], step: int) -> list[str]:
    """Root-mean-square errors in columns, one line for each kind of data."""
    columns: dict[str, Quantity] = {}
    for errors in rows.values():
        for quantity, error in errors.items():
            if quantity.symbol and error.weight > 0:
                columns.setdefault(quantity.label, quantity)
    if not columns:
        return []
    heads = [f"{q.symbol}, {q.log_unit}" for q in columns.values()]
    lines = [f"RMSE after step {step}", " " * 12 + "".join(f"{head:>16}" for head in heads)]
    for name, errors in rows.items():
        cells = [
            significant(1000 * errors[q].rmse) if errors[q].weight > 0 else "-"
            for q in columns.values()
        ]
        lines.append(f"{name:<12}" + "".join(f"{cell:>16}" for cell in cells))
    return lines


def _frames(data: DataSystems) -> int:
    return sum(system.nframes for system in data.systems)
