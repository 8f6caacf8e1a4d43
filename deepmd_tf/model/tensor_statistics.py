# SPDX-License-Identifier: BSD-3-Clause
"""Statistics of polarisabilities in the training data for a new model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from deepmd_tf import fields
from deepmd_tf.config import FittingPolar
from deepmd_tf.data import Batch

log = logging.getLogger(__name__)


def polar_shift(
    batches: Sequence[Batch], ntypes: int, fitting: FittingPolar, by_type: bool
) -> np.ndarray:
    """What is added to the diagonal of the polarisabilities of atoms: the mean of the diagonal of
    each type, by linear regression.

    Minimises |A c − P|² with a row for each batch: the atoms of each selected type, and the mean
    over its frames of the polarisability; where there are labels of atoms, a row for each type with
    the sum over its atoms.

    Parameters
    ----------
    batches
        Frames; those without labels are skipped.
    ntypes
        Number of types.
    fitting
        The section of the fitting net.
    by_type
        Whether atoms take the entry of their type, or else that of its position among those
        selected (:class:`~deepmd_tf.fitting.PolarFitting`), which then has the value for them, too.

    Returns
    -------
        [ntypes]; zeros without ``shift_diag``, and where there are no labels.
    """
    shift = np.zeros(ntypes)
    if not fitting.shift_diag:
        return shift
    selected = list(fitting.selected(ntypes))
    rows, tensors = [np.zeros((0, len(selected)))], [np.zeros((0, 9))]
    for batch in batches:
        matrix, values = _equations(batch, selected)
        rows.append(matrix)
        tensors.append(values)
    matrix, values = np.concatenate(rows), np.concatenate(tensors)
    if not len(matrix):
        log.warning("no polarisabilities in the data: nothing is added to the diagonal")
        return shift
    found = np.linalg.lstsq(matrix, values, rcond=None)[0].reshape(-1, 3, 3)
    mean = np.trace(found, axis1=1, axis2=2) / 3
    shift[selected] = mean
    if not by_type:
        shift[: len(selected)] = mean
    return shift


def _equations(batch: Batch, selected: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of atoms [n, selected types] and tensors [n, 9] of a batch."""
    counts = batch.counts[0][selected].astype(np.float64)
    of_frame, of_atoms = fields.POLARIZABILITY, fields.ATOMIC_POLARIZABILITY
    if batch.arrays[of_atoms.find_key]:
        atoms = batch.arrays[of_atoms.name].reshape(batch.nframes, -1, 9).astype(np.float64)
        types = batch.arrays["type"][0]
        sums = [atoms[:, types == t].sum(axis=(0, 1)) / batch.nframes for t in selected]
        return np.diag(counts), np.array(sums)
    if batch.arrays[of_frame.find_key]:
        mean = batch.arrays[of_frame.name].reshape(-1, 9).astype(np.float64).mean(axis=0)
        return counts[None], mean[None]
    return np.zeros((0, len(selected))), np.zeros((0, 9))
