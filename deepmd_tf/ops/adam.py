# SPDX-License-Identifier: BSD-3-Clause
"""A step of the optimizer Adam, of all variables at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepmd_tf.ops.library import native


def apply_adam(
    variables: Sequence[Any],
    moments: tuple[Sequence[Any], Sequence[Any]],
    powers: tuple[Any, Any],
    gradients: Sequence[Sequence[Any]],
    *,
    loss: Any,
    rate: Any,
    beta1: float,
    beta2: float,
    epsilon: float,
    message: str,
    slices: Sequence[int] | None = None,
    name: str | None = None,
) -> Any:
    """Step t of Adam with gradients g; nothing changes if loss or gradient is not finite:

    .. math::

        m &← m + (1 - β_1) (g - m), \\qquad v ← v + (1 - β_2) (g^2 - v), \\\\
        x &← x - λ \\frac{\\sqrt{1 - β_2^t}}{1 - β_1^t} \\frac{m}{\\sqrt{v} + ε} .

    Equal to ``tf.compat.v1.train.AdamOptimizer``, including its rounding of λ, β and ε to float32.
    On a GPU the variables are there too. What the host reads of them is one number, whether the
    step was done.

    Parameters
    ----------
    variables
        Reference variables x, float32 and float64 in any mixture.
    moments
        The variables m and v of each.
    powers
        float32 variables β₁ᵗ and β₂ᵗ; each is multiplied by its β after the step.
    gradients
        One or two tensors for each variable or slice, whose sum is g.
    loss
        float64 [], which must be finite too.
    rate
        float32 [], the learning rate λ.
    beta1, beta2, epsilon
        β₁, β₂ and ε.
    message
        Message of the error if loss or the square of a gradient is not finite.
    slices
        For each variable how many slices along its first axis have a gradient each; 0: it has one.
        None: every variable has one.

    Returns
    -------
    The operation. The result does not depend on the number of threads.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: with ``message``, or for a shape that does not fit. Nothing has changed.
    """
    first, second = moments
    return native().dp_apply_adam(
        variables=list(variables),
        first_moments=list(first),
        second_moments=list(second),
        beta1_power=powers[0],
        beta2_power=powers[1],
        parts=[part for parts in gradients for part in parts],
        loss=loss,
        rate=rate,
        slices=[0] * len(variables) if slices is None else list(slices),
        terms=[len(parts) for parts in gradients],
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        message=message,
        name=name,
    )
