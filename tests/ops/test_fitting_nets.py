# SPDX-License-Identifier: BSD-3-Clause
"""Fitting nets: NumPy, plain TensorFlow operations in all orders of derivatives, graphs."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run

from deepmd_tf import ops

from .contract import Arrays, OpContract, Operation
from .nets import Nets


class Size(NamedTuple):
    """Of nets: rows and columns of x of each, and widths of the hidden layers."""

    rows: tuple[int, ...]
    dims: tuple[int, ...]
    hidden: tuple[int, ...]


SIZES = {
    "skip": Size((17, 9), (12, 5), (10, 10, 10)),
    "no skip": Size((6, 7), (3, 8), (7, 9, 5)),
    "as wide as x": Size((5, 4), (6, 7), (6, 6)),
    "mixed": Size((33, 2, 8), (4, 31, 1), (13, 13, 24, 24, 3)),
    "one layer": Size((11, 3), (9, 4), (19,)),
    "width 1": Size((4,), (1,), (1, 1)),
    "a net without atoms, and one atom": Size((0, 1, 6), (5, 3, 4), (7, 7)),
    "no atoms": Size((0, 0), (2, 3), (4, 4)),
    "blocks of the product": Size((300, 40), (270, 30), (33, 33)),
}
"""Below, at and beyond vectors, tiles and blocks of every instruction set."""
CASES = [*((name, True) for name in SIZES), ("skip", False), ("mixed", False)]
"""Sizes, and whether layers that add x have an idt."""


def make_nets(rng: np.random.Generator, size: Size, idt: bool = True) -> Nets:
    nets = Nets([], [], [], [])
    for rows, dim in zip(size.rows, size.dims, strict=True):
        nets.x.append(rng.normal(size=(rows, dim)))
        for level, (n_in, n_out) in enumerate(itertools.pairwise((dim, *size.hidden, 1))):
            nets.matrix.append(rng.normal(size=(n_in, n_out)) / np.sqrt(n_in + n_out))
            nets.bias.append(rng.normal(size=n_out))
            if idt and 0 < level < len(size.hidden) and n_in == n_out:
                nets.idt.append(rng.normal(0.5, 0.3, size=n_out))
    return nets


def plain(nets: Nets, tanh: Callable[[Any], Any], matmul: Callable[[Any, Any], Any]) -> Any:
    """The nets by an elementwise function and the product of matrices."""
    energy, hidden = [], []
    idt = iter(nets.idt)
    layers = zip(nets.matrix, nets.bias, strict=True)
    for x in nets.x:
        for level in range(nets.hidden):
            matrix, bias = next(layers)
            h = tanh(matmul(x, matrix) + bias)
            hidden.append(h)
            if level > 0 and matrix.shape[0] == matrix.shape[1]:
                h = (h * next(idt) if nets.idt else h) + x
            x = h
        matrix, bias = next(layers)
        energy.append((matmul(x, matrix) + bias)[:, 0])
    return energy, hidden


def of_tensorflow(nets: Nets) -> tuple[list[Any], list[Any]]:
    return plain(nets, tf.tanh, tf.matmul)


def of_operation(nets: Nets) -> tuple[list[Any], list[Any]]:
    return ops.fitting_nets(*nets)


Way = Callable[[Nets], tuple[list[Any], list[Any]]]
Scalar = Callable[[list[Any], list[Any], Nets], Any]


def flat(nets: Nets) -> list[Any]:
    return [value for values in nets for value in values]


def with_nets(nets: Nets, function: Callable[[Nets], Any]) -> Callable[..., Any]:
    """``function`` of so many tensors."""

    def build(*tensors: Any) -> Any:
        parts = iter(tensors)
        return function(Nets(*(list(itertools.islice(parts, len(values))) for values in nets)))

    return build


def gradients(way: Way, nets: Nets, scalar: Scalar, dtype: type = np.float64) -> list[np.ndarray]:
    """``scalar``, and its derivatives by all that the nets are made of."""

    def graph(nets: Nets) -> list[Any]:
        value = scalar(*way(nets), nets)
        inputs = flat(nets)
        found = zip(tf.gradients(value, inputs), inputs, strict=True)
        return [value, *(tf.zeros_like(x) if g is None else g for g, x in found)]

    arrays = [array.astype(dtype) for array in flat(nets)]
    return run(with_nets(nets, graph), *arrays)


def weighted(values: Sequence[Any], seed: int = 5) -> Any:
    """Sum of all numbers with random factors, which are those of the first rows of more numbers."""
    terms = []
    for value in values:
        columns = value.shape.as_list()[1:]
        factors = np.random.default_rng(seed).normal(size=(700, *columns))
        factors = tf.constant(factors, value.dtype)[: tf.shape(value)[0]]
        terms.append(tf.reduce_sum(value * factors))
    return sum(terms[1:], terms[0])


def squares(values: Sequence[Any]) -> Any:
    terms = [tf.reduce_sum(value * value) for value in values]
    return sum(terms[1:], terms[0])


def slopes(energy: list[Any], nets: Nets) -> list[Any]:
    """dE/dx of each net."""
    total = [tf.reduce_sum(value) for value in energy]
    return tf.gradients(total, nets.x)


# Scalars whose gradient is taken


def of_energies(energy: list[Any], hidden: list[Any], nets: Nets) -> Any:
    return weighted(energy)


def of_hidden(energy: list[Any], hidden: list[Any], nets: Nets) -> Any:
    return weighted([*energy, *hidden])


def of_training(energy: list[Any], hidden: list[Any], nets: Nets) -> Any:
    return squares(energy) + weighted(slopes(energy, nets)) + squares(slopes(energy, nets))


def of_slopes_with_hidden(energy: list[Any], hidden: list[Any], nets: Nets) -> Any:
    return squares(tf.gradients(weighted([*energy, *hidden]), nets.x)) + squares(hidden)


def of_weight_slopes(energy: list[Any], hidden: list[Any], nets: Nets) -> Any:
    return squares(tf.gradients(weighted(energy), [*nets.matrix, *nets.bias, *nets.idt]))


def of_products(energy: list[Any], hidden: list[Any], nets: Nets) -> Any:
    """Of Hessians and vectors, as training on second derivatives has them."""
    found = slopes(energy, nets)
    products = tf.gradients(weighted(found), nets.x)
    return squares(products) + squares(found) + squares(energy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "idt"), CASES)
def test_values(rng: np.random.Generator, name: str, idt: bool, dtype: type) -> None:
    nets = make_nets(rng, SIZES[name], idt)
    expected = plain(nets, np.tanh, np.matmul)
    arrays = [array.astype(dtype) for array in flat(nets)]
    got = run(with_nets(nets, of_operation), *arrays)
    for values, right in zip(got, expected, strict=True):
        for value, true in zip(values, right, strict=True):
            assert value.shape == true.shape and value.dtype == dtype
            np.testing.assert_allclose(value, true, rtol=0, atol=60 * np.finfo(dtype).eps)


def check(name: str, idt: bool, scalar: Scalar, dtype: type, rng: np.random.Generator) -> None:
    nets = make_nets(rng, SIZES[name], idt)
    expected = gradients(of_tensorflow, nets, scalar)
    got = gradients(of_operation, nets, scalar, dtype)
    for value, right in zip(got, expected, strict=True):
        assert value.shape == right.shape and value.dtype == dtype
        if right.any():
            assert relative(value, right) < (1e-12 if dtype is np.float64 else 5e-4)
        else:
            np.testing.assert_array_equal(value, 0.0)


@pytest.mark.parametrize("scalar", [of_energies, of_hidden])
@pytest.mark.parametrize(("name", "idt"), CASES)
def test_first_derivatives(rng: np.random.Generator, name: str, idt: bool, scalar: Scalar) -> None:
    check(name, idt, scalar, np.float64, rng)


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "idt"), CASES)
def test_gradient_of_training(rng: np.random.Generator, name: str, idt: bool, dtype: type) -> None:
    check(name, idt, of_training, dtype, rng)


@pytest.mark.parametrize("scalar", [of_slopes_with_hidden, of_weight_slopes, of_products])
@pytest.mark.parametrize(
    ("name", "idt"),
    [
        ("skip", True),
        ("skip", False),
        ("no skip", True),
        ("one layer", True),
        ("a net without atoms, and one atom", True),
    ],
)
def test_derivatives_by_formulas(
    rng: np.random.Generator, name: str, idt: bool, scalar: Scalar
) -> None:
    """Second ones that no training on forces needs, and third ones."""
    check(name, idt, scalar, np.float64, rng)


def test_weights_of_a_net_without_atoms_have_gradients_of_zero(rng: np.random.Generator) -> None:
    nets = make_nets(rng, SIZES["a net without atoms, and one atom"])
    for scalar in (of_energies, of_training):
        found = gradients(of_operation, nets, scalar)[1:]
        parts = with_nets(nets, lambda nets: nets)(*found)
        for values, per_net in ((parts.matrix, 3), (parts.bias, 3), (parts.idt, 1)):
            assert not any(value.any() for value in values[:per_net])
            assert all(value.any() for value in values[per_net:])


def pulled(nets: Nets, d: list[Any], t: list[Any]) -> Any:
    energy, _ = ops.fitting_nets(*nets)
    return tf.gradients(energy, nets.x, grad_ys=d)


def pushed(nets: Nets, d: list[Any], t: list[Any]) -> Any:
    return tf.gradients(pulled(nets, d, t), d, grad_ys=t)


def by_weights(nets: Nets, d: list[Any], t: list[Any]) -> Any:
    energy, _ = ops.fitting_nets(*nets)
    return tf.gradients(energy, [*nets.matrix, *nets.bias, *nets.idt], grad_ys=d)


def operation(name: str, function: Any, extra: str, by: str, **promises: Any) -> Operation:
    """``extra``: which of the cotangents d of energies and the tangents t of x are inputs."""

    def make(rng: np.random.Generator, n: int) -> Arrays:
        large = Size((700, 300), (90, 120), (48, 48))
        nets = make_nets(rng, large if n > 100 else Size((n // 3, n // 2), (3, 5), (6, 6)))
        lists = nets._asdict() | {
            "d": [rng.normal(size=len(x)) for x in nets.x],
            "t": [rng.normal(size=x.shape) for x in nets.x],
        }
        wanted = [*Nets._fields, *extra]
        return {f"{key}_{k}": array for key in wanted for k, array in enumerate(lists[key])}

    def build(**tensors: Any) -> Any:
        lists = {
            key: [tensor for name, tensor in tensors.items() if name.startswith(f"{key}_")]
            for key in (*Nets._fields, "d", "t")
        }
        d, t = lists.pop("d"), lists.pop("t")
        return function(Nets(**lists), d, t)

    return Operation(f"DpFittingNets{name}", build, make, by=by, order=1, **promises)


class TestContract(OpContract):
    operations = (
        operation(
            "",
            lambda nets, d, t: ops.fitting_nets(*nets),
            "",
            "x_0 matrix_1 idt_1",
            contained="x_0",
            free="x_0.0 x_1.0",
        ),
        operation("Vjp", pulled, "d", "x_0 matrix_1 d_1", linear="d_0 d_1", contained="d_0"),
        operation("Jvp", pushed, "dt", "x_0 matrix_1 t_1", linear="t_0 t_1", contained="t_0"),
        operation("Weights", by_weights, "d", "x_0 matrix_1 d_0", linear="d_0 d_1"),
    )


# --------------------------------------------------------------------------------------------------
# Graphs


def needed(*tensors: Any) -> list[tf.Operation]:
    """The operations that run when these are fetched."""
    found: dict[tf.Operation, None] = {}
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found[op] = None
            waiting += [x.op for x in op.inputs]
    return list(found)


def holders(nets: Nets, known: bool) -> Nets:
    """Placeholders, of known numbers of atoms or not."""
    x = [tf.placeholder(tf.float64, [len(a) if known else None, a.shape[1]]) for a in nets.x]
    weights = ([tf.placeholder(tf.float64, a.shape) for a in values] for values in nets[1:])
    return Nets(x, *weights)


@pytest.mark.parametrize("known", [True, False])
def test_operations_of_a_training_step(rng: np.random.Generator, known: bool) -> None:
    """All that it needs is there once, and no cotangent of zeros is pulled back."""
    with tf.Graph().as_default():
        nets = holders(make_nets(rng, SIZES["skip"]), known)
        energy, _ = ops.fitting_nets(*nets)
        found = slopes(energy, nets)
        forces = needed(*found)
        counts = collections.Counter(op.type for op in forces)
        assert (counts["DpFittingNets"], counts["DpFittingNetsVjp"]) == (1, 1)
        assert counts["DpFittingNetsWeights"] == 0
        assert [
            op.get_attr("hidden_cotangents") for op in forces if op.type == "DpFittingNetsVjp"
        ] == [0]

        loss = squares(energy) + squares(found)
        step = needed(*tf.gradients(loss, [*nets.matrix, *nets.bias, *nets.idt]))
        counts = collections.Counter(op.type for op in step)
        assert {name: n for name, n in counts.items() if name.startswith("Dp")} == {
            "DpFittingNets": 1,
            "DpFittingNetsVjp": 2,
            "DpFittingNetsJvp": 1,
            "DpFittingNetsWeights": 2,
        }
        given = sorted(
            op.get_attr("hidden_cotangents") for op in step if op.type == "DpFittingNetsVjp"
        )
        assert given == [0, 6]
        assert not {"MatMul", "BatchMatMulV2", "Tanh"} & set(counts)


def training_gradients(nets: Nets, join: bool) -> list[Any]:
    """By all weights, of squares of energies and slopes."""
    energy, _ = ops.fitting_nets(*nets)
    loss = squares(energy) + squares(slopes(energy, nets))
    found = tf.gradients(loss, flat(nets)[len(nets.x) :])
    return ops.join_weights(found) if join else found


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "idt"), CASES)
def test_joined_sums(rng: np.random.Generator, name: str, idt: bool, dtype: type) -> None:
    arrays = [a.astype(dtype) for a in flat(make_nets(rng, SIZES[name], idt))]
    nets = make_nets(rng, SIZES[name], idt)
    apart, joined = (
        run(with_nets(nets, lambda n, j=j: training_gradients(n, j)), *arrays)
        for j in (False, True)
    )
    for value, other in zip(joined, apart, strict=True):
        np.testing.assert_allclose(value, other, rtol=0, atol=1e3 * np.finfo(dtype).eps)


def _cotangents(operations: Sequence[Any]) -> list[int]:
    """How many cotangents of hidden layers each vjp is given."""
    vjps = [op for op in operations if op.type == "DpFittingNetsVjp"]
    return [op.get_attr("hidden_cotangents") for op in vjps]


def weight_operations(gradients: Sequence[Any]) -> list[int]:
    """How many terms each operation has that gives gradients by weights."""
    step = needed(*(g for g in gradients if g is not None))
    return [op.get_attr("terms") for op in step if op.type == "DpFittingNetsWeights"]


def test_one_operation_for_all_sums(rng: np.random.Generator) -> None:
    with tf.Graph().as_default():
        nets = holders(make_nets(rng, SIZES["skip"]), known=False)
        assert weight_operations(training_gradients(nets, join=False)) == [1, 1]
        joined = training_gradients(nets, join=True)
        assert weight_operations(joined) == [2]
        assert len({gradient.op for gradient in joined}) == 1
        with pytest.raises(LookupError, match="fused"):
            tf.gradients(joined[0], nets.x)


def test_what_is_not_joined(rng: np.random.Generator) -> None:
    """Gradients that are needed by themselves, that have other terms, or that two nets share."""
    with tf.Graph().as_default():
        nets = holders(make_nets(rng, SIZES["skip"]), known=False)
        energy, _ = ops.fitting_nets(*nets)
        found = [None, *tf.gradients(squares(energy), nets.matrix)]
        assert ops.join_weights(found) == found

        loss = squares(energy) + squares(slopes(energy, nets))
        found = tf.gradients(loss + squares(nets.matrix[:1]), nets.matrix)
        assert ops.join_weights(found) == found

        nets.matrix[-2] = nets.matrix[2]
        energy, _ = ops.fitting_nets(*nets)
        found = tf.gradients(squares(energy) + squares(slopes(energy, nets)), nets.matrix)
        assert ops.join_weights(found) == found


def test_the_last_layer_has_no_part_in_hidden_values(rng: np.random.Generator) -> None:
    """So its weights have no gradient at all, and slopes depend on its matrix only."""
    with tf.Graph().as_default():
        nets = holders(make_nets(rng, SIZES["skip"]), known=False)
        energy, hidden = ops.fitting_nets(*nets)
        found = tf.gradients(hidden, [*nets.matrix, *nets.bias])
        assert [g is None for g in found] == [False, False, False, True] * 4
        found = tf.gradients(slopes(energy, nets), [*nets.matrix, *nets.bias])
        assert [g is None for g in found] == [False] * 8 + [False, False, False, True] * 2


def test_shapes_are_known_while_the_graph_is_built(rng: np.random.Generator) -> None:
    arrays = make_nets(rng, SIZES["mixed"])
    with tf.Graph().as_default():
        nets = holders(arrays, known=False)
        energy, hidden = ops.fitting_nets(*nets)
        assert [e.shape.as_list() for e in energy] == [[None]] * 3
        widths = SIZES["mixed"].hidden
        assert [h.shape.as_list() for h in hidden] == [[None, n] for n in widths] * 3
        found = tf.gradients(tf.gradients(energy, nets.x), flat(nets))
        for gradient, value in zip(found, flat(nets), strict=True):
            if gradient is not None:
                assert gradient.shape.as_list() == value.shape.as_list()
        matrix = tf.zeros([4, 3, 2], tf.float64)
        with pytest.raises(ValueError, match=r"rank 2.*rank 3"):
            ops.fitting_nets(nets.x, [matrix, *nets.matrix[1:]], nets.bias, nets.idt)
