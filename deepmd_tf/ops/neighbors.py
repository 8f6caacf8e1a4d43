# SPDX-License-Identifier: BSD-3-Clause
"""Neighbour list: all pairs of atoms closer than a cutoff, flat and in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()


class NeighborList(NamedTuple):
    """Pairs ordered by (frame, centre, type of the neighbour, distance); all tensors.

    A *row* is frame · nall + atom. Counts are those of the whole call.
    """

    center: Any
    """int32 [n_pairs]: row of the centre."""
    neighbor: Any
    """int32 [n_pairs]: row of the neighbour (of the atom itself, for a periodic image)."""
    shift: Any
    """[n_pairs, 3], Å: x = r[neighbor] − r[center] + shift points from centre to neighbour."""
    splits: Any
    """int32 [nf·nloc·ntypes + 1]: pairs of centre c = frame · nloc + i and neighbour type t are
    splits[c · ntypes + t] ≤ p < splits[c · ntypes + t + 1]."""
    dropped: Any
    """int64 [ntypes]: neighbours of each type that did not fit into ``sel``."""
    max_found: Any
    """int32 [ntypes]: largest number of neighbours of a type around one centre, before ``sel``."""


def neighbor_list(
    coord: Any,
    type: Any,
    natoms: Any,
    box: Any,
    mesh: Any,
    *,
    rcut: float,
    sel: Sequence[int],
    total: int = -1,
    close: float = 0.0,
    name: str | None = None,
) -> NeighborList:
    """All pairs closer than ``rcut``, the nearest ``sel[t]`` of each type t around each centre, or
    the nearest ``total`` of all types together.

    Not differentiable: the outputs are integers and the constant ``shift``.

    Parameters
    ----------
    coord
        float32 or float64 [nf, nall·3], Å; anywhere, also outside the box.
    type
        int32 [nf, nall]; an atom of negative type is no centre and no neighbour.
    natoms
        int32 [2 + ntypes]: local atoms (the centres, which come first), all atoms, and the number
        of local atoms of each type, which is not used here.
    box
        [nf, 9], rows are lattice vectors, Å; left- or right-handed. Read if ``mesh`` has length 6.
    mesh
        int32; its length says where pairs come from. 0: all atoms, not periodic. 6: all atoms and
        their periodic images, as many as there are within ``rcut``. 16: the list of an engine, as
        host pointers. More: a list in the tensor (16 unused numbers, the centres, their numbers
        of neighbours, and the neighbours of all of them). A given list may contain ghost atoms and
        pairs beyond ``rcut``, which are left out.
    rcut
        Cutoff in Å, rounded to float32 in both precisions.
    sel
        Largest number of neighbours of each type; the nearest are kept, by their distance in
        float32. −1 keeps all. See ``source/core/include/neighbors.h`` for the rule and its ties.
    total
        Largest number of neighbours of all types together, in place of ``sel``; the order is the
        same. The first entries of ``dropped`` and ``max_found`` then count all types together, and
        the others are zero. −1: ``sel`` holds.
    close
        Å, half of the smallest distance in the training data: where ``dropped`` is connected to
        nothing, the operation warns of closer atoms on standard error, as DP_ON_CLOSE_ATOMS says.
        0: it does not.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape, type, mesh or index that does not fit, coordinates that are not
        finite, two atoms in the same place, a box of zero volume or far smaller than the cutoff.

    Notes
    -----
    Cells of half the cutoff; linear in the number of atoms. The result does not depend on the
    number of threads.
    """
    outputs = native().dp_neighbor_list(
        coord,
        type,
        natoms,
        box,
        mesh,
        rcut=rcut,
        sel=list(sel),
        total=total,
        close=close,
        name=name,
    )
    return NeighborList(*outputs)


tf.no_gradient("DpNeighborList")
