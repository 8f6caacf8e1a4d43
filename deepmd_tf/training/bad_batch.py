# SPDX-License-Identifier: BSD-3-Clause
"""Batches whose loss or gradient is not finite: their place in the data, and a copy of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_tf.data import Batch, DataSystems, write_system
from deepmd_tf.errors import DeepmdError, TrainingError
from deepmd_tf.fields import BOX, COORD, FIELDS
from deepmd_tf.files import replacing_folder
from deepmd_tf.losses import TermLoss
from deepmd_tf.training.faults import NamedFaults
from deepmd_tf.training.gradient_step import NotFinite
from deepmd_tf.training.graph import TrainingGraph

ORIGIN = "origin.json"
"""File in the copy that says where its frames come from."""


def place(data: DataSystems, batch: Batch) -> str:
    """Where the frames of a batch are: system, set, and frames counted from 0."""
    return "; ".join(_place(data, part) for part in batch.parts)


def write_batch(path: str | os.PathLike[str], data: DataSystems, batch: Batch) -> None:
    """Write the frames of a batch as a system, with the labels that training looked at.

    The numbers are those of the batch: atoms are in the order of their types. ``origin.json`` has
    the place of frames and atoms. Frames of different atoms become systems ``0``, ``1``, ... of
    their own.

    Parameters
    ----------
    path
        Folder, whole or absent; one of an earlier training is replaced.
    data
        Where the batch comes from.
    batch
        The frames.

    Raises
    ------
    TrainingError
        When it cannot be written.
    """
    runs = [run for part in batch.parts for run, _ in part.uniform()]
    with replacing_folder(path, TrainingError) as folder:
        for k, run in enumerate(runs):
            _write_system(folder / str(k) if len(runs) > 1 else folder, data, run)


def _place(data: DataSystems, part: Batch) -> str:
    system = data.systems[part.system]
    frames = [system.origin(part, k)[0] for k in range(part.nframes)]
    kind = "frame" if len(frames) == 1 else "frames"
    return f"{system.path}, {part.set_name}, {kind} {', '.join(map(str, frames))}"


def _write_system(folder: Path, data: DataSystems, run: Batch) -> None:
    arrays, system = run.arrays, data.systems[run.system]
    labels: dict[str, Any] = {
        name: arrays[name].reshape(run.nframes, -1)[:, :: FIELDS[name].repeat]
        for name in arrays
        if name in FIELDS and arrays.get(FIELDS[name].find_key)
    }
    natoms = arrays["type"].shape[1]
    origin = {
        "system": str(system.path),
        "set": run.set_name,
        "frames": [int(system.origin(run, k)[0]) for k in range(run.nframes)],
        "atoms": [int(atom) for atom in system.origin(run, 0)[1][:natoms]],
    }
    write_system(
        folder,
        types=arrays["type"][0],
        coord=arrays[COORD.name],
        box=arrays[BOX.name] if run.periodic else None,
        type_map=data.type_map,
        dtype=arrays[COORD.name].dtype,
        **labels,
    )
    (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")


@contextmanager
def refused_batches(
    graph: TrainingGraph, step: int, data: DataSystems, batch: Batch, lr: np.float32
) -> Iterator[None]:
    """Explain why a step on ``batch`` is refused while it is open.

    Raises
    ------
    DataError
        For a frame that an operation refuses.
    TrainingError
        For a loss or gradient that is not finite, see :func:`refusal`.
    """
    try:
        with NamedFaults(data, graph.sharing.part(batch)):
            yield
    except NotFinite as found:
        if math.isfinite(found.loss):
            what = explain_gradient(found.weights)
        else:
            # the weights are those before the step, and so are these errors
            what = explain_loss(graph.loss, batch, graph.evaluation.evaluate(batch, lr))
        raise refusal(graph, step, what, data, batch) from None


def refusal(
    graph: TrainingGraph, step: int, what: str, data: DataSystems, batch: Batch
) -> TrainingError:
    """The error that ends a training at a batch, which is written to a folder.

    Parameters
    ----------
    graph
        What is trained. The folder is ``<save_ckpt>-bad-batch-<step>``.
    step
        Steps done, the present one included.
    what
        What is wrong.
    data, batch
        What it was found in.
    """
    newest = graph.checkpoints.newest
    folder = f"{graph.config.training.save_ckpt}-bad-batch-{step}"
    try:
        if graph.sharing.ranks.leads:
            write_batch(folder, data, batch)
        written = f"the batch is in {folder}"
    except DeepmdError as error:
        written = f"the batch could not be kept: {error}"
    saved = "there is none yet" if newest is None else f"the newest is {newest}"
    return TrainingError(
        f"step {step}: {what}, in {place(data, batch)} (counted from 0). No checkpoint was written "
        f"of it ({saved}); {written}. Look for wrong numbers in these frames; if they are right, "
        "lower learning_rate/start_lr"
    )


def explain_loss(loss: TermLoss, batch: Batch, errors: Mapping[str, float]) -> str:
    """Which terms make a loss that is not finite, in the user's words.

    Parameters
    ----------
    loss
        Of the training.
    batch
        The batch.
    errors
        Errors on the batch, by column; nan where there is no label.
    """
    labelled = ["rmse"] + [
        term.column
        for term in loss.terms
        if all(batch.arrays.get(label.find_key, 1) for label in term.labels)
    ]
    wrong = [name for name in labelled if not np.isfinite(errors[name])]
    named = ", ".join(f"{name} = {errors[name]:g}" for name in wrong)
    return f"the loss is not a finite number ({named})"


def explain_gradient(variables: Sequence[str]) -> str:
    """Which variables have a gradient that is not finite, in the user's words."""
    return (
        f"the gradient of the loss is not finite (in {len(variables)} variables; one is "
        f"{variables[0]})"
    )
