# SPDX-License-Identifier: BSD-3-Clause
"""The training loop."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepmd_tf.config import TrainingConfig
from deepmd_tf.config.learning_rate import LearningRate
from deepmd_tf.data import Batch
from deepmd_tf.errors import TrainingError
from deepmd_tf.parallel import Ranks
from deepmd_tf.training.bad_batch import explain_loss, refusal, refused_batches
from deepmd_tf.training.batches import TrainingBatches
from deepmd_tf.training.bias import adjust_bias
from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.faults import NamedFaults
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.interrupt import EXIT_SIGNAL, EXIT_TIME, Deadline, Interrupt
from deepmd_tf.training.neighbor_counts import DataStatistics
from deepmd_tf.training.observer import Observer
from deepmd_tf.training.pace import Pace
from deepmd_tf.training.record import Record
from deepmd_tf.training.tracing import Tracing

log = logging.getLogger(__name__)

REFRESH_STEPS = 1000
"""At multiples of this the embedding table is fitted to the weights, besides at checkpoints."""


class Trainer:
    """Trains, and tells observers.

    A step trains on a batch, evaluates the errors to display if it is a multiple of ``disp_freq``,
    and has a checkpoint written if it is a multiple of ``save_freq``. The errors before the first
    step are displayed as well.

    Parameters
    ----------
    graph
        Built and opened.
    lr
        Learning rate as a function of the step.
    batches
        What is trained on.
    num_steps
        Steps of the whole training.
    statistics
        What the model was built with; saved with the checkpoints.
    observers
        Are notified in this order. What is displayed, validated and written is up to them.
    tracing
        Records some of the steps; None: never.
    """

    def __init__(
        self,
        graph: TrainingGraph,
        lr: LearningRate,
        batches: TrainingBatches,
        num_steps: int,
        statistics: DataStatistics,
        observers: Sequence[Observer] = (),
        tracing: Tracing | None = None,
    ) -> None:
        self.graph = graph
        self.lr = lr
        self.batches = batches
        self.num_steps = num_steps
        self.statistics = statistics
        self.observers = tuple(observers)
        self.tracing = tracing
        self.step = 0
        self._pace = Pace(self.ranks)
        self._deadline = Deadline(None)
        self._checked = self._saved = -1

    @property
    def ranks(self) -> Ranks:
        """The processes that train together."""
        return self.graph.sharing.ranks

    @property
    def config(self) -> TrainingConfig:
        """Section ``training`` of the input script."""
        return self.graph.config.training

    def notify(self, event: str, *arguments: Any) -> None:
        """Call this method of all observers, see :class:`~deepmd_tf.training.observer.Observer`."""
        for observer in self.observers:
            getattr(observer, event)(*arguments)

    def begin(self) -> None:
        """Start at step 0."""
        self.batches.begin()
        self.notify("open", self)
        if self.config.disp_training:
            self._display(self.batches.next)

    def resume(self, step: int, state: dict[str, Any] | None, *, saved: bool = False) -> None:
        """Continue after ``step`` steps.

        Parameters
        ----------
        step
            Steps done.
        state
            As :meth:`state` returned it; None for a checkpoint that has none, the order of the data
            then begins anew.
        saved
            Whether the checkpoint is the one that would be written now.
        """
        self.step = step
        self._saved = step if saved else -1
        self.batches.resume(state)
        state = state or {}
        self._tell_of_ranks(state.get("ranks", 1))
        directions = self.graph.step.directions
        if directions is not None and state.get("hessian") is not None:
            directions.set_state(state["hessian"])
        for observer in self.observers:
            key = observer.state_key
            observer.open(self, step, None if key is None else state.get(key))

    def _tell_of_ranks(self, before: int) -> None:
        """Say what it means that the checkpoint is of another number of processes, if it is."""
        if before == self.ranks.size:
            return
        grows = self.config.batch_size_per == "process"
        log.log(
            logging.WARNING if grows else logging.INFO,
            "the checkpoint is of a training on %d process(es), and this one has %d: %s",
            before,
            self.ranks.size,
            "steps have another number of frames, and the numbers are not those of an "
            "uninterrupted training"
            if grows
            else "the numbers are those of an uninterrupted training up to rounding",
        )

    def share_order(self) -> None:
        """Let all ranks draw the batches, and the directions of Hessians, that rank 0 draws."""
        if self.ranks.size == 1:
            return
        directions = self.graph.step.directions
        drawn = self.ranks.shared(
            (self.batches.order(), directions.get_state() if directions else None)
        )
        self.batches.set_order(drawn[0])
        if directions is not None and drawn[1] is not None:
            directions.set_state(drawn[1])

    def close(self) -> None:
        """Close the files."""
        self.notify("close")
        if self.tracing is not None:
            self.tracing.close()

    def state(self) -> dict[str, Any]:
        """State for an exact restart, besides the variables of the checkpoint."""
        directions = self.graph.step.directions
        return {
            **self.batches.state(),
            "graph": self.graph.state.get_local(),
            "hessian": None if directions is None else directions.get_state(),
            # files of earlier versions have this name
            "setup": self.statistics.to_dict(),
            "full_validation": None,
            **({} if self.ranks.size == 1 else {"ranks": self.ranks.size}),
            **{o.state_key: o.state() for o in self.observers if o.state_key is not None},
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
        self._deadline = deadline or self._deadline
        if self._deadline.passed:
            raise TrainingError(
                "the time limit was reached before the first step of this run; nothing was "
                "trained. Allow more time than it takes to start"
            )
        with Interrupt() as interrupt:
            self._loop(interrupt)
            if self.step != self._saved:
                # Not when interrupted: an uninterrupted training keeps the table at that step.
                if self._finished:
                    self.graph.state.refresh_table()
                    if self.config.change_bias_after_training:
                        adjust_bias(self.graph, self.batches.training)
                self._save()
        self.notify("ended", self)
        if self._finished:
            return 0
        received = interrupt.received
        log.warning(
            "stopped by %s after step %d; go on with --restart %s",
            "the time limit" if received is None else received.name,
            self.step,
            self.config.save_ckpt,
        )
        return EXIT_TIME if received is None else EXIT_SIGNAL + int(received)

    def report_evaluated(self, *, validation: bool) -> None:
        """Pass on the diagnostics of batches that were evaluated, not trained on."""
        found = self.graph.evaluation.pop_diagnostics()
        for other in self.ranks.objects(found)[1:]:
            found = other if found is None else found if other is None else found.join(other)
        if found is not None:
            self.notify("evaluated", self, found, validation)

    def _loop(self, interrupt: Interrupt) -> None:
        config, first, deadline = self.config, self.step, self._deadline
        if self.tracing is not None:
            self.tracing.begin(first, self.num_steps)
        self.notify("began", self)
        while not self._finished:
            if self._stops(interrupt, self.step > first and deadline.reached):
                break
            tic, waited = time.perf_counter(), self.ranks.waited
            batch = self.batches.next
            diagnostics = self._train(batch, self.lr(self.step))
            seconds = time.perf_counter() - tic
            self._pace.step_took(seconds, self.ranks.waited - waited)
            self.step += 1
            self.batches.advance()
            self.notify("updated", self, diagnostics, seconds)
            if config.disp_training and self.step % config.disp_freq == 0:
                self._display(batch)
            self.notify("step_ended", self)
            deadline.step_took(time.perf_counter() - tic)
            saves = config.save_freq > 0 and self.step % config.save_freq == 0
            if saves or self.step % REFRESH_STEPS == 0:
                self.graph.state.refresh_table()
            # the last one has the changed bias
            if saves and not (self._finished and config.change_bias_after_training):
                self._save()

    def _stops(self, interrupt: Interrupt, late: bool) -> bool:
        """Whether all ranks stop here: one of them has got a signal, or rank 0 has no more time."""
        if self.ranks.size == 1:
            return interrupt.received is not None or late
        signals, late_ones = self.ranks.rows(np.array([interrupt.received or 0, late])).T
        if signals.any():
            interrupt.received = interrupt.received or signal.Signals(int(signals[signals > 0][0]))
        return bool(signals.any() or late_ones[0])

    def _train(self, batch: Batch, lr: np.float32) -> Diagnostics:
        with refused_batches(self.graph, self.step + 1, self.batches.training, batch, lr):
            if self.tracing is not None:
                traced = self.tracing.train(self.graph, batch, lr, self.step)
                if traced is not None:
                    return traced
            observers = [o for o in self.observers if o.wants_errors(self.step)]
            if not observers:
                return self.graph.step.train(batch, lr)
            diagnostics, errors = self.graph.step.train_and_measure(batch, lr)
            for observer in observers:
                observer.measured(self, errors, float(lr))
            return diagnostics

    def _display(self, batch: Batch) -> None:
        """Evaluate the training batch and validation batches for a row of the learning curve."""
        lr = self.lr(self.step)
        errors = self._evaluate(batch, lr)
        record = Record(self.step, float(lr), errors, self._evaluate_validation(lr))
        self.notify("displayed", self, record)
        self._checked = self.step

    def _evaluate(
        self, batch: Batch, lr: np.float32, *, validation: bool = False
    ) -> dict[str, float]:
        data = self.batches.training
        if validation and self.batches.validation is not None:
            data = self.batches.validation
        with NamedFaults(data, self.graph.sharing.part(batch)):
            errors = self.graph.evaluation.evaluate(batch, lr)
        self.report_evaluated(validation=validation)
        if not math.isfinite(errors["rmse"]):
            what = f"with the weights of now, {explain_loss(self.graph.loss, batch, errors)}"
            raise refusal(self.graph, self.step, what, data, batch)
        return errors

    def _evaluate_validation(self, lr: np.float32) -> dict[str, float] | None:
        """Errors averaged over validation batches, weighted by the number of atoms."""
        if self.batches.validation is None:
            return None
        batches = self.batches.draw_validation()
        natoms = [float(batch.sizes.mean()) for batch in batches]
        errors = [self._evaluate(batch, lr, validation=True) for batch in batches]
        return {
            column: sum(e[column] * n for e, n in zip(errors, natoms, strict=True)) / sum(natoms)
            for column in errors[0]
        }

    @property
    def _finished(self) -> bool:
        """Whether the last step is done, or an observer ends the training early."""
        return self.step == self.num_steps or any(o.stops for o in self.observers)

    def _save(self) -> None:
        begin = time.perf_counter()
        if self.batches.last is not None and self._checked != self.step:
            # weights that are not numbers must not replace a good checkpoint
            self._evaluate(self.batches.last, self.lr(self.step))
            self._checked = self.step
        if different := self.graph.state.differs(self.ranks):
            log.warning(
                "step %d: the weights of %s are not those of %s, which all take; processors of "
                "different kinds round differently",
                self.step,
                ", ".join(map(self.ranks.name, different)),
                self.ranks.name(0),
            )
            self.graph.state.share(self.ranks)
        self.notify("sync")
        self.notify("save", self)
        self._saved = self.step
        self._deadline.saving_took(time.perf_counter() - begin)
