# SPDX-License-Identifier: BSD-3-Clause
"""Kernels that were compiled for a GPU, as files."""

from __future__ import annotations

import os
from pathlib import Path

from deepmd_tf.environment_variables import CACHE

PATTERNS = ("*.cubin", "*.cubin.log", "*.cubin.*.part")
"""Files that the library writes into the cache."""


def cache_folder() -> Path | None:
    """Where compiled kernels are kept, as the library says too (``gpu/cuda/cubins.cc``)."""
    if own := os.environ.get(CACHE):
        return Path(own)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "deepmd_tf"
    home = os.environ.get("HOME")
    return Path(home) / ".cache" / "deepmd_tf" if home else None


def _files(*patterns: str) -> tuple[list[Path], int]:
    folder = cache_folder()
    if folder is None:
        return [], 0
    found = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return found, sum(path.stat().st_size for path in found)


def _size(n: int, size: int) -> str:
    return f"{n} file{'s' * (n != 1)}, {size / 1e6:.1f} MB, in {cache_folder()}"


def describe() -> str:
    """How many compiled kernels there are, and how large they are."""
    files, size = _files("*.cubin")
    return _size(len(files), size)


def clear_cache() -> str:
    """Remove compiled kernels and logs of compilers; what was removed."""
    files, size = _files(*PATTERNS)
    for path in files:
        path.unlink(missing_ok=True)
    return _size(len(files), size)
