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
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import ModelFileError
from deepmd_tf.nn.first_values import (
    Draws,
    Initializer,
    Normal,
    initial_value,
)
from deepmd_tf.nn.stored_spline import Spline


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

    def together(self, ask: Callable[[Parameters], object]) -> None:  # noqa: B027
        """Told before many weights are asked for, by ``ask``: a source may keep them together.

        ``ask`` may be called with a source that gives shapes in place of tensors.
        """

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

    def together(self, ask: Callable[[Parameters], object]) -> None:
        self._all.together(lambda source: ask(type(self)(source, self._scope)))

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
        self._inits[name] = initial_value(self.initial, name, shape, init)
        if trainable:
            self.trainable.add(name)
        return AtRest(name, tf.TensorShape(shape), dtype, self)


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
