# SPDX-License-Identifier: BSD-3-Clause
"""Files that a training will write, checked before any data are read."""

from __future__ import annotations

import glob
import itertools
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deepmd_tf.config import AnyModelConfig, Config, ModelConfig
from deepmd_tf.config.report import Report
from deepmd_tf.descriptors import make_descriptor
from deepmd_tf.fitting import make_fitting
from deepmd_tf.graph.checkpoint_files import BEST
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.nn.type_embedding import TypeEmbedding

log = logging.getLogger(__name__)

COMPAT_FILE = "input_v2_compat.json"
"""The input script in the present layout, nothing else changed."""
BESIDE_WEIGHTS = 1_000_000
"""Bytes of a checkpoint that are not values: graph, names, state of the data."""
MEGABYTE = 1e6


@dataclass(frozen=True)
class PlannedFile:
    """One file or folder that is written.

    Attributes
    ----------
    path
        The file, the folder, or the prefix of checkpoints.
    key
        Where the name comes from: path in the input script, or option.
    what
        What it is.
    kind
        "file", "folder" or "prefix".
    makes_folders
        Whether folders that are missing are made.
    own
        Whether a new training replaces an existing one by its own.
    """

    path: Path
    key: str
    what: str
    kind: str = "file"
    makes_folders: bool = True
    own: bool = True

    def existing(self) -> list[str]:
        """Names of what is there already."""
        if self.kind == "prefix":
            pattern = f"{glob.escape(self.path.name)}-*.index"
            return sorted(str(p.with_suffix("")) for p in self.path.parent.glob(pattern))
        if self.kind == "folder":
            return [str(self.path)] if self.path.is_dir() and any(self.path.iterdir()) else []
        return [str(self.path)] if self.path.exists() else []


def planned_outputs(config: Config, output: str | os.PathLike[str]) -> list[PlannedFile]:
    """Files that a training writes; ``output`` is the file of ``--output``."""
    training, validating = config.training, config.validating
    found = [
        PlannedFile(Path(COMPAT_FILE), "", "input script in the present layout", own=False),
        PlannedFile(
            Path(output), "--output", "input script with all defaults", "file", False, False
        ),
        PlannedFile(Path(training.disp_file), "training.disp_file", "learning curve"),
        PlannedFile(Path(training.save_ckpt), "training.save_ckpt", "checkpoints", "prefix"),
    ]
    if found[-1].path.name:
        path = found[-1].path.with_name("checkpoint")
        found.append(PlannedFile(path, "training.save_ckpt", "list of checkpoints", own=False))
    if validating.full_validation:
        path = Path(validating.full_val_file)
        found.append(
            PlannedFile(path, "validating.full_val_file", "errors over all validation data")
        )
        if validating.save_best:
            folder = validating.save_best_dir
            path = Path(training.save_ckpt).parent if folder is None else Path(folder)
            key = "validating.save_best_dir"
            found.append(PlannedFile(path / BEST, key, "best checkpoints", "prefix"))
    if training.tensorboard or training.enable_profiler:
        path = Path(training.tensorboard_log_dir)
        what = "events of TensorBoard"
        found.append(PlannedFile(path, "training.tensorboard_log_dir", what, "folder"))
    if training.profiling:
        path = Path(training.profiling_file)
        found.append(PlannedFile(path, "training.profiling_file", "time line", makes_folders=False))
    if training.stat_file is not None and training.stat_file_mode == "update":
        path = Path(training.stat_file)
        kind = "file" if path.suffix in (".h5", ".hdf5") else "folder"
        found.append(PlannedFile(path, "training.stat_file", "statistics", kind, own=False))
    return found


def require_outputs(
    config: Config,
    outputs: list[PlannedFile],
    input_file: str | os.PathLike[str],
    *,
    continues: bool,
) -> None:
    """Refuse outputs that cannot be written, in one message, and warn of those that are replaced.

    Parameters
    ----------
    config, outputs
        The input script, and what :func:`planned_outputs` says of it.
    input_file
        The input script.
    continues
        Whether the training resumes the one that wrote existing files.

    Raises
    ------
    InputError
        When a file or folder cannot be written, two are the same, one would replace the input
        script, or a single checkpoint does not fit on the disk.
    """
    report = Report(str(input_file))
    for output in outputs:
        try:
            problem = _problem(output, Path(input_file))
        except OSError as error:
            reason = (error.strerror or str(error)) + (
                f": {error.filename}" if error.filename else ""
            )
            problem = f"{output.path} cannot be written ({reason})"
        if problem:
            report.problem(output.key, problem)
    for one, other in itertools.combinations(outputs, 2):
        if _same(one.path, other.path) and (one.kind == "prefix") == (other.kind == "prefix"):
            report.problem(
                other.key, f"{other.path} is the {one.what} too ({one.key}); take another name"
            )
    if not report.problems:
        _require_space(config, report)
    report.finish()
    if not continues:
        there = [name for output in outputs if output.own for name in output.existing()]
        if there:
            more = f" and {len(there) - 5} more" if len(there) > 5 else ""
            log.warning(
                "there are files of an earlier training, which this one replaces by its own of the "
                "same name: %s%s (to go on with that training, use --restart)",
                ", ".join(there[:5]),
                more,
            )


