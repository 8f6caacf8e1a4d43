# SPDX-License-Identifier: BSD-3-Clause
"""``dp train``, from the input script to the last checkpoint.

The phases are: read the input script and the initial state; open the data; see whether anything is
left to train; measure the data; build graph and trainer; train.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepmd_tf.config import Config
from deepmd_tf.config.learning_rate import schedule
from deepmd_tf.data import DataSystems
from deepmd_tf.errors import InputError
from deepmd_tf.files import write_whole
from deepmd_tf.graph.checkpoint import Checkpoints, read_step
from deepmd_tf.graph.checkpoint_files import file_of
from deepmd_tf.graph.session import start_threads
from deepmd_tf.log import told_if_slow
from deepmd_tf.losses import TermLoss, make_loss
from deepmd_tf.model.energy import Statistics
from deepmd_tf.model.kinds import kind_of, make_model
from deepmd_tf.pair_table import Coefficients
from deepmd_tf.parallel import Ranks, joined
from deepmd_tf.parallel.processors import share_processors
from deepmd_tf.training.agreement import require_same_input
from deepmd_tf.training.batches import TrainingBatches
from deepmd_tf.training.bias import adjust_bias
from deepmd_tf.training.data_statistics import measure_statistics
from deepmd_tf.training.diagnostics_log import DiagnosticsLog
from deepmd_tf.training.dry_run import describe, rehearse
from deepmd_tf.training.final import FinalErrors
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.hessian import HessianPlan, plan_hessians, require_hessian_mode
from deepmd_tf.training.initial_state import (
    InitialState,
    find_initial_state,
    read_script,
    require_finetunable,
)
from deepmd_tf.training.interrupt import Deadline
from deepmd_tf.training.lcurve import LearningCurve
from deepmd_tf.training.lock import held
from deepmd_tf.training.neighbor_counts import (
    DataStatistics,
    measure_neighbors,
    saved_statistics,
    without_neighbors,
)
from deepmd_tf.training.observer import CheckpointWriter, Observer
from deepmd_tf.training.occurring import occurring_types
from deepmd_tf.training.open_data import OpenedData, open_data
from deepmd_tf.training.options import TrainOptions
from deepmd_tf.training.outputs import COMPAT_FILE, PlannedFile, planned_outputs, require_outputs
from deepmd_tf.training.pair_table import find_pair_tables, require_reached
from deepmd_tf.training.progress import ProgressLog
from deepmd_tf.training.read_members import ReadMembers, read_members
from deepmd_tf.training.shares import make_sharing, require_shareable
from deepmd_tf.training.summary import log_summary
from deepmd_tf.training.tensorboard import TensorBoard
from deepmd_tf.training.tracing import Tracing
from deepmd_tf.training.trainable import require_energies, require_trainable
from deepmd_tf.training.trainer import Trainer
from deepmd_tf.training.validation import FullValidation, has_stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """The training as the input script describes it.

    Attributes
    ----------
    options
        Of the command.
    initial
        The initial state.
    config
        The input script; later with the number of steps and ``sel`` filled in.
    layout
        The script as it was written, in the present layout.
    names_given
        ``model/type_map`` as it was written, maybe none.
    loss
        What is minimised.
    outputs
        Files that will be written.
    frozen
        What the files of frozen members hold.
    ranks
        The processes that train.
    """

    options: TrainOptions
    initial: InitialState
    config: Config
    layout: dict[str, Any]
    names_given: list[str]
    loss: TermLoss
    outputs: list[PlannedFile]
    frozen: ReadMembers
    ranks: Ranks

    @property
    def writes(self) -> bool:
        """Whether this process writes files: rank 0, unless it is a dry run."""
        return self.ranks.leads and not self.options.dry_run

    def write(self, path: str | os.PathLike[str], text: str) -> None:
        """Write a file, unless another process does, or it is a dry run."""
        if self.writes:
            write_whole(path, text)


@dataclass(frozen=True)
class Measured:
    """Measurements of the data before the model is built.

    Attributes
    ----------
    neighbors
        ``sel`` and the like.
    statistics
        Averages and biases; None when they come with the weights.
    type_map
        Names of the types, if there are any.
    pair_tables
        The tables of pair potentials, by the scope of the member.
    """

    neighbors: DataStatistics
    statistics: Statistics | dict[str, Statistics] | None
    type_map: list[str] | None
    pair_tables: dict[str, Coefficients]


def train(input_file: str | os.PathLike[str], **options: Any) -> int:
    """Train a model.

    Files are written into the working directory, under the names of the input script.

    Parameters
    ----------
    input_file
        Input script.
    **options
        The other attributes of :class:`TrainOptions`.

    Returns
    -------
    int
        0, or if training ended early, 128 + the number of the signal or 75 for ``max_time``.

    Raises
    ------
    DeepmdError
        For anything that the user can mend.
    """
    start = time.monotonic()
    asked = TrainOptions(input_file, **options)
    deadline = Deadline(asked.max_time)
    with ExitStack() as until_end:
        ranks = until_end.enter_context(joined())
        share_processors(ranks)
        start_threads()
        job = _read(asked, ranks, until_end)
        return _train(job, deadline, start)


def _train(job: Job, deadline: Deadline, start: float) -> int:
    """All phases after the first; the exit status."""
    data = open_data(job.config, job.loss, writes=job.writes, ranks=job.ranks)
    require_finetunable(job.initial, job.config, job.names_given, data.training, data.validation)
    job = replace(job, config=with_steps(job.config, data.training))
    if _is_done(job):
        return 0
    hessians = None if job.loss.hessian is None else plan_hessians(job.config, data.training)
    full_validation = _full_validation(job, data.validation)
    job, measured = _measure(job, data)
    graph = _build_graph(job, data, measured, hessians)
    trainer = _make_trainer(graph, data, measured, full_validation)
    try:
        if job.options.dry_run:
            _rehearse(job, trainer)
            return 0
        _initialise(trainer, job.initial)
        status = trainer.run(deadline)
    finally:
        trainer.close()
        graph.close()
    log.info("training ended early" if status else "finished training")
    log.info("wall time: %.3f s", time.monotonic() - start)
    return status


def _read(options: TrainOptions, ranks: Ranks, until_end: ExitStack) -> Job:
    """Read initial state and input script, and see that the files can be written.

    No other training writes them until ``until_end`` is closed, unless this is a dry run.
    """
    initial = find_initial_state(
        options.init_model, options.restart, options.init_frz_model, options.finetune
    )
    config, layout, names_given = read_script(
        options.input_file, initial, use_pretrain_script=options.use_pretrain_script
    )
    config, frozen = read_members(config)
    require_trainable(config, initial)
    initial.require_same_model(config, config.model.type_map)
    require_same_input(ranks, config, options, initial.checkpoint)
    outputs = planned_outputs(config, options.output)
    if ranks.leads:
        if not options.dry_run:
            until_end.enter_context(held(outputs))
        require_outputs(config, outputs, options.input_file, continues=initial.restart)
    kind = kind_of(config.model)
    if config.loss.type != kind.loss:
        raise InputError(
            f'loss.type is "{config.loss.type}", but a model with fitting_net.type '
            f'"{config.model.main.fitting_net.type}" is trained by the loss "{kind.loss}"'
        )
    require_energies(config, initial)
    loss = make_loss(config.loss, config.model.main)
    if loss.hessian is not None:
        require_hessian_mode(config)
    require_shareable(loss, ranks, dry_run=options.dry_run)
    return Job(options, initial, config, layout, names_given, loss, outputs, frozen, ranks)


def _is_done(job: Job) -> bool:
    """Whether a restart has nothing left to train; completes the files of its checkpoint then."""
    config, initial = job.config, job.initial
    checkpoint, state = initial.checkpoint, initial.state
    if not initial.restart or checkpoint is None:
        return False
    step, num_steps = read_step(checkpoint), config.training.steps
    if step >= num_steps:
        _complete(job, step)
        log.warning(
            "nothing is left to do: %s is of step %d, and the training has %d steps; give "
            "training/numb_steps a larger number to go on",
            checkpoint,
            step,
            num_steps,
        )
        return True
    if state is not None and has_stopped(config.validating, state.get("full_validation")):
        _complete(job, step)
        log.warning(
            "nothing is left to do: early stopping has ended the training of %s; to go on, give "
            "validating/early_stop_patience a larger number, or 0",
            checkpoint,
        )
        return True
    return False


def _complete(job: Job, step: int) -> None:
    """Links and list of the last checkpoint, if the training died while it wrote them."""
    training = job.config.training
    prefix = Path(training.save_ckpt)
    if job.writes and file_of(prefix, step) == job.initial.checkpoint:
        Checkpoints(prefix, training.max_ckpt_keep).complete(step)


def _full_validation(job: Job, data: DataSystems | None) -> FullValidation | None:
    config = job.config
    num_steps = config.training.steps
    start = config.validating.start_step(num_steps)
    if start is None or data is None:
        return None
    kind = kind_of(config.model)
    return FullValidation(
        config.validating, kind, start, num_steps, data, config.training.save_ckpt, job.ranks
    )


def _measure(job: Job, data: OpenedData) -> tuple[Job, Measured]:
    """Count neighbours and average over the data, unless both are known from the initial state.

    Returns the job with ``sel``, too.
    """
    config, initial, options = job.config, job.initial, job.options
    type_map = config.model.type_map or data.training.type_map
    ntypes = config.model.ntypes or data.training.ntypes
    pair_tables = find_pair_tables(
        config.model, type_map or (), ntypes, initial.saved, job.frozen.pair_tables
    )
    job.write(COMPAT_FILE, json.dumps(job.layout, indent=4))
    if initial.state is not None:
        neighbors = saved_statistics(initial.state, config, data.training)
    elif options.skip_neighbor_stat:
        neighbors = without_neighbors(config)
    else:
        neighbors = job.ranks.first(lambda: measure_neighbors(config, data.training, data.cache))
    require_reached(config.model, pair_tables, neighbors.min_nbor_dist)
    config = config.with_sel(neighbors.sel)
    initial.require_same_model(config, type_map)
    job.write(options.output, config.to_json(job.layout))
    log_summary(config, data.training, data.validation)
    statistics: Statistics | dict[str, Statistics] | None = None
    if not initial.has_weights:
        statistics = job.ranks.first(
            lambda: measure_statistics(config, data.training, type_map, data.cache)
        )
    return replace(job, config=config), Measured(neighbors, statistics, type_map, pair_tables)


def _build_graph(
    job: Job, data: OpenedData, measured: Measured, hessians: HessianPlan | None
) -> TrainingGraph:
    """Build and open the graph."""
    config, neighbors = job.config, measured.neighbors
    log.info("built lr")
    model = make_model(
        config.model,
        original_sel=job.initial.original_sel or job.frozen.original_sel or None,
        min_nbor_dist=neighbors.min_nbor_dist,
        expected_pairs=_expected_pairs(neighbors, hessians),
        pair_tables=measured.pair_tables,
    )
    graph = TrainingGraph(
        config,
        model,
        job.loss,
        type_map=measured.type_map,
        hessians=hessians,
        mixed=data.mixed,
        sharing=make_sharing(config, job.ranks),
    )
    occurring = occurring_types((data.training, data.validation), job.initial.checkpoint)
    with told_if_slow(log, "building the graph"):
        first = {**job.frozen.weights, **(job.initial.variables(neighbors.sel) or {})}
        graph.build(measured.statistics, first, occurring, job.initial.tables)
    log.info("built network")
    if len(occurring) < model.ntypes:
        absent = model.ntypes - len(occurring), model.ntypes
        log.info("%d of %d types have no atoms in the data: their nets are not trained", *absent)
    graph.open()
    trained, total = graph.state.parameter_count()
    log.info("built training: %d parameters, %d of them trained", total, trained)
    return graph


def _make_trainer(
    graph: TrainingGraph,
    data: OpenedData,
    measured: Measured,
    full_validation: FullValidation | None,
) -> Trainer:
    """A trainer, and all that follows it."""
    config, training = graph.config, graph.config.training
    leads = graph.sharing.ranks.leads
    observers: list[Observer] = []
    if leads:
        observers += [
            DiagnosticsLog(graph.type_map, graph.model.neighbor_limits()),
            LearningCurve(training.disp_file, graph.loss.columns, data.validation is not None),
        ]
        if training.tensorboard:
            observers.append(TensorBoard(training.tensorboard_log_dir, training.tensorboard_freq))
        observers.append(ProgressLog(training))
    if full_validation is not None:
        observers.append(full_validation)
    if leads:
        observers += [CheckpointWriter(), FinalErrors(data, full_validation)]
    tracing = None
    if leads and (training.profiling or training.enable_profiler):
        tracing = Tracing(
            training.profiling_file if training.profiling else None,
            training.tensorboard_log_dir if training.enable_profiler else None,
        )
    count = 0 if training.validation_data is None else training.validation_data.numb_btch
    return Trainer(
        graph,
        schedule(config.learning_rate, training.steps),
        TrainingBatches(data.training, data.validation, count),
        training.steps,
        measured.neighbors,
        observers,
        tracing,
    )


def _rehearse(job: Job, trainer: Trainer) -> None:
    """Make the first steps of a dry run, and print what would be trained."""
    graph, lr, initial = trainer.graph, trainer.lr, job.initial
    data = trainer.batches.training, trainer.batches.validation
    _set_weights(trainer, initial)
    step = graph.state.get_step() if initial.restart else 0
    found = rehearse(graph, lr, *data)
    print(describe(graph, lr, step, *data, job.outputs, found, initial.describe()))


def _initialise(trainer: Trainer, initial: InitialState) -> None:
    """Give the variables their first values, and the trainer its place."""
    graph, checkpoint, state = trainer.graph, initial.checkpoint, initial.state
    if trainer.ranks.leads:
        graph.checkpoints.prepare()
    _set_weights(trainer, initial)
    if trainer.ranks.leads:
        graph.checkpoints.describe_ahead()
    trainer.share_order()
    if not initial.restart:
        if checkpoint is not None:
            graph.state.set_step(0)
        trainer.begin()
        return
    step = graph.state.get_step()
    graph.checkpoints.continue_from(step)
    if state is None:
        log.warning(
            "%s has no state of the data beside it (other programs write none): the order of the "
            "data begins anew, so the numbers are not those of an uninterrupted training",
            checkpoint,
        )
    trainer.resume(step, state, saved=state is not None and graph.checkpoints.newest == checkpoint)


def _set_weights(trainer: Trainer, initial: InitialState) -> None:
    """Give the variables their first values."""
    graph, checkpoint, state = trainer.graph, initial.checkpoint, initial.state
    if checkpoint is not None:
        what = "restart from" if initial.restart else "initialize from"
        log.info("%s model %s", what, checkpoint)
        graph.checkpoints.restore(graph.session, checkpoint)
        graph.state.set_variables(initial.averages)
    elif initial.saved is not None:
        what = "pretrained" if initial.finetune else "frozen"
        log.info("initialize from %s model %s", what, initial.saved.path)
    else:
        log.info("initialize model from scratch")
    if state is None or not graph.state.set_local(state["graph"]):
        graph.state.refresh_table()
    graph.state.share(trainer.ranks)
    if initial.finetune:
        adjust_bias(graph, trainer.batches.training)


def with_steps(config: Config, data: DataSystems) -> Config:
    """The input script with ``numb_epoch`` replaced by the steps that it amounts to, rounded up.

    Programs that read the script from a model need the number of steps.
    """
    training = config.training
    if training.numb_steps is not None or training.numb_epoch is None:
        return config
    steps = math.ceil(training.numb_epoch * data.total_batches)
    log.info("%g epochs are %d steps", training.numb_epoch, steps)
    return config.with_numb_steps(steps)


def _expected_pairs(neighbors: DataStatistics, hessians: HessianPlan | None) -> float | None:
    """Pairs that a step evaluates, copies of frames for Hessians included."""
    if neighbors.expected_pairs is None or hessians is None:
        return neighbors.expected_pairs
    return neighbors.expected_pairs * hessians.copies
