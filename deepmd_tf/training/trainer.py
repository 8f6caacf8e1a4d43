# SPDX-License-Identifier: BSD-3-Clause
"""The training loop."""

from __future__ import annotations

import datetime
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepmd_tf.config.learning_rate import LearningRate
from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.errors import DataError, TrainingError
from deepmd_tf.model.bias import adjusted_bias
from deepmd_tf.training.bad_batch import explain_gradient, explain_loss, refusal
from deepmd_tf.training.data_statistics import DataStatistics
from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.faults import NamedFaults
from deepmd_tf.training.gradient_step import NotFinite
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.interrupt import EXIT_SIGNAL, EXIT_TIME, Deadline, Interrupt
from deepmd_tf.training.lcurve import LearningCurve
from deepmd_tf.training.progress import TrainingProgress
from deepmd_tf.training.record import Record, timing_message
from deepmd_tf.training.tensorboard import TEST, TRAIN, TensorBoard
from deepmd_tf.training.tracing import Tracing
from deepmd_tf.training.validation import FullValidation

log = logging.getLogger(__name__)

REFRESH_STEPS = 1000
"""At multiples of this the embedding table is fitted to the weights, besides at checkpoints."""
BIAS_ATOMS_AT_ONCE = 10_000
"""Atoms in one evaluation when the energy bias is adjusted."""


