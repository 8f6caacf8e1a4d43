# SPDX-License-Identifier: BSD-3-Clause
"""Shared code of gradients of operations with several outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def absent(grads: Sequence[Any], outputs: Sequence[Any]) -> bool:
    """Whether these are the zeros that TensorFlow passes for outputs that nothing depends on."""
    return all(
        grad.op.type == "ZerosLike" and grad.op.inputs[0] is output
        for grad, output in zip(grads, outputs, strict=True)
    )
