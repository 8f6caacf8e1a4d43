# SPDX-License-Identifier: BSD-3-Clause
"""Operations under stock names for descriptors with one selection of neighbours of all types; as
those of :mod:`deepmd_tf.ops.stock`.

Layout: each centre has n_slots slots, filled from the nearest on whatever the type; empty slots
come last. :func:`tabulate_fusion_se_atten` has a gradient, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from deepmd_tf.ops.library import stock, tensorflow
from deepmd_tf.ops.stock import check_constant

tf = tensorflow()

_TABULATE_TYPES_GRADIENT = "DpTabulateFusionSeAtten"


class MixedEnvironment(NamedTuple):
    """Result of :func:`prod_env_mat_a_mix`; the first four as in
    :class:`~deepmd_tf.ops.stock.PaddedEnvironment`.
    """

    descrpt: Any
    descrpt_deriv: Any
    rij: Any
    nlist: Any
    ntype: Any
    """int32 [nf, nloc·n_slots]: type of the neighbour, ntypes in empty slots."""
    nmask: Any
    """bool [nf, nloc·n_slots]: whether there is a neighbour."""


def prod_env_mat_a_mix(
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
    name: str | None = None,
) -> MixedEnvironment:
    """:func:`~deepmd_tf.ops.stock.prod_env_mat_a` with ``sel_a`` [1] slots for the nearest
    neighbours of all types together, by distance.

    Atoms may have any order, and each frame its own types. ``mesh`` may have the lengths 1 and 7,
    too, which mean the same as 0 and 6.
    """
    outputs = stock().prod_env_mat_a_mix(
        coord=coord,
        type=type,
        natoms=natoms,
        box=box,
        mesh=mesh,
        davg=davg,
        dstd=dstd,
        rcut_a=-1.0,
        rcut_r=rcut_r,
        rcut_r_smth=rcut_r_smth,
        sel_a=list(sel_a),
        sel_r=[0],
        name=name,
    )
    return MixedEnvironment(*outputs)


class TabulateTypesGrad(NamedTuple):
    """Result of :func:`tabulate_fusion_se_atten_grad`; all tensors."""

    dy_dem_x: Any
    """[n·n_slots, 1]: derivative with respect to the argument of the functions."""
    dy_dem: Any
    """[n, n_slots, 4]: derivative with respect to the rows."""
    dy_dtwo: Any
    """[n·n_slots, M]: derivative with respect to the factors."""


def tabulate_fusion_se_atten(
    table: Any,
    table_info: Any,
    em_x: Any,
    em: Any,
    two_embed: Any,
    *,
    last_layer_size: int,
    is_sorted: bool = True,
    name: str | None = None,
) -> Any:
    """Σ over the slots of a centre of R ⊗ (G(s) (1 + t)), G being tabulated: [n, 4, M].

    t = ``two_embed`` [n·n_slots, M] is what the types of the pair add; ``is_sorted``, as written by
    DeePMD-kit, says whether equal slots at the end are padding, and is not used here. The rest as
    in :func:`~deepmd_tf.ops.stock.tabulate_fusion_se_a`; gradients with respect to ``em_x``, ``em``
    and ``two_embed`` are :func:`tabulate_fusion_se_atten_grad`, the table has none.
    """
    with tf.compat.v1.get_default_graph().gradient_override_map(
        {"TabulateFusionSeAtten": _TABULATE_TYPES_GRADIENT}
    ):
        return stock().tabulate_fusion_se_atten(
            table=table,
            table_info=table_info,
            em_x=em_x,
            em=em,
            two_embed=two_embed,
            last_layer_size=last_layer_size,
            is_sorted=is_sorted,
            name=name,
        )


def tabulate_fusion_se_atten_grad(
    table: Any,
    table_info: Any,
    em_x: Any,
    em: Any,
    two_embed: Any,
    dy: Any,
    descriptor: Any,
    *,
    is_sorted: bool = True,
    name: str | None = None,
) -> TabulateTypesGrad:
    """Derivatives of Σ ``dy`` · :func:`tabulate_fusion_se_atten`; ``dy`` and ``descriptor``, the
    result, which is not used, are [n, 4, M]. Every slot gets its own derivative.
    """
    outputs = stock().tabulate_fusion_se_atten_grad(
        table=table,
        table_info=table_info,
        em_x=em_x,
        em=em,
        two_embed=two_embed,
        dy=dy,
        descriptor=descriptor,
        is_sorted=is_sorted,
        name=name,
    )
    return TabulateTypesGrad(*outputs)


@tf.RegisterGradient(_TABULATE_TYPES_GRADIENT)
def _tabulate_types_gradient(op: Any, dy: Any) -> list[Any]:
    check_constant(op)
    table, table_info, em_x, em, two = op.inputs
    is_sorted = op.get_attr("is_sorted")
    grad = tabulate_fusion_se_atten_grad(
        table, table_info, em_x, em, two, dy, op.outputs[0], is_sorted=is_sorted
    )
    return [None, None, grad.dy_dem_x, grad.dy_dem, grad.dy_dtwo]
