# SPDX-License-Identifier: BSD-3-Clause
"""Time of the environment, moment and contraction operations on a box of water-like molecules.

    python benchmarks/ops.py                    192 atoms, float64 and float32
    python benchmarks/ops.py --molecules 4096 --threads 2

Prints the least time of one call in milliseconds, the cost of an empty Session.run taken off, and
for moments and contractions the rate of the products with table or embedding columns (a lower
bound: weights, sorting and sums over lanes are not counted). ``DEEPMD_TF_ISA`` chooses the
instruction set.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from deepmd_tf import ops
from deepmd_tf.ops.library import tensorflow

tf = tensorflow().compat.v1

RCUT, RCUT_SMTH, RANGE = 6.0, 0.5, (0.0, 1.2)


def water(molecules: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Coordinates, types (0: O, 1: H) and box length: jittered lattice, random orientations."""
    cells = round(molecules ** (1 / 3))
    if cells**3 != molecules:
        raise SystemExit(f"--molecules must be a cube, as 64 or 4096; got {molecules}")
    spacing = 12.42 / 4
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    oxygen = (grid + 0.5 + 0.1 * rng.normal(size=grid.shape)) * spacing
    bonds = rng.normal(size=(2, molecules, 3))
    bonds *= 0.96 / np.linalg.norm(bonds, axis=2, keepdims=True)
    types = np.repeat([0, 1, 1], molecules).astype(np.int32)
    return np.concatenate([oxygen, *(oxygen + bonds)]), types, cells * spacing


