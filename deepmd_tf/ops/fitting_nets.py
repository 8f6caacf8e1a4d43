# SPDX-License-Identifier: BSD-3-Clause
"""Fitting nets with the activation function tanh, of all atom types in one operation.

Energies need one operation, forces a second, and a training step on forces three more. The same
nets as separate matrix products and elementwise operations are some 250 small nodes, whose cost is
mostly the overhead of each.

:func:`fitting_nets` is differentiable to any order. The gradients of a training step on energies
and forces are compiled operations; higher ones, which only training on second derivatives needs,
are the TensorFlow formulas at the end of this file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from deepmd_tf.ops.gradients import absent
from deepmd_tf.ops.library import native, tensorflow
from deepmd_tf.ops.matmul import matmul

tf = tensorflow()


def fitting_nets(
    x: Sequence[Any],
    matrix: Sequence[Any],
    bias: Sequence[Any],
    idt: Sequence[Any] = (),
    *,
    name: str | None = None,
) -> tuple[list[Any], list[Any]]:
    """Outputs of the nets, and the activations of their hidden layers.

    A hidden layer computes h = tanh(x W + b) and returns h · idt; if it is not the first and has
    the width of x, it adds x (skip connection). The last layer is x W + b with one column.

    Parameters
    ----------
    x
        float32 or float64 [n, dim] for each net; n and dim may differ between nets.
    matrix
        W, [n_in, n_out], of all layers of the first net, then of the next; all nets have the same
        number of layers.
    bias
        b, [n_out], in the same order.
    idt
        [n_out], in the same order, of the layers with a skip connection only; empty for idt = 1.

    Returns
    -------
    energy
        [n] for each net.
    hidden
        h, [n, n_out], of the hidden layers of the first net, then of the next.

    Values and derivatives do not depend on the number of threads.

    Raises
    ------
    tf.errors.InvalidArgumentError
        While running: a number of weights, or a shape, that does not fit.
    """
    hidden = len(matrix) - len(x)
    outputs = native().dp_fitting_nets(x, matrix, bias, idt, hidden_layers=hidden, name=name)
    return list(outputs.energy), list(outputs.hidden)


def join_weights(gradients: Sequence[Any]) -> list[Any]:
    """Fuse the two terms of each weight gradient into one operation.

    The gradient of a loss on energies and forces with respect to a weight of :func:`fitting_nets`
    is a sum of two terms: one through the energy's forward pass, one through that of the forces.
    Fusing the sum avoids one write per weight.

    Parameters
    ----------
    gradients
        Gradients of a loss with respect to variables, as returned by ``tf.gradients``; may contain
        None.

    Returns
    -------
    Gradients in the same order; those that are no such sum are returned unchanged. The fused
    gradients are not differentiable.
    """
    parts = [_terms(gradient) for gradient in gradients]
    joined = list(gradients)
    for pair in {frozenset(t.op for t in p): p for p in parts if _is_sum(p)}.values():
        ops = [term.op for term in pair]
        places = [k for k, part in enumerate(parts) if any(term.op in ops for term in part)]
        sums = [k for k in places if _is_sum(parts[k]) and {t.op for t in parts[k]} == set(ops)]
        # the gradient with respect to a bias is no sum: it is that of the operation's first term
        alone = [k for k in places if len(parts[k]) == 1]
        if len(sums) + len(alone) < len(places) or len({parts[k][0].op for k in alone}) > 1:
            continue
        if alone and parts[alone[0]][0].op is not ops[0]:
            ops.reverse()
        size = _sizes(ops[0])
        lengths = [size.nets, size.hidden, size.idt, size.nets, size.hidden, size.hidden]
        terms = [_cut(op.inputs, *lengths)[: len(lengths)] for op in ops]
        both = [first + second for first, second in zip(*terms, strict=True)]
        fused = native().dp_fitting_nets_weights(
            *both, matrices=size.matrices, timestep_gradients=size.idt, terms=2
        )
        outputs = [*fused.d_matrix, *fused.d_bias, *fused.d_idt]
        for k in places:
            joined[k] = outputs[parts[k][0].value_index]
    return joined


def _terms(gradient: Any) -> list[Any]:
    """Terms of a gradient, or none if no term is a cotangent of weights of fitting nets."""
    if gradient is None:
        return []
    terms = list(gradient.op.inputs) if gradient.op.type == "AddN" else [gradient]
    return terms if any(term.op.type == "DpFittingNetsWeights" for term in terms) else []


def _is_sum(terms: Sequence[Any]) -> bool:
    """Whether the terms are two cotangents of the same weight."""
    return (
        len(terms) == 2
        and all(term.op.type == "DpFittingNetsWeights" for term in terms)
        and terms[0].value_index == terms[1].value_index
        and terms[0].op is not terms[1].op
    )


class _Sizes(NamedTuple):
    """Lengths of the lists: nets, hidden layers of all nets, matrices, and idt."""

    nets: int
    hidden: int
    matrices: int
    idt: int


def _sizes(op: Any) -> _Sizes:
    return _Sizes(*map(op.get_attr, ("nets", "hidden_layers", "matrices", "timesteps")))


def _cut(values: Sequence[Any], *sizes: int) -> list[list[Any]]:
    """``values`` split into consecutive lists of the given sizes, and the remainder."""
    ends = list(itertools.accumulate(sizes, initial=0))
    return [list(values[a:b]) for a, b in itertools.pairwise([*ends, len(values)])]


@tf.RegisterGradient("DpFittingNets")
def _nets_gradient(op: Any, *grads: Any) -> list[Any]:
    size = _sizes(op)
    x, matrix, _, idt = _cut(op.inputs, size.nets, size.matrices, size.matrices)
    energy, hidden = _cut(op.outputs, size.nets)
    d_energy, d_hidden = _cut(grads, size.nets)
    if absent(d_hidden, hidden):
        d_hidden = []
    pulled = native().dp_fitting_nets_vjp(hidden, matrix, idt, d_energy, d_hidden)
    weights = native().dp_fitting_nets_weights(
        x,
        hidden,
        idt,
        d_energy,
        pulled.d_layer,
        pulled.d_z,
        matrices=size.matrices,
        timestep_gradients=size.idt,
    )
    d_matrix, d_bias = list(weights.d_matrix), list(weights.d_bias)
    if absent(d_energy, energy):
        # forces do not depend on these: their gradient is None, as elsewhere in TensorFlow, not 0
        layers = size.matrices // size.nets
        d_matrix[layers - 1 :: layers] = d_bias[layers - 1 :: layers] = [None] * size.nets
    return [*pulled.d_x, *d_matrix, *d_bias, *weights.d_idt]


@tf.RegisterGradient("DpFittingNetsVjp")
def _vjp_gradient(op: Any, *grads: Any) -> list[Any]:
    size = _sizes(op)
    hidden, matrix, idt, d_energy, d_hidden = _cut(
        op.inputs, size.hidden, size.matrices, size.idt, size.nets
    )
    _, d_layer, d_z = _cut(op.outputs, size.nets, size.hidden)
    t_x, t_layer, t_z = _cut(grads, size.nets, size.hidden)
    if d_hidden or not absent([*t_layer, *t_z], [*d_layer, *d_z]):
        return _vjp_pulled_back(
            hidden, matrix, idt, d_energy, d_hidden, d_layer, d_z, t_x, t_layer, t_z
        )
    along = native().dp_fitting_nets_jvp(hidden, matrix, idt, d_layer, t_x)
    weights = native().dp_fitting_nets_weights(
        t_x,
        along.t_hidden,
        idt,
        d_energy,
        d_layer,
        d_z,
        matrices=size.matrices,
        timestep_gradients=size.idt,
    )
    return [*along.d_hidden, *weights.d_matrix, *weights.d_idt, *along.t_energy]


@tf.RegisterGradient("DpFittingNetsJvp")
def _jvp_gradient(op: Any, *grads: Any) -> list[Any]:
    size = _sizes(op)
    lists = _cut(op.inputs, size.hidden, size.matrices, size.idt, size.hidden)
    return _differentiate(_jvp, lists, grads)


@tf.RegisterGradient("DpFittingNetsWeights")
def _weights_gradient(op: Any, *grads: Any) -> list[Any]:
    if op.get_attr("terms") > 1:
        raise LookupError("The fused gradient sum is not differentiable.")
    size = _sizes(op)
    lists = _cut(op.inputs, size.nets, size.hidden, size.idt, size.nets, size.hidden)
    return _differentiate(_weights, lists, grads)


# --------------------------------------------------------------------------------------------------
# The same in TensorFlow operations


class _Layer(NamedTuple):
    """Positions of a hidden layer in the lists of values, and its skip connection."""

    net: int
    hidden: int
    idt: Any
    skip: bool


def _layers(nets: int, hidden: Sequence[Any], n_in: Sequence[int], idt: Sequence[Any]) -> Any:
    """The hidden layers of each net; ``n_in`` is the width of x of each net."""
    layers: list[list[_Layer]] = []
    remaining: Iterator[Any] = iter(idt)
    n_layers = len(hidden) // nets
    for net in range(nets):
        layers.append([])
        width = n_in[net]
        for level in range(n_layers):
            k = net * n_layers + level
            n_out = hidden[k].shape.as_list()[1]
            skip = level > 0 and n_out == width
            layers[-1].append(_Layer(net, k, next(remaining) if skip and idt else 1.0, skip))
            width = n_out
    return layers


def _differentiate(
    function: Callable[..., list[Any]], lists: Sequence[Sequence[Any]], grads: Sequence[Any]
) -> list[Any]:
    """Gradients of ``function(*lists)`` with respect to all tensors in ``lists``."""
    # copies, because some of the values depend on others
    copies = [[tf.identity(value) for value in values] for values in lists]
    return tf.gradients(function(*copies), [v for values in copies for v in values], grads)


def _vjp_pulled_back(
    hidden: list[Any],
    matrix: list[Any],
    idt: list[Any],
    d_energy: list[Any],
    d_hidden: list[Any],
    d_layer: list[Any],
    d_z: list[Any],
    t_x: list[Any],
    t_layer: list[Any],
    t_z: list[Any],
) -> list[Any]:
    """Gradients with respect to the inputs of DpFittingNetsVjp; ``d_layer`` and ``d_z`` are its
    outputs."""
    d_matrix, d_idt, by_hidden, by_energy, by_d_hidden = [], [], [], [], []
    n_in = [first.shape.as_list()[0] for first in matrix[:: len(matrix) // len(t_x)]]
    for layers in _layers(len(t_x), hidden, n_in, idt):
        net = layers[0].net
        t = t_x[net]
        for layer in layers:
            k, h = layer.hidden, hidden[layer.hidden]
            slope = matmul(t, matrix[k + net]) + t_z[k]
            d_matrix.append(matmul(t, d_z[k], transpose_a=True))
            d_h = d_layer[k] * layer.idt
            by_hidden.append(-2.0 * h * slope * (d_h + d_hidden[k] if d_hidden else d_h))
            by_d_hidden.append(slope * (1.0 - h * h))
            if layer.skip and idt:
                d_idt.append(tf.reduce_sum(by_d_hidden[-1] * d_layer[k], axis=0))
            out = by_d_hidden[-1] * layer.idt + t_layer[k]
            t = out + t if layer.skip else out
        d_matrix.append(matmul(t, d_energy[net][:, None], transpose_a=True))
        by_energy.append(matmul(t, matrix[layers[-1].hidden + net + 1])[:, 0])
    return [*by_hidden, *d_matrix, *d_idt, *by_energy, *(by_d_hidden if d_hidden else [])]


def _jvp(
    hidden: list[Any], matrix: list[Any], idt: list[Any], d_layer: list[Any], t_x: list[Any]
) -> list[Any]:
    n_in = [x.shape.as_list()[1] for x in t_x]
    t_energy, t_hidden, d_hidden = [], [], []
    for layers in _layers(len(t_x), hidden, n_in, idt):
        net = layers[0].net
        t = t_x[net]
        for layer in layers:
            h = hidden[layer.hidden]
            z = matmul(t, matrix[layer.hidden + net])
            t_hidden.append(z * (1.0 - h * h))
            d_hidden.append(-2.0 * h * z * d_layer[layer.hidden] * layer.idt)
            out = t_hidden[-1] * layer.idt
            t = out + t if layer.skip else out
        t_energy.append(matmul(t, matrix[layers[-1].hidden + net + 1])[:, 0])
    return [*t_energy, *t_hidden, *d_hidden]


def _weights(
    x: list[Any],
    hidden: list[Any],
    idt: list[Any],
    d_energy: list[Any],
    d_layer: list[Any],
    d_z: list[Any],
) -> list[Any]:
    d_matrix, d_bias, d_idt = [], [], []
    for layers in _layers(len(x), hidden, [v.shape.as_list()[1] for v in x], idt):
        net = layers[0].net
        value = x[net]
        for layer in layers:
            k, h = layer.hidden, hidden[layer.hidden]
            d_matrix.append(matmul(value, d_z[k], transpose_a=True))
            d_bias.append(tf.reduce_sum(d_z[k], axis=0))
            if layer.skip and idt:
                d_idt.append(tf.reduce_sum(d_layer[k] * h, axis=0))
            out = h * layer.idt
            value = out + value if layer.skip else out
        d_matrix.append(matmul(value, d_energy[net][:, None], transpose_a=True))
        d_bias.append(tf.reduce_sum(d_energy[net], keepdims=True))
    return [*d_matrix, *d_bias, *d_idt]
