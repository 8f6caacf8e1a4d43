# SPDX-License-Identifier: BSD-3-Clause
"""One pass over all frames, in which everything is checked that can be checked without a model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from deepmd_tf.data.closeness import too_close
from deepmd_tf.data.consistency import Consistency
from deepmd_tf.data.digits import EnergyDigits
from deepmd_tf.data.duplicates import Duplicates
from deepmd_tf.data.findings import Findings
from deepmd_tf.data.system import DataSystem
from deepmd_tf.progress import bar

log = logging.getLogger(__name__)

CHECKS = 1
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
        Takes up everything that is found.
    """
    systems = [*training, *validation]
    watchers = [EnergyDigits(), Consistency(), *([Duplicates(training)] if validation else [])]
    start = time.monotonic()
    nframes = sum(system.nframes for system in systems)
    with bar() as progress:
        task = progress.add_task("checking data", total=nframes)
        for system in systems:
            wrong = False
            for _, chunk, found in system.chunks():
                found += too_close(system, chunk)
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
