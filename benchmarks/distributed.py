#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Training on many processes: steps, sums, and what to expect of more processes than there are.

    python benchmarks/distributed.py sums --ranks 2 --largest 1e7
    python benchmarks/distributed.py steps examples/water/se_e2_a/input.json --ranks 2
    python benchmarks/distributed.py expect --step 0.05 --weights 5e5 --latency 2e-6 --speed 1e10

``sums`` is the time of a sum over all processes of so many float64 numbers, as each step makes one.
``steps`` are times of a training step of the script: of one process with one thread and with all
processors, of several with one thread each and the same batch (strong scaling), and with as many
times larger a batch (weak scaling). ``expect`` is a model: with P trained numbers, N processes,
the time t of the part of a step that is shared out, latency a and speed b of a connection,

    T(N) = t / N (strong) or t (weak)  +  2 (N - 1) (a + 8 P / (N b)),

the latter for the two exchanges of the sum, in which each process sends N - 1 messages one after
the other. It leaves out that processes wait for the slowest, and that machines share connections.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness.inputs import STEP_TIME

ROOT = Path(__file__).resolve().parents[1]
RANKS = (8, 16, 32, 64, 128, 256, 512, 1024)


def mpiexec(ranks: int) -> list[str]:
    """The launcher beside this Python, or the one on the path."""
    found = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if found is None:
        raise SystemExit("there is no mpiexec; pip install mpi4py mpich")
    return [found, "-n", str(ranks)]


def time_sums(largest: float, repeats: int = 5) -> None:
    """In each of the processes: print the median time for each size."""
    from deepmd_tf.parallel import joined

    with joined() as ranks:
        size = 10**5
        while size <= largest:
            values, times = np.full(size, 1.0), []
            for _ in range(repeats):
                ranks.objects(None)
                begin = time.perf_counter()
                ranks.total(values)
                times.append(time.perf_counter() - begin)
            if ranks.leads:
                seconds = statistics.median(times)
                print(f"{size:10d} numbers {1e3 * seconds:9.3f} ms", flush=True)
            size *= 10


def time_steps(script: Path, ranks: int, threads: int, per: str, steps: int) -> float:
    """Milliseconds of a step of the script on so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        found = json.loads(script.read_text())
        training = found["training"]
        for key in ("training_data", "validation_data"):
            section = training.get(key)
            if section:
                given = section["systems"]
                paths = [given] if isinstance(given, str) else given
                section["systems"] = [str((script.parent / p).resolve()) for p in paths]
        training |= {"numb_steps": steps, "disp_freq": max(1, steps // 4), "save_freq": 0}
        training |= {"batch_size_per": per, "seed": 1}
        training.pop("numb_epoch", None)
        Path(folder, "input.json").write_text(json.dumps(found))
        command = [sys.executable, "-m", "deepmd_tf", "train", "input.json"]
        environment = os.environ | {
            "DP_INTRA_OP_PARALLELISM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        done = subprocess.run(
            [*(mpiexec(ranks) if ranks > 1 else []), *command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        average = STEP_TIME.search(done.stdout + done.stderr)
        if done.returncode or average is None:
            raise SystemExit(done.stdout + done.stderr)
        return 1e3 * float(average[1])


def expected(n: int, step: float, weights: float, latency: float, speed: float) -> float:
    """Seconds of a step on n processes that share out ``step`` seconds of one."""
    return step / n + 2 * (n - 1) * (latency + 8 * weights / (n * speed))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("sums", "steps", "expect"))
    parser.add_argument("script", nargs="?", type=Path)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--largest", type=float, default=1e7, help="numbers of the longest sum")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--step", type=float, default=0.05, help="seconds of a step of one process")
    parser.add_argument("--weights", type=float, default=5e5, help="trained numbers")
    parser.add_argument("--latency", type=float, default=2e-6, help="seconds")
    parser.add_argument("--speed", type=float, default=1e10, help="bytes in a second")
    given = parser.parse_args()
    if given.what == "sums":
        if "BENCHMARK_OF_SUMS" in os.environ:
            time_sums(given.largest)
            return
        environment = os.environ | {"BENCHMARK_OF_SUMS": "1", "PYTHONPATH": str(ROOT)}
        command = [*mpiexec(given.ranks), sys.executable, *sys.argv]
        raise SystemExit(subprocess.run(command, env=environment).returncode)
    if given.what == "steps":
        if given.script is None:
            raise SystemExit("which input script?")
        n, all_of_them = given.ranks, len(os.sched_getaffinity(0))
        for name, ranks, threads, per in (
            ("one process, one thread", 1, 1, "step"),
            (f"one process, {all_of_them} threads", 1, all_of_them, "step"),
            (f"{n} processes, one thread each, the same batch", n, 1, "step"),
            (f"{n} processes, one thread each, {n} times the batch", n, 1, "process"),
        ):
            taken = time_steps(given.script, ranks, threads, per, given.steps)
            print(f"{name:55s} {taken:8.2f} ms", flush=True)
        return
    link = given.weights, given.latency, given.speed
    print("processes   strong: step   efficiency   weak: step   efficiency")
    for n in RANKS:
        strong, weak = expected(n, given.step, *link), expected(n, n * given.step, *link)
        print(
            f"{n:9d} {1e3 * strong:12.3f} ms {given.step / (n * strong):10.0%} "
            f"{1e3 * weak:10.3f} ms {given.step / weak:10.0%}"
        )


if __name__ == "__main__":
    main()
