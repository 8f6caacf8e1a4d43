# SPDX-License-Identifier: BSD-3-Clause
"""How many frames go through the graph at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import tensorflow.compat.v1 as tf

from deepmd_tf import environment_variables
from deepmd_tf.errors import InputError

log = logging.getLogger(__name__)

VARIABLE = environment_variables.BATCH_SIZE
DEFAULT_ATOMS = 1024


class BatchSize:
    """Splits frames into batches of a number of atoms, which is halved when memory runs out.

    Parameters
    ----------
    atoms
        Atoms in a batch, at least one frame; None puts everything into one batch.
        ``DP_INFER_BATCH_SIZE`` wins.
    """

    def __init__(self, atoms: int | None = DEFAULT_ATOMS) -> None:
        text = os.environ.get(VARIABLE, "").strip()
        if text and not text.isdigit():
            raise InputError(
                f'environment variable {VARIABLE} is "{text}", it must be a number of atoms'
            )
        self.atoms = int(text or 0) or atoms

    def run(self, n_frames: int, n_atoms: int, evaluate: Callable[[slice], None]) -> None:
        """Call ``evaluate`` with slices that cover ``n_frames`` frames of ``n_atoms`` atoms.

        Raises
        ------
        InputError
            When a single frame does not fit into memory.
        """
        start = 0
        while start < n_frames:
            count = n_frames if self.atoms is None else max(1, self.atoms // max(1, n_atoms))
            count = min(count, n_frames - start)
            try:
                evaluate(slice(start, start + count))
            except (tf.errors.ResourceExhaustedError, MemoryError) as error:
                if count == 1:
                    reason = f" ({error})" if isinstance(error, MemoryError) and error.args else ""
                    raise InputError(
                        f"a frame of {n_atoms} atoms does not fit into memory{reason}"
                    ) from error
                self.atoms = count // 2 * n_atoms
                log.warning(
                    "out of memory with %d frames at once, going on with %d", count, count // 2
                )
                continue
            start += count
