# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets at the nodes of a table: against TensorFlow operations; tanh; checks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from plain_session import plain_session

from deepmd_tf import ops
from deepmd_tf.nn.activations import TENSORFLOW, get_activation
from deepmd_tf.nn.embedding_layers import Layer, embedding_jets, stack_nets

from .contract import Arrays, OpContract, Operation

N_NETS = 2


def make_nets(
    rng: np.random.Generator, widths: tuple[int, ...], idt: bool, n_nets: int = N_NETS
) -> list[list[Layer]]:
    def layer(n_in: int, n_out: int) -> Layer:
        skip = n_out in (n_in, 2 * n_in)
        return Layer(
            rng.normal(size=(n_in, n_out)) / np.sqrt(n_in + n_out),
            rng.normal(size=n_out),
            rng.normal(1.0, 0.3, size=(1, n_out)) if idt and skip else None,
        )

    return [[layer(*pair) for pair in itertools.pairwise((1, *widths))] for _ in range(n_nets)]


def of_operation(nodes: Any, nets: list[list[Layer]]) -> Any:
    layers = [layer for net in nets for layer in net]
    parts = [nodes[:, :2], nodes[:, 2:]]
    jets = ops.embedding_jets(
        parts,
        [layer.matrix for layer in layers],
        [layer.bias for layer in layers],
        [layer.idt for layer in layers if layer.idt is not None],
    )
    return tf.concat(jets, axis=1)


def of_tensorflow(nodes: Any, nets: list[list[Layer]]) -> Any:
    return embedding_jets(TENSORFLOW, get_activation("tanh"), stack_nets(TENSORFLOW, nets), nodes)


