# SPDX-License-Identifier: BSD-3-Clause
"""Errors over all validation data, the best checkpoints by them, and when to stop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_tf import fields
from deepmd_tf.config import Validating
from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.errors import InputError, TrainingError
from deepmd_tf.graph.checkpoint_files import BEST, make_folder
from deepmd_tf.metrics import Errors, Evaluated, Quantity
from deepmd_tf.model.kinds import Kind
from deepmd_tf.parallel import ALONE, Ranks
from deepmd_tf.training.bad_batch import place
from deepmd_tf.training.faults import NamedFaults
from deepmd_tf.training.lcurve import StepTable
from deepmd_tf.training.observer import Observer, Training

log = logging.getLogger(__name__)

ATOMS_AT_ONCE = 4_000
"""Atoms in one evaluation: bounds memory."""
DIGITS = 5
WIDTH = 18
NOTE = (
    "# errors over all validation frames: E of the energy per atom, F of force components, S of "
    "the stress, V of the virial per atom\n"
)

Predict = Callable[[Batch], Mapping[str, np.ndarray]]


@dataclass
class Progress:
    """The best models so far; part of the state of a checkpoint.

    Attributes
    ----------
    best
        (value of the metric, step) of the best validations, the lowest first.
    lowest
        Value that the next one must undercut by ``early_stop_min_delta``, and its step.
    waited
        Full validations since then.
    """

    best: list[tuple[float, int]]
    lowest: tuple[float, int] = (math.inf, 0)
    waited: int = 0


class FullValidation(Observer):
    """Evaluates all validation frames at some steps, keeps record of the best, and stops early.

    The weights, and everything that training depends on, are not touched: a training with it gives
    the same numbers as without.

    Parameters
    ----------
    config
        The section ``validating``, with ``full_validation``.
    kind
        The kind of model, whose quantities with a symbol are shown; of several that are compared
        with the same label, that of the metric, or the last.
    start
        First step, see :meth:`~deepmd_tf.config.Validating.start_step`.
    num_steps
        Steps of the whole training.
    data
        Validation data.
    save_ckpt
        Prefix of the ordinary checkpoints; the best ones go to the same folder by default.
    ranks
        Share the frames out; rank 0 writes.

    Attributes
    ----------
    progress : Progress
        The best models so far.
    superseded : list of int
        Steps that are no longer among the best since the last validation.

    Raises
    ------
    InputError
        If the metric is none of the kind of model, or no validation system has its label.
    """

    state_key = "full_validation"

    def __init__(
        self,
        config: Validating,
        kind: Kind,
        start: int,
        num_steps: int,
        data: DataSystems,
        save_ckpt: str,
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks = ranks
        self.config = config
        self.start = start
        self.data = data
        folder = Path(save_ckpt).parent if config.save_best_dir is None else config.save_best_dir
        self.prefix = Path(folder) / BEST
        symbol = config.validation_metric.partition(":")[0]
        self._quantities = kind.quantities
        self.quantity = require_symbol(kind, symbol)
        self._require_labels()
        columns: dict[str, Quantity] = {}
        for quantity in kind.quantities:
            if quantity.symbol and columns.get(quantity.label) is not self.quantity:
                columns[quantity.label] = quantity
        self._columns = [*columns.values()]
        self._width = max(len("step"), len(str(num_steps)))
        self.table = StepTable(config.full_val_file, self._header())
        self.progress = Progress([])
        self.superseded: list[int] = []

    def open(
        self,
        training: Training,
        after_step: int | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin anew, or continue after a step with what :meth:`state` returned there.

        Raises
        ------
        TrainingError, CheckpointError
            If files cannot be written.
        """
        if self._ranks.leads:
            self.table.open(after_step)
            if self.config.save_best:
                make_folder(self.prefix)
        if state is None or state["metric"] != self.config.validation_metric:
            return
        self.progress = Progress(
            [(float(value), int(step)) for value, step in state["best"]],
            (float(state["lowest"][0]), int(state["lowest"][1])),
            int(state["waited"]),
        )

    def state(self) -> dict[str, Any]:
        """State from which :meth:`open` continues."""
        progress = self.progress
        return {
            "metric": self.config.validation_metric,
            "best": progress.best,
            "lowest": progress.lowest,
            "waited": progress.waited,
        }

    def step_ended(self, training: Training) -> None:
        """Evaluate all frames if it is time, and write the checkpoint if it is one of the best."""
        step, graph = training.step, training.graph
        if not self.due(step):
            return
        best, errors = self.run(step, graph.evaluation.predict)
        training.report_evaluated(validation=True)
        training.notify("validated", training, errors)
        if best and self._ranks.leads:
            training.notify("sync")
            path = graph.checkpoints.save_beside(
                graph.session,
                self.prefix,
                step,
                training.state(),
                self.best_steps,
                self.superseded,
            )
            self.saved(path, step)

    def sync(self) -> None:
        """Wait until all rows are on disk."""
        if self._ranks.leads:
            self.table.sync()

    def close(self) -> None:
        """Close the table."""
        self.table.close()

    def ended(self, training: Training) -> None:
        """Log why training was stopped, if it was."""
        if not self.stops:
            return
        value, step = self.progress.lowest
        log.info(
            "early stopping after step %d: in %d full validations %s has not fallen below its "
            "value of step %d, %s%s",
            training.step,
            self.progress.waited,
            self.config.validation_metric,
            step,
            self.words(value),
            f"; the best checkpoint is {self.prefix}-{self.best_steps[0]}"
            if self.config.save_best
            else "",
        )

    def due(self, step: int) -> bool:
        """Whether all frames are to be evaluated after this step."""
        return step >= self.start and (step - self.start) % self.config.validation_freq == 0

    def errors(self, predict: Predict) -> Errors:
        """Errors over all frames of all systems.

        Parameters
        ----------
        predict
            Gives what the quantities compare of a batch.
        """
        errors, ranks, number = Errors(self._quantities), self._ranks, 0
        for index, system in enumerate(self.data.systems):
            for batch in system.batches(max_atoms=ATOMS_AT_ONCE, system=index):
                number += 1
                if number % ranks.size != ranks.rank:
                    continue
                prediction = predicted(self.data, batch, predict)
                if not all(np.isfinite(array).all() for array in prediction.values()):
                    raise TrainingError(
                        "validating: the model gives numbers that are not finite for "
                        f"{place(self.data, batch)} (counted from 0); the learning rate may be too "
                        "high. Checkpoints written before are intact"
                    )
                add_errors(errors, self.data, batch, prediction)
        total = Errors(self._quantities)
        for sums in ranks.objects([*errors.values()]):
            total += dict(zip(self._quantities, sums, strict=True))
        return total

    def run(self, step: int, predict: Predict) -> tuple[bool, dict[str, float]]:
        """Evaluate all frames and write a row.

        Returns
        -------
        bool
            Whether the checkpoint is to be kept, as one of the best.
        dict
            The errors by names as ``E:MAE``, in eV, eV/Å and eV/Å³; nan where there is no label.

        Raises
        ------
        TrainingError
            If the metric is not a number.
        """
        errors = self.errors(predict)
        value = self._value(errors)
        if not math.isfinite(value):
            raise TrainingError(
                f"validating: {self.config.validation_metric} is not a number after step {step}; "
                "the learning rate may be too high. Checkpoints written before are intact"
            )
        if self._ranks.leads:
            self.table.append(self._row(step, errors))
        named = self._named(errors)
        words = ", ".join(f"{name} = {value:8.2e}" for name, value in named.items())
        log.info("Batch %7d: full validation: %s", step, words)
        return self._rank(value, step) and self.config.save_best, named

    @property
    def best_steps(self) -> list[int]:
        """Steps of the best checkpoints, the best first."""
        return [step for _, step in self.progress.best]

    def saved(self, path: Path, step: int) -> None:
        """Record that the checkpoint of this step is among the best, and was written."""
        value = dict((s, v) for v, s in self.progress.best)[step]
        name = f"{self.config.validation_metric} = {self.words(value)}"
        self.table.append(f"# saved best checkpoint: {path} ({name})")
        log.info("saved best checkpoint %s with %s", path, name)

    @property
    def stops(self) -> bool:
        """Whether early stopping ends the training."""
        return has_stopped(self.config, self.state())

    def words(self, value: float) -> str:
        """A value of the metric with its unit."""
        return f"{significant(1000 * value)} {self.quantity.log_unit}"

    def _value(self, errors: Errors) -> float:
        measure = self.config.validation_metric.partition(":")[2]
        return getattr(errors[self.quantity], measure.lower())

    def _rank(self, value: float, step: int) -> bool:
        """Whether it is among the best."""
        progress = self.progress
        if value < progress.lowest[0] - self.config.early_stop_min_delta:
            progress.lowest, progress.waited = (value, step), 0
        else:
            progress.waited += 1
        ranked = sorted([*progress.best, (value, step)])
        progress.best = ranked[: self.config.max_best_ckpt]
        self.superseded = [s for _, s in ranked[self.config.max_best_ckpt :]]
        return (value, step) in progress.best

    def _require_labels(self) -> None:
        label = self.quantity.label
        periodic = label == fields.VIRIAL.name
        systems = self.data.systems
        if not any(any(s.has(label)) and (s.pbc or not periodic) for s in systems):
            kind = "periodic validation system" if periodic else "validation system"
            raise InputError(
                f"validating.validation_metric is {self.config.validation_metric}, but no {kind} "
                f"has {label}.npy; add the file, or take another metric"
            )

    def _header(self) -> str:
        cells = [f"# {'step':^{self._width}}"]
        for quantity in self._columns:
            for kind in ("MAE", "RMSE"):
                title = f"{quantity.symbol}_{kind}({quantity.log_unit})"
                cells.append(f"{title:^{WIDTH}}")
        return "   ".join(cells) + "\n" + NOTE

    def _row(self, step: int, errors: Errors) -> str:
        cells = [f"  {step:^{self._width}}"]
        cells += [f"{significant(1000 * v):^{WIDTH}}" for v in self._named(errors).values()]
        return "   ".join(cells)

    def _named(self, errors: Errors) -> dict[str, float]:
        return {
            f"{q.symbol}:{kind}": getattr(errors[q], kind.lower())
            for q in self._columns
            for kind in ("MAE", "RMSE")
        }


