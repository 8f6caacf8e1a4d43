# SPDX-License-Identifier: BSD-3-Clause
"""``dp train``, from the input script to the last checkpoint."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

import deepmd_tf
from deepmd_tf import fields
from deepmd_tf.config import Config, TrainingData, ValidationData
from deepmd_tf.config.learning_rate import schedule
from deepmd_tf.data import DataSystem, DataSystems, expand_systems, make_random
from deepmd_tf.data.checks.findings import Findings
from deepmd_tf.data.memory import Memory
from deepmd_tf.data.systems import open_systems
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.files import write_whole
from deepmd_tf.graph.checkpoint import Checkpoints, read_step
from deepmd_tf.graph.checkpoint_files import file_of
from deepmd_tf.graph.session import session_config, start_threads
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.model.energy import EnergyModel
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.training.data_statistics import (
    DataStatistics,
    measure_neighbors,
    measure_statistics,
    saved_statistics,
    without_neighbors,
)
from deepmd_tf.training.dry_run import describe, rehearse
from deepmd_tf.training.graph import PREDICTED, TrainingGraph
from deepmd_tf.training.hessian import HessianPlan, plan_hessians
from deepmd_tf.training.initial_state import (
    InitialState,
    find_initial_state,
    read_script,
    require_finetunable,
)
from deepmd_tf.training.interrupt import Deadline
from deepmd_tf.training.outputs import COMPAT_FILE, planned_outputs, require_outputs
from deepmd_tf.training.requirements import (
    missing_labels,
    require_frames,
    require_same_atoms,
    unlabelled_systems,
    warn_of_nan,
)
from deepmd_tf.training.statistics_cache import StatisticsCache, examine_once
from deepmd_tf.training.trainer import Trainer
from deepmd_tf.training.validation import FullValidation, has_stopped

log = logging.getLogger(__name__)


def train(
    input_file: str | os.PathLike[str],
    *,
    init_model: str | None = None,
    restart: str | None = None,
    init_frz_model: str | None = None,
    finetune: str | None = None,
    use_pretrain_script: bool = False,
    output: str | os.PathLike[str] = "out.json",
    skip_neighbor_stat: bool = False,
    dry_run: bool = False,
    max_time: float | None = None,
) -> int:
    """Train a model.

    Files are written into the working directory, under the names of the input script.

    Parameters
    ----------
    input_file
        Input script.
    init_model
        Prefix of a checkpoint whose weights are the first ones; training begins at step 0. A folder
        stands for the checkpoint that its file ``checkpoint`` names.
    restart
        Prefix of a checkpoint (or folder) to go on from. The numbers are those of an uninterrupted
        training with the same number of threads.
    init_frz_model
        Frozen file, of this package or of DeePMD-kit, whose weights and statistics are the first
        ones.
    finetune
        Trained model, a frozen file or a checkpoint, whose weights and statistics are the first
        ones. Its descriptor, fitting net and types take the place of those of the input script, and
        its energy bias is adjusted to the training data
        (:func:`deepmd_tf.model.bias.adjusted_bias`).
    use_pretrain_script
        Take section ``model`` from ``init_model``, ``init_frz_model`` or ``finetune``.
    output
        Where the input script is written with all defaults filled in.
    skip_neighbor_stat
        Do not count neighbours; see :func:`deepmd_tf.training.data_statistics.without_neighbors`.
    dry_run
        Do everything up to the first steps, print what would be trained and how long it would take,
        and stop; no file is written.
    max_time
        Seconds from now within which training is to end, the time for a last checkpoint included.

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
    deadline = Deadline(max_time)
    start_threads()
    begin = find_initial_state(init_model, restart, init_frz_model, finetune)
    checkpoint, state = begin.checkpoint, begin.state
    config, layout, names_given = read_script(
        input_file, begin, use_pretrain_script=use_pretrain_script
    )
    begin.require_same_model(config, config.model.type_map)
    outputs = planned_outputs(config, output)
    require_outputs(config, outputs, input_file, continues=restart is not None)
    loss = EnergyLoss(config.loss)
    training_data, validation_data, kept = open_data(config, loss, writes=not dry_run)
    require_finetunable(begin, config, names_given, training_data, validation_data)
    config = with_steps(config, training_data)
    num_steps = config.training.numb_steps
    if restart is not None and (step := read_step(checkpoint)) >= num_steps:
        _complete(config, checkpoint, step, dry_run)
        log.warning(
            "nothing is left to do: %s is of step %d, and the training has %d steps; give "
            "training/numb_steps a larger number to go on",
            checkpoint,
            step,
            num_steps,
        )
        return 0
    if state is not None and has_stopped(config.validating, state.get("full_validation")):
        _complete(config, checkpoint, read_step(checkpoint), dry_run)
        log.warning(
            "nothing is left to do: early stopping has ended the training of %s; to go on, give "
            "validating/early_stop_patience a larger number, or 0",
            checkpoint,
        )
        return 0
    hessians = None if loss.hessian is None else plan_hessians(config.loss, training_data)
    full_validation = _full_validation(config, validation_data, num_steps)
    if not dry_run:
        write_whole(COMPAT_FILE, json.dumps(layout, indent=4))
    type_map = config.model.type_map or training_data.type_map
    if state is not None:
        setup = saved_statistics(state, config, training_data)
    elif skip_neighbor_stat:
        setup = without_neighbors(config)
    else:
        setup = measure_neighbors(config, training_data, kept)
    config = config.with_sel(setup.sel)
    begin.require_same_model(config, type_map)
    if not dry_run:
        write_whole(output, config.to_json(layout))
    _log_summary(config, training_data, validation_data)

    statistics = None
    if not begin.has_weights:
        statistics = measure_statistics(config, training_data, type_map, kept)
    lr = schedule(config.learning_rate, num_steps)
    log.info("built lr")
    model = EnergyModel(
        config.model,
        original_sel=begin.original_sel,
        min_nbor_dist=setup.min_nbor_dist,
        expected_pairs=_expected_pairs(setup, hessians),
    )
    graph = TrainingGraph(
        config,
        model,
        loss,
        type_map=type_map,
        hessians=hessians,
        mixed=training_data.mixed or (validation_data is not None and validation_data.mixed),
    )
    graph.build(statistics, begin.variables(setup.sel))
    log.info("built network")
    graph.open()
    trained, total = graph.state.parameter_count()
    log.info("built training: %d parameters, %d of them trained", total, trained)
    trainer = Trainer(graph, lr, training_data, validation_data, num_steps, setup, full_validation)
    try:
        if dry_run:
            _set_weights(trainer, begin)
            step = graph.state.get_step() if begin.restart else 0
            found = rehearse(graph, lr, training_data, validation_data)
            data = training_data, validation_data
            print(describe(config, graph, lr, step, *data, outputs, found, begin.describe()))
            return 0
        _initialise(trainer, begin)
        status = trainer.run(deadline)
    finally:
        trainer.close()
        graph.close()
    log.info("training ended early" if status else "finished training")
    log.info("wall time: %.3f s", time.monotonic() - start)
    return status


