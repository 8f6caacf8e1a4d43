# SPDX-License-Identifier: BSD-3-Clause
"""The optimizer's variables, and what its operation is given."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf.training.optimizer import Adam


def build(adam: type, peeled: bool = True) -> tuple[tf.Operation, list[tf.Tensor]]:
    """A step of a function of three variables, of which one is twice in it and one is not."""
    x = tf.Variable([1.0, -2.0], name="x", dtype=tf.float64, use_resource=False)
    y = tf.Variable([[0.5]], name="a/y", dtype=tf.float32, use_resource=False)
    z = tf.Variable([[0.5]], name="a/z", dtype=tf.float32, use_resource=False)
    counter = tf.Variable(0, name="step", dtype=tf.int64, trainable=False, use_resource=False)
    loss = tf.reduce_sum(x**2) + tf.reduce_sum(tf.sin(x)) + tf.cast(y[0, 0], tf.float64)
    gradients = tf.gradients(loss, [x, y, z])
    if not peeled:
        tf.identity(gradients[0])
    if adam is Adam:
        rate = tf.constant(0.1)
        return adam(rate, 0.9, 0.99).step(loss, gradients, [x, y, z], counter), gradients
    pairs = zip(gradients, [x, y, z], strict=True)
    return adam(0.1, 0.9, 0.99).apply_gradients(pairs, global_step=counter), gradients


def test_variables_are_those_of_tensorflow() -> None:
    """By name, and by value after some steps."""
    found = []
    for adam in (Adam, tf.train.AdamOptimizer):
        with tf.Graph().as_default(), tf.Session() as session:
            step, _ = build(adam)
            session.run(tf.global_variables_initializer())
            for _ in range(3):
                session.run(step)
            found.append(session.run({v.op.name: v for v in tf.global_variables()}))
            trainable = [v.op.name for v in tf.trainable_variables()]
            assert trainable == ["x", "a/y", "a/z"]
    names = {"x", "x/Adam", "x/Adam_1", "a/y", "a/y/Adam", "a/y/Adam_1", "a/z", "step"}
    assert set(found[0]) == set(found[1]) == names | {"beta1_power", "beta2_power"}
    assert found[0]["step"] == 3 and found[0]["a/z"] == 0.5
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-6 if "y" in name else 1e-15)


@pytest.mark.parametrize("peeled", [True, False])
def test_sums_of_two(peeled: bool) -> None:
    """They are taken apart unless somebody else needs them."""
    with tf.Graph().as_default() as graph:
        _, (gradient, *_) = build(Adam, peeled)
        assert gradient.op.type == "AddN"
        step = graph.get_operation_by_name("Adam")
        assert list(step.get_attr("terms")) == [1 + peeled, 1]
        given = {tensor.name for tensor in step.inputs}
        assert (gradient.name in given) == (not peeled)
        assert ({tensor.name for tensor in gradient.op.inputs} <= given) == peeled


@pytest.mark.gpu("its memory")
def test_variables_are_on_the_gpu() -> None:
    """All but the counter, which is not one of real numbers."""
    with tf.Graph().as_default(), tf.Session() as session:
        step, _ = build(Adam)
        session.run(tf.global_variables_initializer())
        options = tf.RunOptions(output_partition_graphs=True)
        found = tf.RunMetadata()
        session.run(step, options=options, run_metadata=found)
        devices = {
            node.name: node.device.rpartition("/")[2]
            for graph in found.partition_graphs
            for node in graph.node
            if node.op in ("VariableV2", "DpApplyAdam")
        }
        names = {v.op.name for v in tf.global_variables()} - {"a/z", "a/z/Adam", "a/z/Adam_1"}
        assert set(devices) == names | {"Adam"}
        on_host = {name for name, device in devices.items() if device != "device:GPU:0"}
        assert on_host == {"step"}
