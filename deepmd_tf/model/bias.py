# SPDX-License-Identifier: BSD-3-Clause
"""Adjust the energy bias of a trained model to data."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from deepmd_tf.data import Batch
from deepmd_tf.errors import DataError
from deepmd_tf.model.statistics import energy_bias

log = logging.getLogger(__name__)

Mode = Literal["change", "set"]


def adjusted_bias(
    old: np.ndarray,
    batches: Iterable[Batch],
    predict: Callable[[Batch], np.ndarray],
    *,
    type_map: Sequence[str],
    mode: Mode = "change",
) -> np.ndarray:
    """Energy bias by linear regression, with A[f, t] the atoms of type t in frame f.

    "change" adds the x that minimises ‖A x − (E − E_model)‖² to the old bias, "set" replaces it by
    the b that minimises ‖A b − E‖². The solution of least norm is taken when the data do not
    determine it. Types without atoms in the data keep their bias.

    Parameters
    ----------
    old
        [ntypes], eV.
    batches
        Frames; those without energies do not count.
    predict
        Energies of the model, [n_frames], eV; not called by "set".
    type_map
        Names of the types, for messages; may be empty.
    mode
        What is done.

    Returns
    -------
    float64 [ntypes]
        The new bias, eV.

    Raises
    ------
    DataError
        If no frame has an energy, or the regression has no finite solution.
    """
    present = np.zeros(len(old), bool)

    def targets() -> Iterator[Batch]:
        for batch in batches:
            if not batch.arrays["find_energy"]:
                continue
            present[:] |= batch.counts[:, : len(old)].any(axis=0)
            energy = np.ravel(batch.arrays["energy"])
            if mode == "change":
                energy = energy - np.ravel(predict(batch))
            yield dataclasses.replace(batch, arrays={**batch.arrays, "energy": energy})

    found, rmse = energy_bias(targets(), ntypes=len(old))
    if not present.any():
        raise DataError("no system has an energy.npy, from which the energy bias could be found")
    new = np.where(present, old + found if mode == "change" else found, old)
    if mode == "change":
        log.info("RMSE of atomic energy after linear regression is: %s eV/atom.", rmse)
    known = list(type_map) or [str(i) for i in range(len(old))]
    log.info("Change energy bias of %s from %s to %s.", known, old, new)
    report(old, new, known)
    return new


def report(old: np.ndarray, new: np.ndarray, known: Sequence[str]) -> None:
    """Say which bias each type had and has; ``known`` are the names of the types."""
    for name, before, after in zip(known, old, new, strict=True):
        log.info("energy bias of %s: %.6f eV, was %.6f eV", name, after, before)
