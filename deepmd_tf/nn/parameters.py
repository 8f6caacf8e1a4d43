# SPDX-License-Identifier: BSD-3-Clause
"""Where the numbers of a model come from: trainable variables, or constants read from a file.

Networks ask a :class:`Parameters` object for each weight by the name that it has in checkpoints and
frozen graphs. Training makes variables, freezing and inference make constants of the same
names; the code that builds the graph is the same.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import ModelFileError


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


class Parameters(ABC):
    """Hands out the parameters of a model by name. The same name gives the same tensor again.

    Attributes
    ----------
    trained
        Whether the model is being trained, on data that is known.
    """

    trained = False

    def __init__(self) -> None:
        self._tensors: dict[str, tf.Tensor] = {}

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

    @abstractmethod
    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        """Create the parameter."""


class VariableParameters(Parameters):
    """Parameters of a model that is trained: TensorFlow variables under the names of the
    checkpoint.

    Parameters
    ----------
    initial
        Values that replace the initializer of the parameters that they name.
    """

    trained = True

    def __init__(self, initial: Mapping[str, np.ndarray] | None = None) -> None:
        super().__init__()
        self.initial = dict(initial or {})
        self.variables: dict[str, tf.Variable] = {}

    @property
    def trainable(self) -> list[tf.Variable]:
        """Variables that the optimizer changes."""
        return [v for v in self.variables.values() if v.trainable]

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        if name in self.initial:
            array = np.asarray(self.initial[name])
            if array.shape != shape:
                raise ModelFileError(
                    f'parameter "{name}" has shape {array.shape} in the model it is initialised '
                    f"from, and {shape} in this model"
                )
            init = Value(array)
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


class ConstantParameters(Parameters):
    """Parameters of a finished model: constants named as in the checkpoint.

    Parameters
    ----------
    weights
        Arrays by name.
    source
        The file they come from, for messages.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], source: str = "model") -> None:
        super().__init__()
        self.weights = weights
        self.source = source

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


def count_weights(widths: Sequence[int], *, timesteps: bool) -> int:
    """Numbers in the layers of a net from ``widths[0]`` inputs to ``widths[-1]`` outputs, with
    ``timesteps`` one for each output of every layer, also where a layer cannot have them.
    """
    vectors = 2 if timesteps else 1
    return sum(n_out * (n_in + vectors) for n_in, n_out in itertools.pairwise(widths))
