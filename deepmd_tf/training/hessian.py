# SPDX-License-Identifier: BSD-3-Clause
"""How training looks at Hessians: which mode, along which directions, in which blocks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepmd_tf.config import HessianMode, LossEner
from deepmd_tf.data import Batch, DataSystems
from deepmd_tf.data.sampling import random_state, restore_random
from deepmd_tf.errors import InputError
from deepmd_tf.fields import HESSIAN

log = logging.getLogger(__name__)

AUTO_ATOMS = 32
"""``hessian_mode`` "auto" takes whole matrices of systems up to this size; the time that they take,
compared with energies and forces, grows as the number of atoms."""
MOST_PAIRS = 10_000
"""Frames of a batch times the square of the number of atoms, up to which whole matrices are built
at once; about 0.4 MB for each with a descriptor of 1600 numbers in float64."""
ATOMS_AT_ONCE = 4_000
"""Atoms in one evaluation of a block of rows: bounds memory."""


@dataclass(frozen=True)
class HessianPlan:
    """How Hessians are trained on.

    Attributes
    ----------
    mode
        Not ``auto``.
    everywhere
        Whether all sets of the training data have Hessians.
    natoms
        Atoms of the largest system with Hessians.
    """

    mode: HessianMode
    everywhere: bool
    natoms: int

    @property
    def copies(self) -> int:
        """How often a step evaluates the embedding at the pairs of a frame."""
        if self.mode.rule == "full":
            # at x, y and z of each pair
            return 4
        return 1 + (self.mode.count if self.mode.count > 1 else 0)


def plan_hessians(loss: LossEner, data: DataSystems) -> HessianPlan:
    """Choose the mode for the training data.

    Raises
    ------
    InputError
        If whole matrices are asked for that are too large.
    """
    mode = HessianMode.parse(loss.hessian_mode)
    labelled = [
        (system, size)
        for system, size in zip(data.systems, data.batch_sizes, strict=True)
        if any(system.has(HESSIAN.name))
    ]
    everywhere = all(all(system.has(HESSIAN.name)) for system in data.systems)
    largest = max(labelled, key=lambda pair: pair[1] * pair[0].natoms ** 2)
    system, size = largest
    too_large = size * system.natoms**2 > MOST_PAIRS
    natoms = max(system.natoms for system, _ in labelled)
    if mode.rule == "auto":
        squares = loss.loss_func == "mse" and not loss.use_huber
        small = natoms <= AUTO_ATOMS and not too_large
        mode = HessianMode("full") if small else HessianMode("probe" if squares else "columns", 1)
        log.info("hessian_mode is %s (auto; systems with Hessians: up to %d atoms)", mode, natoms)
    elif mode.rule == "full" and too_large:
        raise InputError(
            f'loss: hessian_mode is "full", but whole Hessians of {size} frames of '
            f"{system.natoms} atoms ({system.path}) need too much memory at once: frames times "
            f'atoms squared may be {MOST_PAIRS} at most; take "probe:1" (an unbiased estimate of '
            'the same loss) or "columns:1", or a smaller batch_size'
        )
    return HessianPlan(mode, everywhere, natoms)


class Directions:
    """Random directions, of length 1, one after the other from a generator of their own.

    Parameters
    ----------
    mode
        ``probe``: vectors of ±(3N)^(−1/2); ``columns``: unit vectors, different in a frame.
    seed
        ``training.seed``; None takes one from the operating system.
    """

    def __init__(self, mode: HessianMode, seed: int | None) -> None:
        self.mode = mode
        # not the numbers that the order of the data is made of
        key = None if seed is None else [*b"hessian", seed % 2**32]
        self._rng = np.random.RandomState(key)

    def draw(self, n_frames: int, natoms: int) -> np.ndarray:
        """Of the frames of a batch: float64 [n_frames, k, 3N]."""
        size = 3 * natoms
        if self.mode.rule == "probe":
            signs = 2 * self._rng.randint(0, 2, size=(n_frames, self.mode.count, size)) - 1
            return signs / np.sqrt(size)
        count = min(self.mode.count, size)
        chosen = [self._rng.permutation(size)[:count] for _ in range(n_frames)]
        return np.eye(size)[np.array(chosen)]

    def get_state(self) -> dict[str, Any]:
        """For the state of a checkpoint."""
        return random_state(self._rng)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`get_state` was called."""
        restore_random(self._rng, state)


@dataclass(frozen=True)
class RowBlock:
    """Rows of the Hessian of a frame, as an evaluation of copies of that frame.

    Attributes
    ----------
    arrays
        Of a batch of the copies.
    directions
        Unit vectors [n_rows, 3N].
    labels
        Those rows of the label [n_rows, 3N].
    """

    arrays: Mapping[str, np.ndarray]
    directions: np.ndarray
    labels: np.ndarray


def row_blocks(batch: Batch, names: tuple[str, ...]) -> Iterator[RowBlock]:
    """All rows of the Hessians of all frames of a batch; ``names`` are the arrays to copy."""
    natoms = int(batch.natoms[0])
    size, at_once = 3 * natoms, max(1, ATOMS_AT_ONCE // natoms)
    units = np.eye(size)
    for frame in range(batch.nframes):
        label = batch.arrays[HESSIAN.name][frame].reshape(size, size)
        for begin in range(0, size, at_once):
            rows = slice(begin, min(begin + at_once, size))
            copies = rows.stop - begin
            arrays = {n: np.repeat(batch.arrays[n][frame : frame + 1], copies, 0) for n in names}
            yield RowBlock(arrays, units[rows], label[rows])