@dataclass
class Stopwatch:
    """Time spent in training steps, display and checkpoints left out."""

    steps: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains, displays, and writes checkpoints.

    A step draws a training batch, updates the weights, shows the errors if it is a multiple of
    ``disp_freq``, and writes a checkpoint if it is a multiple of ``save_freq``. The errors before
    the first step are shown as well.

    Parameters
    ----------
    graph
        Built and opened.
    lr
        Learning rate as a function of the step.
    training_data, validation_data
        Where batches come from; no validation data: None.
    num_steps
        Steps of the whole training.
    setup
        What the model was built with; kept with the checkpoints.
    full_validation
        Evaluates all validation data at some steps; None: never.
    """

    def __init__(
        self,
        graph: TrainingGraph,
        lr: LearningRate,
        training_data: DataSystems,
        validation_data: DataSystems | None,
        num_steps: int,
        setup: DataStatistics,
        full_validation: FullValidation | None = None,
    ) -> None:
        self.graph = graph
        self.lr = lr
        self.training_data = training_data
        self.validation_data = validation_data
        self.num_steps = num_steps
        self.setup = setup
        self.full_validation = full_validation
        self.config = graph.config.training
        self.curve = LearningCurve(
            self.config.disp_file, graph.loss.columns, validation_data is not None
        )
        self.step = 0
        self._deadline = Deadline(None)
        self._next: Batch | None = None
        self._last: Batch | None = None
        self._checked = self._saved = -1
        self._table: tuple[int, bool] | None = None
        self.tensorboard = (
            TensorBoard(self.config.tensorboard_log_dir, self.config.tensorboard_freq)
            if self.config.tensorboard
            else None
        )
        self.tracing = (
            Tracing(
                self.config.profiling_file if self.config.profiling else None,
                self.config.tensorboard_log_dir if self.config.enable_profiler else None,
            )
            if self.config.profiling or self.config.enable_profiler
            else None
        )
        self._watch = _Watch(graph.type_map, graph.config.model.descriptor.sel)

    def begin(self) -> None:
        """Start at step 0."""
        self._next = self._first_batch()
        self.curve.open()
        if self.full_validation is not None:
            self.full_validation.open()
        if self.tensorboard is not None:
            self.tensorboard.open(self.graph.runner.graph)
        if self.config.disp_training:
            self._last = self._next
            with TrainingProgress(self.num_steps) as bar:
                self._display(bar)

    def resume(self, step: int, state: dict[str, Any] | None, *, saved: bool = False) -> None:
        """Go on after ``step`` steps.

        Parameters
        ----------
        step
            Steps done.
        state
            As :meth:`state` gave it; None for a checkpoint that has none, the order of the data
            then begins anew.
        saved
            Whether the checkpoint is the one that would be written now.
        """
        self.step = step
        self._saved = step if saved else -1
        self._next = self._next_after(state)
        directions = None if state is None else state.get("hessian")
        if directions is not None and self.graph.step.directions is not None:
            self.graph.step.directions.set_state(directions)
        self.curve.open(after_step=step)
        if self.full_validation is not None:
            saved = None if state is None else state.get("full_validation")
            self.full_validation.open(step, saved)
        if self.tensorboard is not None:
            self.tensorboard.open(self.graph.runner.graph, step)

    def close(self) -> None:
        """Close the files."""
        self.curve.close()
        if self.full_validation is not None:
            self.full_validation.table.close()
        if self.tensorboard is not None:
            self.tensorboard.close()
        if self.tracing is not None:
            self.tracing.close()

    def refresh_table(self) -> None:
        """Fit the embedding table to the present weights, and report its error if it changed."""
        report = self.graph.state.refresh_table()
        if report is None or (report.nodes, report.accurate) == self._table:
            return
        self._table = (report.nodes, report.accurate)
        log.info(
            "embedding table: %d nodes, largest relative error %.1e", report.nodes, report.error
        )
        if not report.accurate:
            log.warning("this error is more than the tolerance, %.0e", report.tolerance)

    def state(self) -> dict[str, Any]:
        """What an exact continuation needs besides the variables of the checkpoint."""
        validation, full = self.validation_data, self.full_validation
        directions = self.graph.step.directions
        return {
            "training_data": self.training_data.get_state(),
            "validation_data": None if validation is None else validation.get_state(),
            "next_batch": self._next.origin(),
            "graph": self.graph.state.get_local(),
            "hessian": None if directions is None else directions.get_state(),
            "setup": self.setup.to_dict(),
            "full_validation": None if full is None else full.state(),
        }

    def run(self, deadline: Deadline | None = None) -> int:
        """Train until the last step, until early stopping, SIGINT, SIGTERM or the deadline.

        In all cases the last thing done is to write a checkpoint.

        Parameters
        ----------
        deadline
            When to stop; one step is made in any case.

        Returns
        -------
        int
            0, or if training has ended early, 128 + the number of the signal or
            :data:`~deepmd_tf.training.interrupt.EXIT_TIME`.

        Raises
        ------
        TrainingError
            If loss or gradient of a batch is not finite. The step is not made, the batch is kept,
            and the checkpoints written so far remain. Or if there is no time for a step.
        CheckpointError
            If a checkpoint cannot be written.
        DataError
            If a frame cannot be evaluated.
        """
        log.info(
            "start training at lr %.2e (== %.2e), final lr will be %.2e",
            self.lr(self.step),
            self.lr(self.step),
            self.lr(self.num_steps),
        )
        first = self.step
        self._deadline = deadline or self._deadline
        if self._deadline.passed:
            raise TrainingError(
                "the time limit was reached before the first step of this run; nothing was "
                "trained. Allow more time than it takes to start"
            )
        with Interrupt() as interrupt, TrainingProgress(self.num_steps, first) as bar:
            watch = self._loop(interrupt, bar)
            if self.step != self._saved:
                # Not when interrupted: an uninterrupted training keeps the table at that step.
                if self._finished:
                    self.refresh_table()
                    if self.config.change_bias_after_training:
                        self.adjust_bias()
                self._save()
        self._watch.finish()
        self._report(first, watch)
        if self._stops:
            self._tell_stop()
            return 0
        if self.step == self.num_steps:
            return 0
        received = interrupt.received
        log.warning(
            "stopped by %s after step %d; go on with --restart %s",
            "the time limit" if received is None else received.name,
            self.step,
            self.config.save_ckpt,
        )
        return EXIT_TIME if received is None else EXIT_SIGNAL + int(received)

    def _loop(self, interrupt: Interrupt, bar: TrainingProgress) -> Stopwatch:
        config, first = self.config, self.step
        if self.tracing is not None:
            self.tracing.begin(first, self.num_steps)
        warm_up = config.disp_freq if self.num_steps - first >= 2 * config.disp_freq else 0
        total, interval = Stopwatch(), time.monotonic()
        deadline = self._deadline
        while self.step < self.num_steps and interrupt.received is None and not self._stops:
            if self.step > first and deadline.reached:
                break
            batch = self._last = self._next
            tic = time.perf_counter()
            diagnostics = self._train(batch, self.lr(self.step))
            toc = time.perf_counter()
            self.step += 1
            self._next = self.training_data.get_batch()
            if self.step - first > warm_up:
                total.steps += 1
                total.seconds += toc - tic
            self._watch.check(self.step, diagnostics)
            self._watch.count(diagnostics)
            bar.update(self.step)
            if self.step % config.disp_freq == 0:
                if config.disp_training:
                    self._display(bar)
                now = time.monotonic()
                if config.disp_training and config.time_training:
                    self._log_timing(now - interval, min(config.disp_freq, self.step - first))
                interval = now
            if self.full_validation is not None and self.full_validation.due(self.step):
                self._validate_fully(self.full_validation)
            deadline.step_took(time.perf_counter() - tic)
            saves = config.save_freq > 0 and self.step % config.save_freq == 0
            if saves or self.step % REFRESH_STEPS == 0:
                self.refresh_table()
            # the last one has the changed bias
            if saves and not (self._finished and config.change_bias_after_training):
                self._save()
        return total

    def _train(self, batch: Batch, lr: np.float32) -> Diagnostics:
        try:
            with NamedFaults(self.training_data, batch):
                return self._make_step(batch, lr)
        except NotFinite as found:
            if math.isfinite(found.loss):
                what = explain_gradient(found.weights)
            else:
                # the weights are those before the step, and so are these errors
                what = explain_loss(
                    self.graph.loss, batch, self.graph.evaluation.evaluate(batch, lr)
                )
            raise self._refusal(self.step + 1, what, self.training_data, batch) from None

    def _make_step(self, batch: Batch, lr: np.float32) -> Diagnostics:
        if self.tracing is not None:
            traced = self.tracing.train(self.graph, batch, lr, self.step)
            if traced is not None:
                return traced
        if self.tensorboard is None or not self.tensorboard.due(self.step):
            return self.graph.step.train(batch, lr)
        diagnostics, errors = self.graph.step.train_and_measure(batch, lr)
        self.tensorboard.write(TRAIN, self.step, {**errors, "lr": float(lr)})
        return diagnostics

    def _first_batch(self) -> Batch:
        """Two are drawn, and the first of them is not used: the order of the data is then that of
        DeePMD-kit for the same seed."""
        self.training_data.get_batch()
        return self.training_data.get_batch()

    def _next_after(self, state: dict[str, Any] | None) -> Batch:
        """The batch that follows a checkpoint, the data set to what follows that."""
        if state is None:
            return self._first_batch()
        # training data last: the random generator, which both share, is then as it was
        if self.validation_data is not None and state["validation_data"] is not None:
            _go_on(self.validation_data, state["validation_data"], "validation")
        if not _go_on(self.training_data, state["training_data"], "training"):
            return self.training_data.get_batch()
        # read again: the loss may have terms by now whose labels were not asked for then
        return self.training_data.pick(**state["next_batch"])

    def _display(self, bar: TrainingProgress) -> None:
        lr = self.lr(self.step)
        errors = self._evaluate(self.training_data, self._last, lr)
        record = Record(self.step, float(lr), errors, self._validate(lr))
        self.curve.write(record)
        if self.tensorboard is not None:
            if record.validation is not None:
                self.tensorboard.write(TEST, self.step, record.validation)
            self.tensorboard.flush()
        for line in record.messages():
            log.info(line)
        bar.show(record.summary())
        self._checked = self.step

    def _evaluate(self, data: DataSystems, batch: Batch, lr: np.float32) -> dict[str, float]:
        with NamedFaults(data, batch):
            errors = self.graph.evaluation.evaluate(batch, lr)
        self._look(data is self.validation_data)
        if not math.isfinite(errors["rmse"]):
            what = explain_loss(self.graph.loss, batch, errors)
            raise self._refusal(self.step, f"with the weights of now, {what}", data, batch)
        return errors

    def _refusal(self, step: int, what: str, data: DataSystems, batch: Batch) -> TrainingError:
        newest = self.graph.checkpoints.newest
        return refusal(step, what, data, batch, self.config.save_ckpt, newest)

    def _look(self, validation: bool) -> None:
        """Warn of what was found in batches that were evaluated, not trained on."""
        found = self.graph.evaluation.pop_diagnostics()
        if found is not None:
            self._watch.check(self.step, found, ", validation" if validation else "")

    def _validate(self, lr: np.float32) -> dict[str, float] | None:
        """Errors averaged over validation batches, weighted by the number of atoms."""
        if self.validation_data is None:
            return None
        count = self.config.validation_data.numb_btch
        batches = [self.validation_data.get_batch() for _ in range(count)]
        natoms = [float(batch.sizes.mean()) for batch in batches]
        errors = [self._evaluate(self.validation_data, batch, lr) for batch in batches]
        return {
            column: sum(e[column] * n for e, n in zip(errors, natoms, strict=True)) / sum(natoms)
            for column in errors[0]
        }

    @property
    def _finished(self) -> bool:
        return self.step == self.num_steps or self._stops

    @property
    def _stops(self) -> bool:
        return self.full_validation is not None and self.full_validation.stops

    def _validate_fully(self, full: FullValidation) -> None:
        keeps, errors = full.run(self.step, self.graph.evaluation.predict)
        self._look(validation=True)
        if self.tensorboard is not None:
            self.tensorboard.write(TEST, self.step, errors)
        if keeps:
            graph = self.graph
            self._sync_tables()
            path = graph.checkpoints.save_beside(
                graph.session,
                full.prefix,
                self.step,
                self.state(),
                full.best_steps,
                full.superseded,
            )
            full.saved(path, self.step)

    def _tell_stop(self) -> None:
        full = self.full_validation
        value, step = full.progress.lowest
        log.info(
            "early stopping after step %d: in %d full validations %s has not fallen below its "
            "value of step %d, %s%s",
            self.step,
            full.progress.waited,
            full.config.validation_metric,
            step,
            full.words(value),
            f"; the best checkpoint is {full.prefix}-{full.best_steps[0]}"
            if full.config.save_best
            else "",
        )

    def adjust_bias(self) -> None:
        """Adjust the energy bias to the first ``data_bias_nsample`` frames of each training
        system."""
        data, limit = self.training_data, self.graph.config.model.data_bias_nsample
        with NamedFaults(data) as faults:
            new = adjusted_bias(
                self.graph.state.get_bias(),
                faults.watch(
                    batch
                    for index, system in enumerate(data.systems)
                    for batch in system.batches(
                        max_atoms=BIAS_ATOMS_AT_ONCE, limit=limit, system=index
                    )
                ),
                lambda batch: self.graph.evaluation.predict(batch)["energy"],
                type_map=self.graph.type_map,
            )
        self.graph.state.set_bias(new)

    def _save(self) -> None:
        begin = time.perf_counter()
        if self._last is not None and self._checked != self.step:
            # weights that are not numbers must not replace a good checkpoint
            self._evaluate(self.training_data, self._last, self.lr(self.step))
            self._checked = self.step
        self._sync_tables()
        self.graph.checkpoints.save(self.graph.session, self.step, self.state())
        self._saved = self.step
        self._deadline.saving_took(time.perf_counter() - begin)
        log.info("saved checkpoint %s", self.config.save_ckpt)

    def _sync_tables(self) -> None:
        """A checkpoint that is on disk has all rows up to its step there, too."""
        self.curve.sync()
        if self.full_validation is not None:
            self.full_validation.table.sync()

    def _log_timing(self, seconds: float, steps: int) -> None:
        remaining = int((self.num_steps - self.step) / max(1, steps) * seconds)
        now = datetime.datetime.now().astimezone()
        log.info(timing_message(self.step, seconds, remaining, now))

    def _report(self, first: int, watch: Stopwatch) -> None:
        if not self.config.time_training or not watch.steps:
            return
        excluded = self.step - first - watch.steps
        note = f" (exclude first {excluded} batches)" if excluded else ""
        log.info("average training time: %.4f s/batch%s", watch.seconds / watch.steps, note)


class _Watch:
    """Warns of dropped neighbours and of atoms too close for the table, when it gets worse."""

    def __init__(self, type_map: Sequence[str] | None, sel: Sequence[int]) -> None:
        self._sel = np.asarray(sel)
        self._names = list(type_map or map(str, range(len(sel))))
        self._worst = np.array(sel, dtype=np.int64)
        self._outside = 0
        self._steps = 0
        self._count = 0

    def check(self, step: int, found: Diagnostics, where: str = "") -> None:
        """Look at the diagnostics after a step, of something else than its batch if ``where``."""
        if found.dropped.any():
            self._dropped(f"step {step}{where}", found)
        if found.outside > self._outside:
            self._outside = int(found.outside)
            log.warning(
                "step %d%s: %d pairs are closer than the embedding table reaches; their embedding "
                "is extrapolated",
                step,
                where,
                self._outside,
            )

    def count(self, found: Diagnostics) -> None:
        """Count what a training step has left out."""
        self._steps += bool(found.dropped.any())
        self._count += int(found.dropped.sum())

    def finish(self) -> None:
        """Tell what was counted, if anything."""
        if self._count:
            log.warning(
                "in %d steps %d neighbours were beyond sel and left out; sel is %s, at least %s "
                "is needed",
                self._steps,
                self._count,
                self._sel.tolist(),
                self._worst.tolist(),
            )

    def _dropped(self, where: str, found: Diagnostics) -> None:
        for t in np.flatnonzero((found.dropped > 0) & (found.max_found > self._worst)):
            log.warning(
                "%s: %d neighbours of type %s are beyond sel and were left out; sel[%d] is %d, at "
                "least %d is needed",
                where,
                found.dropped[t],
                self._names[t],
                t,
                self._sel[t],
                found.max_found[t],
            )
        self._worst = np.maximum(self._worst, found.max_found)


def _go_on(data: DataSystems, state: dict[str, Any], name: str) -> bool:
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
