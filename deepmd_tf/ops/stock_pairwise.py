# SPDX-License-Identifier: BSD-3-Clause
"""Operations under stock names that cut frames into a quantum region and fragments.

They have no gradients: all their tensors are whole numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from deepmd_tf.ops.fragments import Fragments
from deepmd_tf.ops.library import stock


class MergedFrame(NamedTuple):
    """Result of :func:`convert_forward_map`; int32 tensors."""

    forward_map: Any
    """[1, natoms[1]]: atom at each place of the frame that is made."""
    backward_map: Any
    """[n_sub, nall]: place there of each atom in each sub-frame, −1: none."""
    natoms: Any
    """[2 + ntypes]: local atoms, all atoms, the first again, and zeros."""
    mesh: Any
    """Neighbour list in a tensor: of each local atom all other atoms of its sub-frame."""


def dprc_pairwise_idx(idxs: Any, natoms: Any, *, name: str | None = None) -> Fragments:
    """:func:`deepmd_tf.ops.fragments.fragments` of groups that are int32 [nf, nall]."""
    return Fragments(*stock().dprc_pairwise_idx(idxs, natoms, name=name))


def convert_forward_map(
    sub_forward_map: Any, sub_natoms: Any, natoms: Any, *, name: str | None = None
) -> MergedFrame:
    """Put the sub-frames of one frame together to a frame, in which atoms of different ones are no
    neighbours.

    Parameters
    ----------
    sub_forward_map, sub_natoms
        ``forward_qmmm`` and ``natoms_qmmm`` of :func:`dprc_pairwise_idx`. Its atoms are taken for
        those of one frame: of several, the atoms of the first are meant each time.
    natoms
        int32 [2 + ntypes]: local atoms and all atoms of the frame.
    """
    outputs = stock().convert_forward_map(sub_forward_map, sub_natoms, natoms, name=name)
    return MergedFrame(*outputs)