def predicted(data: DataSystems, batch: Batch, predict: Predict) -> Mapping[str, np.ndarray]:
    """What a model gives for a batch of one of the systems.

    Raises
    ------
    DataError
        When a frame cannot be evaluated.
    """
    with NamedFaults(data, batch):
        return predict(batch)


def add_errors(
    errors: Errors, data: DataSystems, batch: Batch, prediction: Mapping[str, np.ndarray]
) -> None:
    """Add what :func:`predicted` gives, beside the labels of the batch."""
    real_types = data.systems[batch.system].real_types
    for part, found in batch.uniform(prediction):
        natoms = int(part.natoms[0])
        errors.add(Evaluated(found, part.arrays, natoms, part.periodic, real_types=real_types))


def has_stopped(config: Validating, state: Mapping[str, Any] | None) -> bool:
    """Whether early stopping has ended, or ends, a training.

    Parameters
    ----------
    config
        The section ``validating``.
    state
        What :meth:`FullValidation.state` gave; None: there was no full validation.
    """
    patience = config.early_stop_patience
    if not patience or state is None or state["metric"] != config.validation_metric:
        return False
    return state["waited"] >= patience


def significant(value: float) -> str:
    """A number with five significant digits, without an exponent unless it is tiny."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = DIGITS - math.floor(math.log10(abs(value))) - 1
    if decimals > 16:
        return f"{value:.{DIGITS - 1}e}"
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def require_symbol(kind: Kind, symbol: str) -> Quantity:
    """The quantity of a kind of model that is called ``symbol`` in ``validation_metric``.

    Raises
    ------
    InputError
        If there is none.
    """
    for quantity in kind.quantities:
        if quantity.symbol == symbol:
            return quantity
    raise InputError(
        f"validating.validation_metric: {kind.words} has no error that is called {symbol}; remove "
        "full_validation"
    )