def evaluate(
    build: Any,
    nodes: np.ndarray,
    nets: list[list[Layer]],
    grad: np.ndarray,
    dtype: type = np.float64,
) -> list[np.ndarray]:
    """The jets, and the cotangents of nodes, matrices, biases and idt for a cotangent ``grad``."""
    count = [len(layer.members()) for net in nets for layer in net]
    arrays = [array for net in nets for layer in net for array in layer.members().values()]

    def graph(nodes: Any, grad: Any, *tensors: Any) -> list[Any]:
        parts = iter(tensors)
        layers = iter([Layer(*itertools.islice(parts, n)) for n in count])
        built = build(nodes, [[next(layers) for _ in net] for net in nets])
        return [built, *tf.gradients(built, [nodes, *tensors], grad_ys=[grad])]

    return run(graph, *(a.astype(dtype) for a in (nodes, grad, *arrays)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("idt", [True, False])
@pytest.mark.parametrize(
    ("widths", "n_nodes"),
    [((1, 2, 4, 5), 7), ((25, 50, 100), 70), ((3,), 1), ((9, 9, 30, 16, 32), 194), ((2, 4), 0)],
)
def test_same_as_tensorflow(
    rng: np.random.Generator, widths: tuple[int, ...], n_nodes: int, idt: bool, dtype: type
) -> None:
    nets = make_nets(rng, widths, idt)
    nodes = rng.uniform(-1.0, 5.0, size=(N_NETS, n_nodes))
    grad = rng.normal(size=(N_NETS, n_nodes, 3, widths[-1]))
    expected = evaluate(of_tensorflow, nodes, nets, grad)
    got = evaluate(of_operation, nodes, nets, grad, dtype)
    assert got[0].shape == (N_NETS, n_nodes, 3, widths[-1])
    for value, right in zip(got, expected, strict=True):
        assert value.dtype == dtype and value.shape == right.shape
        if n_nodes == 0:
            assert not value.any()
        else:
            assert relative(value, right) < (1e-13 if dtype is np.float64 else 2e-5)


def tanh(x: np.ndarray) -> np.ndarray:
    """The tanh of the operation: a net of one layer without skip."""

    def build(nodes: Any, matrix: Any, bias: Any) -> Any:
        return ops.embedding_jets([nodes], [matrix], [bias])[0]

    return run(build, x[None], np.ones((1, 3), x.dtype), np.zeros(3, x.dtype))[0, :, 0, 1]


@pytest.mark.parametrize(("dtype", "ulps"), [(np.float64, 4), (np.float32, 4)])
def test_tanh(dtype: type, ulps: int) -> None:
    x = np.concatenate([np.linspace(-20, 20, 100_001), np.geomspace(1e-30, 1, 1000)]).astype(dtype)
    expected = np.tanh(x.astype(np.longdouble))
    error = np.abs(tanh(x) - expected)
    eps = np.finfo(dtype).eps
    assert error.max() < (1e-15 if dtype is np.float64 else 3e-7)
    assert (error <= ulps * eps * np.abs(expected)).all()
    far = np.array([0, -0.0, 30, -1e30, np.inf, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(tanh(far), np.tanh(far))


LISTS = ("matrix", "bias", "idt")


def make_jets(rng: np.random.Generator, n: int, grad: bool = False) -> Arrays:
    widths = (25, 50, 100) if n > 100 else (3, 6)
    arrays = {"nodes": rng.normal(size=(N_NETS, min(n, 200)))}
    if grad:
        arrays["grad"] = rng.normal(size=(*arrays["nodes"].shape, 3, widths[-1]))
    layers = [layer for net in make_nets(rng, widths, True) for layer in net]
    for name in LISTS:
        given = [getattr(layer, name) for layer in layers]
        given = [array for array in given if array is not None]
        arrays |= {f"{name}_{k}": array for k, array in enumerate(given)}
    return arrays


def jets(nodes: Any, **tensors: Any) -> Any:
    lists = ([t for k, t in tensors.items() if k.startswith(name)] for name in LISTS)
    return ops.embedding_jets([nodes], *lists)


def slopes(nodes: Any, grad: Any, **tensors: Any) -> Any:
    return tf.gradients(jets(nodes, **tensors), [nodes, *tensors.values()], grad_ys=[grad])


class TestContract(OpContract):
    operations = (
        Operation(
            "DpEmbeddingJets",
            jets,
            make_jets,
            by="nodes matrix_1 bias_0 idt_1",
            refused="nodes matrix_1 bias_0 idt_1",
            free="nodes.1",
        ),
        Operation("DpEmbeddingJetsGrad", slopes, lambda rng, n: make_jets(rng, n, grad=True)),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": np.zeros((3, 4))}, "nodes has shape"),
        ({"nodes": np.zeros((0, 4)), "more": np.zeros((0, 4))}, "4 matrices for 0 nets"),
        ({"nodes": np.zeros((3, 4)), "more": np.zeros((3, 4))}, "4 matrices for 3 nets"),
        ({"matrix_0": np.zeros((1, 0))}, "matrix 0 has no column"),
        (
            {
                "matrix_1": np.zeros((3, 5)),
                "bias_1": np.zeros(5),
                "matrix_3": np.zeros((3, 5)),
                "bias_3": np.zeros(5),
            },
            "there are 2 idt, expected 0 or none",
        ),
        (
            {
                "matrix_0": np.zeros((1, 2)),
                "matrix_2": np.zeros((1, 2)),
                "matrix_1": np.zeros((2, 4)),
                "matrix_3": np.zeros((2, 4)),
                "bias_0": np.zeros(2),
                "bias_2": np.zeros(2),
                "bias_1": np.zeros(4),
                "bias_3": np.zeros(4),
                "idt_0": np.zeros((1, 2)),
                "idt_1": np.zeros((1, 4)),
            },
            "idt is missing for layer 2",
        ),
        ({"grad": np.zeros((2, 4, 3, 5))}, "grad has shape"),
    ],
)
def test_wrong_inputs(
    rng: np.random.Generator, change: dict[str, np.ndarray], message: str
) -> None:
    case = {"nodes": np.zeros((2, 4)), "more": np.zeros((2, 4)), "grad": np.zeros((2, 4, 3, 6))}
    for i, (n_in, n_out) in enumerate([(1, 3), (3, 6)] * 2):
        case |= {f"matrix_{i}": np.zeros((n_in, n_out)), f"bias_{i}": np.zeros(n_out)}
    case |= {f"idt_{i}": np.zeros((1, 6)) for i in range(2)}
    with tf.Graph().as_default(), plain_session() as session:
        holders = {k: tf.placeholder(a.dtype) for k, a in case.items()}
        weights = [[holders[k] for k in case if k.startswith(w)] for w in ("matrix", "bias", "idt")]
        nodes = [holders["nodes"], holders["more"]]
        jets = ops.embedding_jets(nodes, *weights)
        slopes = tf.gradients(jets, nodes, grad_ys=[holders["grad"], holders["grad"]])
        targets = [slopes] if "grad" in change else [jets, slopes]
        for target in targets:
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                session.run(target, {holders[k]: a for k, a in (case | change).items()})
