# SPDX-License-Identifier: BSD-3-Clause
"""Operations under stock names for a tabulated pair potential and the switch to it.

They have no gradients; derivatives are outputs or operations of their own. Slots and sections are
those of :mod:`deepmd_tf.ops.stock`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from deepmd_tf.ops.library import stock
from deepmd_tf.ops.stock import PaddedVirial


class PairTab(NamedTuple):
    """Result of :func:`pair_tab`; all tensors."""

    atom_energy: Any
    """[nf, nloc], eV: ½ Σ_j φ(r_ij), not scaled."""
    force: Any
    """[nf, nall·3], eV/Å, of Σ_i scale_i atom_energy_i at fixed scale."""
    atom_virial: Any
    """[nf, nall·9], eV, likewise; half of each pair on either of its atoms."""


class SoftMinSwitch(NamedTuple):
    """Result of :func:`soft_min_switch`; all tensors."""

    value: Any
    """[nf, nloc], between 0 and 1."""
    derivative: Any
    """[nf, nloc·n_slots·3], 1/Å: by the displacement of each neighbour."""


def pair_tab(
    info: Any,
    data: Any,
    type: Any,
    rij: Any,
    nlist: Any,
    natoms: Any,
    scale: Any,
    *,
    sel_a: Sequence[int],
    sel_r: Sequence[int],
) -> PairTab:
    """Energies of atoms by a table of pair potentials, and scaled forces.

    Parameters
    ----------
    info, data
        See :func:`deepmd_tf.ops.pair_spline.pair_spline`.
    type, rij, nlist, natoms
        int32 [nf, nall]; of an environment; int32 [2 + ntypes].
    scale
        [nf, nloc].
    sel_a, sel_r
        Slots of each type, of rows with directions and of rows without: one of them zeros. The type
        of a neighbour is that of the section of its slot.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: two atoms are closer than the table begins (on a GPU their energies and
        forces are NaN), the neighbours are not in one section for each type of the table, or a
        shape or index does not fit.
    """
    inputs = (info, data, type, rij, nlist, natoms, scale)
    return PairTab(*stock().pair_tab(*inputs, sel_a=list(sel_a), sel_r=list(sel_r)))


def soft_min_switch(
    type: Any,
    rij: Any,
    nlist: Any,
    natoms: Any,
    *,
    sel_a: Sequence[int],
    sel_r: Sequence[int],
    alpha: float,
    rmin: float,
    rmax: float,
) -> SoftMinSwitch:
    """1 for atoms with close neighbours, 0 for others, by the smooth smallest distance s = Σ_j r_j
    w_j / Σ_j w_j, w_j = exp(−r_j/``alpha``): u³ (−6u² + 15u − 10) + 1 with u = (s −
    ``rmin``)/(``rmax`` − ``rmin``) between 0 and 1; 0 without neighbours.

    Parameters are in Å, the others those of :func:`pair_tab`.
    """
    outputs = stock().soft_min_switch(
        type,
        rij,
        nlist,
        natoms,
        sel_a=list(sel_a),
        sel_r=list(sel_r),
        alpha=alpha,
        rmin=rmin,
        rmax=rmax,
    )
    return SoftMinSwitch(*outputs)


def soft_min_force(
    du: Any, derivative: Any, nlist: Any, natoms: Any, *, n_a_sel: int, n_r_sel: int
) -> Any:
    """Forces of Σ_i du_i switch_i at fixed du [nf, nloc]: [nf, nall·3], eV/Å.

    ``n_a_sel`` and ``n_r_sel`` are the slots of an atom with directions and without.
    """
    return stock().soft_min_force(du, derivative, nlist, natoms, n_a_sel=n_a_sel, n_r_sel=n_r_sel)


def soft_min_virial(
    du: Any, derivative: Any, rij: Any, nlist: Any, natoms: Any, *, n_a_sel: int, n_r_sel: int
) -> PaddedVirial:
    """Virials of :func:`soft_min_force`, on the neighbour of each pair."""
    inputs = (du, derivative, rij, nlist, natoms)
    return PaddedVirial(*stock().soft_min_virial(*inputs, n_a_sel=n_a_sel, n_r_sel=n_r_sel))
