# SPDX-License-Identifier: BSD-3-Clause
"""All operations: threads change no bit, kernels of other instruction sets nothing but rounding.

TensorFlow makes its worker threads once per process, and kernels are chosen once, hence processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
from op_checks import DTYPES

from deepmd_tf import ops

from .contract import all_operations

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[3])
import numpy as np
from ops.test_instruction_sets import evaluate
np.savez(sys.argv[1], *evaluate(int(sys.argv[2])))
"""


def evaluate(threads: int) -> list[np.ndarray]:
    """Results of all operations, in both precisions, for inputs that several threads share."""
    results = []
    for dtype in DTYPES:
        rng = np.random.default_rng(1)
        for operation in all_operations():
            results += operation.evaluate(operation.make(rng, operation.large), dtype, threads)
        results += apply_adam([rng.normal(size=9000).astype(dtype) for _ in range(5)])
    return results


def apply_adam(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What a step leaves of a variable and its moments; the last two arrays are the gradient."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.Variable(np.abs(a), use_resource=False) for a in arrays[:3]]
        powers = tuple(tf.Variable(np.float32(0.9), use_resource=False) for _ in range(2))
        session.run(tf.global_variables_initializer())
        x, m, v = ([variable] for variable in variables)
        rates = {"rate": 1e-3, "beta1": 0.9, "beta2": 0.9, "epsilon": 1e-8}
        step = ops.apply_adam(x, (m, v), powers, [arrays[3:]], loss=0.0, message="", **rates)
        session.run(step)
        return session.run(variables)


def test_threads_and_instruction_sets(tmp_path: Path) -> None:
    """The same bits by one thread and by three, and the same numbers on other processors."""

    def start(threads: int, isa: str) -> tuple[subprocess.Popen, Path]:
        out = tmp_path / f"{threads}{isa}.npz"
        command = [sys.executable, "-c", SCRIPT, out, str(threads), Path(__file__).parents[1]]
        # away from the checkout, which is not what is installed
        process = subprocess.Popen(command, env=os.environ | {"DEEPMD_TF_ISA": isa}, cwd=tmp_path)
        return process, out

    def values(out: Path) -> list[np.ndarray]:
        with np.load(out) as result:
            return [result[key] for key in result.files]

    started = [start(*how) for how in ((1, ""), (3, ""), (3, "avx2"), (3, "baseline"))]
    assert [process.wait(timeout=250) for process, _ in started] == [0] * 4
    one, three, *others = (values(out) for _, out in started)
    for value, same in zip(one, three, strict=True):
        np.testing.assert_array_equal(value, same)
    for other in others:
        for value, same in zip(one, other, strict=True):
            eps = np.finfo(value.dtype).eps if value.dtype.kind == "f" else 0
            tolerance = 100 * eps * np.abs(value).max(initial=0)
            np.testing.assert_allclose(same, value, atol=tolerance, rtol=0)