def open_data(
    config: Config, loss: EnergyLoss, *, writes: bool = True
) -> tuple[DataSystems, DataSystems | None, StatisticsCache | None]:
    """Open training and validation data and check every number in them.

    Parameters
    ----------
    config, loss
        Of the training.
    writes
        Whether ``training/stat_file`` may be written.

    Returns
    -------
    tuple
        Training data, validation data, and what ``training/stat_file`` knows of them.

    Raises
    ------
    FindingsError
        If something in them is wrong, a term of the loss has its labels in no training system, or
        batches are too small for it; the message has all that was found.
    """
    rng = make_random(config.training.seed)
    findings, memory = Findings(), Memory()
    section, names = config.training.training_data, config.model.type_map
    items = (fields.ENERGY, *loss.labels, *config.model.fitting_net.data_items)
    systems, complete = _open(section, findings, names, items, memory)
    data = validation = None
    if complete:
        sel = config.model.descriptor.sel
        ntypes = None if isinstance(sel, str) else len(sel)
        with findings.collect():
            data = _gather(section, systems, rng, names, ntypes)
            findings.add(*missing_labels(loss, data), *unlabelled_systems(loss, data))
            require_same_atoms(loss, data)
            require_frames(loss, data, section.batch_size)

    section = config.training.validation_data
    held_out: list[DataSystem] = []
    if section is not None:
        if config.validating.full_validation:
            items = (*items, *(fields.FIELDS[name] for name in PREDICTED))
        # types mean what they mean in the training data, also when only the data name them
        names = names or (data and data.type_map)
        held_out, complete = _open(section, findings, names, items, memory)
        if complete and data is not None:
            with findings.collect():
                validation = _gather(section, held_out, rng, names, data.ntypes)
                require_same_atoms(loss, validation)
    kept = None
    if data is not None and not findings.errors:
        type_map = config.model.type_map or data.type_map
        kept = StatisticsCache.open(config, type_map, writes=writes)
    known = systems if data is None else data.systems
    examine_once(known, held_out if validation is None else validation.systems, findings, kept)
    findings.raise_errors()
    findings.warn(log)
    for used in filter(None, (data, validation)):
        _log_defaults(used, config, loss)
    if validation is not None:
        warn_of_nan(loss, validation)
    return data, validation, kept


def _open(
    section: Any,
    findings: Findings,
    type_map: Sequence[str] | None,
    items: Sequence[fields.Field],
    memory: Memory,
) -> tuple[list[DataSystem], bool]:
    """The systems of ``training_data`` or ``validation_data`` that can be opened; whether all."""
    paths: list[str] = []
    entries = section.systems if section.systems and not isinstance(section.systems, str) else None
    complete = True
    for entry in entries or [section.systems]:
        usable = False
        with findings.collect(), _at(section):
            paths += expand_systems(entry, section.rglob_patterns)
            usable = True
        complete &= usable
    options = {"fields": tuple(dict.fromkeys(items)), "memory": memory}
    dtype = interface_dtype().as_numpy_dtype
    found = open_systems(paths, findings, type_map, dtype=dtype, **options)
    return found, complete and len(found) == len(paths)


