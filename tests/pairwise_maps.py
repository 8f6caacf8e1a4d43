# SPDX-License-Identifier: BSD-3-Clause
"""Frames cut into a quantum region and fragments, in NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Atoms = tuple[np.ndarray, np.ndarray]
"""Local atoms and ghosts of a sub-frame, by their index in the frame."""


class Maps(NamedTuple):
    """As :class:`deepmd_tf.ops.Fragments`."""

    forward_qm: np.ndarray
    backward_qm: np.ndarray
    forward_qmmm: np.ndarray
    backward_qmmm: np.ndarray
    natoms_qm: np.ndarray
    natoms_qmmm: np.ndarray
    frame: np.ndarray


def sub_frames(group: np.ndarray, n_loc: int) -> tuple[Atoms, list[Atoms]]:
    """The quantum region of a frame with the groups [n_all], and its sub-frames."""
    numbers = np.unique(group[group >= 0])
    parts = [np.flatnonzero(group == number) for number in numbers]
    local, ghost = [p[p < n_loc] for p in parts], [p[p >= n_loc] for p in parts]
    qm = local[0], ghost[0]
    rest = zip(local[1:], ghost[1:], strict=True)
    return qm, [(np.append(qm[0], a), np.append(qm[1], b)) for a, b in rest]


def maps(group: np.ndarray, natoms: np.ndarray) -> Maps:
    """What the operations give for groups [nf, nall] and the numbers of atoms [2 + ntypes]."""
    n_loc, n_all = natoms[:2]
    regions, members, frame = [], [], []
    for f, numbers in enumerate(group):
        region, found = sub_frames(numbers, n_loc)
        regions.append(region)
        members += found
        frame += [f] * len(found)

    def places(frames: list[Atoms], others: list[Atoms]) -> list[np.ndarray]:
        both = frames + others
        local = max(1, *(len(a) for a, _ in both)) if both else 1
        ghost = max((len(b) for _, b in both), default=0)
        forward = np.full((len(frames), local + ghost), -1)
        backward = np.full((len(frames), n_all), -1)
        for k, (a, b) in enumerate(frames):
            forward[k, : len(a)], forward[k, local : local + len(b)] = a, b
            backward[k, a], backward[k, b] = np.arange(len(a)), local + np.arange(len(b))
        return [
            forward,
            backward,
            np.array([local, local + ghost, local] + [0] * (len(natoms) - 3)),
        ]

    *qm, n_qm = places(regions, [])
    *qmmm, n_qmmm = places(members, regions)
    return Maps(*qm, *qmmm, n_qm, n_qmmm, np.array(frame, int))


def merged(forward: np.ndarray, n_local: int, n_all: int) -> list[np.ndarray]:
    """The sub-frames of one frame as one: ``forward_map``, ``backward_map``, local atoms and all,
    and for each local atom the others of its sub-frame.
    """
    order = [(k, p) for k, p in np.argwhere(forward >= 0) if p < n_local]
    if not order:  # one place without an atom
        order = [(-1, 0)]
    locals_ = len(order)
    order += [(k, p) for k, p in np.argwhere(forward >= 0) if p >= n_local]
    member = np.array([k for k, _ in order], int)
    atoms = np.array([forward[k, p] if k >= 0 else -1 for k, p in order], int)
    backward = np.full((len(forward), n_all), -1)
    there = member >= 0
    backward[member[there], atoms[there]] = np.flatnonzero(there)
    others = [[j for j in np.flatnonzero(member == member[i]) if j != i] for i in range(locals_)]
    mesh = np.concatenate(
        [
            [locals_, *([0] * 15)],
            np.arange(locals_),
            [len(row) for row in others],
            *(np.array(row, int) for row in others),
        ]
    )
    return [atoms[None], backward, np.array([locals_, len(order)]), mesh]
