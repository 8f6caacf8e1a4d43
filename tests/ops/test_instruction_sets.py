# SPDX-License-Identifier: BSD-3-Clause
"""Kernels compiled for other instruction sets give the same numbers, to rounding."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf import ops
from deepmd_tf.ops import stock

SCRIPT = """
import sys
sys.path[:0] = sys.argv[2:]
import numpy as np
from test_instruction_sets import evaluate
np.savez(sys.argv[1], *evaluate())
"""


def evaluate() -> list[np.ndarray]:
    """Results of all operations with vector code, in both precisions."""
    from op_checks import run

    results = []
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(1)
        n, ntypes, m = 60, 2, 27

        def normal(*shape: int, rng: np.random.Generator = rng, dtype: type = dtype) -> np.ndarray:
            return rng.normal(size=shape).astype(dtype)

        splits = np.array([0, 11, 20, 40, n], np.int32)
        center = np.repeat([0, 1], [20, 40]).astype(np.int32)
        kind, table_of = np.array([1, 0], np.int32), np.array([0, 1, 1, 0], np.int32)
        x, g, v, norm = normal(n, 3), normal(n, 4), normal(n, 3), np.ones((2, 4), dtype)
        cut = {"rcut": 3.0, "rcut_smth": 0.5}
        results += [
            run(ops.env_matrix, x, center, kind, norm, norm, **cut),
            run(ops.env_matrix_vjp, x, g, center, kind, norm, **cut),
            run(ops.env_matrix_jvp, x, v, center, kind, norm, **cut),
            run(ops.env_matrix_hvp, x, g, v, center, kind, norm, **cut),
            run(ops.env_matrix_jvp2, x, v, x, center, kind, norm, **cut),
        ]
        table, ends = normal(2, 9, 3, m), np.array([[-2, 2], [-1, 3]], dtype)
        s, rows, y = normal(n), normal(n, 2, 4), normal(2, 4, m)
        keys = {"ntypes": ntypes}
        results += [
            run(ops.moment, table, ends, s, rows, splits, table_of, **keys),
            run(ops.moment_rows, table, ends, s, y, splits, table_of, orders=2, **keys),
            run(ops.moment_table, ends, s, rows, y, splits, table_of, np.int32(9), **keys),
            run(ops.moment_of_rows, table, ends, g, splits, table_of, y, **keys),
            run(ops.moment_of_rows_vjp, table, ends, g, y, splits, table_of, **keys),
        ]
        info = np.array([-1, 1, 2, 0.25, 0.5, -1], dtype)
        table, em, y = normal(10, 6 * m), normal(3, n // 3, 4), normal(3, 4, m)
        results += [
            run(stock.tabulate_fusion_se_a, table, info, s[:, None], em, last_layer_size=m),
            *run(stock.tabulate_fusion_se_a_grad, table, info, s[:, None], em, y, y),
        ]
        a, b = normal(300, 70), normal(70, 90)
        results += [
            run(ops.matmul, a, b),
            run(ops.matmul, a.T, b.T, transpose_a=True, transpose_b=True),
        ]
        columns, y = normal(n, m), normal(2, 4, m)
        results += [
            run(ops.contract, g, columns, splits, **keys),
            run(ops.contract_rows, columns, y, splits, **keys),
            run(ops.contract_columns, g, y, splits, **keys),
        ]
        results += apply_adam([normal(n) for _ in range(5)])
        weights = [normal(*shape) / 3 for shape in ((1, m), (m, m), (m,), (m,), (1, m))]
        nodes, y = normal(1, n), normal(1, n, 3, m)

        def jets(nodes: Any, a: Any, b: Any, c: Any, d: Any, idt: Any, y: Any = y) -> list[Any]:
            (value,) = ops.embedding_jets([nodes], [a, b], [c, d], [idt])
            return [value, *tf.gradients(value, [nodes, a, b, c, d, idt], grad_ys=[y])]

        results += run(jets, nodes, *weights)
        widths = (m, 50, 50, 1)
        bias, idt = [normal(k) for k in widths[1:]], [normal(50)]
        matrix = [normal(*k) / np.array(8, dtype) for k in itertools.pairwise(widths)]
        results += run(train, normal(n, m), *matrix, *bias, *idt)
        for n_axis in (16, 21, 5, 2):
            a, b, adjoint = normal(3, 4, m), normal(3, 4, m), normal(3, m * n_axis)
            results += [
                run(ops.descriptor, a, n_axis=n_axis),
                run(ops.descriptor_jvp, a, b, n_axis=n_axis),
                run(ops.descriptor_vjp, adjoint, a, n_axis=n_axis),
            ]
    return results


def train(*tensors: Any) -> list[Any]:
    """What a fitting net of three layers gives, its slope, and the gradient of squares of both."""
    x, matrix, bias, idt = tensors[0], tensors[1:4], tensors[4:7], tensors[7:]
    (energy,), hidden = ops.fitting_nets([x], matrix, bias, idt)
    (slope,) = tf.gradients(energy, x)
    loss = tf.reduce_sum(energy**2) + tf.reduce_sum(slope**2)
    return [energy, *hidden, slope, *tf.gradients(loss, tensors)]


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


@pytest.fixture(scope="module")
def best() -> list[np.ndarray]:
    """Results of the best instruction set that this processor has."""
    return evaluate()


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_same_numbers(isa: str, best: list[np.ndarray], tmp_path: Path) -> None:
    here = Path(__file__).parent
    subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "results.npz", here, here.parent],
        env=os.environ | {"DEEPMD_TF_ISA": isa},
        cwd=tmp_path,  # away from the checkout, which is not what is installed
        check=True,
    )
    with np.load(tmp_path / "results.npz") as other:
        for value, name in zip(best, other.files, strict=True):
            tolerance = 100 * np.finfo(value.dtype).eps * np.abs(value).max()
            np.testing.assert_allclose(other[name], value, atol=tolerance, rtol=0)
