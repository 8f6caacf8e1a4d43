# SPDX-License-Identifier: BSD-3-Clause
"""Energies that were once stored in single precision, where that matters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deepmd_tf import units
from deepmd_tf.data.checks.findings import Finding
from deepmd_tf.data.sets import Chunk
from deepmd_tf.data.system import DataSystem
from deepmd_tf.fields import ENERGY

RELATIVE_ROUNDING = 2.0**-24
"""Largest relative error of a number that was rounded to float32."""
OF_SPREAD = 0.01
"""Rounding matters beyond this part of the standard deviation of the energies of a file,"""
PER_ATOM = 1e-4
"""or beyond this, eV per atom: a tenth of what a good model gets wrong."""


class EnergyDigits:
    """Looks for files whose energies have no more digits than float32, whatever their type."""

    def __init__(self) -> None:
        self._energies: dict[str, list[np.ndarray]] = {}

    def see(self, system: DataSystem, chunk: Chunk) -> None:
        """Take energies up."""
        energy = chunk.arrays.get(ENERGY.name)
        if energy is not None:
            self._energies.setdefault(chunk.where(ENERGY.name), []).append(energy.ravel())

    def end(self, system: DataSystem) -> Iterator[Finding]:
        """Findings in the files of a system."""
        for where, parts in self._energies.items():
            energy = np.concatenate(parts).astype(np.float64)
            if not np.isfinite(energy).all() or not _is_single(energy):
                continue
            rounding = np.abs(energy).max() * RELATIVE_ROUNDING
            spread = energy.std()
            if rounding <= PER_ATOM * system.natoms and rounding <= OF_SPREAD * (spread or np.inf):
                continue
            yield Finding(
                "rounded energies",
                where,
                f"energies of about {np.abs(energy).max():.6g} {units.ENERGY} have been rounded to "
                f"float32, by up to {rounding:.1e} {units.ENERGY} = "
                f"{rounding / system.natoms:.1e} {units.ENERGY}/atom",
                f"which matters beside their standard deviation of {spread:.1e} {units.ENERGY} and "
                "errors of good models; store energies as float64, or without the energies of the "
                "isolated atoms",
                doubt=True,
            )
        self._energies.clear()


def _is_single(energy: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool((energy.astype(np.float32) == energy).all())
