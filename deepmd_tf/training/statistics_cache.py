# SPDX-License-Identifier: BSD-3-Clause
"""Cache of statistics of the training data, in ``training/stat_file``.

Each entry has a key: a hash of the data and settings that it was computed from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deepmd_tf.config import Config
from deepmd_tf.data import DataSystem
from deepmd_tf.data.checks.examine import CHECKS, examine
from deepmd_tf.data.checks.findings import Finding, Findings
from deepmd_tf.data.identity import fingerprint, identify
from deepmd_tf.model.stat_file import StatFile
from deepmd_tf.nn.precision import interface_dtype

log = logging.getLogger(__name__)

CHECKED = "data checks"


class StatisticsCache:
    """A file of statistics, each with a key of the data and settings that it depends on.

    Parameters
    ----------
    file
        The file.
    """

    def __init__(self, file: StatFile) -> None:
        self.file = file

    @classmethod
    def open(
        cls, config: Config, type_map: Sequence[str] | None, *, writes: bool = True
    ) -> StatisticsCache | None:
        """The cache that ``training/stat_file`` names, if any; written to only if `writes`.

        Raises
        ------
        InputError
            If it cannot be used.
        """
        training = config.training
        if training.stat_file is None:
            return None
        read_only = training.stat_file_mode == "read"
        return cls(StatFile(training.stat_file, type_map, read_only=read_only, writes=writes))

    def below(self, group: str) -> StatisticsCache:
        """That of one of several models, in the same file."""
        return type(self)(self.file.below(group))

    def arrays(
        self,
        what: str,
        key: str,
        load: Callable[[], np.ndarray | None],
    ) -> np.ndarray | None:
        """Statistics in the layout of DeePMD-kit, or None if they have to be measured.

        Statistics of other data or settings are used only if the cache is read-only. Statistics
        without a key, written by other programs, are used with a warning.

        Parameters
        ----------
        what
            Name of their record; also used in messages.
        key
            Of the present data and settings.
        load
            Reads them.
        """
        values = load()
        if values is None:
            return None
        record = self.file.load_record(what)
        path = self.file.path
        if record is None:
            log.warning(
                "%s: does not say of which data and settings its statistics (%s) are, as it was "
                "not written by this package; they are used as they are",
                path,
                what,
            )
        elif record.get("signature") == fingerprint(key, values):
            log.info("statistics of these data (%s) are taken from %s", what, path)
        elif self.file.read_only:
            log.warning(
                "%s: its statistics (%s) are of other data or settings; they are used because "
                "stat_file_mode is read",
                path,
                what,
            )
        else:
            log.warning(
                "%s: its statistics (%s) are of other data or settings and are measured again",
                path,
                what,
            )
            return None
        return values

    def sign(self, what: str, key: str, load: Callable[[], np.ndarray | None]) -> None:
        """Record the data and settings that the cached statistics depend on."""
        if self.file.writes:
            self.file.save_record(what, {"signature": fingerprint(key, load())})

    def record(self, what: str, key: str) -> Mapping[str, Any] | None:
        """A record written by :meth:`keep` for this key; None if there is none."""
        record = self.file.load_record(what)
        if record is None:
            return None
        if record.get("key") != key:
            log.info("%s: its %s are of other data or settings", self.file.path, what)
            return None
        return record

    def keep(self, what: str, key: str, record: Mapping[str, Any]) -> None:
        """Write a record under a key."""
        self.file.save_record(what, {**record, "key": key})


def examine_once(
    training: Sequence[DataSystem],
    validation: Sequence[DataSystem],
    findings: Findings,
    kept: StatisticsCache | None,
) -> None:
    """Check the data, unless the cache says that identical data passed before.

    Parameters
    ----------
    training, validation, findings
        See :func:`~deepmd_tf.data.checks.examine.examine`.
    kept
        The cache; warnings recorded there are repeated.
    """
    systems = [*training, *validation]
    key = ""
    if kept is not None:
        identify(systems)
        described = [
            (
                *(system.path, system.digests, system.masked),
                *((system.virtual_types,) if system.virtual_types else ()),
            )
            for system in systems
        ]
        key = fingerprint(CHECKS, interface_dtype().name, len(training), described)
        record = kept.record(CHECKED, key)
        if record is not None:
            findings.add(*(Finding(**doubt, doubt=True) for doubt in record["doubts"]))
            for system in systems:
                system.trust()
            log.info(
                "the data are byte for byte those that were checked before (%s): %d frames in %d "
                "systems, %d doubts",
                kept.file.path,
                sum(system.nframes for system in systems),
                len(systems),
                len(record["doubts"]),
            )
            return
    before = set(findings.doubts)
    examine(training, validation, findings)
    if kept is not None and not findings.errors:
        found = [_described(doubt) for doubt in findings.doubts if doubt not in before]
        kept.keep(CHECKED, key, {"doubts": found})


def _described(finding: Finding) -> dict[str, Any]:
    names = ("check", "where", "found", "expected", "count", "unit")
    return {name: getattr(finding, name) for name in names}
