# SPDX-License-Identifier: BSD-3-Clause
"""The optimizer, with the variables of TensorFlow's own, and one operation for the whole step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.nn.variables import Stack

ADAM_EPSILON = 1e-8
"""Added to √v outside of the bias correction, as ``tf.compat.v1.train.AdamOptimizer`` does."""

NOT_FINITE = "loss or gradient is not finite"
"""Message of an update that was refused and has changed nothing; recognised by this text."""


class Adam(tf.train.AdamOptimizer):
    """Adam, whose moments and powers have the names of ``tf.compat.v1.train.AdamOptimizer``.

    Parameters
    ----------
    rate
        float32 [], the learning rate.
    beta1, beta2
        Decay of the first and second moments.
    """

    def __init__(self, rate: tf.Tensor, beta1: float, beta2: float) -> None:
        super().__init__(rate, beta1=beta1, beta2=beta2, epsilon=ADAM_EPSILON)

    def step(
        self,
        loss: tf.Tensor,
        gradients: Sequence[tf.Tensor | None],
        variables: Sequence[tf.Variable | tf.Tensor],
        counter: tf.Variable,
        stacks: Sequence[Stack] = (),
    ) -> tf.Operation:
        """The step, and one more in ``counter``; nothing changes, with :data:`NOT_FINITE`, unless
        ``loss`` and the squares of the gradients are finite.

        It waits for all gradients. A variable whose gradient is None stays as it is. Some of
        ``variables`` may be the slices of ``stacks``.
        """
        found = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        stacked = _slices(stacks, {id(v): g for g, v in found})
        parts = {id(part) for stack in stacks for part in stack.slices}
        plain = [(g, v) for g, v in found if id(v) not in parts]
        changed = [variable for _, variable in plain] + [s.variable for s, _ in stacked]
        if not changed:  # a sum of frozen models, which is not trained
            return tf.no_op()
        with tf.init_scope():
            self._create_slots(changed)
        step = ops.apply_adam(
            changed,
            ([self.get_slot(v, "m") for v in changed], [self.get_slot(v, "v") for v in changed]),
            self._get_beta_accumulators(),
            [_addends(g) for g in [*(g for g, _ in plain), *(g for _, gs in stacked for g in gs)]],
            loss=tf.cast(loss, tf.float64),
            rate=self._lr,
            beta1=self._beta1,
            beta2=self._beta2,
            epsilon=self._epsilon,
            message=NOT_FINITE,
            slices=[*(0 for _ in plain), *(len(gs) for _, gs in stacked)],
            name=self._name,
        )
        with tf.control_dependencies([step]):
            return tf.assign_add(counter, 1).op


def _slices(
    stacks: Iterable[Stack], gradients: Mapping[int, tf.Tensor]
) -> list[tuple[Stack, list[tf.Tensor]]]:
    """The gradients of all slices, by identity of the slice, of each stack that has any."""
    found = []
    for stack in stacks:
        of_slices = [gradients.get(id(part)) for part in stack.slices]
        if any(g is not None for g in of_slices):
            zero = tf.zeros(stack.slices[0].shape, stack.slices[0].dtype)
            found.append((stack, [zero if g is None else g for g in of_slices]))
    return found


def _addends(gradient: tf.Tensor) -> list[tf.Tensor]:
    """The terms of a sum of two that nothing else needs, which then is never written to memory."""
    if gradient.op.type == "AddN" and len(gradient.op.inputs) == 2 and not gradient.consumers():
        return list(gradient.op.inputs)
    return [gradient]
