#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Compress a model with this package and with stock DeePMD-kit, and compare the two files.

Printed are the errors of both against the uncompressed model, the least time of one frame in the
stock Python DeepPot (files taking turns) and in ours, and the time of the two operations of
compressed models alone, in both packages, on a box of water's size.

    python benchmarks/compress_vs_stock.py frozen_model.pb examples/water/data/data_3
        --stock-python /path/to/stock/bin/python

The model must have been trained with the neighbour statistics, and without resnet_dt in the
descriptor, which stock does not compress. Both run with ``--threads`` threads.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from deepmd_tf import DeepPot
from deepmd_tf.data import DataSystem
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze

FILES = ("original", "ours", "stock")

EVALUATE = """
import sys, time
import numpy as np
from deepmd.infer import DeepPot
given = np.load("given.npz")
arguments = [given[key] for key in ("coords", "cells", "types")]
pots = {name: DeepPot(f"{name}.pb") for name in sys.argv[2:]}
values = {name: pot.eval(*arguments) for name, pot in pots.items()}
one = arguments[0][:1], arguments[1][:1], arguments[2]
times = {name: [] for name in pots}
for _ in range(int(sys.argv[1])):
    for name, pot in pots.items():
        start = time.perf_counter()
        pot.eval(*one)
        times[name].append(time.perf_counter() - start)
exact = values["original"]
for name in pots:
    errors = [f"{np.abs(a - b).max():.1e}" for a, b in zip(values[name], exact)]
    print(f"  {name:10s} errors of energy, force, virial", *errors,
          f"  one frame {1e3 * min(times[name]):.2f} ms")
"""

OPERATIONS = """
import sys, time
import numpy as np
import tensorflow.compat.v1 as tf
if sys.argv[1] == "ours":
    from deepmd_tf.ops.library import stock
    module = stock()
else:
    from deepmd.tf.env import op_module as module
rng = np.random.default_rng(1)
rows, width, centers, slots, filled = 1360, 100, 192, 92, 76
config = tf.ConfigProto(intra_op_parallelism_threads=int(sys.argv[2]))
config.graph_options.rewrite_options.disable_meta_optimizer = True
for dtype in (np.float64, np.float32):
    em = rng.normal(size=(centers, slots, 4))
    em[..., 0] = rng.uniform(0.1, 5.0, (centers, slots))
    em[:, filled:] = [-0.5, 0.0, 0.0, 0.0]
    info = np.array([-1.0, 9.0, 45.0, 0.01, 0.1, -1.0])
    arrays = rng.normal(size=(rows, 6 * width)), info, em[..., 0].reshape(-1, 1), em
    dy = rng.normal(size=(centers, 4, width))
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        given = [tf.get_variable(f"v{i}", initializer=a.astype(dtype))
                 for i, a in enumerate((*arrays, dy))]
        value = module.tabulate_fusion_se_a(*given[:4], last_layer_size=width)
        grad = module.tabulate_fusion_se_a_grad(*given, given[4])
        session.run(tf.global_variables_initializer())
        times = []
        for op in (value.op, grad[0].op):
            call, least, end = session.make_callable(op), np.inf, time.perf_counter() + 1
            while time.perf_counter() < end:
                start = time.perf_counter()
                call()
                least = min(least, time.perf_counter() - start)
            times.append(1e3 * least)
    print(f"  {sys.argv[1]:6s} {np.dtype(dtype).name}  value {times[0]:.3f} ms"
          f"  gradient {times[1]:.3f} ms")
"""


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="checkpoint prefix or folder, or frozen file")
    parser.add_argument("system", help="directory of a periodic system")
    parser.add_argument("--stock-python", required=True, help="python of the stock environment")
    parser.add_argument("--rounds", type=int, default=50, help="evaluations that are timed")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    count = str(args.threads)
    threads = {"OMP_NUM_THREADS": count, "DP_INTRA_OP_PARALLELISM_THREADS": count}
    os.environ |= threads | {"DP_INTER_OP_PARALLELISM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        coords, cells, types = read_frames(args.system, freeze(args.model, folder / "original"))
        np.savez(folder / "given.npz", coords=coords, cells=cells, types=types)
        start = time.perf_counter()
        compress(folder / "original.pb", folder / "ours.pb")
        print(f"compressed by ours in {time.perf_counter() - start:.1f} s", end=", ", flush=True)
        start = time.perf_counter()
        program = "import sys; from deepmd.main import main; main(sys.argv[1:])"
        command = ["--tf", "compress", "-i", "original.pb", "-o", "stock.pb"]
        run(args.stock_python, folder, "-c", program, *command)
        print(f"by stock in {time.perf_counter() - start:.1f} s")
        print(f"in the stock DeepPot, {args.threads} threads:", flush=True)
        print(run(args.stock_python, folder, "-c", EVALUATE, str(args.rounds), *FILES), end="")
        print(f"in the DeepPot of this package, {args.threads} threads:")
        for file in FILES:
            with DeepPot(folder / f"{file}.pb") as pot:
                seconds = []
                for _ in range(args.rounds):
                    start = time.perf_counter()
                    pot.eval(coords[:1], cells[:1], types)
                    seconds.append(time.perf_counter() - start)
                print(f"  {file:10s} one frame {1e3 * min(seconds):.2f} ms", flush=True)
        print(f"operations, {args.threads} threads:", flush=True)
        for python, package in ((sys.executable, "ours"), (args.stock_python, "stock")):
            print(run(python, folder, "-c", OPERATIONS, package, count), end="", flush=True)
    return 0


def read_frames(system: str, model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates, cells and types of some frames."""
    with DeepPot(model.path) as pot:
        data = DataSystem(system, pot.get_type_map() or None, sort_atoms=False)
    (batch,) = list(data.batches(limit=4))[:1]
    return batch.arrays["coord"], batch.arrays["box"], data.types


def run(python: str, folder: Path, *arguments: str) -> str:
    """Run Python; what it printed."""
    command = [python, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
