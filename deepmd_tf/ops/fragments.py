# SPDX-License-Identifier: BSD-3-Clause
"""Frames cut into a quantum region and, for each other fragment, the region with the fragment."""

from __future__ import annotations

from typing import Any, NamedTuple

from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()


class Fragments(NamedTuple):
    """Result of :func:`fragments`; int32 tensors.

    A frame has one quantum region and n ≥ 0 sub-frames, in the order of frames and groups. Each has
    places for its local atoms and, behind them, for its ghosts.
    """

    forward_qm: Any
    """[nf, natoms_qm[1]]: atom of the frame at each place of its quantum region; −1: none."""
    backward_qm: Any
    """[nf, nall]: place of each atom of the frame there; −1: none."""
    forward_qmmm: Any
    """[n_sub, natoms_qmmm[1]]: atom of its frame at each place of a sub-frame."""
    backward_qmmm: Any
    """[n_sub, nall]: place of each atom of its frame there."""
    natoms_qm: Any
    """[2 + ntypes]: places of local atoms and of all; the first again, and zeros."""
    natoms_qmmm: Any
    """[2 + ntypes]: the same of sub-frames."""
    frame: Any
    """[n_sub]: frame of each sub-frame."""


def fragments(
    coord: Any, type: Any, group: Any, natoms: Any, *, name: str | None = None
) -> Fragments:
    """Maps between frames and their parts.

    Parameters
    ----------
    coord
        [nf, nall·3], Å: two atoms of a sub-frame in the same place are refused here, where the
        number of the frame is known.
    type
        int32 [nf, nall]; atoms of negative type take no part.
    group
        [nf, nall], whole numbers as floats: atoms of one number are a fragment, those of the
        smallest are the quantum region, and those of −1 take no part.
    natoms
        int32 [2 + ntypes]: local atoms, all atoms; further numbers are not used.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape does not fit, a group is no whole number or less than −1, no atom
        of a frame is in a group, a position is not finite, or two atoms of a sub-frame are in the
        same place.
    """
    return Fragments(*native().dp_fragments(coord, type, group, natoms, name=name))


tf.no_gradient("DpFragments")
