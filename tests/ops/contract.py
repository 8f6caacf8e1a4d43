# SPDX-License-Identifier: BSD-3-Clause
"""What every compiled operation promises, tested for any operation that has a record.

A module of tests inherits all of it by a class that lists its operations::

    class TestContract(OpContract):
        operations = (Operation("DpMatMul", ops.matmul, make_factors, by="a b", linear="a b"),)

``test_registry.py`` sees to it that every registered operation is in such a list.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import paper_gpu
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, difference, relative, run
from plain_session import plain_session

Arrays = dict[str, np.ndarray]
REFUSED = (ValueError, tf.errors.InvalidArgumentError)
"""A shape that does not fit is found while the graph is built, or by the kernel."""


@dataclass(frozen=True)
class Operation:
    """Record of an operation.

    Attributes
    ----------
    name
        As it is registered.
    build
        Makes a tensor, or a list of them, of keyword arguments named as the arrays.
    make
        ``make(rng, n)``: arrays of a case with about ``n`` pairs or atoms; 0 is an empty one.
    by
        Inputs that it can be differentiated by. By other float inputs the derivative is refused or
        not there.
    refused
        Those of ``by``, or pairs ``x:y`` of them, whose second derivative is refused.
    linear
        Inputs in which it is linear.
    contained
        Inputs whose NaN may only reach what depends on that number.
    free
        Axes, as ``table.1``, whose length no other input determines.
    large
        ``n`` that takes several threads.
    step
        Of the finite differences.
    single
        Relative error of float32.
    order
        1 where a test of its own has the second derivatives.
    """

    name: str
    build: Callable[..., Any]
    make: Callable[[np.random.Generator, int], Arrays]
    by: str = ""
    refused: str = ""
    linear: str = ""
    contained: str = ""
    free: str = ""
    large: int = 3000
    step: float = 1e-3
    single: float = 1e-4
    order: int = 2

    def outputs(self, **tensors: Any) -> list[Any]:
        """All outputs in one list."""
        out = self.build(**tensors)
        return list(tf.nest.flatten(out))

    def evaluate(self, arrays: Arrays, dtype: type = np.float64) -> list[Any]:
        """Values of the outputs."""
        names = list(arrays)
        cast = [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays.values()]
        return run(
            lambda *tensors: self.outputs(**dict(zip(names, tensors, strict=True))),
            *cast,
        )


def floats(arrays: Arrays) -> list[str]:
    """Names of the inputs that are real numbers."""
    return [name for name, array in arrays.items() if array.dtype == np.float64]


class Derivatives:
    """Gradients ``slopes`` of ``scalars`` by the inputs ``keys``, all in one graph.

    The scalars are S1 = Σ c sin(f / max f), and S2 = Σ w ∂S1/∂input for each input.

    The sine makes the second derivative of a linear operation different from zero.
    """

    def __init__(self, operation: Operation, arrays: Arrays, dtype: type, seed: int) -> None:
        self.arrays = arrays
        rng = np.random.default_rng(seed)
        inputs = operation.by.split()
        weights = {key: rng.normal(size=arrays[key].shape) for key in inputs}
        values = [v for v in operation.evaluate(arrays) if v.dtype == np.float64]
        factors = [rng.normal(size=v.shape) / max(np.abs(v).max(initial=0), 1e-3) for v in values]
        scales = [max(np.abs(v).max(initial=0), 1e-3) for v in values]
        refused = operation.refused.split()
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.holders = {
                key: tf.placeholder(dtype if a.dtype == np.float64 else a.dtype, a.shape)
                for key, a in arrays.items()
            }
            out = [t for t in operation.outputs(**self.holders) if t.dtype.is_floating]
            self.types = {op.type for op in self.graph.get_operations()}
            first = add(
                tf.reduce_sum(tf.constant(c * s, t.dtype) * tf.sin(t / tf.constant(s, t.dtype)))
                for c, s, t in zip(factors, scales, out, strict=True)
            )
            self.scalars: list[Any] = []
            self.keys: list[str] = []
            self.slopes: list[Any] = []
            for key in inputs:
                (slope,) = tf.gradients(first, [self.holders[key]])
                assert slope is not None, f"no derivative by {key}"
                self._add(first, key, slope)
                if operation.order == 1:
                    continue
                second = tf.reduce_sum(slope * tf.constant(weights[key], slope.dtype))
                for other in inputs:
                    if {key, f"{key}:{other}", f"{other}:{key}"} & set(refused):
                        with pytest.raises(LookupError):
                            tf.gradients(second, [self.holders[other]])
                        continue
                    (bend,) = tf.gradients(second, [self.holders[other]])
                    if bend is not None:
                        self._add(second, other, bend)
            self.session = plain_session(self.graph)

    def _add(self, scalar: Any, key: str, slope: Any) -> None:
        self.scalars.append(scalar)
        self.keys.append(key)
        self.slopes.append(slope)

    def evaluate(self, fetched: Any, changed: Arrays) -> Any:
        """Values at the arrays with some replaced."""
        arrays = self.arrays | changed
        return self.session.run(fetched, {self.holders[k]: a for k, a in arrays.items()})


def add(terms: Any) -> Any:
    """Their sum, without an operation that waits for all of them."""
    return sum(itertools.islice(terms := list(terms), 1, None), terms[0])


class OpContract:
    """Tests of the records in :attr:`operations`, for a test class to inherit."""

    operations: ClassVar[tuple[Operation, ...]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each operation, and for each precision where it matters."""
        if "operation" in metafunc.fixturenames:
            metafunc.parametrize("operation", self.operations, ids=lambda one: one.name)
        if "dtype" in metafunc.fixturenames:
            metafunc.parametrize("dtype", DTYPES, ids=lambda one: one.__name__)

    @classmethod
    def results(cls) -> list[np.ndarray]:
        """In both precisions, for inputs that several threads share: for ``test_threads.py``."""
        rng = np.random.default_rng(1)
        made = [(operation, operation.make(rng, operation.large)) for operation in cls.operations]
        return [a for one, arrays in made for dtype in DTYPES for a in one.evaluate(arrays, dtype)]

    def test_precision(self, operation: Operation, rng: np.random.Generator) -> None:
        """Float32 in, float32 out, and the numbers of float64."""
        arrays = operation.make(rng, 20)
        double, single = (operation.evaluate(arrays, dtype) for dtype in DTYPES)
        assert double
        for value, expected in zip(single, double, strict=True):
            if expected.dtype != np.float64:
                assert value.dtype == expected.dtype
                np.testing.assert_array_equal(value, expected)
            else:
                assert value.dtype == np.float32 and np.isfinite(value).all()
                if expected.any():
                    assert relative(value, expected) < operation.single

    def test_empty(self, operation: Operation, rng: np.random.Generator) -> None:
        """Nothing to compute gives empty results, or sums of nothing."""
        for value in operation.evaluate(operation.make(rng, 0)):
            assert np.isfinite(value).all()

    def test_derivatives(self, operation: Operation, rng: np.random.Generator) -> None:
        """First and second derivatives by each input against finite differences in float64."""
        if not operation.by:
            return
        arrays = operation.make(rng, 20)
        inputs = operation.by.split()
        directions = {key: rng.normal(size=arrays[key].shape) for key in inputs}
        double, single = (Derivatives(operation, arrays, dtype, 7) for dtype in DTYPES)
        with double.session, single.session:
            assert operation.name in double.types, "the record builds another operation"
            slopes = [graph.evaluate(graph.slopes, {}) for graph in (double, single)]
            for key, direction in directions.items():

                def moved(t: float, key: str = key, direction: np.ndarray = direction) -> Any:
                    changed = {key: arrays[key] + t * direction}
                    return np.array(double.evaluate(double.scalars, changed))

                along = difference(moved, operation.step)
                for values, tolerance in zip(slopes, (1e-7, 1e-3), strict=True):
                    for slope, wanted, by in zip(values, along, double.keys, strict=True):
                        if by == key:
                            terms = slope * direction
                            off = abs(terms.sum(dtype=float) - wanted)
                            assert off <= tolerance * (np.linalg.norm(terms) + abs(wanted)), key

    def test_adjoints(self, operation: Operation, rng: np.random.Generator) -> None:
        """⟨y, f(u)⟩ = ⟨u, fᵀ(y)⟩ to rounding, for each input in which f is linear."""
        arrays = operation.make(rng, 20)
        for key in operation.linear.split():
            zero = operation.evaluate(arrays | {key: np.zeros_like(arrays[key])})
            values = operation.evaluate(arrays)
            y = [rng.normal(size=v.shape) for v in values]
            left = sum(np.sum(a * (v - z)) for a, v, z in zip(y, values, zero, strict=True))

            def transposed(u: Any, key: str = key, y: list[np.ndarray] = y) -> Any:
                tensors = {name: tf.constant(array) for name, array in arrays.items()} | {key: u}
                (pulled,) = tf.gradients(operation.outputs(**tensors), [u], grad_ys=y)
                return pulled

            pulled = run(transposed, arrays[key])
            scale = np.linalg.norm(pulled * arrays[key])
            np.testing.assert_allclose(
                np.sum(pulled * arrays[key]), left, rtol=0, atol=1e-12 * scale, err_msg=key
            )

    def test_constants(self, operation: Operation, rng: np.random.Generator) -> None:
        """Derivatives that there are none of are refused or absent, never zeros."""
        arrays = operation.make(rng, 20)
        lists = {key.rpartition("_")[0] for key in operation.by.split()} - {""}
        for key in set(floats(arrays)) - set(operation.by.split()):
            if lists:  # of lists some are differentiated by for all
                break
            with tf.Graph().as_default():
                tensors = {name: tf.constant(array) for name, array in arrays.items()}
                tensors[key] = tf.identity(tensors[key])
                out = [t for t in operation.outputs(**tensors) if t.dtype.is_floating]
                with contextlib.suppress(LookupError):
                    assert not out or tf.gradients(out, [tensors[key]]) == [None], key

    def test_not_a_number(self, operation: Operation, rng: np.random.Generator) -> None:
        """A NaN reaches some of what depends on that number, and changes nothing else."""
        arrays = operation.make(rng, 20)
        clean = operation.evaluate(arrays)
        for key in operation.contained.split():
            for _ in range(20):  # some numbers, as of pairs beyond the cutoff, do nothing
                place = tuple(rng.integers(0, n) for n in arrays[key].shape)
                nudged, broken = arrays[key].copy(), arrays[key].copy()
                nudged[place] += 0.01 + 0.01 * abs(nudged[place])
                broken[place] = np.nan
                moved = operation.evaluate(arrays | {key: nudged})
                depends = [
                    (value != other).any(axis=tuple(range(1, value.ndim)))
                    for value, other in zip(clean, moved, strict=True)
                ]
                if any(rows.any() for rows in depends):
                    break
            else:
                pytest.fail(f"nothing depends on {key}")
            found = operation.evaluate(arrays | {key: broken})
            for value, bad, rows in zip(clean, found, depends, strict=True):
                np.testing.assert_array_equal(bad[~rows], value[~rows], err_msg=key)
                assert not rows.any() or np.isnan(bad[rows]).any(), key

    def test_wrong_shapes(
        self, operation: Operation, rng: np.random.Generator, on_gpu: bool
    ) -> None:
        """One axis more, and one element less along each axis: refused, naming an input."""
        arrays = operation.make(rng, 20)
        with tf.Graph().as_default(), plain_session() as session:
            holders = {key: tf.placeholder(self._dtype(a), name=key) for key, a in arrays.items()}
            try:
                fetched = operation.outputs(**holders)
            except (ValueError, TypeError):  # ranks must be known: the shapes of the others are
                holders = {
                    key: tf.placeholder(self._dtype(a), [None] * a.ndim, name=key)
                    for key, a in arrays.items()
                }
                fetched = operation.outputs(**holders)
            for key, changed, what in self._misshapen(operation, arrays):
                feed = {holders[k]: a for k, a in (arrays | {key: changed}).items()}
                try:
                    session.run(fetched, feed)
                except REFUSED as error:
                    words = str(error)
                    assert any(name.rpartition("_")[0] in words or name in words for name in arrays)
                else:
                    # what indices name is not looked at on a GPU, where such ones are not followed
                    assert on_gpu, f"{key} {what} was taken: {changed.shape}"

    def test_device(self, operation: Operation, rng: np.random.Generator, on_gpu: bool) -> None:
        """Where there is a GPU the operation runs there, in both precisions, with equal bits."""
        if not on_gpu:
            return
        arrays = operation.make(rng, 20)
        for dtype, name in zip(DTYPES, ("double", "float"), strict=True):
            before = paper_gpu.counts()
            with paper_gpu.order(ascending=True):
                values = operation.evaluate(arrays, dtype)
            launched = [key for key, n in paper_gpu.counts().items() if n > before.get(key, 0)]
            # what has integers alone may be left to the host
            suffix = f" {name}" if floats(arrays) else ""
            assert [key for key in launched if key.endswith(suffix)], launched
            with paper_gpu.order(ascending=False):
                again = operation.evaluate(arrays, dtype)
            for value, other in zip(values, again, strict=True):
                np.testing.assert_array_equal(value, other)

    @staticmethod
    def _dtype(array: np.ndarray) -> Any:
        return tf.as_dtype(array.dtype)

    @staticmethod
    def _misshapen(operation: Operation, arrays: Mapping[str, np.ndarray]) -> Any:
        free = operation.free.split()
        for key, array in arrays.items():
            if key in free:
                continue
            yield key, array[None], "with another axis"
            for axis in range(array.ndim):
                if f"{key}.{axis}" not in free:
                    fewer = np.take(array, range(array.shape[axis] - 1), axis)
                    yield key, fewer, f"with less along axis {axis}"


def all_operations() -> list[Operation]:
    """The records of all modules beside this one."""
    found = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f".{path.stem}", __package__)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, OpContract):
                found += value.operations
    return found
