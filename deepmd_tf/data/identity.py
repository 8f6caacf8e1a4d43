# SPDX-License-Identifier: BSD-3-Clause
"""By what data are recognised: hashes of everything that their files say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from deepmd_tf import fields
from deepmd_tf.data.system import DataSystem
from deepmd_tf.progress import track

_NOT_GEOMETRY = {
    field.name
    for field in (
        fields.ENERGY,
        fields.FORCE,
        fields.VIRIAL,
        fields.ATOM_ENER,
        fields.ATOM_PREF,
        fields.ATOM_ENER_COEFF,
        fields.DRDQ,
        fields.HESSIAN,
        fields.FPARAM,
        fields.APARAM,
    )
}


def fingerprint(*parts: Any) -> str:
    """SHA-256 of anything that JSON knows, and of arrays."""
    text = json.dumps(parts, sort_keys=True, default=_describe)
    return hashlib.sha256(text.encode()).hexdigest()


def _describe(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).view(np.uint8).data).hexdigest()
        return [value.dtype.str, value.shape, content]
    raise TypeError(f"{type(value).__name__} has no fingerprint")


def fingerprint_of_some(systems: Sequence[DataSystem]) -> str:
    """Of shapes, types, first and last frame of each set: who reads other files has another."""
    return fingerprint([_sample(system) for system in systems])


def _sample(system: DataSystem) -> list[Any]:
    found: list[Any] = [system.natoms, system.pbc, list(system.set_names), list(system.set_sizes)]
    for name, size in zip(system.set_names, system.set_sizes, strict=True):
        batch = system.pick(name, sorted({0, size - 1}))
        hasher = hashlib.sha256()
        for key in sorted(batch.arrays):
            hasher.update(np.ascontiguousarray(batch.arrays[key]).data)
        found.append(hasher.hexdigest())
    return found


def identify(systems: Sequence[DataSystem], threads: int = 2) -> None:
    """Read all files once, with a progress bar, and keep what :attr:`DataSystem.digests` gives."""
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda system: system.digests, systems)
        for _ in track(found, "comparing data", len(systems)):
            pass


def geometry(system: DataSystem) -> dict[str, str]:
    """Hashes of all but labels and parameters."""
    digests = system.digests
    return {name: digest for name, digest in digests.items() if name not in _NOT_GEOMETRY}
