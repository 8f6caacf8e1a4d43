# SPDX-License-Identifier: BSD-3-Clause
"""Parameters of models that are trained: TensorFlow variables.

Weights of many nets are slices of one variable for each shape (:class:`Stack`), so that the number
of nodes of a graph does not depend on the number of nets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.nn.first_values import (
    Initializer,
    Normal,
    initial_value,
    on_host,
    stacked_values,
)
from deepmd_tf.nn.parameters import AtRest, Parameters, RestingParameters
from deepmd_tf.nn.stored_spline import Spline


@dataclass(frozen=True)
class Stack:
    """Weights of one shape as slices of one variable.

    Attributes
    ----------
    names
        Of the weights, in the order of the slices.
    variable
        [n, ...]; its name is in no file.
    slices
        The weights.
    """

    names: tuple[str, ...]
    variable: tf.Variable
    slices: tuple[tf.Tensor, ...]


FEWEST_IN_STACK = 16
"""Fewer weights of one shape are variables of their own."""


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
        See :class:`~deepmd_tf.nn.parameters.Parameters`.
    stacked
        Whether many weights of one shape may be slices of one variable.

    Attributes
    ----------
    variables
        The parameters by name: variables, or slices of variables.
    stacks
        Those that consist of slices.
    resting
        Parameters of the nets at rest.
    """

    trained = True

    def __init__(
        self,
        initial: Mapping[str, np.ndarray] | None = None,
        occurring: Collection[int] | None = None,
        tables: Mapping[str, Spline] | None = None,
        *,
        stacked: bool = False,
    ) -> None:
        super().__init__(tables)
        self.initial = dict(initial or {})
        self.occurring = occurring
        self.variables: dict[str, Any] = {}
        self.stacks: list[Stack] = []
        self.resting = RestingParameters(self.initial)
        self._stacked = stacked
        self._trainable: set[str] = set()

    @property
    def trainable(self) -> list[Any]:
        """Those of :attr:`variables` that the optimizer changes."""
        return [self.variables[name] for name in self.trainable_names]

    @property
    def trainable_names(self) -> list[str]:
        """Their names."""
        return [name for name in self.variables if name in self._trainable]

    def of_net(self, center: int | None, used: bool = True) -> Parameters:
        occurs = self.occurring is None or center is None or center in self.occurring
        return self if occurs and (used or self.occurring is None) else self.resting

    def together(self, ask: Callable[[Parameters], object]) -> None:
        if not self._stacked:
            return
        asked = _Asked(self)
        ask(asked)
        for group in asked.alike():
            if len(group) >= FEWEST_IN_STACK:
                self._stack(group)

    def _stack(self, group: Mapping[str, _Request]) -> None:
        """Make one variable of these, whose shape, type and kind of first values are the same."""
        shape, dtype, _, trainable = next(iter(group.values()))
        inits = [request.init for request in group.values()]
        variable = tf.Variable(
            on_host(lambda: stacked_values(inits, shape, dtype)),
            name=f"stack_{len(self.stacks)}",
            trainable=trainable,
            use_resource=False,
            dtype=dtype,
        )
        stack = Stack(tuple(group), variable, tuple(tf.unstack(variable)))
        self.stacks.append(stack)
        for name, part in zip(stack.names, stack.slices, strict=True):
            self._tensors[name] = part
            self._add(name, part, trainable)

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        init = initial_value(self.initial, name, shape, init)
        # Reference variables: a resource variable that is still read elsewhere is copied before
        # each update.
        variable = tf.Variable(
            on_host(lambda: init(shape, dtype)),
            name=name,
            trainable=trainable,
            use_resource=False,
            dtype=dtype,
        )
        self._add(name, variable, trainable)
        return variable

    def _add(self, name: str, value: Any, trainable: bool) -> None:
        self.variables[name] = value
        if trainable:
            self._trainable.add(name)


class _Request(NamedTuple):
    """What is asked for."""

    shape: tuple[int, ...]
    dtype: tf.DType
    init: Initializer
    trainable: bool


class _Asked(Parameters):
    """Remembers what is asked for, and gives shapes."""

    trained = True

    def __init__(self, owner: VariableParameters) -> None:
        super().__init__(owner.tables)
        self._owner = owner
        self._requests: dict[str, _Request] = {}

    def alike(self) -> list[dict[str, _Request]]:
        """Requests that may be slices of one variable."""
        groups: dict[tuple, dict[str, _Request]] = {}
        for name, request in self._requests.items():
            init = request.init
            kind = (init.mean, init.stddev) if isinstance(init, Normal) else None
            key = (request.shape, request.dtype, request.trainable, kind)
            groups.setdefault(key, {})[name] = request
        return list(groups.values())

    def of_net(self, center: int | None, used: bool = True) -> Parameters:
        source = self._owner.of_net(center, used)
        return self if source is self._owner else source

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> AtRest:
        if name not in self._owner.variables:
            init = initial_value(self._owner.initial, name, shape, init)
            self._requests[name] = _Request(shape, dtype, init, trainable)
        return AtRest(name, tf.TensorShape(shape), dtype, self._owner.resting)


class DescribedParameters(Parameters):
    """Parameters of a graph that is not run here: variables without first values, which restoring
    a checkpoint gives theirs. They are a tenth of the nodes of those that can be initialised.

    Attributes
    ----------
    variables
        References, by name.
    """

    trained = True

    def __init__(self, tables: Mapping[str, Spline] | None = None) -> None:
        super().__init__(tables)
        self.variables: dict[str, tf.Tensor] = {}

    def of_net(self, center: int | None, used: bool = True) -> Parameters:
        # nets of sections without slots are in no graph
        return self if used else RestingParameters({})

    def _make(
        self, name: str, shape: tuple[int, ...], dtype: tf.DType, init: Initializer, trainable: bool
    ) -> tf.Tensor:
        self.variables[name] = tf.raw_ops.VariableV2(shape=shape, dtype=dtype, name=name)
        return tf.identity(self.variables[name], name=f"{name}/read")