def _gather(
    section: Any,
    systems: Sequence[DataSystem],
    rng: Any,
    type_map: Sequence[str] | None,
    ntypes: int | None,
) -> DataSystems:
    with _at(section):
        return DataSystems(
            systems,
            section.batch_size,
            rng,
            type_map=type_map,
            ntypes=ntypes,
            auto_prob=section.auto_prob,
            sys_probs=section.sys_probs,
        )


@contextmanager
def _at(section: TrainingData) -> Iterator[None]:
    """Complaints about a key, which they begin with, name its block too."""
    block = "validation_data" if isinstance(section, ValidationData) else "training_data"
    try:
        yield
    except (DataError, InputError) as error:
        if str(error).partition(":")[0] not in type(section).model_fields:
            raise
        raise type(error)(f"training.{block}.{error}") from None


def _log_defaults(data: DataSystems, config: Config, loss: EnergyLoss) -> None:
    """Say which items stand in where there is no file."""
    items = config.model.fitting_net.data_items
    for item in dict.fromkeys((*items, *(item for term in loss.terms for item in term.defaults))):
        without = [system.path for system in data.systems if not all(system.has(item.name))]
        if without:
            log.info(
                "%d of %d systems have no %s.npy (or not in every set): %s is used there; the "
                "first is %s",
                len(without),
                len(data),
                item.name,
                list(item.default) if isinstance(item.default, tuple) else item.default,
                without[0],
            )


def _full_validation(
    config: Config, data: DataSystems | None, num_steps: int
) -> FullValidation | None:
    start = config.validating.start_step(num_steps)
    if start is None or data is None:
        return None
    return FullValidation(config.validating, start, num_steps, data, config.training.save_ckpt)


def _complete(config: Config, checkpoint: Path, step: int, dry_run: bool) -> None:
    """Links and list of the last checkpoint, if the training died while it wrote them."""
    prefix = Path(config.training.save_ckpt)
    if not dry_run and file_of(prefix, step) == checkpoint:
        Checkpoints(prefix, config.training.max_ckpt_keep).complete(step)


def _expected_pairs(setup: DataStatistics, hessians: HessianPlan | None) -> float | None:
    """Pairs that a step evaluates, copies of frames for Hessians included."""
    if setup.expected_pairs is None or hessians is None:
        return setup.expected_pairs
    return setup.expected_pairs * hessians.copies


def with_steps(config: Config, data: DataSystems) -> Config:
    """The input script with ``numb_epoch`` replaced by the steps that it amounts to, rounded up.

    Programs that read the script from a model need the number of steps.
    """
    training = config.training
    if training.numb_steps is not None:
        return config
    steps = math.ceil(training.numb_epoch * data.total_batches)
    log.info("%g epochs are %d steps", training.numb_epoch, steps)
    return config.with_numb_steps(steps)


def _initialise(trainer: Trainer, begin: InitialState) -> None:
    """Give the variables their first values, and the trainer its place."""
    graph, checkpoint, state = trainer.graph, begin.checkpoint, begin.state
    graph.checkpoints.prepare()
    _set_weights(trainer, begin)
    graph.checkpoints.describe_ahead()
    if not begin.restart:
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


def _set_weights(trainer: Trainer, begin: InitialState) -> None:
    """Give the variables their first values."""
    graph, checkpoint, state = trainer.graph, begin.checkpoint, begin.state
    if not begin.has_weights:
        log.info("initialize model from scratch")
    elif checkpoint is None:
        what = "pretrained" if begin.finetune else "frozen"
        log.info("initialize from %s model %s", what, begin.saved.path)
    else:
        log.info("%s model %s", "restart from" if begin.restart else "initialize from", checkpoint)
        graph.checkpoints.restore(graph.session, checkpoint)
    if state is None or not graph.state.set_local(state["graph"]):
        trainer.refresh_table()
    if begin.finetune:
        trainer.adjust_bias()


def _log_summary(
    config: Config, training_data: DataSystems, validation_data: DataSystems | None
) -> None:
    threads = session_config()
    rule = "-" * 86
    lines = [
        f"---Summary of the training {rule[27:]}",
        f"deepmd_tf             {deepmd_tf.__version__}",
        f"TensorFlow            {tf.__version__}",
        f"interface precision   {interface_dtype().name}",
        f"threads in an op      {threads.intra_op_parallelism_threads or 'automatic'}",
        f"ops at a time         {threads.inter_op_parallelism_threads or 'automatic'}",
        f"processors            {len(os.sched_getaffinity(0))}",
        rule,
        *training_data.summary("training").splitlines(),
    ]
    if validation_data is not None:
        lines += validation_data.summary("validation").splitlines()
    for line in lines:
        log.info(line)
    n = config.model.fitting_net.numb_fparam
    log.info(f"training with {n} frame parameter(s)" if n else "training without frame parameter")
