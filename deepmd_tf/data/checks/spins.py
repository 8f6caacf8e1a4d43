# SPDX-License-Identifier: BSD-3-Clause
"""Virtual atoms that stand for spins: as many as atoms with a spin, each near its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from deepmd_tf.data.checks.findings import Finding
from deepmd_tf.data.sets import Chunk
from deepmd_tf.data.system import DataSystem
from deepmd_tf.fields import BOX, COORD

SURE = 1.0
"""Å; atoms with a spin are farther than twice that from each other, so that a virtual atom so close
to its atom is nearer to no other."""
ORDER = (
    "expected virtual atoms in the order of their atoms, each at r + spin · virtual_len / spin_norm"
)


class Misplaced(NamedTuple):
    """A virtual atom that is nearer to another atom than to its own.

    Attributes
    ----------
    frame, atom
        Which one.
    own, other
        The atom whose spin it stands for, and the nearer one, of the same type.
    distance
        Å, to the former.
    """

    frame: int
    atom: int
    own: int
    other: int
    distance: float

    def describe(self, atom: int, own: int, other: int) -> str:
        """In words, with the numbers of these atoms that a user knows."""
        return (
            f"has the virtual atom {atom} {self.distance:.3g} Å from atom {own}, whose spin it "
            f"stands for, and nearer to atom {other}"
        )


def wrong_counts(types: np.ndarray, real: int, names: Sequence[str]) -> str:
    """What is wrong with the numbers of virtual atoms, in words; "" if nothing is.

    Parameters
    ----------
    types
        [natoms].
    real
        Number of types that are not of virtual atoms.
    names
        Of all types.
    """
    counts = np.bincount(types[types >= 0], minlength=len(names))
    wrong = [
        f"{counts[real + t]} virtual atoms (type {real + t}) for the spins of {counts[t]} atoms of "
        f"{names[t]} (type {t})"
        for t in range(len(names) - real)
        if counts[real + t] != counts[t]
    ]
    return f"has {' and '.join(wrong)}" if wrong else ""


def misplaced(
    coord: np.ndarray, cells: np.ndarray | None, types: np.ndarray, real: int, ntypes: int
) -> Iterator[Misplaced]:
    """Virtual atoms that are nearer to another atom than to the one whose spin they stand for.

    Parameters
    ----------
    coord
        [nframes, natoms, 3], Å, finite; the k-th virtual atom of a type stands for the spin of the
        k-th atom of its type.
    cells
        [nframes, 3, 3], Å, with a volume; None without periodicity.
    types
        [natoms], of which there are as many virtual atoms as atoms with a spin.
    real, ntypes
        Number of types without and with those of virtual atoms.
    """
    for spin in range(ntypes - real):
        atoms, virtual = np.flatnonzero(types == spin), np.flatnonzero(types == real + spin)
        distance = _distances(coord[:, virtual] - coord[:, atoms], cells)
        for frame, k in np.argwhere(distance > SURE):
            cell = None if cells is None else cells[frame : frame + 1]
            away = coord[frame, virtual[k]] - coord[frame : frame + 1, atoms]
            near = _distances(away, cell)[0]
            nearest = int(near.argmin())
            if near[nearest] < distance[frame, k]:
                yield Misplaced(
                    int(frame),
                    int(virtual[k]),
                    int(atoms[k]),
                    int(atoms[nearest]),
                    float(distance[frame, k]),
                )


def _distances(away: np.ndarray, cells: np.ndarray | None) -> np.ndarray:
    """Lengths [nframes, n] of vectors [nframes, n, 3], of their nearest periodic images."""
    if cells is not None:
        fractional = away @ np.linalg.inv(cells)
        away = (fractional - np.round(fractional)) @ cells
    return np.linalg.norm(away, axis=-1)


def spins_elsewhere(system: DataSystem, chunk: Chunk) -> Iterator[Finding]:
    """Frames with virtual atoms that are not where the spins of their atoms say. Frames with
    numbers that are not finite and cells without volume are left to other checks.
    """
    real = system.real_types
    if real is None or system.mixed:
        return
    types, ntypes = system.types_of(chunk)[0], real + system.virtual_types
    counts = np.bincount(types, minlength=ntypes)
    if not np.array_equal(counts[real:], counts[: ntypes - real]):
        return  # told before
    coord = chunk.arrays[COORD.name].reshape(chunk.nframes, -1, 3).astype(np.float64)
    good, cells = np.isfinite(coord).all(axis=(1, 2)), None
    if system.pbc:
        cells = chunk.arrays[BOX.name].reshape(-1, 3, 3).astype(np.float64)
        good &= np.isfinite(cells).all(axis=(1, 2))
        with np.errstate(invalid="ignore", over="ignore"):
            good &= np.abs(np.linalg.det(cells)) > 1e-6
        cells = cells[good]
    found = list(misplaced(coord[good], cells, types, real, ntypes))
    if not found:
        return
    first = found[0]
    frame = int(np.flatnonzero(good)[first.frame])
    known = [chunk.origin(frame, atom) for atom in (first.atom, first.own, first.other)]
    yield Finding(
        "spins",
        chunk.where(COORD.name),
        f"frame {known[0][0]} {first.describe(*(atom for _, atom in known))} (counted from 0)",
        ORDER,
        len({one.frame for one in found}),
        "such frames",
    )
