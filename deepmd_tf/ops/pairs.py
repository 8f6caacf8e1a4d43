# SPDX-License-Identifier: BSD-3-Clause
"""Linear maps between atoms and pairs: gather, its transpose, forces and virials.

All of them are differentiable to any order. The order of their sums is fixed, so results do not
depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.gradients import absent
from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()


def gather_pairs(
    values: Any, center: Any, neighbor: Any, shift: Any = None, name: str | None = None
) -> Any:
    """Difference between neighbour and centre, ``values[neighbor[p]] − values[center[p]] +
    shift[p]``.

    Parameters
    ----------
    values
        float32 or float64 [n_rows, k].
    center, neighbor
        int32 [n_pairs], rows of ``values``.
    shift
        [n_pairs, k], or None for 0.

    Returns
    -------
    [n_pairs, k]

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: an index is no row of ``values``.
    """
    shifts = [] if shift is None else [shift]
    return native().dp_gather_pairs(values, center, neighbor, shifts, name=name)


def scatter_pairs(
    pairs: Any, center: Any, neighbor: Any, n_rows: Any, name: str | None = None
) -> Any:
    """Transpose of :func:`gather_pairs`.

    ``out[neighbor[p]] += pairs[p]`` and ``out[center[p]] −= pairs[p]``, in the order of the pairs.
    With pairs = ∂E/∂x this is ∂E/∂r, that is minus the force.

    Parameters
    ----------
    pairs
        float32 or float64 [n_pairs, k].
    center, neighbor
        int32 [n_pairs], rows of the result.
    n_rows
        int32 scalar.

    Returns
    -------
    [n_rows, k]

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: an index is not below ``n_rows``.
    """
    return native().dp_scatter_pairs(pairs, center, neighbor, n_rows, name=name)


def pair_virial(g: Any, x: Any, neighbor: Any, n_rows: Any, name: str | None = None) -> Any:
    """Virial per atom, ``out[neighbor[p]][3a+b] −= g[p][a] · x[p][b]``.

    With g = ∂E/∂x the sum over all rows is the virial W_ab = −∂E/∂ε_ab of the strain
    x'_a = x_a + ε_ab x_b. Each pair is counted on the neighbour, as in DeePMD-kit.

    Parameters
    ----------
    g
        float32 or float64 [n_pairs, 3], eV/Å.
    x
        [n_pairs, 3], Å, from the centre to the neighbour.
    neighbor
        int32 [n_pairs], rows of the result.
    n_rows
        int32 scalar.

    Returns
    -------
    [n_rows, 9], eV

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: an index is not below ``n_rows``.
    """
    return native().dp_pair_virial(g, x, neighbor, n_rows, name=name)


def pair_virial_vjp(
    w: Any, v: Any, neighbor: Any, *, transpose: bool = False, name: str | None = None
) -> Any:
    """Derivative of ⟨w, pair_virial(g, x)⟩ with respect to g (v = x), or to x (v = g, transposed).

    ``out[p][a] = −Σ_b w[neighbor[p]][3a+b] · v[p][b]``; transposed, ``w[neighbor[p]][3b+a]``.

    Parameters
    ----------
    w
        float32 or float64 [n_rows, 9].
    v
        [n_pairs, 3].
    neighbor
        int32 [n_pairs], rows of ``w``.

    Returns
    -------
    [n_pairs, 3]
    """
    return native().dp_pair_virial_vjp(w, v, neighbor, transpose=transpose, name=name)


def pair_forces(
    g: Any, x: Any, center: Any, neighbor: Any, frames: Any, name: str | None = None
) -> tuple[Any, Any, Any]:
    """Forces, minus :func:`scatter_pairs`, and virials, :func:`pair_virial` and its sum.

    Parameters
    ----------
    g
        ∂E/∂x, float32 or float64 [n_pairs, 3], eV/Å.
    x
        [n_pairs, 3], Å, from the centre to the neighbour.
    center, neighbor
        int32 [n_pairs], rows of the results.
    frames
        int32 [2]: number of frames, and of atoms in each; n_rows is their product.

    Returns
    -------
    force
        −∂E/∂r, [n_rows, 3], eV/Å.
    virial
        [n_frames, 9], eV, of the pairs whose centre is in the frame.
    atom_virial
        [n_rows, 9], eV. Costs nothing where it is not used.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: an index is not below n_rows, or ``frames`` are negative or more rows than an
        index reaches.
    """
    return tuple(native().dp_pair_forces(g, x, center, neighbor, frames, name=name))


def pair_forces_vjp(
    f: Any,
    w: Any,
    x: Any,
    center: Any,
    neighbor: Any,
    atom_w: Any = None,
    name: str | None = None,
) -> Any:
    """Derivative of ⟨f, force⟩ + ⟨w, virial⟩ + ⟨atom_w, atom_virial⟩ of :func:`pair_forces` with
    respect to g.

    ``out[p][a] = f[center[p]][a] − f[neighbor[p]][a] − Σ_b W[p][3a+b] · x[p][b]``, where W[p] =
    ``w[frame] + atom_w[neighbor[p]]``, with f [n_rows, 3], w [n_frames, 9] and atom_w [n_rows, 9]
    or None for 0. The result is [n_pairs, 3].
    """
    atom_ws = [] if atom_w is None else [atom_w]
    return native().dp_pair_forces_vjp(f, w, x, center, neighbor, atom_ws, name=name)


def _rows(values: Any) -> Any:
    """Number of rows of a tensor, as a constant if it is known."""
    return values.shape[0] if values.shape[0] is not None else tf.shape(values)[0]


@tf.RegisterGradient("DpGatherPairs")
def _gather_gradient(op: Any, grad: Any) -> list[Any]:
    values, center, neighbor, *shift = op.inputs
    d_values = scatter_pairs(grad, center, neighbor, _rows(values))
    return [d_values, None, None, *([grad] if shift else [])]


@tf.RegisterGradient("DpScatterPairs")
def _scatter_gradient(op: Any, grad: Any) -> list[Any]:
    _, center, neighbor, _ = op.inputs
    return [gather_pairs(grad, center, neighbor), None, None, None]


@tf.RegisterGradient("DpPairVirial")
def _virial_gradient(op: Any, grad: Any) -> list[Any]:
    g, x, neighbor, _ = op.inputs
    return [
        pair_virial_vjp(grad, x, neighbor),
        pair_virial_vjp(grad, g, neighbor, transpose=True),
        None,
        None,
    ]


@tf.RegisterGradient("DpPairForces")
def _forces_gradient(op: Any, d_force: Any, d_virial: Any, d_atom_virial: Any) -> list[Any]:
    g, x, center, neighbor, frames = op.inputs
    d_atom = None if absent([d_atom_virial], op.outputs[2:]) else d_atom_virial
    d_g = pair_forces_vjp(d_force, d_virial, x, center, neighbor, d_atom)
    d_x = _by_displacement(d_virial, d_atom, g, center // tf.maximum(frames[1], 1), neighbor)
    return [d_g, d_x, None, None, None]


@tf.RegisterGradient("DpPairForcesVjp")
def _forces_vjp_gradient(op: Any, grad: Any) -> list[Any]:
    # ⟨grad, out⟩ = ⟨f, force⟩ + ⟨w, virial⟩ + ⟨atom_w, atom_virial⟩ of grad in the place of g
    f, w, x, center, neighbor, *atom_ws = op.inputs
    n_frames = _rows(w)
    n_all = _rows(f) // tf.maximum(n_frames, 1)
    d_f, d_w, d_atom_w = pair_forces(grad, x, center, neighbor, tf.stack([n_frames, n_all]))
    frame = center // tf.maximum(n_all, 1)
    d_x = _by_displacement(w, atom_ws[0] if atom_ws else None, grad, frame, neighbor)
    return [d_f, d_w, d_x, None, None, *([d_atom_w] if atom_ws else [])]


def _by_displacement(w: Any, atom_w: Any, g: Any, frame: Any, neighbor: Any) -> Any:
    """Derivative of ⟨w, virial⟩ + ⟨atom_w, atom_virial⟩ with respect to x; ``frame`` is by pair."""
    d_x = pair_virial_vjp(w, g, frame, transpose=True)
    return d_x if atom_w is None else d_x + pair_virial_vjp(atom_w, g, neighbor, transpose=True)


@tf.RegisterGradient("DpPairVirialVjp")
def _virial_vjp_gradient(op: Any, grad: Any) -> list[Any]:
    # ⟨grad, out⟩ = ⟨w, pair_virial(grad, v)⟩, with the two factors exchanged if transposed.
    w, v, neighbor = op.inputs
    transpose = op.get_attr("transpose")
    left, right = (v, grad) if transpose else (grad, v)
    return [
        pair_virial(left, right, neighbor, _rows(w)),
        pair_virial_vjp(w, grad, neighbor, transpose=not transpose),
        None,
    ]
