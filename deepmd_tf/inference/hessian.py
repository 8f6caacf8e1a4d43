# SPDX-License-Identifier: BSD-3-Clause
"""Which Hessian–vector products are wanted of frames, and where the numbers go. NumPy only.

A direction is given to the graph as a frame of its own, so a few of them, of one frame or of
several, are one run of the graph.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from deepmd_tf.errors import InputError
from deepmd_tf.inference.frames import Frames, Group

XYZ = np.arange(3)


class Products:
    """Products H v that are wanted of frames; collects them in :attr:`result`."""

    result: np.ndarray

    def count(self, group: Group) -> int:
        """How many directions each frame of the group has."""
        raise NotImplementedError

    def directions(self, group: Group, frames: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """v [m, n_real, 3], sorted as the group is, of directions ``numbers[i]`` of
        ``frames[i]``."""
        raise NotImplementedError

    def store(
        self, group: Group, frames: np.ndarray, numbers: np.ndarray, products: np.ndarray
    ) -> None:
        """Take H v [m, n_real, 3] for :meth:`directions` of the same arguments."""
        raise NotImplementedError


class Matrices(Products):
    """All columns of the Hessian, or of the block of some atoms: [n_frames, 3 k, 3 k].

    Parameters
    ----------
    frames
        Whose Hessians.
    atoms
        Positions of the k atoms that move, in the order of rows and columns; None: all.

    Raises
    ------
    InputError
        When there is no such atom, or one is named twice.
    """

    def __init__(self, frames: Frames, atoms: ArrayLike | None = None) -> None:
        self.n_atoms = frames.n_atoms
        self.atoms = _positions(atoms, frames.n_atoms)
        self.result = np.zeros((frames.n_frames, 3 * len(self.atoms), 3 * len(self.atoms)))

    def count(self, group: Group) -> int:
        """Three for each atom that is there."""
        return 3 * len(self._inside(group)[0])

    def directions(self, group: Group, frames: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Unit vectors."""
        _, inside = self._inside(group)
        unit = np.zeros((len(numbers), len(group.order), 3))
        unit[np.arange(len(numbers)), inside[numbers // 3], numbers % 3] = 1.0
        return unit

    def store(
        self, group: Group, frames: np.ndarray, numbers: np.ndarray, products: np.ndarray
    ) -> None:
        """Take rows; a row is what the column is, up to rounding."""
        there, inside = self._inside(group)
        rows = 3 * there[numbers // 3] + numbers % 3
        columns = (3 * there[:, None] + XYZ).reshape(-1)
        self.result[frames[:, None], rows[:, None], columns] = products[:, inside].reshape(
            len(numbers), -1
        )

    def _inside(self, group: Group) -> tuple[np.ndarray, np.ndarray]:
        """Which of :attr:`atoms` are no virtual ones, and where those are in the group."""
        place = np.full(self.n_atoms, -1)
        place[group.order] = np.arange(len(group.order))
        found = place[self.atoms]
        there = np.flatnonzero(found >= 0)
        return there, found[there]


class Given(Products):
    """Products with given vectors: [n_frames, n_vectors, n_atoms, 3].

    Parameters
    ----------
    frames
        Whose Hessians.
    vectors
        [n_vectors, n_atoms, 3] for all frames or [n_frames, n_vectors, n_atoms, 3]; 3 n_atoms
        numbers may also be in one axis, and a single vector needs no axis of its own.

    Raises
    ------
    InputError
        For another shape, or a number that is not finite.
    """

    def __init__(self, frames: Frames, vectors: ArrayLike) -> None:
        self.vectors = _vectors(vectors, frames.n_frames, frames.n_atoms)
        self.result = np.zeros(self.vectors.shape)

    def count(self, group: Group) -> int:
        """As many as are given."""
        return self.vectors.shape[1]

    def directions(self, group: Group, frames: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The vectors, without virtual atoms."""
        return self.vectors[frames[:, None], numbers[:, None], group.order]

    def store(
        self, group: Group, frames: np.ndarray, numbers: np.ndarray, products: np.ndarray
    ) -> None:
        """Take products."""
        self.result[frames[:, None], numbers[:, None], group.order] = products


def _positions(atoms: ArrayLike | None, n_atoms: int) -> np.ndarray:
    if atoms is None:
        return np.arange(n_atoms)
    given = np.asarray(atoms)
    if given.size == 0:
        given = given.astype(np.int64)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        raise InputError(
            f"atoms: expected a list of positions of atoms, 0 to {n_atoms - 1}, not {atoms!r}"
        )
    wrong = given[(given < 0) | (given >= n_atoms)]
    if len(wrong):
        raise InputError(f"atoms: there is no atom {wrong[0]}; they are 0 to {n_atoms - 1}")
    values, times = np.unique(given, return_counts=True)
    if (times > 1).any():
        raise InputError(f"atoms: atom {values[times > 1][0]} is named twice")
    return given


def _vectors(vectors: ArrayLike, n_frames: int, n_atoms: int) -> np.ndarray:
    try:
        given = np.asarray(vectors, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"vectors: not an array of numbers ({error})") from None
    shape = given.shape
    if shape[-2:] == (n_atoms, 3):
        shape = shape[:-2]
    elif shape[-1:] == (3 * n_atoms,):
        shape = shape[:-1]
    else:
        shape = (0, 0, 0)
    if len(shape) > 2 or (len(shape) == 2 and shape[0] != n_frames):
        raise InputError(
            f"vectors has shape {given.shape}; for {n_frames} frames of {n_atoms} atoms it is "
            f"(n_vectors, {n_atoms}, 3) or ({n_frames}, n_vectors, {n_atoms}, 3)"
        )
    if not np.isfinite(given).all():
        raise InputError("vectors: a number is not finite")
    given = given.reshape(*(shape or (1,)), n_atoms, 3)
    return np.broadcast_to(given, (n_frames, *given.shape[-3:]))
