# SPDX-License-Identifier: BSD-3-Clause
"""Compare a model with labelled data: errors in the log, every number in detail files if wanted."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from deepmd_tf import fields
from deepmd_tf.config import load_input
from deepmd_tf.data import Batch, DataSystem, expand_systems
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.graph.refusals import FrameError
from deepmd_tf.inference.deep_pot import DeepPot
from deepmd_tf.inference.details import DetailFiles
from deepmd_tf.metrics import EnergyErrors
from deepmd_tf.progress import bar

log = logging.getLogger(__name__)

CHUNK_VARIABLE = "DP_TEST_CHUNK_ATOMS"
DEFAULT_CHUNK_ATOMS = 20_000
"""Atoms that are tested together: few enough for a progress bar that moves."""

REPORT = (
    ("energy", "Energy {}", "eV"),
    ("energy_per_atom", "Energy {}/Natoms", "eV"),
    ("force", "Force  {}", "eV/Å"),
    ("weighted_force", "Force weighted {}", "eV/Å"),
    ("virial", "Virial {}", "eV"),
    ("virial_per_atom", "Virial {}/Natoms", "eV"),
    ("stress", "Stress {}", "eV/Å³"),
    ("atom_energy", "Atomic ener {}", "eV"),
)
"""Member of :class:`~deepmd_tf.metrics.EnergyErrors`, words (with MAE or RMSE), unit."""


def run_test(
    model: str | os.PathLike[str],
    systems: Sequence[str],
    *,
    n_frames: int = 0,
    seed: int | None = None,
    shuffle: bool = False,
    detail_prefix: str | os.PathLike[str] | None = None,
    atomic: bool = False,
) -> EnergyErrors:
    """Test a model on labelled systems and report errors to the log.

    Parameters
    ----------
    model
        Frozen graph or checkpoint, see :class:`~deepmd_tf.inference.DeepPot`.
    systems
        Directories of systems.
    n_frames
        Frames of each system; 0 takes all.
    seed
        Of the order of the frames.
    shuffle
        Whether the frames of a system are taken in random order.
    detail_prefix
        Where detail files are written, see :class:`~deepmd_tf.inference.details.DetailFiles`.
    atomic
        Whether energies of atoms are compared; every system must have labels for them.

    Returns
    -------
    EnergyErrors
        Over all elements of all systems (energies of atoms are reported per system only).

    Raises
    ------
    DataError
        When there is no system, or one cannot be read, has no frames, or has a frame that cannot
        be evaluated.
    ModelFileError
        When the model cannot be read.
    """
    if not systems:
        raise DataError("no system to test")
    # As numpy seeds it from one number: the order that stock programs draw.
    rng = np.random.RandomState(None if seed is None else seed % 2**32)
    total = EnergyErrors()
    with ExitStack() as stack:
        details = None
        if detail_prefix is not None:
            details = stack.enter_context(DetailFiles(detail_prefix))
        pot = stack.enter_context(DeepPot(model))
        for system in systems:
            log.info("# ---------------output of dp test--------------- ")
            log.info("# testing system : %s", system)
            data = _open(system, pot, atomic)
            batches = data.batches(
                max_atoms=_chunk_atoms(), limit=n_frames, rng=rng if shuffle else None
            )
            count = min(n_frames or data.nframes, data.nframes)
            errors = _test_system(pot, data, batches, count, atomic, details)
            log.info("# ----------------------------------------------- ")
            errors.atom_energy = EnergyErrors().atom_energy
            total += errors
    log.info("# ----------weighted average of errors----------- ")
    log.info("# number of systems : %d", len(systems))
    _report(total)
    log.info("# ----------------------------------------------- ")
    return total


def find_systems(
    *,
    system: str = ".",
    list_file: str | None = None,
    train_input: str | None = None,
    valid_input: str | None = None,
) -> list[str]:
    """Systems that the options of ``dp test`` stand for; the first that is given of the last three.

    Parameters
    ----------
    system
        Directory; stands for all systems at or below it.
    list_file
        File with one directory of a system per line.
    train_input, valid_input
        Input script, whose training or validation systems are taken, relative to its directory.

    Raises
    ------
    InputError
        When a file cannot be read or has no such section.
    DataError
        When there is no system.
    """
    if train_input is not None:
        return _systems_of_input(train_input, "training_data")
    if valid_input is not None:
        return _systems_of_input(valid_input, "validation_data")
    if list_file is not None:
        try:
            lines = Path(list_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{list_file}: cannot be read ({error})") from None
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise DataError(f"{list_file}: names no system; expected one directory per line")
        return found
    return expand_systems(system)


def _systems_of_input(path: str, section: str) -> list[str]:
    config = getattr(load_input(path).training, section)
    if config is None:
        raise InputError(f'{path}: has no "training.{section}"')
    return expand_systems(config.systems, config.rglob_patterns, base=Path(path).resolve().parent)


def _open(system: str, pot: DeepPot, atomic: bool) -> DataSystem:
    wanted = [fields.ENERGY, fields.FORCE, fields.ATOM_PREF, fields.VIRIAL]
    if atomic:
        wanted.append(fields.ATOM_ENER.require())
    if pot.get_dim_fparam():
        wanted.append(fields.FPARAM.with_dof(pot.get_dim_fparam()).require())
    if pot.get_dim_aparam():
        wanted.append(fields.APARAM.with_dof(pot.get_dim_aparam()).require())
    return DataSystem(
        system,
        pot.get_type_map() or None,
        fields=wanted,
        sort_atoms=False,
        ntypes=pot.get_ntypes(),
    )


def _chunk_atoms() -> int:
    text = os.environ.get(CHUNK_VARIABLE, "").strip()
    if text and not text.isdigit():
        raise InputError(
            f'environment variable {CHUNK_VARIABLE} is "{text}", not a number of atoms'
        )
    return max(1, int(text or DEFAULT_CHUNK_ATOMS))


def _test_system(
    pot: DeepPot,
    data: DataSystem,
    batches: Iterator[Batch],
    count: int,
    atomic: bool,
    details: DetailFiles | None,
) -> EnergyErrors:
    errors = EnergyErrors()
    tested = 0
    with bar() as progress:
        task = progress.add_task("testing", total=count)
        for batch in batches:
            prediction = _predict(pot, data, batch, atomic)
            errors.add(prediction, batch.arrays, natoms=data.natoms, periodic=data.pbc)
            if details is not None:
                details.add(data.path, prediction, batch.arrays, data.natoms, data.pbc)
            tested += batch.nframes
            progress.advance(task, batch.nframes)
    if tested == 0:
        raise DataError(f"No test frames found in system {data.path}.")
    log.info("# number of test data : %d ", tested)
    _report(errors)
    return errors


def _predict(pot: DeepPot, data: DataSystem, batch: Batch, atomic: bool) -> dict[str, np.ndarray]:
    arrays = batch.arrays
    try:
        results = pot.eval(
            arrays["coord"],
            arrays["box"] if data.pbc else None,
            data.types,
            atomic=atomic,
            fparam=arrays.get("fparam"),
            aparam=arrays.get("aparam"),
        )
    except FrameError as error:
        frame = batch.frames[error.frame]
        raise DataError(
            f"{Path(data.path, batch.set_name, 'coord.npy')}: frame {frame} {error.complaint}; "
            "correct or remove the frame"
        ) from None
    # in the order of eval, under the names of the labels
    labels = ("energy", "force", "virial", "atom_ener")
    return dict(zip(labels, results, strict=False))


def _report(errors: EnergyErrors) -> None:
    """One line for each MAE and RMSE of what was compared."""
    for member, words, unit in REPORT:
        error = getattr(errors, member)
        if error.weight > 0:
            for kind, value in (("MAE", error.mae), ("RMSE", error.rmse)):
                log.info("%-19s: %e %s", words.format(kind), value, unit)
