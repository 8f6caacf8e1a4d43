# SPDX-License-Identifier: BSD-3-Clause
"""Where the numbers of a model come from: trainable variables, or constants read from a file.

Networks ask a :class:`Parameters` object for each weight by the name that it has in checkpoints and
frozen graphs. Training makes variables, freezing and inference make constants of the same
names; the code that builds the graph is the same.

A net is at rest in a training if no atom of the data needs it. Its gradient is zero, so Adam leaves
its weights as they are: they are numbers outside of the graph and are in checkpoints only. With
embedding nets for each pair of types, a model of twenty types trained on data of two has 396 of
them.
"""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import ModelFileError
from deepmd_tf.nn.stored_spline import Spline
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
        words: np.ndarray
        if init.seed is None:
            words = np.frombuffer(os.urandom(24), np.uint64)
        else:
            # what a node with this seed begins the generator (Philox) with
            first, second = (np.int64(n).view(np.uint64) for n in tf.get_seed(init.seed))
            words = np.array([first, 0, second], np.uint64)
        feed = dict(zip(placeholders, (shape, words[:1], words[1:]), strict=True))
        number = dtype.as_numpy_dtype
        return session.run(numbers, feed) * number(init.stddev) + number(init.mean)

    def _open(self, dtype: tf.DType) -> tuple[tf.Session, list[tf.Tensor], tf.Tensor]:
        with tf.Graph().as_default() as graph:
            placeholders = [
                tf.placeholder(tf.int32, [None]),
                tf.placeholder(tf.uint64, [1]),
                tf.placeholder(tf.uint64, [2]),
            ]
            numbers = tf.raw_ops.StatelessRandomNormalV2(
                **dict(zip(("shape", "key", "counter"), placeholders, strict=True)),
                alg=1,
                dtype=dtype,
            )
            return open_session(graph), placeholders, numbers


class Parameters(ABC):
    """Hands out the parameters of a model by name. The same name gives the same tensor again.

    Parameters
    ----------
    tables
        Of a model that was compressed, by name: what it has in place of embedding nets.

    Attributes
    ----------
    trained
        Whether the model is being trained, on data that is known.
    at_rest
        Whether they are numbers outside of the graph, in whose place nets get shapes.
    """

    trained = False
    at_rest = False

    def __init__(self, tables: Mapping[str, Spline] | None = None) -> None:
        self.tables = tables or {}
        self._tensors: dict[str, tf.Tensor] = {}
        self._derived: dict[str, tf.Tensor] = {}

    def get(
        self,
        name: str,
        shape: Sequence[int],
        dtype: tf.DType,
        init: Initializer,
        trainable: bool = True,
    ) -> tf.Tensor:
        """The parameter called ``name``.

        Parameters
        ----------
        name
            Node name, e.g. ``layer_0_type_1/matrix``; see :mod:`deepmd_tf.names`.
        shape, dtype
            What the caller will use it as.
        init
            First values when the parameter is a new variable.
        trainable
            Whether training changes it.
        """
        if name not in self._tensors:
            self._tensors[name] = self._make(name, tuple(shape), dtype, init, trainable)
        tensor = self._tensors[name]
        if tuple(tensor.shape.as_list()) != tuple(shape):
            raise ModelFileError(
                f'parameter "{name}" has shape {tuple(tensor.shape.as_list())}, the model needs '
                f"{tuple(shape)}; "
                "layers that share a layer_name must have equal widths"
            )
        return tensor

    def names(self) -> list[str]:
        """Names handed out so far."""
        return list(self._tensors)

    def derived(self, name: str, make: Callable[[], tf.Tensor]) -> tf.Tensor:
        """A tensor that several parts of a model make of the same parameters: made once."""
        if name not in self._derived:
            self._derived[name] = make()
        return self._derived[name]

    def of_net(self, center: int | None, used: bool = True) -> Parameters:
        """Where a net gets its weights: from here, or where they may be others or missing.

        Parameters
        ----------
        center
            Type of the atoms that it is for; None: all.
        used
            Whether anything in the graph of such an atom needs it.
        """
        return self

    @abstractmethod
    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        """Create the parameter."""


class ModelParameters(Parameters):
    """Parameters of one of several models, which asks for them by the names of a model by itself.

    Parameters
    ----------
    all_models
        Has those of all.
    scope
        Suffix of the names of the model, see :func:`deepmd_tf.names.in_model`.
    """

    def __init__(self, all_models: Parameters, scope: str) -> None:
        tables = all_models.tables.items()
        super().__init__({n: table for n, table in tables if names.split_model(n)[1] == scope})
        self.trained, self.at_rest = all_models.trained, all_models.at_rest
        self._all = all_models
        self._scope = scope

    @classmethod
    def of(cls, all_models: Parameters, scope: str) -> Parameters:
        """Those of the model; all of a model by itself, whose scope is ""."""
        return cls(all_models, scope) if scope else all_models

    def get(
        self,
        name: str,
        shape: Sequence[int],
        dtype: tf.DType,
        init: Initializer,
        trainable: bool = True,
    ) -> tf.Tensor:
        return self._all.get(names.in_model(name, self._scope), shape, dtype, init, trainable)

    def names(self) -> list[str]:
        return self._all.names()

    def derived(self, name: str, make: Callable[[], tf.Tensor]) -> tf.Tensor:
        return self._all.derived(names.in_model(name, self._scope), make)

    def of_net(self, center: int | None, used: bool = True) -> Parameters:
        found = self._all.of_net(center, used)
        return self if found is self._all else type(self)(found, self._scope)

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        raise TypeError("made by get of all models")