def pair_list(
    coord: np.ndarray, types: np.ndarray, length: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Displacements, centres, splits of all pairs, by centre, type of the neighbour, distance."""
    tree = cKDTree(coord % length, boxsize=length)
    i, j = tree.query_pairs(RCUT, output_type="ndarray").T
    center, neighbor = np.concatenate([i, j]), np.concatenate([j, i])
    x = coord[neighbor] - coord[center]
    x -= length * np.round(x / length)
    # Random molecules may touch; a real system keeps its distance.
    r = np.linalg.norm(x, axis=1, keepdims=True)
    x *= np.maximum(r, 0.85) / r
    section = center * 2 + types[neighbor]
    order = np.lexsort([np.linalg.norm(x, axis=1), section])
    splits = np.concatenate([[0], np.cumsum(np.bincount(section, minlength=2 * len(coord)))])
    return x[order], center[order].astype(np.int32), splits.astype(np.int32)


def switched_inverse(x: np.ndarray) -> np.ndarray:
    """First component of the environment rows, w(r)/r."""
    r = np.linalg.norm(x, axis=1)
    u = np.clip((r - RCUT_SMTH) / (RCUT - RCUT_SMTH), 0, 1)
    return (u**3 * (-6 * u**2 + 15 * u - 10) + 1) / r


def nodes_touched(s: np.ndarray, splits: np.ndarray, nodes: int) -> int:
    """How often a centre meets a node of a table: what the cost of a moment grows with."""
    interval = np.floor((s - RANGE[0]) / (RANGE[1] - RANGE[0]) * (nodes - 1)).astype(int)
    section = np.repeat(np.arange(len(splits) - 1), np.diff(splits))
    step = np.diff(interval, prepend=-9)
    new = np.diff(section, prepend=-1) != 0
    return int(np.sum(np.where(new | (abs(step) > 1), 2, abs(step))))


def best(call: Callable[[], Any], seconds: float = 1.0) -> float:
    """Least time of one call, in milliseconds."""
    least, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return 1e3 * least


def attention_cases(normal: Callable[..., Any], n: int, splits: np.ndarray) -> list[Any]:
    """Attention of width 128 among the pairs of each centre, and layer normalisation of 128."""
    width, keys = 128, {"ntypes": 2, "smooth": True, "slots": 120}
    qkv, rows, y, weights = (normal(n, *shape) for shape in ((3 * width,), (4,), (width,), ()))
    products = 2 * width * float(np.sum(np.diff(splits[::2]) ** 2.0))
    pull = ops.neighbor_attention_vjp(qkv, weights, y, splits, rows, **keys)
    bend = ops.neighbor_attention_hvp(qkv, weights, qkv, weights, y, splits, rows, rows, **keys)
    norm = {"epsilon": 1e-3}
    return [
        ("attention", ops.neighbor_attention(qkv, weights, splits, rows, **keys), 2 * products),
        ("attention_vjp", pull[0], 5 * products),
        ("attention_hvp", bend[0], 15 * products),
        ("layer_norm", ops.layer_norm(y, **norm), 0),
        ("layer_norm_vjp", ops.layer_norm_vjp(y, y, **norm), 0),
        ("layer_norm_hvp", ops.layer_norm_hvp(y, y, y, **norm), 0),
    ]


def measure(arguments: argparse.Namespace, dtype: type) -> None:
    rng = np.random.default_rng(1)
    coord, types, length = water(arguments.molecules, rng)
    x, center, splits = pair_list(coord, types, length)
    n, m, k = len(x), arguments.columns, arguments.nodes
    print(f"\n{np.dtype(dtype).name}: {len(coord)} atoms, {n} pairs, {m} columns, {k} nodes")

    config = tf.ConfigProto(intra_op_parallelism_threads=arguments.threads)
    config.graph_options.rewrite_options.disable_meta_optimizer = True  # fold no constants
    with tf.Graph().as_default(), tf.Session(config=config) as session:

        def given(values: np.ndarray) -> Any:
            return tf.get_variable(f"v{len(tf.global_variables())}", initializer=values)

        def normal(*shape: int) -> Any:
            return given(rng.normal(size=shape).astype(dtype))

        pairs, centers, kinds, sections = (
            given(v) for v in (x.astype(dtype), center, types, splits)
        )
        table_of = given(np.tile([0, 1], len(coord)).astype(np.int32))
        avg, std = np.zeros((2, 4), dtype), np.ones((2, 4), dtype)
        cut = {"rcut": RCUT, "rcut_smth": RCUT_SMTH}
        g, v, columns = normal(n, 4), normal(n, 3), normal(n, m)
        adjoint, table = normal(len(coord), 4, m), normal(2, k, 3, m)
        ends = np.array([RANGE] * 2, dtype)
        radial = switched_inverse(x)
        s, touched = given(radial.astype(dtype)), nodes_touched(radial, splits, k)
        cases = [
            ("env_matrix", ops.env_matrix(pairs, centers, kinds, avg, std, **cut), 0),
            ("env_matrix_vjp", ops.env_matrix_vjp(pairs, g, centers, kinds, std, **cut), 0),
            ("env_matrix_jvp", ops.env_matrix_jvp(pairs, v, centers, kinds, std, **cut), 0),
            ("env_matrix_hvp", ops.env_matrix_hvp(pairs, g, v, centers, kinds, std, **cut), 0),
            (
                "env_matrix_jvp_of_jvp",
                ops.env_matrix_jvp_of_jvp(pairs, v, v, centers, kinds, std, **cut),
                0,
            ),
        ]
        where = {"ntypes": 2}
        for d in (1, 2, 3):
            rows = normal(n, d, 4)
            cases += [
                (
                    f"moment D={d}",
                    ops.moment(table, ends, s, rows, sections, table_of, **where),
                    24 * touched * m,
                ),
                (
                    f"moment_rows D={d}",
                    ops.moment_rows(table, ends, s, adjoint, sections, table_of, orders=d, **where),
                    24 * touched * m,
                ),
                (
                    f"moment_table D={d}",
                    ops.moment_table(ends, s, rows, adjoint, sections, table_of, k, **where),
                    24 * touched * m,
                ),
            ]
        cases += [
            ("contract", ops.contract(g, columns, sections, **where), 8 * n * m),
            ("contract_rows", ops.contract_rows(columns, adjoint, sections, **where), 8 * n * m),
            ("contract_columns", ops.contract_columns(g, adjoint, sections, **where), 8 * n * m),
        ]
        axis = {"n_axis": min(m, 16)}
        size = len(coord) * m * axis["n_axis"]
        a, y = normal(len(coord), 4, m), normal(len(coord), m * axis["n_axis"])
        cases += [
            ("descriptor", ops.descriptor(a, **axis), 8 * size),
            ("descriptor_jvp", ops.descriptor_jvp(a, adjoint, **axis), 16 * size),
            ("descriptor_vjp", ops.descriptor_vjp(y, a, **axis), 16 * size),
            *attention_cases(normal, n, splits),
        ]
        session.run(tf.global_variables_initializer())
        nothing = best(session.make_callable(tf.no_op()), 0.2)
        for name, value, work in cases:
            time_ms = best(session.make_callable(value.op), arguments.seconds) - nothing
            rate = f"{work / time_ms / 1e6:8.1f} GFLOP/s" if work else ""
            print(f"  {name:18s} {time_ms:9.3f} ms {rate}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, default=64)
    parser.add_argument("--columns", type=int, default=100, help="width of the embedding")
    parser.add_argument("--nodes", type=int, default=128, help="nodes of a table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5, help="spent on each operation")
    arguments = parser.parse_args()
    for dtype in (np.float64, np.float32):
        measure(arguments, dtype)


if __name__ == "__main__":
    main()
