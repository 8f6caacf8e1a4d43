# SPDX-License-Identifier: BSD-3-Clause
"""Operations under the names and with the attributes that DeePMD-kit's frozen models use.

Frozen models in the stock dialect consist of them. Of these functions
:func:`tabulate_fusion_se_a`, :func:`tabulate_fusion_se_r` and :func:`tabulate_fusion_se_t` have a
gradient, once; ``tf.gradients`` through another raises ``LookupError``. Their derivatives are
outputs or operations of their own; to train, and for second derivatives in the coordinates, there
is the native dialect.

Further names are registered for graphs of other versions that are loaded as they are, and have no
function here: ``DescrptSeA`` and ``DescrptNorot`` (ProdEnvMatA), ``ProdForceNorot``,
``ProdVirialNorot``, ``TabulateFusion`` and ``TabulateFusionGrad``; and ``GeluCustom``, ``Gelu``,
x (1 + tanh u)/2 with u = √(2/π) (x + 0.044715 x³), with ``GeluGradCustom``, ``GeluGrad``, dy times
its derivative at x.

Layout: each centre has n_slots = Σ sel slots in the order of the neighbour types, sel[t] for type
t, filled from the nearest on; slots that no neighbour fills come last in their section.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from deepmd_tf.ops.library import stock, tensorflow

tf = tensorflow()

_TABULATE_GRADIENT = "DpTabulateFusionSeA"
_TABULATE_RADIAL_GRADIENT = "DpTabulateFusionSeR"
_TABULATE_ANGULAR_GRADIENT = "DpTabulateFusionSeT"


class PaddedEnvironment(NamedTuple):
    """Result of :func:`prod_env_mat_a`; all tensors."""

    descrpt: Any
    """[nf, nloc·n_slots·4]: (raw − davg)/dstd, raw = (s, s·x/r, s·y/r, s·z/r), s = w(r)/r in 1/Å,
    davg and dstd those of the type of the centre; −davg/dstd in empty slots, 0 for virtual atoms.
    """
    descrpt_deriv: Any
    """[nf, nloc·n_slots·4·3]: derivative of ``descrpt`` in the position of the **centre**."""
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
        Number of slots per neighbour type; the farthest neighbours beyond it are left out silently.
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


def prod_env_mat_r(
    coord: Any,
    type: Any,
    natoms: Any,
    box: Any,
    mesh: Any,
    davg: Any,
    dstd: Any,
    *,
    rcut: float,
    rcut_smth: float,
    sel: Sequence[int],
    name: str | None = None,
) -> PaddedEnvironment:
    """:func:`prod_env_mat_a` with s alone in each slot: rows, averages and deviations have one
    component in place of four.
    """
    outputs = stock().prod_env_mat_r(
        coord=coord,
        type=type,
        natoms=natoms,
        box=box,
        mesh=mesh,
        davg=davg,
        dstd=dstd,
        rcut=rcut,
        rcut_smth=rcut_smth,
        sel=list(sel),
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
        [nf, nloc·n_slots·4]: derivative of the energy with respect to ``descrpt``.
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


def prod_force_se_r(
    net_deriv: Any, in_deriv: Any, nlist: Any, natoms: Any, *, name: str | None = None
) -> Any:
    """:func:`prod_force_se_a` of the outputs of :func:`prod_env_mat_r`."""
    return stock().prod_force_se_r(
        net_deriv=net_deriv, in_deriv=in_deriv, nlist=nlist, natoms=natoms, name=name
    )


def prod_virial_se_r(
    net_deriv: Any, in_deriv: Any, rij: Any, nlist: Any, natoms: Any, *, name: str | None = None
) -> PaddedVirial:
    """:func:`prod_virial_se_a` of the outputs of :func:`prod_env_mat_r`."""
    outputs = stock().prod_virial_se_r(
        net_deriv=net_deriv, in_deriv=in_deriv, rij=rij, nlist=nlist, natoms=natoms, name=name
    )
    return PaddedVirial(*outputs)


def descrpt_se_a_mask(
    coord: Any,
    type: Any,
    mask: Any,
    box: Any,
    natoms: Any,
    mesh: Any,
    *,
    name: str | None = None,
) -> PaddedEnvironment:
    """Environment of all atoms that a mask leaves in, without cutoff and periodic images.

    Each centre has a slot for every atom, in the order of type, distance and index, with
    (1, x/r, y/r, z/r)/r, which is not normalised. Masked atoms and the centre itself come last
    among those of their type, with zeros; a masked centre has zeros, and -1 in ``nlist``.

    Parameters
    ----------
    coord, type, natoms
        As in :func:`deepmd_tf.ops.neighbors.neighbor_list`, without ghost atoms.
    mask
        int32 [nf, n]; an atom takes part where it is not 0.
    box, mesh
        Not used.
    """
    outputs = stock().descrpt_se_a_mask(
        coord=coord, type=type, mask=mask, box=box, natoms=natoms, mesh=mesh, name=name
    )
    return PaddedEnvironment(*outputs)


def prod_force_se_a_mask(
    net_deriv: Any,
    in_deriv: Any,
    mask: Any,
    nlist: Any,
    *,
    total_atom_num: int,
    name: str | None = None,
) -> Any:
    """:func:`prod_force_se_a` of the outputs of :func:`descrpt_se_a_mask` of ``total_atom_num``
    atoms.
    """
    return stock().prod_force_se_a_mask(
        net_deriv=net_deriv,
        in_deriv=in_deriv,
        mask=mask,
        nlist=nlist,
        total_atom_num=total_atom_num,
        name=name,
    )


class TabulateGrad(NamedTuple):
    """Result of :func:`tabulate_fusion_se_a_grad`; all tensors."""

    dy_dem_x: Any
    """[n·n_slots, 1]: derivative with respect to the argument of the functions."""
    dy_dem: Any
    """[n, n_slots, 4]: derivative with respect to the rows."""


def tabulate_fusion_se_a(
    table: Any,
    table_info: Any,
    em_x: Any,
    em: Any,
    *,
    last_layer_size: int,
    name: str | None = None,
) -> Any:
    """Σ over the slots of a centre of R ⊗ G(s), G being tabulated: [n, 4, M].

    In each row of the table G is a polynomial, G_k(s) = Σ_p table[row, 6k + p] d^p with the
    distance d from the beginning of the row. Rows are stride0 wide from lower to upper and stride1
    wide from there to max; outside, G is extrapolated linearly. The gradient with respect to
    ``em_x`` and ``em`` is :func:`tabulate_fusion_se_a_grad`; the table has none.

    Parameters
    ----------
    table
        [n_rows, 6·M].
    table_info
        [6]: lower, upper, max, stride0, stride1, and a number that is not used.
    em_x
        [n·n_slots, 1]: s of every slot.
    em
        [n, n_slots, 4]: R of every slot.
    last_layer_size
        M.

    Raises
    ------
    tf.errors.InvalidArgumentError
        For wrong shapes, and for a ``table_info`` that the rows of the table do not cover.
    """
    # Not tf.RegisterGradient for the name itself: DeePMD-kit, in the same process, does that.
    with tf.compat.v1.get_default_graph().gradient_override_map(
        {"TabulateFusionSeA": _TABULATE_GRADIENT}
    ):
        return stock().tabulate_fusion_se_a(
            table=table,
            table_info=table_info,
            em_x=em_x,
            em=em,
            last_layer_size=last_layer_size,
            name=name,
        )


def tabulate_fusion_se_a_grad(
    table: Any,
    table_info: Any,
    em_x: Any,
    em: Any,
    dy: Any,
    descriptor: Any,
    name: str | None = None,
) -> TabulateGrad:
    """Derivatives of Σ ``dy`` · :func:`tabulate_fusion_se_a`.

    Every slot gets its own derivative. (The operation of DeePMD-kit puts those of equal slots at
    the end of a centre, which are padding, on the first of them; forces and virials are the same.)

    Parameters
    ----------
    table, table_info, em_x, em
        As for :func:`tabulate_fusion_se_a`.
    dy
        [n, 4, M].
    descriptor
        [n, 4, M], the result; not used.
    """
    outputs = stock().tabulate_fusion_se_a_grad(
        table=table,
        table_info=table_info,
        em_x=em_x,
        em=em,
        dy=dy,
        descriptor=descriptor,
        name=name,
    )
    return TabulateGrad(*outputs)


@tf.RegisterGradient(_TABULATE_GRADIENT)
def _tabulate_gradient(op: Any, dy: Any) -> list[Any]:
    check_constant(op)
    table, table_info, em_x, em = op.inputs
    grad = tabulate_fusion_se_a_grad(table, table_info, em_x, em, dy, op.outputs[0])
    return [None, None, grad.dy_dem_x, grad.dy_dem]


def tabulate_fusion_se_r(
    table: Any, table_info: Any, em: Any, *, last_layer_size: int, name: str | None = None
) -> Any:
    """G(s) of every slot, G being tabulated: [n, n_slots, M].

    ``em`` [n, n_slots] is s of every slot; the rest as in :func:`tabulate_fusion_se_a`. The
    gradient with respect to ``em`` is :func:`tabulate_fusion_se_r_grad`; the table has none.
    """
    with tf.compat.v1.get_default_graph().gradient_override_map(
        {"TabulateFusionSeR": _TABULATE_RADIAL_GRADIENT}
    ):
        return stock().tabulate_fusion_se_r(
            table=table, table_info=table_info, em=em, last_layer_size=last_layer_size, name=name
        )


def tabulate_fusion_se_r_grad(
    table: Any, table_info: Any, em: Any, dy: Any, descriptor: Any, name: str | None = None
) -> Any:
    """Derivative of Σ ``dy`` · :func:`tabulate_fusion_se_r` with respect to ``em``: [n, n_slots].

    ``dy`` and ``descriptor``, the result, which is not used, are [n, n_slots, M].
    """
    return stock().tabulate_fusion_se_r_grad(
        table=table, table_info=table_info, em=em, dy=dy, descriptor=descriptor, name=name
    )


@tf.RegisterGradient(_TABULATE_RADIAL_GRADIENT)
def _tabulate_radial_gradient(op: Any, dy: Any) -> list[Any]:
    check_constant(op)
    table, table_info, em = op.inputs
    return [None, None, tabulate_fusion_se_r_grad(table, table_info, em, dy, op.outputs[0])]


def tabulate_fusion_se_t(
    table: Any,
    table_info: Any,
    em_x: Any,
    em: Any,
    *,
    last_layer_size: int,
    name: str | None = None,
) -> Any:
    """Σ over pairs of slots of e G(e), G being tabulated: [n, M].

    Rows of the table are stride1 wide from −max to lower, stride0 wide from there to upper, and
    again stride1 wide from there to max; the rest as in :func:`tabulate_fusion_se_a`. The gradient
    with respect to ``em_x`` and ``em`` is :func:`tabulate_fusion_se_t_grad`; the table has none.

    Parameters
    ----------
    table, table_info, last_layer_size
        As for :func:`tabulate_fusion_se_a`.
    em_x
        [n·n_slots·n_others, 1]: e of every pair, where G is taken.
    em
        [n, n_slots, n_others]: e of every pair, with which G is multiplied. (The operation of
        DeePMD-kit multiplies with ``em_x``, which are the same numbers.)
    """
    with tf.compat.v1.get_default_graph().gradient_override_map(
        {"TabulateFusionSeT": _TABULATE_ANGULAR_GRADIENT}
    ):
        return stock().tabulate_fusion_se_t(
            table=table,
            table_info=table_info,
            em_x=em_x,
            em=em,
            last_layer_size=last_layer_size,
            name=name,
        )


def tabulate_fusion_se_t_grad(
    table: Any,
    table_info: Any,
    em_x: Any,
    em: Any,
    dy: Any,
    descriptor: Any,
    name: str | None = None,
) -> TabulateGrad:
    """Derivatives of Σ ``dy`` · :func:`tabulate_fusion_se_t` by ``em_x`` and ``em``, in their
    shapes; ``dy`` and ``descriptor``, the result, which is not used, are [n, M].
    """
    outputs = stock().tabulate_fusion_se_t_grad(
        table=table,
        table_info=table_info,
        em_x=em_x,
        em=em,
        dy=dy,
        descriptor=descriptor,
        name=name,
    )
    return TabulateGrad(*outputs)


@tf.RegisterGradient(_TABULATE_ANGULAR_GRADIENT)
def _tabulate_angular_gradient(op: Any, dy: Any) -> list[Any]:
    check_constant(op)
    table, table_info, em_x, em = op.inputs
    grad = tabulate_fusion_se_t_grad(table, table_info, em_x, em, dy, op.outputs[0])
    return [None, None, grad.dy_dem_x, grad.dy_dem]


def check_constant(op: Any) -> None:
    if any(x.op.type != "Const" for x in op.inputs[:2]):
        raise LookupError(
            f"{op.type} has no gradient with respect to its table, which must be a constant"
        )