@dataclass(frozen=True)
class AtRest:
    """What a net at rest has in place of a tensor.

    Attributes
    ----------
    name, shape, dtype
        Of the parameter.
    source
        Has its value.
    """

    name: str
    shape: tf.TensorShape
    dtype: tf.DType
    source: RestingParameters

    @property
    def value(self) -> np.ndarray:
        """Its value, in the shape and type of the parameter."""
        return self.source.values()[self.name]


class RestingParameters(Parameters):
    """Parameters of nets at rest: numbers outside of the graph, in whose place nets get shapes.

    Parameters
    ----------
    initial
        Values that replace the initializer of the parameters that they name.

    Attributes
    ----------
    trainable
        Names of those that training would change.
    """

    trained = True
    at_rest = True

    def __init__(self, initial: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.initial = initial
        self.trainable: set[str] = set()
        self._inits: dict[str, Initializer] = {}
        self._values: dict[str, np.ndarray] = {}

    @property
    def specs(self) -> dict[str, AtRest]:
        """Shape and type of each, by name."""
        return dict(self._tensors)

    def values(self) -> Mapping[str, np.ndarray]:
        """Their values, by name: drawn when they are first asked for."""
        if len(self._values) == len(self._tensors):
            return self._values
        missing = [name for name in self._tensors if name not in self._values]
        if missing:
            with Draws() as draws:
                for name in missing:
                    spec, init = self._tensors[name], self._inits[name]
                    shape = tuple(spec.shape.as_list())
                    self._values[name] = (
                        draws.normal(init, shape, spec.dtype)
                        if isinstance(init, Normal)
                        else init(shape, spec.dtype)
                    )
        return {name: self._values[name] for name in self._tensors}

    def set(self, values: Mapping[str, np.ndarray]) -> None:
        """Give all of them other values, as those of a checkpoint."""
        self._values = {name: values[name] for name in self._tensors}

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> AtRest:
        self._inits[name] = _first_values(self.initial, name, shape, init)
        if trainable:
            self.trainable.add(name)
        return AtRest(name, tf.TensorShape(shape), dtype, self)


class VariableParameters(Parameters):
    """Parameters of a model that is trained: TensorFlow variables under the names of the
    checkpoint.

    Parameters
    ----------
    initial
        Values that replace the initializer of the parameters that they name.
    occurring
        Types of which there are atoms; nets that only others need are at rest. None: no net is.
    tables
        See :class:`Parameters`.

    Attributes
    ----------
    resting
        Parameters of the nets at rest.
    """

    trained = True

    def __init__(
        self,
        initial: Mapping[str, np.ndarray] | None = None,
        occurring: Collection[int] | None = None,
        tables: Mapping[str, Spline] | None = None,
    ) -> None:
        super().__init__(tables)
        self.initial = dict(initial or {})
        self.occurring = occurring
        self.variables: dict[str, tf.Variable] = {}
        self.resting = RestingParameters(self.initial)

    @property
    def trainable(self) -> list[tf.Variable]:
        """Variables that the optimizer changes."""
        return [v for v in self.variables.values() if v.trainable]

    def of_net(self, center: int | None, used: bool = True) -> Parameters:
        occurs = self.occurring is None or center is None or center in self.occurring
        return self if occurs and (used or self.occurring is None) else self.resting

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        init = _first_values(self.initial, name, shape, init)
        # Reference variables: a resource variable that is still read elsewhere is copied before
        # each update.
        variable = tf.Variable(
            lambda: init(shape, dtype),
            name=name,
            trainable=trainable,
            use_resource=False,
            dtype=dtype,
        )
        self.variables[name] = variable
        return variable


def _first_values(
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


class ConstantParameters(Parameters):
    """Parameters of a finished model: constants named as in the checkpoint.

    What a net that nothing needs lacks is zero: DeePMD-kit leaves nets of sections without slots
    out of its files.

    Parameters
    ----------
    weights
        Arrays by name.
    source
        The file they come from, for messages.
    tables
        See :class:`Parameters`.
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        source: str = "model",
        tables: Mapping[str, Spline] | None = None,
    ) -> None:
        super().__init__(tables)
        self.weights = weights
        self.source = source

    def of_net(self, center: int | None, used: bool = True) -> Parameters:
        return self if used else _UnusedParameters(self)

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        if name not in self.weights:
            raise ModelFileError(f'{self.source}: parameter "{name}" is missing')
        array = np.asarray(self.weights[name])
        if array.shape != shape:
            raise ModelFileError(
                f'{self.source}: parameter "{name}" has shape {array.shape}, its input script '
                f"asks for {shape}"
            )
        return tf.constant(array, dtype=dtype, name=name)


class _UnusedParameters(Parameters):
    """Parameters of a net that nothing needs: those of the file, and zeros where it has none."""

    def __init__(self, file: ConstantParameters) -> None:
        super().__init__()
        self._file = file

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        if name in self._file.weights:
            return self._file.get(name, shape, dtype, init, trainable)
        return tf.constant(np.zeros(shape), dtype=dtype)


def count_weights(widths: Sequence[int], *, timesteps: bool) -> int:
    """Numbers in the layers of a net from ``widths[0]`` inputs to ``widths[-1]`` outputs, with
    ``timesteps`` one for each output of every layer, also where a layer cannot have them.
    """
    vectors = 2 if timesteps else 1
    return sum(n_out * (n_in + vectors) for n_in, n_out in itertools.pairwise(widths))
