# SPDX-License-Identifier: BSD-3-Clause
"""Compare a model with labelled data: errors in the log, every number in detail files if wanted."""

from __future__ import annotations

import logging
import os
import secrets
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepmd_tf import environment_variables, fields
from deepmd_tf.config import load_input
from deepmd_tf.data import DataSystem, expand_systems
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.files import read_text
from deepmd_tf.inference.deep_dos import DeepDOS
from deepmd_tf.inference.deep_eval import DeepEval
from deepmd_tf.inference.deep_tensor import DeepTensor
from deepmd_tf.inference.details import DetailFiles
from deepmd_tf.inference.details_tensor import DosDetails, TensorDetails
from deepmd_tf.inference.missing import missing_rule
from deepmd_tf.inference.opening import open_evaluator
from deepmd_tf.inference.shares import Share, frames_of, require_same_work, shares
from deepmd_tf.inference.systems import open_all
from deepmd_tf.inference.tested import Consumer, SystemErrors, Tested
from deepmd_tf.metrics import Errors, ErrorSum
from deepmd_tf.parallel import ALONE, Ranks, in_turns
from deepmd_tf.progress import bar

log = logging.getLogger(__name__)

CHUNK_VARIABLE = environment_variables.TEST_CHUNK
DEFAULT_CHUNK_ATOMS = 20_000
"""Atoms that are tested together: few enough for a progress bar that moves."""
HESSIAN_ELEMENTS = 2**22
"""Elements of Hessians that are tested together, unless a single one has more."""


def run_test(
    model: str | os.PathLike[str],
    systems: Sequence[str],
    *,
    n_frames: int = 0,
    seed: int | None = None,
    shuffle: bool = False,
    detail_prefix: str | os.PathLike[str] | None = None,
    atomic: bool = False,
    hessian: bool | None = None,
    consumers: Sequence[Consumer] = (),
    on_missing_neighbors: str | None = None,
    ranks: Ranks = ALONE,
) -> Errors:
    """Test a model on labelled systems and report errors to the log.

    Parameters
    ----------
    model
        Frozen graph or checkpoint, see :class:`~deepmd_tf.inference.DeepEval`.
    systems
        Directories of systems.
    n_frames
        Frames of each system; 0 takes all.
    seed, shuffle
        Whether they are taken in random order, and its seed.
    detail_prefix
        Where detail files are written, see :class:`~deepmd_tf.inference.details.DetailFiles`.
    atomic
        Whether energies of atoms are compared, where there are labels for them.
        A model that was trained with ``enable_atom_ener_coeff`` is compared in Σ c_i E_i, with c
        from ``atom_ener_coeff.npy``, or 1.
    hessian
        Whether Hessians are compared. True: every system must have labels for them. None: where
        there are labels, if the model was trained on Hessians or frozen with them.
    consumers
        Others who write something, such as plots.
    on_missing_neighbors
        As for :class:`~deepmd_tf.inference.DeepEval`; after a warning the largest numbers of all
        systems are reported at the end.
    ranks
        Share the frames out; rank 0 has the consumers and writes. Sums are those of one process up
        to rounding.

    Returns
    -------
    Errors
        Over all elements of all systems (those of energies of atoms are not in the log).

    Raises
    ------
    DataError
        For no system, or those that cannot be read (before the first is tested) or evaluated.
    ModelFileError
        When the model cannot be read.
    """
    if not systems:
        raise DataError("no system to test")
    rule = missing_rule(on_missing_neighbors)
    found: list[SystemErrors] = []
    with ExitStack() as stack:
        consumers = [stack.enter_context(consumer) for consumer in consumers if ranks.leads]
        with open_evaluator(model, on_missing_neighbors=rule) as pot:
            if detail_prefix is not None and ranks.leads:
                details = _detail_files(detail_prefix, pot, atomic=atomic)
                consumers = [stack.enter_context(details), *consumers]
            total = Errors(pot.kind.quantities)
            compared = pot.compared(atomic=atomic, hessian=hessian)
            hessians = any(item.name == fields.HESSIAN.name for item in compared)
            opened = open_all(systems, pot, compared)
            options = (n_frames, seed, shuffle, atomic, hessian, rule)
            require_same_work(ranks, [pot], opened, str(options))
            missing = Counter(name for data in opened for name in _missing_labels(data, compared))
            work = shares(
                deque(opened),
                ranks,
                lambda data: _chunk_atoms(data.natoms if hessians else 0),
                limit=n_frames,
                rng=_order(seed, ranks) if shuffle else None,
            )
            counts = [(data.path, frames_of(data, n_frames)) for data in opened]
            del opened  # systems are dropped one by one
            # frames are sent to rank 0 if somebody there wants them
            wanted = ranks.shared(any(type(one).add is not Consumer.add for one in consumers))
            done = in_turns(ranks, work, lambda share: _test(pot, share, atomic, wanted))
            if ranks.leads:
                for one in _by_system(done, counts, pot, consumers):
                    found.append(one)
                    total += one.errors
            deque(done, maxlen=0)  # of other ranks
            pot.share_missing(ranks)
        sums = ranks.shared([*total.values()])
        if not ranks.leads:
            total += dict(zip(total, sums, strict=True))
            return total
        found.append(SystemErrors("all", sum(one.frames for one in found), None, total))
        _report_total(total, len(systems), pot, pot.missing_neighbors if rule == "warn" else "")
        _report_missing(missing, total, len(systems))
        for consumer in consumers:
            consumer.finish(found)
    return total


