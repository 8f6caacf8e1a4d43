# SPDX-License-Identifier: BSD-3-Clause
"""Many cases of one loader, within bounds of time and memory."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

from deepmd_tf.errors import DeepmdError
from fuzzing.damage import WORDS, damaged, replaced

SECONDS = 20.0
"""Longest time of one case; code that cannot be interrupted ends with the process."""
MEMORY = 1 << 30
"""Bytes of addresses that a process may take beyond those that it has when it begins."""
_OTHER_THAN_FILE = 0.02
_WITH_FIELDS = 0.4


class Loader:
    """A loader, the files that it is tried on, and what its results must be.

    The constructor makes good files in an empty folder.

    Attributes
    ----------
    files
        Contents of good files, by path in the folder; the first of each is there at first. One file
        at a time is damaged, the others are good.
    words
        What readers of such files may stumble over.
    stands_alone
        Whether a file may be replaced by something else, or removed.
    """

    files: dict[str, list[bytes]]
    words: Sequence[bytes] = WORDS
    stands_alone = True

    def __init__(self, folder: Path) -> None:
        raise NotImplementedError

    def variant(self, rng: random.Random, file: str) -> bytes | None:
        """Contents of `file` with changes that only one who knows its format can make."""
        return None

    def load(self, file: str) -> bool:
        """Load; raise whatever the loader raises, and AssertionError for wrong results.

        Returns whether somebody else has read the same numbers.
        """
        raise NotImplementedError


class FailureError(Exception):
    """A case that is neither read nor refused as it must be."""


def run(loader: Loader, folder: Path, cases: Iterable[int], name: str, seed: int) -> Counter:
    """Try damaged files; how many were read, judged, and refused.

    Case number n depends on name, seed, and n only.
    """
    counts = Counter(read=0, unjudged=0, refused=0)
    progress = os.open(folder / "..case", os.O_RDWR | os.O_CREAT)
    last = next(iter(loader.files))
    try:
        for file, seeds in loader.files.items():
            _put(folder / file, seeds[0])
        for file, seeds in loader.files.items():
            for content in seeds:
                _put(folder / file, content)
                try:
                    _load(loader, file)
                except DeepmdError as error:
                    raise FailureError(f"{name}: the good {file} was refused: {error}") from error
            _put(folder / file, seeds[0])
        for number in cases:
            rng = random.Random(f"{name} {seed} {number}")
            file = rng.choice(list(loader.files))
            _put(folder / last, loader.files[last][0])
            last = file
            if loader.stands_alone and rng.random() < _OTHER_THAN_FILE:
                _remove(folder / file)
                replaced(rng, folder / file)
            else:
                content = loader.variant(rng, file) if rng.random() < _WITH_FIELDS else None
                if content is None:
                    content = damaged(rng, loader.files[file], loader.words)
                _put(folder / file, content)
            where = f"{name}, seed {seed}, case {number}, {folder / file}"
            os.pwrite(progress, where.ljust(400).encode(), 0)
            try:
                judged = _load(loader, file)
            except DeepmdError as error:
                message = str(error)
                if str(folder) not in message and Path(file).name not in message:
                    raise FailureError(f"{where}: no file is named: {message}") from error
                counts["refused"] += 1
            except Exception as error:
                raise FailureError(f"{where}: {type(error).__name__}: {error}") from error
            else:
                counts["read"] += 1
                counts["unjudged"] += not judged
    finally:
        os.close(progress)
    return counts


def _load(loader: Loader, file: str) -> bool:
    # no handler: code that never returns to Python ends, too
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return loader.load(file)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put(path: Path, content: bytes) -> None:
    # a new file each time: readers may keep what they know of the old one
    _remove(path)
    path.write_bytes(content)


@contextmanager
def bounded():
    """No more addresses than :data:`MEMORY` beyond the present ones."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
