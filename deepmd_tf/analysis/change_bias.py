# SPDX-License-Identifier: BSD-3-Clause
"""Change the energy bias of a model file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deepmd_tf import fields
from deepmd_tf.config import ModelConfig
from deepmd_tf.data import Batch
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.export.freeze import SUFFIX, freeze, with_suffix
from deepmd_tf.files import require_writable, write_whole
from deepmd_tf.graph.checkpoint_files import DATA, INDEX, META
from deepmd_tf.graph.frozen import open_model
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.rewrite import read_bias, rewrite_checkpoint, rewrite_frozen
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.inference.batches import evaluate
from deepmd_tf.inference.deep_pot import DeepPot
from deepmd_tf.inference.systems import open_all
from deepmd_tf.model.bias import Mode, adjusted_bias, report
from deepmd_tf.model.kinds import MODEL_KINDS
from deepmd_tf.progress import bar

log = logging.getLogger(__name__)

ATOMS_AT_ONCE = 20_000
"""Atoms that are evaluated between two steps of the progress bar."""
MODES = {"change": "change-by-statistic", "set": "set-by-statistic"}
"""Names of the modes in messages."""


def change_bias(
    model: str | os.PathLike[str],
    systems: Sequence[str] = (),
    *,
    bias: Sequence[float] | None = None,
    n_frames: int = 0,
    mode: Mode = "change",
    output: str | os.PathLike[str] | None = None,
) -> Path:
    """Adjust the energy bias of a model to data, or set it.

    Of a frozen file a copy is written that has another bias. Of a checkpoint ``model.ckpt`` a new
    one is written, ``model.ckpt_updated/model.ckpt``, from which training can go on, and a frozen
    file, in the native dialect if the model has no form for DeePMD-kit.

    Parameters
    ----------
    model
        Frozen graph, or checkpoint: its prefix or its directory.
    systems
        Systems to adjust it to.
    bias
        Bias of each type, eV, in the order of the type map, instead.
    n_frames
        Number of frames used of each system, from the first on; 0: all.
    mode
        "change": add what the model lacks, see :func:`deepmd_tf.model.bias.adjusted_bias`; "set":
        replace it by a regression of the energies.
    output
        Frozen file to write. By default ``water_updated.pb`` for ``water.pb``, ``model.pb`` for a
        checkpoint ``model.ckpt``.

    Returns
    -------
    Path
        The frozen file.

    Raises
    ------
    DeepmdError
        If the model, the data and the bias do not fit together, or a file cannot be read or
        written.
    """
    saved = open_model(model)
    if not MODEL_KINDS[saved.model_type].has_energies:
        raise ModelFileError(
            f"{saved.path}: is {MODEL_KINDS[saved.model_type].words}, which has no energy bias"
        )
    frozen = isinstance(saved, ImportedModel) or saved.dialect != "checkpoint"
    given = _without_suffix(Path(model))
    output = require_writable(with_suffix(output or _default_output(given, saved, frozen)))
    if isinstance(saved, SavedModel) and not isinstance(saved.model, ModelConfig):
        raise InputError(
            f"{saved.path}: is a sum of models ({saved.model.type}), each with an energy bias of "
            "its own, and which of them to change the data do not tell; change that of one of the "
            "models before they are added up"
        )
    old = read_bias(saved)
    type_map = list(saved.type_map)
    if bias is not None:
        new = _given_bias(bias, saved)
        log.info("Changing bias from user-defined values for type_map: %s", type_map)
        log.info("Old bias: %s", old)
        log.info("New bias: %s", new)
        report(old, new, type_map or [str(i) for i in range(len(old))])
    else:
        log.info("Changing bias for model with type_map: %s", type_map)
        log.info("Using bias adjustment mode: %s", MODES[mode])
        new = _from_data(saved, systems, n_frames, mode, old)
    if isinstance(saved, ImportedModel) or frozen:
        rewrite_frozen(saved.path, new, output)
    else:
        prefix = _updated_prefix(given)
        log.info("Saving updated checkpoint to %s", prefix)
        rewrite_checkpoint(saved.path, new, prefix)
        script = saved.path.with_name("input.json")
        if script.is_file():
            # where programs of DeePMD-kit look for it
            write_whole(prefix.with_name("input.json"), script.read_bytes())
        freeze(prefix, output, dialect="stock" if "stock" in saved.dialects else "native")
    log.info("Bias changing complete. Model saved to %s", output)
    return output


def _without_suffix(path: Path) -> Path:
    """A prefix in place of one of the files of a checkpoint."""
    for suffix in (INDEX, META, DATA):
        if path.name.endswith(suffix):
            return path.with_name(path.name.removesuffix(suffix))
    return path


def _default_output(given: Path, saved: SavedModel | ImportedModel, frozen: bool) -> Path:
    if frozen:
        return saved.path.with_name(f"{saved.path.stem}_updated{SUFFIX}")
    return given.with_suffix(SUFFIX) if given.name else Path(f"{given.resolve().name}{SUFFIX}")


def _updated_prefix(given: Path) -> Path:
    name = given.resolve().name if given.is_dir() else given.name
    folder = given if given.is_dir() else given.parent
    return folder / f"{name}_updated" / name


def _given_bias(bias: Sequence[float], saved: SavedModel | ImportedModel) -> np.ndarray:
    values = np.asarray(bias, np.float64)
    ntypes = saved.ntypes - saved.virtual_types
    if values.shape != (ntypes,):
        raise InputError(
            f"{values.size} values of the bias are given; {saved.path} has {ntypes} types"
            f"{', ' + ' '.join(saved.type_map) if saved.type_map else ''}, and one value for each "
            "is needed"
        )
    if not np.isfinite(values).all():
        raise InputError(f"the bias {values.tolist()} has entries that are not finite numbers")
    return values


def _from_data(
    saved: SavedModel | ImportedModel,
    systems: Sequence[str],
    n_frames: int,
    mode: Mode,
    old: np.ndarray,
) -> np.ndarray:
    with DeepPot(saved.path) as pot, bar() as progress:
        data = open_all(systems, pot, [fields.ENERGY])
        total = sum(min(n_frames or d.nframes, d.nframes) for d in data)
        task = progress.add_task("energy bias", total=total)

        def batches() -> Iterator[Batch]:
            for index, one in enumerate(data):
                for batch in one.batches(max_atoms=ATOMS_AT_ONCE, limit=n_frames, system=index):
                    yield batch
                    progress.advance(task, batch.nframes)

        def predict(batch: Batch) -> np.ndarray:
            return evaluate(pot.eval, data[batch.system], batch)[0]

        return adjusted_bias(old, batches(), predict, type_map=saved.type_map, mode=mode)
