# SPDX-License-Identifier: BSD-3-Clause
"""Dry run: the first steps of a training, in memory, and a report of what would be trained."""

from __future__ import annotations

import datetime
import itertools
import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.config.learning_rate import LearningRate
from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.errors import TrainingError
from deepmd_tf.training.bad_batch import explain_loss, place
from deepmd_tf.training.faults import NamedFaults
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.outputs import (
    BESIDE_WEIGHTS,
    MEGABYTE,
    PlannedFile,
    free_space,
    kept_checkpoints,
)
from deepmd_tf.training.record import Record

WARM_UP = 2
"""Steps that are not timed: the first ones are slower."""
STEPS = 5
"""Steps that are timed, or fewer if they take too long."""
SECONDS = 20.0


@dataclass(frozen=True)
class Rehearsal:
    """Measurements of some steps.

    Attributes
    ----------
    steps, seconds
        How many were timed, and the time of one.
    memory
        Largest memory of this process so far, bytes.
    errors
        Errors of the first batch before it was trained on, as a line of the learning curve.
    dropped
        Neighbours beyond ``sel`` in all batches.
    """

    steps: int
    seconds: float
    memory: int
    errors: str
    dropped: int


def rehearse(
    graph: TrainingGraph,
    lr: LearningRate,
    training_data: DataSystems,
    validation_data: DataSystems | None,
) -> Rehearsal:
    """Train some steps in memory: on the largest batch, then on batches as they are drawn.

    Parameters
    ----------
    graph
        Opened, with its first weights, which change.
    lr
        Learning rate as a function of the step.
    training_data, validation_data
        Where batches come from; a batch of the latter is evaluated.

    Raises
    ------
    TrainingError
        When the loss of the first batch is not a number.
    DataError
        When a frame cannot be evaluated.
    """
    step = graph.state.get_step()
    sizes = [
        size * system.natoms
        for size, system in zip(training_data.batch_sizes, training_data.systems, strict=True)
    ]
    first = training_data.get_batch(int(np.argmax(sizes)))
    errors = _evaluate(graph, training_data, first, lr(step))
    record = Record(step, float(lr(step)), errors)
    if not math.isfinite(errors["rmse"]):
        raise TrainingError(
            f"with the first weights, {explain_loss(graph.loss, first, errors)}, in "
            f"{place(training_data, first)} (counted from 0); these frames or the model that "
            "training begins with are wrong"
        )
    if validation_data is not None:
        _evaluate(graph, validation_data, validation_data.get_batch(), lr(step))
    dropped, times = 0, []
    start = time.monotonic()
    for number in itertools.count():
        batch = first if number == 0 else training_data.get_batch()
        tic = time.perf_counter()
        with NamedFaults(training_data, batch):
            diagnostics = graph.step.train(batch, lr(step))
        times.append(time.perf_counter() - tic)
        dropped += int(diagnostics.dropped.sum())
        timed = times[WARM_UP:]
        if len(timed) == STEPS or (timed and time.monotonic() - start > SECONDS):
            break
    # ru_maxrss is in units of 1024 bytes
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Rehearsal(len(timed), float(np.mean(timed)), memory, record.summary(), dropped)


def describe(
    graph: TrainingGraph,
    lr: LearningRate,
    step: int,
    training_data: DataSystems,
    validation_data: DataSystems | None,
    outputs: Sequence[PlannedFile],
    rehearsal: Rehearsal,
    begins: str,
) -> str:
    """Description of the planned training, as text.

    Parameters
    ----------
    graph
        What is trained, with the input script.
    step
        Steps done already.
    outputs
        Files that the training writes.
    rehearsal
        What :func:`rehearse` gave.
    begins
        The initial state, in words.
    """
    training, model = graph.config.training, graph.model
    trained, total = graph.state.parameter_count()
    left = training.steps - step
    checkpoint = _checkpoint_bytes(graph)
    folder = Path(training.save_ckpt).parent
    count = kept_checkpoints(graph.config) or 1
    rows = [
        ("begins with", begins),
        (
            "model",
            f"{model.describe()}, types {' '.join(graph.type_map) or model.ntypes}",
        ),
        ("parameters", f"{total}, {trained} of them trained"),
        ("training data", _data(training_data)),
        (
            "validation data",
            "none" if validation_data is None else _data(validation_data),
        ),
        (
            "steps",
            f"{left} of {training.numb_steps}, {left / training_data.total_batches:.3g} times "
            "through the data",
        ),
        ("learning rate", f"{lr(step):.3g} to {lr(training.steps):.3g}"),
        ("first errors", rehearsal.errors),
        (
            "time",
            f"{1000 * rehearsal.seconds:.3g} ms per step (mean of {rehearsal.steps}, measured "
            f"here and now), about {_duration(left * rehearsal.seconds)} for all steps, without "
            "validation and checkpoints",
        ),
        (
            "memory",
            f"{_megabytes(rehearsal.memory)}, the most that this process has had; data that are "
            "read later may add to it",
        ),
        (
            "checkpoints",
            f"{_megabytes(checkpoint)} each, {count} at a time: {_megabytes(count * checkpoint)}; "
            f"{_megabytes(free_space(folder))} are free in {folder}",
        ),
    ]
    if rehearsal.dropped:
        rows.append(("left out", f"{rehearsal.dropped} neighbours beyond sel in these steps"))
    lines = [f"{name:16s} {text}" for name, text in rows]
    for title, data in (("training", training_data), ("validation", validation_data)):
        if data is not None:
            lines += ["", *data.summary(title).splitlines()]
    lines += ["", "files that the training writes:"]
    for output in outputs:
        name = f"{output.path}-<step>.*" if output.kind == "prefix" else str(output.path)
        there = "is there already" if output.existing() else "new"
        lines.append(f"  {name:34s} {output.what} ({there})")
    return "\n".join(lines)


def _evaluate(
    graph: TrainingGraph, data: DataSystems, batch: Batch, lr: np.float32
) -> dict[str, float]:
    with NamedFaults(data, batch):
        return graph.evaluation.evaluate(batch, lr)


def _checkpoint_bytes(graph: TrainingGraph) -> int:
    variables = graph.runner.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    values = sum(v.dtype.base_dtype.size * v.shape.num_elements() for v in variables)
    return values + BESIDE_WEIGHTS


def _data(data: DataSystems) -> str:
    return (
        f"{len(data)} systems, {data.nframes} frames, {sum(data.n_batches)} batches; "
        f"{data.total_batches} steps are one time through"
    )


def _megabytes(size: float) -> str:
    return f"{size / MEGABYTE:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return str(datetime.timedelta(seconds=round(seconds)))
