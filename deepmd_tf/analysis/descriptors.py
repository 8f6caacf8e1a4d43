# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors of the atoms of a data set, in files."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepmd_tf.data import DataSystem
from deepmd_tf.errors import DataError
from deepmd_tf.files import replacing, unwritable
from deepmd_tf.inference import DeepEval
from deepmd_tf.inference.batches import evaluate
from deepmd_tf.inference.deep_eval import DESCRIPTOR_TYPES
from deepmd_tf.inference.opening import open_evaluator
from deepmd_tf.inference.systems import open_all
from deepmd_tf.progress import bar

log = logging.getLogger(__name__)

ATOMS_AT_ONCE = 4096
"""Atoms whose descriptors are in memory together."""


def eval_desc(
    model: str | os.PathLike[str],
    systems: Sequence[str],
    output: str | os.PathLike[str] = "desc",
    *,
    dtype: str = "native",
) -> list[Path]:
    """Write the descriptors of all atoms of systems.

    Parameters
    ----------
    model
        Frozen graph or checkpoint, see :class:`~deepmd_tf.inference.DeepEval`.
    systems
        Directories of systems.
    output
        Folder, which is made if it is not there. The file of a system has its name, with ``.npy``
        appended; it appears whole or not at all.
    dtype
        "fp32", "fp64", or "native": that of the model.

    Returns
    -------
    list of Path
        The files, arrays [n_frames, n_atoms, size], atoms in the order of the data.

    Raises
    ------
    DataError
        If a system cannot be read, or two systems have the same name.
    ModelFileError
        If the model cannot be read.
    InputError
        If a file cannot be written.
    """
    folder = Path(output)
    paths = [folder / f"{Path(system).resolve().name}.npy" for system in systems]
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        same = [s for s, path in zip(systems, paths, strict=True) if path == twice[0]]
        raise DataError(
            f"{' and '.join(same)} have the same name and would both be written to {twice[0]}; "
            "evaluate them one by one, into different folders (-o)"
        )
    with open_evaluator(model) as pot:
        opened = deque(open_all(systems, pot))
        for system, path in zip(systems, paths, strict=True):
            log.info("# -------output of dp eval_desc------- ")
            log.info("# processing system : %s", system)
            data = opened.popleft()
            log.info("# evaluating descriptors for %d frames", data.nframes)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(path, error) from None
            shape = _write(path, data, pot, dtype)
            log.info("# descriptors saved to %s", path)
            log.info("# descriptor shape: %s", shape)
            log.info("# ----------------------------------- ")
    log.info("# eval_desc completed successfully")
    return paths


def _write(path: Path, data: DataSystem, pot: DeepEval, dtype: str) -> tuple[int, ...]:
    """Evaluate piece by piece into a file that is not in memory; shape of the array."""
    shape = (data.nframes, data.natoms, pot.dim_descriptor)
    with replacing(path) as part, bar() as progress:
        array = np.lib.format.open_memmap(
            part, mode="w+", dtype=DESCRIPTOR_TYPES[dtype] or pot.dtype, shape=shape
        )
        # a page of a hole that does not fit on the disk later on would end the process
        with part.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
        done = 0
        task = progress.add_task("descriptors", total=data.nframes)
        for batch in data.batches(max_atoms=ATOMS_AT_ONCE):
            found = evaluate(pot.eval_descriptor, data, batch)
            for row, frame in zip(found, batch.frames, strict=True):
                # places without an atom have zeros
                array[done, data.file_atoms(batch.set_name, frame)[: len(row)]] = row
                done += 1
            progress.advance(task, batch.nframes)
        array.flush()
    return shape