def checkpoint_size(config: AnyModelConfig) -> int | None:
    """Estimate of the size of a checkpoint in bytes; None as long as only the data know the types.

    Weights and two numbers of the optimizer for each, and :data:`BESIDE_WEIGHTS`.
    """
    weights = weight_count(config)
    if weights is None:
        return None
    return 3 * weights * interface_dtype().size + BESIDE_WEIGHTS


def weight_count(config: AnyModelConfig) -> int | None:
    """Number of weights of a model, the steps of all layers included that could have one.

    None as long as only the data know the types.
    """
    if config.ntypes is None:
        return None
    return sum(_weights_of(member.config, config.ntypes) for member in config.nets)


def _weights_of(model: ModelConfig, ntypes: int) -> int:
    types = TypeEmbedding.of(model)
    descriptor = make_descriptor(model.descriptor, ntypes, types=types)
    fitted = ntypes - model.virtual_types
    fitting = make_fitting(model.fitting_net, fitted, types, descriptor.turning_width)
    of_types = 0 if types is None else types.weight_count()
    return of_types + descriptor.weight_count() + fitting.weight_count(descriptor.dim_out)


def kept_checkpoints(config: Config) -> int | None:
    """Checkpoints that are there at the same time, best ones too; None when that is not known."""
    training, validating = config.training, config.validating
    keep = training.max_ckpt_keep
    if training.save_freq == 0:
        keep = 1
    elif training.numb_steps is not None:
        # one is complete before the oldest goes
        saved = -(-training.numb_steps // training.save_freq)
        keep = min(keep + 1, saved) if keep else saved
    elif keep == 0:
        return None
    best = validating.max_best_ckpt if validating.full_validation and validating.save_best else 0
    return keep + best


def free_space(path: Path) -> int:
    """Bytes that can be written below ``path``, which need not exist yet."""
    return shutil.disk_usage(_nearest(path)).free


def _problem(output: PlannedFile, input_file: Path) -> str | None:
    path = output.path
    if path.name in ("", ".."):
        return f"{path} is a folder; give a name for the {output.what}"
    if output.kind == "file" and path.is_dir():
        return f"{path} is a directory; give the name of a file for the {output.what}"
    if output.kind == "folder" and path.exists() and not path.is_dir():
        return f"{path} is a file; give the name of a folder for the {output.what}"
    if output.own and output.kind == "file" and _same(path, input_file):
        return f"the {output.what} would replace the input script; take another name"
    folder = path if output.kind == "folder" else path.parent
    if not output.makes_folders and not folder.is_dir():
        return f"{path} cannot be written (there is no directory {folder})"
    # a file without a name: nothing is left behind
    tempfile.TemporaryFile(dir=_nearest(folder)).close()
    return None


def _require_space(config: Config, report: Report) -> None:
    size = checkpoint_size(config.model)
    if size is None:
        return
    prefix = Path(config.training.save_ckpt)
    free = free_space(prefix.parent)
    if size > free:
        report.problem(
            "training.save_ckpt",
            f"a checkpoint takes about {size / MEGABYTE:.3g} MB, but only {free / MEGABYTE:.3g} MB "
            f"are free in {prefix.parent}; make room, or take another folder",
        )
        return
    count = kept_checkpoints(config)
    if count is not None and count * size > free:
        log.warning(
            "%d checkpoints of about %.3g MB will not fit into %s, where %.3g MB are free; make "
            "room, or lower training.max_ckpt_keep",
            count,
            size / MEGABYTE,
            prefix.parent,
            free / MEGABYTE,
        )


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest of those around it that exists.

    Raises
    ------
    OSError
        When that is not a folder.
    """
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                raise NotADirectoryError(20, "is a file, not a directory", str(path))
            return path
    raise FileNotFoundError(2, "does not exist", str(folder))


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
