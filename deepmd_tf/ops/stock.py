# SPDX-License-Identifier: BSD-3-Clause
"""Operations under the names and with the attributes that DeePMD-kit's frozen models use.

They are what a frozen model in the stock dialect is made of, and thin adapters over the kernels of
the native operations. None has a gradient: ``tf.gradients`` through one raises ``LookupError``.
Their derivatives are outputs or operations of their own; to train, and for second derivatives in
the coordinates, there is the native dialect.

Layout: each centre has n_slots = Σ sel slots in the order of the neighbour types, sel[t] for type
t, filled from the nearest on; slots that no neighbour fills come last in their section.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from deepmd_tf.ops.library import stock


class PaddedEnvironment(NamedTuple):
    """Result of :func:`prod_env_mat_a`; all tensors."""

    descrpt: Any
    """[nf, nloc·n_slots·4]: (raw − davg)/dstd, raw = (s, s·x/r, s·y/r, s·z/r), s = w(r)/r in 1/Å,
    davg and dstd those of the type of the centre; −davg/dstd in empty slots, 0 for virtual atoms.
    """
    descrpt_deriv: Any
    """[nf, nloc·n_slots·4·3]: derivative of ``descrpt`` by the position of the **centre**."""
    rij: Any
    """[nf, nloc·n_slots·3], Å: from the centre to the neighbour, 0 in empty slots."""
    nlist: Any
    """int32 [nf, nloc·n_slots]: neighbour in its frame, −1 in empty slots."""


class PaddedVirial(NamedTuple):
    """Result of :func:`prod_virial_se_a`; all tensors, in eV."""

    virial: Any
    """[nf, 9]: sum of ``atom_virial``; −∂E/∂ε for the strain x'_a = x_a + ε_ab x_b."""
    atom_virial: Any
    """[nf, nall·9]: counted on the neighbour."""


def prod_env_mat_a(
    coord: Any,
    type: Any,
    natoms: Any,
    box: Any,
    mesh: Any,
    davg: Any,
    dstd: Any,
    *,
    rcut_r: float,
    rcut_r_smth: float,
    sel_a: Sequence[int],
    rcut_a: float = -1.0,
    sel_r: Sequence[int] | None = None,
    name: str | None = None,
) -> PaddedEnvironment:
    """Smooth environment matrix, its derivative, displacements and neighbour list, padded.

    Parameters
    ----------
    coord, type, natoms, box, mesh
        As in :func:`deepmd_tf.ops.neighbors.neighbor_list`.
    davg, dstd
        [ntypes, n_slots·4].
    rcut_r, rcut_r_smth
        Cutoff, and where the switch w begins to fall from 1, in Å; rounded to float32.
    sel_a
        Number of slots per neighbour type. What does not fit is left out silently.
    rcut_a, sel_r
        As written by DeePMD-kit: not used, and zeros.

    Raises
    ------
    tf.errors.InvalidArgumentError
        As in :func:`deepmd_tf.ops.neighbors.neighbor_list`.
    """
    outputs = stock().prod_env_mat_a(
        coord=coord,
        type=type,
        natoms=natoms,
        box=box,
        mesh=mesh,
        davg=davg,
        dstd=dstd,
        rcut_a=rcut_a,
        rcut_r=rcut_r,
        rcut_r_smth=rcut_r_smth,
        sel_a=list(sel_a),
        sel_r=[0] * len(sel_a) if sel_r is None else list(sel_r),
        name=name,
    )
    return PaddedEnvironment(*outputs)


def prod_force_se_a(
    net_deriv: Any,
    in_deriv: Any,
    nlist: Any,
    natoms: Any,
    *,
    n_a_sel: int,
    n_r_sel: int = 0,
    name: str | None = None,
) -> Any:
    """Forces on local and ghost atoms, [nf, nall·3] in eV/Å.

    With f = Σ_j net_deriv_j · in_deriv_j of a slot, its centre gets −f and its neighbour +f.

    Parameters
    ----------
    net_deriv
        [nf, nloc·n_slots·4]: derivative of the energy by ``descrpt``.
    in_deriv, nlist
        ``descrpt_deriv`` and ``nlist`` of :func:`prod_env_mat_a`.
    natoms
        int32 [2 + ntypes].
    n_a_sel, n_r_sel
        n_slots, and 0.
    """
    return stock().prod_force_se_a(
        net_deriv=net_deriv,
        in_deriv=in_deriv,
        nlist=nlist,
        natoms=natoms,
        n_a_sel=n_a_sel,
        n_r_sel=n_r_sel,
        name=name,
    )


def prod_virial_se_a(
    net_deriv: Any,
    in_deriv: Any,
    rij: Any,
    nlist: Any,
    natoms: Any,
    *,
    n_a_sel: int,
    n_r_sel: int = 0,
    name: str | None = None,
) -> PaddedVirial:
    """Virial, in all and per atom: the neighbour of a slot gets W[3a+b] = f_a · rij_b.

    f and the arguments are those of :func:`prod_force_se_a`; ``rij`` comes from
    :func:`prod_env_mat_a`.
    """
    outputs = stock().prod_virial_se_a(
        net_deriv=net_deriv,
        in_deriv=in_deriv,
        rij=rij,
        nlist=nlist,
        natoms=natoms,
        n_a_sel=n_a_sel,
        n_r_sel=n_r_sel,
        name=name,
    )
    return PaddedVirial(*outputs)
