# SPDX-License-Identifier: BSD-3-Clause
"""Every operation that the libraries register has a record, so its contract is tested."""

from __future__ import annotations

import pytest

from deepmd_tf.ops import library

from .contract import all_operations
from .test_stock_tabulate import OLDER

ELSEWHERE = {"DpApplyAdam": "changes variables and has no result: test_adam.py"}
"""Operations that are no functions of their inputs."""


def test_every_operation_has_a_record() -> None:
    recorded = {operation.name for operation in all_operations()} | set(ELSEWHERE)
    functions = {key for key in dir(library.native()) if key.startswith("dp_")}
    functions = {key for key in functions if not key.endswith("_eager_fallback")}
    stock = {library._snake(name) for name in set(library.build_record()["stock_ops"]) - set(OLDER)}
    assert {library._snake(name) for name in recorded} == functions | stock


NOT_YET: set[str] = set()
"""Operations without a kernel for GPUs."""


@pytest.mark.gpu("kernels for it are registered where there is one")
def test_every_operation_has_a_kernel_for_gpus() -> None:
    from tensorflow.python.framework import kernels

    missing = set()
    for name in {operation.name for operation in all_operations()} | set(ELSEWHERE) | set(OLDER):
        found = kernels.get_registered_kernels_for_op(name).kernel
        types = {
            tuple(sorted(str(c) for c in kernel.constraint))
            for kernel in found
            if kernel.device_type == "GPU"
        }
        on_cpu = [kernel for kernel in found if kernel.device_type == "CPU"]
        if len(types) < len(on_cpu):
            missing.add(name)
    assert missing == NOT_YET


@pytest.mark.gpu("a processor rounds none")
def test_products_of_float32_are_not_rounded() -> None:
    import tensorflow as tf

    assert not tf.config.experimental.tensor_float_32_execution_enabled()
