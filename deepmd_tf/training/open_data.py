# SPDX-License-Identifier: BSD-3-Clause
"""Opens the data of a training."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from deepmd_tf import fields
from deepmd_tf.config import Config, TrainingData, ValidationData
from deepmd_tf.data import DataSystem, DataSystems, expand_systems, make_random
from deepmd_tf.data.checks.findings import Findings
from deepmd_tf.data.memory import DEFAULT_BYTES, Memory
from deepmd_tf.data.systems import open_systems
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.losses import TermLoss
from deepmd_tf.model.kinds import kind_of
from deepmd_tf.nn.precision import interface_dtype
from deepmd_tf.parallel import ALONE, Ranks
from deepmd_tf.training.agreement import require_same_data
from deepmd_tf.training.data_statistics import statistics_items
from deepmd_tf.training.requirements import (
    isolated_atoms,
    missing_labels,
    no_selected_atoms,
    require_frames,
    require_same_atoms,
    unlabelled_systems,
    unused_labels,
    warn_of_nan,
    wrong_atoms,
    wrong_spins,
)
from deepmd_tf.training.statistics_cache import StatisticsCache, examine_once

log = logging.getLogger(__name__)


class OpenedData(NamedTuple):
    """Data of a training, which have passed all checks.

    Attributes
    ----------
    training, validation
        What is trained on, and what is held out, if anything.
    cache
        Statistics of the training data from earlier runs; None without ``training/stat_file``.
    """

    training: DataSystems
    validation: DataSystems | None
    cache: StatisticsCache | None

    @property
    def mixed(self) -> bool:
        """Whether frames of a batch may have different atoms."""
        return any(data is not None and data.mixed for data in (self.training, self.validation))


def open_data(
    config: Config, loss: TermLoss, *, writes: bool = True, ranks: Ranks = ALONE
) -> OpenedData:
    """Open training and validation data and check every number in them.

    Parameters
    ----------
    config, loss
        Of the training.
    writes
        Whether ``training/stat_file`` may be written.
    ranks
        Rank 0 checks the numbers, and has the cache.

    Raises
    ------
    FindingsError
        If something in them is wrong, a term of the loss has its labels in no training system, or
        batches are too small for it; the message has all that was found.
    """
    rng = make_random(config.training.seed)
    findings, memory = Findings(), Memory(DEFAULT_BYTES // ranks.on_machine)
    section, names = config.training.training_data, config.model.type_names
    items = (*statistics_items(config.model.main), *loss.labels, *config.model.data_items)
    systems, complete = _open(section, findings, names, items, memory)
    data = validation = None
    if complete:
        ntypes = config.model.ntypes
        with findings.collect():
            times = ranks.size if config.training.batch_size_per == "process" else 1
            data = _gather(section, systems, rng, names, ntypes, times)
            findings.add(*missing_labels(loss, data), *unlabelled_systems(loss, data))
            findings.add(*wrong_atoms(config, data), *no_selected_atoms(loss, data))
            findings.add(*wrong_spins(config, data))
            findings.add(*unused_labels(loss, data, kind_of(config.model).labelled()))
            findings.add(*isolated_atoms(config, data))
            require_same_atoms(loss, data)
            require_frames(loss, data, section.batch_size)

    validation_section = config.training.validation_data
    held_out: list[DataSystem] = []
    if validation_section is not None:
        if config.validating.full_validation:
            items = (*items, *kind_of(config.model).labelled())
        # types mean what they mean in the training data, also when only the data name them
        names = names or (None if data is None else data.type_map)
        held_out, complete = _open(validation_section, findings, names, items, memory)
        if complete and data is not None:
            with findings.collect():
                validation = _gather(validation_section, held_out, rng, names, data.ntypes)
                findings.add(*wrong_atoms(config, validation), *wrong_spins(config, validation))
                findings.add(*no_selected_atoms(loss, validation))
                require_same_atoms(loss, validation)
    cache = None
    if data is not None and not findings.errors and ranks.leads:
        type_map = config.model.type_map or data.type_map
        cache = StatisticsCache.open(config, type_map, writes=writes)
    known = systems if data is None else data.systems
    others = held_out if validation is None else validation.systems
    if ranks.leads:
        examine_once(known, others, findings, cache)
    findings.raise_errors()
    if not ranks.leads:
        for system in (*known, *others):
            system.trust()
    require_same_data(ranks, known, others)
    if data is None:
        raise ValueError("data that cannot be opened, without a finding")
    findings.warn(log)
    for used in filter(None, (data, validation)):
        _log_defaults(used, config, loss)
    if validation is not None:
        warn_of_nan(loss, validation)
    return OpenedData(data, validation, cache)


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
    times: int = 1,
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
            times=times,
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


def _log_defaults(data: DataSystems, config: Config, loss: TermLoss) -> None:
    """Say which items stand in where there is no file."""
    items = config.model.data_items
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
