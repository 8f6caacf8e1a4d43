# SPDX-License-Identifier: BSD-3-Clause
"""Products of matrices by this package's kernel, in graphs that otherwise are TensorFlow's."""

from __future__ import annotations

from typing import Any

from deepmd_tf.ops.library import native, tensorflow

tf = tensorflow()

KERNEL = "deepmd_tf"
"""Label of the kernel, in attr ``_kernel`` of the nodes that take it."""


def take_own_matmul(graph: Any) -> None:
    """Let every float64 ``MatMul`` of a graph take the kernel of this package.

    The nodes stay TensorFlow's, and so do their gradients. The kernel uses AVX-512, which
    TensorFlow's does not for float64, and is twice as fast where a processor has it. Elements are
    summed in an order that depends neither on the number of threads nor on the size of the result.
    It is one for processors, so where there is a GPU nothing is changed. float32 stays as it is:
    oneDNN reaches the same rate.

    Parameters
    ----------
    graph
        Complete, or as far as it goes: nodes that are added later need another call. Nodes must not
        have run yet.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    native()  # brings the kernel
    label = tf.compat.v1.AttrValue(s=KERNEL.encode())
    for op in graph.get_operations():
        if op.type == "MatMul" and op.outputs[0].dtype == tf.float64 and not _labelled(op):
            op._set_attr("_kernel", label)


def _labelled(op: Any) -> bool:
    return "_kernel" in op.node_def.attr