def _detail_files(prefix: str | os.PathLike[str], pot: DeepEval, *, atomic: bool) -> Consumer:
    """The detail files of a kind of model."""
    if isinstance(pot, DeepTensor):
        (item,) = pot.compared(atomic=atomic, hessian=None)
        return TensorDetails(prefix, item.name, item.dof, atomic=atomic)
    return DosDetails(prefix) if isinstance(pot, DeepDOS) else DetailFiles(prefix)


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
            lines = read_text(list_file).splitlines()
        except FileNotFoundError as error:
            raise InputError(f"{list_file}: cannot be read ({error.strerror})") from None
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


def _missing_labels(data: DataSystem, labels: Sequence[fields.Field]) -> Iterator[str]:
    """Labels that at least one set of a system lacks; weights and coefficients are none."""
    for field in labels:
        weight = field in (fields.ATOM_PREF, fields.ATOM_ENER_COEFF)
        if not (weight or all(data.has(field.name)) or (field == fields.VIRIAL and not data.pbc)):
            yield field.name


def _chunk_atoms(hessian_atoms: int) -> int:
    """Number of atoms that are tested together, for systems with Hessians."""
    text = os.environ.get(CHUNK_VARIABLE, "").strip()
    if text and not text.isdigit():
        raise InputError(
            f'environment variable {CHUNK_VARIABLE} is "{text}", not a number of atoms'
        )
    chunk = max(1, int(text or DEFAULT_CHUNK_ATOMS))
    return min(chunk, HESSIAN_ELEMENTS // (9 * hessian_atoms)) if hessian_atoms else chunk


def _order(seed: int | None, ranks: Ranks) -> np.random.RandomState:
    """Draws the order of frames, on all ranks the same; as numpy seeds it from one number, which is
    the order that stock programs draw.
    """
    if seed is None and ranks.size > 1:
        seed = ranks.first(lambda: secrets.randbits(32))
    return np.random.RandomState(None if seed is None else seed % 2**32)


class _Part(NamedTuple):
    """Frames with the same atoms: the sums of their errors, and the frames if they are wanted."""

    natoms: int
    errors: list[ErrorSum]
    tested: Tested | None


class _Done(NamedTuple):
    """A share that is done; whether it is the last of its system."""

    frames: int
    parts: list[_Part]
    last: bool


def _test(pot: DeepEval, share: Share, atomic: bool, wanted: bool) -> _Done:
    """Evaluate frames and compare them; what another process can be sent."""
    data, batch = share.data, share.batch
    parts = []
    for part, predicted in batch.uniform(pot.predict(data, batch, atomic=atomic)):
        types = part.arrays["type"][0]
        tested = Tested(
            predicted,
            part.arrays,
            len(types),
            data.pbc,
            data.path,
            part,
            types,
            tuple(data.type_map or ()),
            real_types=data.real_types,
            selected=np.isin(types, pot.get_sel_type()) if pot.get_sel_type() else None,
        )
        errors = Errors(pot.kind.quantities)
        errors.add(tested)
        parts.append(_Part(len(types), [*errors.values()], tested if wanted else None))
    return _Done(batch.nframes, parts, share.last)


def _by_system(
    done: Iterator[_Done],
    systems: Sequence[tuple[str, int]],
    pot: DeepEval,
    consumers: Sequence[Consumer],
) -> Iterator[SystemErrors]:
    """Put shares together again, report each system (path, frames), and tell the consumers."""
    quantities = pot.kind.quantities
    for path, count in systems:
        log.info("# ---------------output of dp test--------------- ")
        log.info("# testing system : %s", path)
        errors, frames, sizes = Errors(quantities), 0, set()
        with bar() as progress:
            task = progress.add_task("testing", total=count)
            for one in done:
                for part in one.parts:
                    errors += dict(zip(quantities, part.errors, strict=True))
                    sizes.add(part.natoms)
                    if part.tested is not None:
                        for consumer in consumers:
                            consumer.add(part.tested)
                frames += one.frames
                progress.advance(task, one.frames)
                if one.last:
                    break
        log.info("# number of test data : %d ", frames)
        _report(errors, pot.kind.note)
        log.info("# ----------------------------------------------- ")
        yield SystemErrors(path, frames, sizes.pop() if len(sizes) == 1 else None, errors)


def _report_total(total: Errors, n_systems: int, pot: DeepEval, missing: str) -> None:
    """The errors of all systems, and ``missing`` neighbours if there were any."""
    log.info("# ----------weighted average of errors----------- ")
    log.info("# number of systems : %d", n_systems)
    _report(total, pot.kind.note, averaged=True)
    log.info("# ----------------------------------------------- ")
    if missing:
        log.warning(
            "# the errors include atoms with more neighbours than the model sees, in all "
            "systems up to %s",
            missing,
        )


def _report_missing(missing: Counter[str], total: Errors, n_systems: int) -> None:
    """Say once what was not compared, because the data have no labels."""
    if not missing:
        return
    files = [f"{name}.npy (missing in {n} of {n_systems} systems)" for name, n in missing.items()]
    text = f"compared only where there are labels: {', '.join(files)}"
    if any(error.weight > 0 for error in total.values()):
        log.info("# %s", text)
    else:
        log.warning("# nothing was compared, because the data have no labels; %s", text)


def _report(errors: Errors, note: str, averaged: bool = False) -> None:
    """A line for each error of what was compared, or of what is reported as average."""
    for quantity, error in errors.items():
        if error.weight > 0 and (quantity.averaged or not averaged):
            for kind in quantity.measures:
                line = f"{quantity.words.format(kind):19}: {getattr(error, kind.lower()):e}"
                log.info("%s", f"{line} {quantity.unit}".rstrip())
    if note:
        log.info("%s", note)
