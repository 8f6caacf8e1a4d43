# SPDX-License-Identifier: BSD-3-Clause
"""The operation that writes the values of a checkpoint: variables, and weights at rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.nn.parameters import AtRest, RestingParameters
from deepmd_tf.nn.variables import Stack

MOMENTS = ("Adam", "Adam_1")
"""What the names of the optimizer's moments of a variable end in."""


@dataclass(frozen=True)
class SaveOperation:
    """Writes what ``tf.train.Saver`` would if nothing were at rest, to the byte.

    The moments of a weight at rest are zero. It has some if the same weight of other types has.

    Attributes
    ----------
    resting
        Weights at rest, if there are any.
    """

    resting: RestingParameters | None
    _prefix: tf.Tensor
    _operation: tf.Operation
    _stacks: dict[tf.Tensor, list[str]] = field(default_factory=dict)

    @classmethod
    def build(
        cls, variables: Mapping[str, tf.Variable | tf.Tensor], resting: RestingParameters | None
    ) -> SaveOperation:
        """Add the operation, for ``variables``, or slices of such, by name."""
        prefix = tf.placeholder(tf.string, [])
        tensors: dict[str, tf.Variable | tf.Tensor] = dict(variables)
        stacks = {}
        moments = {} if resting is None else _moments(resting, variables)
        for names_of_stack, spec in [] if resting is None else _equal(resting.specs):
            # one node for all that have one shape: there may be ten thousands of them
            stack = tf.placeholder(spec.dtype, [len(names_of_stack), *spec.shape.as_list()])
            stacks[stack] = names_of_stack
            zero = tf.zeros(spec.shape, spec.dtype)
            for name, values in zip(names_of_stack, tf.unstack(stack), strict=True):
                tensors[name] = values
                tensors |= {f"{name}/{moment}": zero for moment in moments[name]}
        ordered = sorted(tensors)
        operation = tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=ordered,
            shape_and_slices=[""] * len(ordered),
            tensors=[tensors[name] for name in ordered],
        )
        return cls(resting, prefix, operation, stacks)

    def run(self, session: tf.Session, prefix: Path) -> None:
        """Write the files ``<prefix>.index`` and ``<prefix>.data-…``."""
        feed: dict[tf.Tensor, Any] = {self._prefix: str(prefix)}
        if self.resting is not None:
            values = self.resting.values()
            for stack, names_of_stack in self._stacks.items():
                feed[stack] = np.stack([values[name] for name in names_of_stack])
        session.run(self._operation, feed)


def _equal(
    specs: Mapping[str, AtRest],
) -> Iterable[tuple[list[str], AtRest]]:
    """Names of equal shape and type, together."""
    groups: dict[tuple, list[str]] = {}
    for name, spec in specs.items():
        groups.setdefault((tuple(spec.shape.as_list()), spec.dtype), []).append(name)
    return [(found, specs[found[0]]) for found in groups.values()]


def _moments(
    resting: RestingParameters, variables: Mapping[str, tf.Variable | tf.Tensor]
) -> dict[str, tuple[str, ...]]:
    """The moments that each weight at rest has."""
    used = {names.of_any_type(name): name for name in variables if names.weight_owner(name)}
    found: dict[str, tuple[str, ...]] = {}
    for name in resting.specs:
        other = used.get(names.of_any_type(name))
        has = name in resting.trainable and (other is None or f"{other}/{MOMENTS[0]}" in variables)
        found[name] = MOMENTS if has else ()
    return found


def with_moments(stacks: Iterable[Stack], variables: Mapping[str, tf.Variable]) -> list[Stack]:
    """``stacks`` and those of the optimizer's moments, which are among ``variables``."""
    found = []
    for stack in stacks:
        found.append(stack)
        for moment in MOMENTS:
            of_stack = variables.get(f"{stack.variable.op.name}/{moment}")
            if of_stack is not None:
                names_of_moment = tuple(f"{name}/{moment}" for name in stack.names)
                found.append(Stack(names_of_moment, of_stack, tuple(tf.unstack(of_stack))))
    return found
