# SPDX-License-Identifier: BSD-3-Clause
"""Compress a model: tables in place of the embedding nets, for programs of DeePMD-kit.

The tables hold values and two derivatives of the nets, from the formulas that training uses. The
rest of the graph is that of the stock dialect.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow.compat.v1 as tf

from deepmd_tf.data import Batch
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.export.comparison import (
    Differences,
    RelativeDifferences,
    compare,
    compare_outputs,
    random_frames,
    some_frames,
    training_systems,
)
from deepmd_tf.export.freeze import build_graph, with_suffix, write_frozen
from deepmd_tf.files import require_writable
from deepmd_tf.graph.frozen import SavedModel, read_model
from deepmd_tf.model.kinds import MODEL_KINDS
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.spline import SplineOptions

log = logging.getLogger(__name__)

LARGE = Differences(frames=0, energy=1e-5, force=5e-4, virial=1e-4)
"""Differences that are worth a warning: a hundredth of the errors of a good model."""
LARGE_PART = 1e-4
"""The same of models of other kinds, as part of the largest number."""


@dataclass(frozen=True)
class Compressed:
    """The written file and its deviation from the original."""

    path: Path
    n_ops: int
    differences: Differences | RelativeDifferences


def compress(
    model: str | os.PathLike[str] | SavedModel = "frozen_model.pb",
    output: str | os.PathLike[str] = "frozen_model_compressed.pb",
    *,
    step: float = 0.01,
    extrapolate: float = 5.0,
    check_frequency: int = -1,
    min_nbor_dist: float | None = None,
    systems: Sequence[str] | None = None,
) -> Compressed:
    """Write a compressed model, and compare it with the original.

    Both are evaluated on a few frames of the training data, where they are found, or else on random
    frames.

    Parameters
    ----------
    model
        Frozen file of either package in either dialect, or a checkpoint.
    output
        Where to write; the suffix ``.pb`` is appended when it is not there. The file appears whole
        or not at all.
    step
        Width of a row of the tables where data are expected, in units of the normalised s; ten
        times as wide beyond.
    extrapolate
        The tables end at this multiple of the largest s that is expected.
    check_frequency
        Stored in the tables; nothing reads it.
    min_nbor_dist
        Smallest distance of two atoms in the training data, Å; by default that in the file.
    systems
        Directories of systems to compare on; by default those that the input script in the file
        names.

    Raises
    ------
    ModelFileError, CheckpointError
        When the model cannot be read, is compressed already, or the file cannot be written.
    InputError
        When an option is out of its range, the smallest distance is not known, or the output is the
        model itself.
    DataError
        When ``systems`` are given and cannot be used.
    """
    output = require_writable(with_suffix(output))
    if not isinstance(model, SavedModel):
        model = read_model(model)
    if output.exists() and model.path.exists() and output.samefile(model.path):
        raise InputError(
            f"{output}: is the model itself, and the compressed one has no weights that could be "
            "brought back; give another name"
        )
    _require_compressible(model)
    if model.tables:
        raise InputError(f"{model.path}: was compressed already; give the model before that")
    if min_nbor_dist is not None:
        model = dataclasses.replace(model, min_nbor_dist=min_nbor_dist)
    if model.min_nbor_dist is None:
        raise InputError(
            f"{model.path}: says nothing of the smallest distance in its training data, which was "
            "not measured; give the input script of the training, or the distance"
        )
    options = SplineOptions(model.min_nbor_dist, step, extrapolate, check_frequency)
    log.info("stage 1: compress the model")
    original, _ = build_graph(model, "stock")
    compressed = build_graph(model, "stock", splines=options)
    differences = _compare(model, (original, compressed[0]), systems)
    log.info("finished compressing")
    log.info("stage 2: freeze the model")
    written = write_frozen(*compressed, output)
    return Compressed(written.path, written.n_ops, differences)


def _require_compressible(model: SavedModel) -> None:
    if model.model.masked:
        kind = model.model.main.descriptor.type
        raise InputError(
            f'{model.path}: models with the descriptor "{kind}" are not compressed, '
            "here and in DeePMD-kit; use the file as it is"
        )


def _compare(
    model: SavedModel, graphs: Sequence[tf.GraphDef], systems: Sequence[str] | None
) -> Differences | RelativeDifferences:
    where = "of the training data"
    try:
        at_hand = training_systems(model.script, model.path.parent) if systems is None else systems
        found = _differences(model, graphs, some_frames(model, at_hand))
    except DataError as error:
        if systems is not None:
            raise
        log.info("random frames serve for the comparison, not the training data (%s)", error)
        found = _differences(model, graphs, random_frames(model))
        where = "at random"
    log.info(
        "compressed against original, %d frames %s: largest difference in %s",
        found.frames,
        where,
        _in_words(found),
    )
    if _is_large(found):
        kinks = ""
        for part in model.model.parts():
            name = getattr(part.config, "activation_function", "tanh")
            if not get_activation(name).smooth:
                kinks = f"; those from the kinks of {name} will stay"
        log.warning("these differences are large: a smaller --step makes them smaller%s", kinks)
    return found


def _differences(
    model: SavedModel, graphs: Sequence[tf.GraphDef], batches: Iterable[Batch]
) -> Differences | RelativeDifferences:
    if MODEL_KINDS[model.model_type].has_energies:
        return compare(graphs, batches)
    nodes = [output.node for output in MODEL_KINDS[model.model_type].evaluated(parts=False)]
    return compare_outputs(graphs, batches, nodes)


def _in_words(found: Differences | RelativeDifferences) -> str:
    if isinstance(found, RelativeDifferences):
        parts = [f"{node} {value:.1e}" for node, value in found.by_output.items()]
        return f"{', '.join(parts)} of the largest number"
    return (
        f"the energy per atom {found.energy:.1e} eV, force {found.force:.1e} eV/Å, virial per atom "
        f"{found.virial:.1e} eV"
    )


def _is_large(found: Differences | RelativeDifferences) -> bool:
    if isinstance(found, RelativeDifferences):
        pairs = [(value, LARGE_PART) for value in found.by_output.values()]
    else:
        pairs = [(getattr(found, k), getattr(LARGE, k)) for k in ("energy", "force", "virial")]
    return not all(value <= limit for value, limit in pairs)  # nan is large
