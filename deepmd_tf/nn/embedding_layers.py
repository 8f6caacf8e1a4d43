# SPDX-License-Identifier: BSD-3-Clause
"""Layers of embedding nets, and how values and derivatives go through them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.nn.activations import Activation
from deepmd_tf.nn.parameters import AtRest


@dataclass(frozen=True)
class Layer:
    """Weights of one layer: ``matrix`` [..., n_in, n_out], ``bias`` [..., n_out] or None, ``idt``
    [..., 1, n_out] or None.

    ``beside`` [..., 1, k], if it is not None, are the last k inputs of the layer: numbers that are
    the same for all rows. ``factor`` [..., 1, n_out] and ``ramp`` [..., 1, 2] belong to a last
    layer, see :func:`scaled_jet`. Leading axes run over nets that are evaluated side by side. The
    members are tensors, NumPy arrays, or what stands for them in a net at rest.
    """

    matrix: Any
    bias: Any = None
    idt: Any = None
    beside: Any = None
    factor: Any = None
    ramp: Any = None

    @property
    def copies(self) -> int:
        """How many copies of its input a layer has added to its output."""
        n_in, n_out = (int(n) for n in self.matrix.shape[-2:])
        return {n_in: 1, 2 * n_in: 2}.get(n_out, 0)

    def members(self) -> dict[str, Any]:
        """Those that exist, by name."""
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: part for name, part in parts.items() if part is not None}

    def map(self, function: Callable[[Any], Any]) -> Layer:
        """The layer with ``function`` of each member that exists."""
        return Layer(**{name: function(part) for name, part in self.members().items()})

    def of_rows(self, xp: Any) -> tuple[Any, Any]:
        """Matrix [..., n_in − k, n_out] and bias [..., 1, n_out] of the layer as a function of what
        changes from row to row: what is ``beside`` it shifts the bias."""
        if self.beside is None:
            return self.matrix, self.bias
        n = int(self.matrix.shape[-2]) - int(self.beside.shape[-1])
        shift = xp.matmul(self.beside, self.matrix[..., n:, :])
        return self.matrix[..., :n, :], shift if self.bias is None else shift + self.bias


def static_value(tensor: tf.Tensor) -> np.ndarray | None:
    """The value of a constant as float64, None for anything else."""
    found = None if isinstance(tensor, tf.Variable | AtRest) else tf.get_static_value(tensor)
    return None if found is None else np.asarray(found, np.float64)


def constant_layers(layers: Sequence[Layer]) -> list[Layer] | None:
    """The layers in float64 arrays; None when a weight is not a constant."""
    found = []
    for layer in layers:
        if any(static_value(part) is None for part in layer.members().values()):
            return None
        found.append(layer.map(static_value))
    return found


def stack_nets(xp: Any, nets: Sequence[Sequence[Layer]]) -> list[Layer]:
    """Layers of equal nets, stacked along a new first axis."""
    return [
        Layer(
            matrix=xp.stack([layer.matrix for layer in level]),
            bias=xp.stack([layer.bias[None, :] for layer in level]),
            **{
                name: xp.stack([getattr(layer, name) for layer in level])
                for name in ("idt", "beside", "factor", "ramp")
                if getattr(level[0], name) is not None
            },
        )
        for level in zip(*nets, strict=True)
    ]


def embedding_jets(xp: Any, activation: Activation, layers: Sequence[Layer], nodes: Any) -> Any:
    """Value, first and second derivative of stacked embedding nets, carried forward through the
    layers.

    Parameters
    ----------
    xp
        :data:`~deepmd_tf.nn.activations.TENSORFLOW` or :data:`~deepmd_tf.nn.activations.NUMPY`.
    activation
        φ of the nets.
    layers
        As :meth:`EmbeddingNets.stacked`.
    nodes
        [n_nets, K], where to evaluate.

    Returns
    -------
        [n_nets, K, 3, M1]: G, G', G''.
    """
    x = nodes[:, :, None]
    jet = (x, xp.ones_like(x), xp.zeros_like(x))
    for layer in layers:
        jet = advance(xp, activation, layer, jet)
    return scaled_jets(xp, layers[-1], nodes, xp.stack(jet, 2))


def scaled_jets(xp: Any, last: Layer, nodes: Any, jets: Any) -> Any:
    """Jets [n_nets, K, 3, M1] at ``nodes`` [n_nets, K] times the factors of the last layers."""
    if last.factor is None:
        return jets
    jet = tuple(jets[:, :, order] for order in range(3))
    return xp.stack(scaled_jet(xp, last, nodes[:, :, None], jet), 2)


def scaled_jet(xp: Any, last: Layer, s: Any, jet: tuple) -> tuple:
    r"""A net times what its types add: :math:`G (1 + t\, w)`, of values or of jets.

    t is ``factor`` of the last layer, and w = 1 − (1 − ρ)³ for ρ < 1 and 1 beyond, which has two
    continuous derivatives; ρ = a s + b with ``ramp`` (a, b). Without ``ramp`` w is 1, without
    ``factor`` t is 0.

    Parameters
    ----------
    s
        [..., n, 1], the argument of the net.
    jet
        (G,) or (G, G', G''), each [..., n, n_out].
    """
    if last.factor is None:
        return jet
    if last.ramp is None:
        return tuple(part * (1.0 + last.factor) for part in jet)
    a = last.ramp[..., :1]
    # 1 − ρ, or 0; not cut off for ρ < 0, which is only rounding
    rest = xp.maximum(1.0 - (a * s + last.ramp[..., 1:]), 0.0)
    value = 1.0 + last.factor * (1.0 - rest * rest * rest)
    if len(jet) == 1:
        return (jet[0] * value,)
    slope, curvature = last.factor * (3.0 * a * rest * rest), last.factor * (-6.0 * a * a * rest)
    g, dg, ddg = jet
    return (
        g * value,
        dg * value + g * slope,
        ddg * value + 2.0 * dg * slope + g * curvature,
    )


def advance(xp: Any, activation: Activation, layer: Layer, jet: tuple) -> tuple:
    """Carry (x,) or (x, x', x'') through one layer."""
    matrix, bias = layer.of_rows(xp)
    # One product for value and derivatives: they are rows to the same matrix.
    z = xp.split(xp.matmul(xp.concat(jet, -2), matrix), len(jet), -2)
    value, slope, curvature = activation.jet(xp, z[0] if bias is None else z[0] + bias)
    h = [value]
    if len(jet) > 1:
        h += [slope * z[1], curvature * z[1] * z[1] + slope * z[2]]
    if not layer.copies:
        return tuple(h)
    if layer.idt is not None:
        h = [part * layer.idt for part in h]
    if layer.beside is not None:
        value = layer.beside + xp.zeros_like(jet[0])
        columns = [value, *[xp.zeros_like(value) for _ in jet[1:]]]
        jet = tuple(xp.concat(parts, -1) for parts in zip(jet, columns, strict=True))
    if layer.copies == 2:
        jet = tuple(xp.concat([part, part], -1) for part in jet)
    return tuple(a + b for a, b in zip(jet, h, strict=True))
