# SPDX-License-Identifier: BSD-3-Clause
"""First values of the weights of a model, as in a graph or as arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import ModelFileError
from deepmd_tf.ops.threads import open_session


@dataclass(frozen=True)
class Normal:
    """Initial values drawn from a normal distribution; ``seed=None`` draws anew each time."""

    mean: float
    stddev: float
    seed: int | None

    def __call__(self, shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
        """Initial values. The generator is TensorFlow's, so equal seeds give the weights of stock
        models.
        """
        initializer = tf.random_normal_initializer(
            self.mean, self.stddev, seed=self.seed, dtype=dtype
        )
        return initializer(list(shape), dtype=dtype)


@dataclass(frozen=True)
class Value:
    """Initial values that are known numbers."""

    array: np.ndarray

    def __call__(self, shape: Sequence[int], dtype: tf.DType) -> np.ndarray:
        """The array, in the type and shape of the parameter."""
        return np.broadcast_to(self.array, shape).astype(dtype.as_numpy_dtype)


Initializer = Normal | Value


def on_host(values: Callable[[], tf.Tensor | np.ndarray]) -> tf.Tensor | np.ndarray:
    """First values of a variable, which may itself be on a GPU.

    They are the same numbers there. A function that is given to the variable would be placed beside
    it, where random numbers are rounded otherwise.
    """
    with tf.device("/cpu:0"):
        return values()


class Draws:
    """Values of :class:`Normal` as arrays, the same numbers as in a graph of their own."""

    def __init__(self) -> None:
        self._sessions: dict[tf.DType, tuple[Any, list[Any], Any]] = {}

    def __enter__(self) -> Draws:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._sessions.values():
            opened[0].close()
        self._sessions.clear()

    def normal(self, init: Normal, shape: Sequence[int], dtype: tf.DType) -> np.ndarray:
        """Values of a parameter; one graph for all shapes, since adding a node takes longer."""
        if dtype not in self._sessions:
            self._sessions[dtype] = self._open(dtype)
        session, placeholders, numbers = self._sessions[dtype]
        words = _words(init.seed)
        feed = dict(zip(placeholders, (shape, words[:1], words[1:]), strict=True))
        number = dtype.as_numpy_dtype
        return session.run(numbers, feed) * number(init.stddev) + number(init.mean)

    def _open(self, dtype: tf.DType) -> tuple[tf.Session, list[tf.Tensor], tf.Tensor]:
        with tf.Graph().as_default() as graph:
            shape = tf.placeholder(tf.int32, [None])
            key, counter = (tf.placeholder(tf.uint64, [n]) for n in (1, 2))
            numbers = _normal(shape, key, counter, dtype)
            return open_session(graph), [shape, key, counter], numbers


def _words(seed: int | None) -> np.ndarray:
    """What a node with this seed begins the generator (Philox) with: uint64 [3]; key, counter."""
    if seed is None:
        return np.frombuffer(os.urandom(24), np.uint64)
    first, second = (np.int64(n).view(np.uint64) for n in tf.get_seed(seed))
    return np.array([first, 0, second], np.uint64)


def _normal(shape: Any, key: tf.Tensor, counter: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Normally distributed numbers from a state of the generator."""
    return tf.raw_ops.StatelessRandomNormalV2(
        shape=shape, key=key, counter=counter, alg=1, dtype=dtype
    )


def stacked_values(
    inits: Sequence[Initializer], shape: tuple[int, ...], dtype: tf.DType
) -> tf.Tensor | np.ndarray:
    """[n, *shape], the first values of n parameters: all numbers, or all :class:`Normal` with equal
    mean and standard deviation. The number of nodes does not depend on n."""
    normal = [init for init in inits if isinstance(init, Normal)]
    if not normal:
        return np.stack([init(shape, dtype) for init in inits])
    words = np.stack([_words(init.seed) for init in normal])
    numbers = tf.map_fn(lambda w: _normal(shape, w[:1], w[1:], dtype), words, dtype)
    return numbers * dtype.as_numpy_dtype(normal[0].stddev) + dtype.as_numpy_dtype(normal[0].mean)


def initial_value(
    initial: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], init: Initializer
) -> Initializer:
    """``init``, or what ``initial`` has in its place."""
    if name not in initial:
        return init
    array = np.asarray(initial[name])
    if array.shape != shape:
        raise ModelFileError(
            f'parameter "{name}" has shape {array.shape} in the model it is initialised '
            f"from, and {shape} in this model"
        )
    return Value(array)
