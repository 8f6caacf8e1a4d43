# SPDX-License-Identifier: BSD-3-Clause
"""Environment rows of pairs and their derivatives: a family closed under differentiation.

===============================  ===================  ======================================
function                         value                gradient
===============================  ===================  ======================================
``env_matrix(x)``                D                    x: vjp
``env_matrix_vjp(x, g)``         Σ_k g_k ∂D_k         g: jvp; x: hvp
``env_matrix_jvp(x, v)``         ∂D·v                 v: vjp; x: hvp
``env_matrix_hvp(x, g, v)``      Σ_k g_k ∂²D_k·v      g: jvp_of_jvp; v: hvp; x: refused
``env_matrix_jvp_of_jvp(x,u,v)`` u·∂²D·v              u, v: hvp; x: refused
===============================  ===================  ======================================

That is enough for forces, Hessians, and the weight gradients of losses on both. A third derivative
with respect to coordinates raises ``LookupError`` when ``tf.gradients`` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deepmd_tf.ops.guard import guard, unreachable
from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()

_THIRD = "The environment matrix has no third derivative with respect to coordinates."
_NORM = "The environment matrix has no gradient with respect to its average and standard deviation."


def env_matrix(
    x: Any,
    center: Any,
    type: Any,
    avg: Any,
    std: Any,
    *,
    rcut: float,
    rcut_smth: float,
    name: str | None = None,
) -> Any:
    """Normalised environment row of every pair, (D(x) − avg_c) / std_c, c the type of the centre.

    D(x) = s(r) · (1, x/r, y/r, z/r), s(r) = w(r)/r, with the switch w(r) = 1 below ``rcut_smth``,
    u³(−6u² + 15u − 10) + 1 with u = (r − rcut_smth)/(rcut − rcut_smth), and 0 from ``rcut`` on: two
    continuous derivatives everywhere but at r = 0.

    Parameters
    ----------
    x
        float32 or float64 [n_pairs, 3], Å, from the centre to the neighbour.
    center
        int32 [n_pairs]: row of the centre in ``type``. Pairs of one centre should be neighbours in
        the list; any order is right, this one is fast.
    type
        int32 [n_rows]: type of every atom. The rows of a centre of type −1 are zero.
    avg, std
        [ntypes, 4], 1/Å, per type of the centre; ``std`` positive. Constants: asking for a gradient
        with respect to them raises ``LookupError``.
    rcut, rcut_smth
        Å, 0 ≤ rcut_smth < rcut. Rounded to float32 in both precisions.

    Returns
    -------
    [n_pairs, 4]. Column 0 of D is s, the argument of the embedding nets. Two atoms in one place
    (r = 0) give numbers that are not finite.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a shape that does not fit, an index or type out of range, ``std`` that is not
        positive, or an invalid cutoff.
    LookupError
        While the graph is built: a gradient that is not available (see the module).

    References
    ----------
    L. Zhang et al., NeurIPS 31 (2018), eq. 5, with the switch of DeePMD-kit.
    """
    return native().dp_env_matrix(
        x,
        center,
        type,
        guard(avg, _NORM),
        guard(std, _NORM),
        rcut=rcut,
        rcut_smth=rcut_smth,
        name=name,
    )


def env_matrix_vjp(
    x: Any,
    g: Any,
    center: Any,
    type: Any,
    std: Any,
    *,
    rcut: float,
    rcut_smth: float,
    name: str | None = None,
) -> Any:
    """First derivative of :func:`env_matrix`, transposed: out[p][a] = Σ_k g[p][k] ∂row_k/∂x_a.

    ``g`` is [n_pairs, 4], the result [n_pairs, 3]; the rest as in :func:`env_matrix`.
    """
    return native().dp_env_matrix_vjp(
        x, g, center, type, guard(std, _NORM), rcut=rcut, rcut_smth=rcut_smth, name=name
    )


def env_matrix_jvp(
    x: Any,
    v: Any,
    center: Any,
    type: Any,
    std: Any,
    *,
    rcut: float,
    rcut_smth: float,
    name: str | None = None,
) -> Any:
    """First derivative of :func:`env_matrix` along v: out[p][k] = Σ_a v[p][a] ∂row_k/∂x_a.

    ``v`` is [n_pairs, 3], the result [n_pairs, 4]; the rest as in :func:`env_matrix`.
    """
    return native().dp_env_matrix_jvp(
        x, v, center, type, guard(std, _NORM), rcut=rcut, rcut_smth=rcut_smth, name=name
    )


def env_matrix_hvp(
    x: Any,
    g: Any,
    v: Any,
    center: Any,
    type: Any,
    std: Any,
    *,
    rcut: float,
    rcut_smth: float,
    name: str | None = None,
) -> Any:
    """Second derivative: out[p][a] = Σ_kb g[p][k] v[p][b] ∂²row_k/∂x_a∂x_b.

    ``g`` is [n_pairs, 4], ``v`` and the result [n_pairs, 3]; the rest as in :func:`env_matrix`. The
    gradient with respect to ``x`` raises ``LookupError``.
    """
    return native().dp_env_matrix_hvp(
        guard(x, _THIRD),
        g,
        v,
        center,
        type,
        guard(std, _NORM),
        rcut=rcut,
        rcut_smth=rcut_smth,
        name=name,
    )


def env_matrix_jvp_of_jvp(
    x: Any,
    u: Any,
    v: Any,
    center: Any,
    type: Any,
    std: Any,
    *,
    rcut: float,
    rcut_smth: float,
    name: str | None = None,
) -> Any:
    """Second derivative along u and v: out[p][k] = Σ_ab u[p][a] v[p][b] ∂²row_k/∂x_a∂x_b.

    ``u`` and ``v`` are [n_pairs, 3], the result [n_pairs, 4]; the rest as in :func:`env_matrix`.
    The gradient with respect to ``x`` raises ``LookupError``.
    """
    return native().dp_env_matrix_jvp_of_jvp(
        guard(x, _THIRD),
        u,
        v,
        center,
        type,
        guard(std, _NORM),
        rcut=rcut,
        rcut_smth=rcut_smth,
        name=name,
    )


_GRADIENTS: dict[str, dict[str, tuple[Callable[..., Any], str]]] = {
    "DpEnvMatrix": {"x": (env_matrix_vjp, "x grad")},
    "DpEnvMatrixVjp": {"x": (env_matrix_hvp, "x g grad"), "g": (env_matrix_jvp, "x grad")},
    "DpEnvMatrixJvp": {"x": (env_matrix_hvp, "x grad v"), "v": (env_matrix_vjp, "x grad")},
    "DpEnvMatrixHvp": {
        "g": (env_matrix_jvp_of_jvp, "x grad v"),
        "v": (env_matrix_hvp, "x g grad"),
    },
    "DpEnvMatrixJvpOfJvp": {
        "u": (env_matrix_hvp, "x grad v"),
        "v": (env_matrix_hvp, "x grad u"),
    },
}
"""By operation and input: the function that is the gradient, and its leading arguments, which are
inputs of the operation and ``grad``, the gradient of its output. Other float inputs have none."""


def _gradient(op: Any, grad: Any) -> list[Any]:
    inputs = dict(zip([arg.name for arg in op.op_def.input_arg], op.inputs, strict=True))
    shared = [inputs[name] for name in ("center", "type", "std")]
    cutoff = {name: op.get_attr(name) for name in ("rcut", "rcut_smth")}

    def by(name: str, tensor: Any) -> Any:
        if name not in _GRADIENTS[op.type]:
            return unreachable(tensor) if tensor.dtype.is_floating else None
        function, arguments = _GRADIENTS[op.type][name]
        leading = [(inputs | {"grad": grad})[argument] for argument in arguments.split()]
        return function(*leading, *shared, **cutoff)

    return [by(*each) for each in inputs.items()]


for _operation in _GRADIENTS:
    tf.RegisterGradient(_operation)(_gradient)
