# SPDX-License-Identifier: BSD-3-Clause
"""One pass over all frames, in which everything is checked that can be checked without a model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from deepmd_tf.data.checks.closeness import too_close
from deepmd_tf.data.checks.consistency import Consistency
from deepmd_tf.data.checks.digits import EnergyDigits
from deepmd_tf.data.checks.duplicates import Duplicates
from deepmd_tf.data.checks.findings import Findings
from deepmd_tf.data.checks.spins import spins_elsewhere
from deepmd_tf.data.expand import expand_systems
from deepmd_tf.data.system import DataSystem
from deepmd_tf.data.systems import common_type_map, open_systems
from deepmd_tf.fields import ATOM_ENER, ATOM_PREF, ENERGY, FORCE, HESSIAN, VIRIAL
from deepmd_tf.progress import bar

log = logging.getLogger(__name__)

_LABELS = (ENERGY, FORCE, VIRIAL, HESSIAN, ATOM_ENER, ATOM_PREF)
CHECKS = 2
"""To be raised whenever something else is looked for: then data are looked at again."""


def examine(
    training: Sequence[DataSystem], validation: Sequence[DataSystem], findings: Findings
) -> None:
    """Look at every number once, with a progress bar.

    Systems in which nothing is wrong are trusted from then on: their numbers are not checked again
    when they are loaded.

    Parameters
    ----------
    training, validation
        Systems that are open.
    findings
        Takes up everything that is found; the log tells how much there is, what was found before
        included.
    """
    systems = [*training, *validation]
    if not systems:
        return
    watchers: list[Any] = [
        EnergyDigits(),
        Consistency(),
        *([Duplicates(training)] if validation else []),
    ]
    start = time.monotonic()
    nframes = sum(system.nframes for system in systems)
    with bar() as progress:
        task = progress.add_task("checking data", total=nframes)
        for system in systems:
            wrong = False
            for _, chunk, found in system.chunks():
                found += [*too_close(system, chunk), *spins_elsewhere(system, chunk)]
                findings.add(*found)
                wrong |= not all(finding.doubt for finding in found)
                for watcher in watchers:
                    watcher.see(system, chunk)
                progress.advance(task, chunk.nframes)
            for watcher in watchers:
                findings.add(*watcher.end(system))
            if not wrong:
                system.trust()
    log.info(
        "checked %d frames in %d systems (%.1f s): %d errors, %d doubts",
        nframes,
        len(systems),
        time.monotonic() - start,
        len(findings.errors),
        len(findings.doubts),
    )


def check_data(
    training: Sequence[str],
    validation: Sequence[str] = (),
    *,
    type_map: Sequence[str] | None = None,
) -> list[tuple[str, str]]:
    """Look for mistakes in systems and say what was found; doubts are warnings.

    Parameters
    ----------
    training, validation
        Paths, each of which stands for all systems at or below it.
    type_map
        Names of the types that there may be.

    Returns
    -------
    list
        (what, how much), a table of what was checked and which labels there are.

    Raises
    ------
    FindingsError
        If something is wrong; the message has everything that is.
    """
    findings = Findings()
    systems: list[list[DataSystem]] = []
    for paths in (training, validation):
        found: list[str] = []
        for path in paths:
            with findings.collect():
                found += expand_systems(path)
        systems.append(open_systems(found, findings, type_map, fields=_LABELS))
    if type_map is None:
        with findings.collect():
            common_type_map([*systems[0], *systems[1]])
    examine(systems[0], systems[1], findings)
    total = len(systems[0])
    opened = [system for part in systems for system in part]
    table = [
        ("checked", f"{sum(one.nframes for one in opened)} frames in {len(opened)} systems"),
        ("found", f"{len(findings.errors)} errors, {len(findings.doubts)} doubts"),
    ]
    for label in _LABELS:
        without = [system.path for system in systems[0] if not all(system.has(label.name))]
        if len(without) < total:
            rest = f", but not in {without[0]}" if without else ""
            rest += f" and {len(without) - 1} others" if len(without) > 1 else ""
            number = total - len(without)
            log.info("%s.npy: in %d of %d training systems%s", label.name, number, total, rest)
            table.append((label.name, f"in {number} of {total} training systems"))
    findings.warn(log)
    findings.raise_errors()
    return table
