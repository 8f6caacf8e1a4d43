#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Train the same input on the same data with this package and with stock DeePMD-kit.

For each seed the programs train a model of examples/water (one after the other, in turn, so that a
change of the machine's load hits all), freeze, and test on the validation system. Printed are the
validation errors, their mean and spread over the seeds, and the time of a training step.

    python benchmarks/train_vs_stock.py --stock-python /path/to/stock/bin/python --steps 2000
    --seeds 1 2 3

Without ``--stock-python`` only this package is trained; with more than one precision, what float32
costs:

    python benchmarks/train_vs_stock.py --precisions float64 float32 --steps 2000 --seeds 1 2 3

The stock environment is made by ``pip install "deepmd-kit[cpu]==3.2.0"``. Errors and times are
read from what the programs print: ``dp --tf test`` and the training log.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness import programs
from harness.inputs import HELD_OUT, STEP_TIME, write_input
from harness.programs import Program

RMSE = {
    "energy (eV/atom)": re.compile(r"Energy RMSE/Natoms : (\S+) eV"),
    "force (eV/Å)": re.compile(r"Force  RMSE        : (\S+) eV"),
}


@dataclass(frozen=True)
class Result:
    """One training run: seconds per step, and validation errors by quantity."""

    step_seconds: float
    errors: dict[str, float]


def train(
    program: Program, folder: Path, steps: int, seed: int, precision: str, example: str
) -> Result:
    """Train, freeze and test in ``folder``."""
    write_input(folder, steps, precision, seed=seed, validates=True, example=example)
    threads = len(os.sched_getaffinity(0))
    log = program.dp(folder, "train", "input.json", threads=threads).text
    program.dp(folder, "freeze", "-o", "model.pb", threads=threads)
    test = ["test", "-m", "model.pb", "-s", str(HELD_OUT)]
    report = program.dp(folder, *test, threads=threads).text
    errors = {name: float(pattern.search(report).group(1)) for name, pattern in RMSE.items()}
    return Result(float(STEP_TIME.search(log).group(1)), errors)


def main() -> None:
    """Train with all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stock-python", help="python of a stock environment")
    parser.add_argument("--example", default="se_e2_a", help="folder of examples/water")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--precisions", nargs="+", choices=("float64", "float32"), default=["float64"]
    )
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for a training")
    parser.add_argument(
        "--folder", type=Path, help="keep the runs here; a temporary one by default"
    )
    arguments = parser.parse_args()
    compared = [programs.ours(arguments.timeout)]
    if arguments.stock_python:
        compared.append(programs.stock(arguments.stock_python, arguments.timeout))
    cases = {
        f"{program.name} {p}": (program, p) for program in compared for p in arguments.precisions
    }
    results: dict[str, list[Result]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.folder or Path(scratch)
        for seed in arguments.seeds:
            for name, (program, precision) in cases.items():
                folder = root / f"{program.name}-{precision}-seed{seed}"
                steps, example = arguments.steps, arguments.example
                result = train(program, folder, steps, seed, precision, example)
                results[name].append(result)
                errors = "  ".join(f"{key}: {value:.3e}" for key, value in result.errors.items())
                print(
                    f"seed {seed} {name:13s}  {1e3 * result.step_seconds:7.1f} ms/step  {errors}",
                    flush=True,
                )
    print(
        f"\nvalidation RMSE after {arguments.steps} steps, "
        f"mean ± spread over {len(arguments.seeds)} seeds"
    )
    for key in RMSE:
        cells = []
        for name, runs in results.items():
            values = [r.errors[key] for r in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{name} {statistics.mean(values):.3e} ± {spread:.1e}")
        print(f"  {key:18s} {'   '.join(cells)}")
    medians = {n: statistics.median(r.step_seconds for r in runs) for n, runs in results.items()}
    first = next(iter(medians.values()))
    for name, seconds in medians.items():
        ms = 1e3 * seconds
        print(f"  training step, {name:13s} {ms:7.1f} ms, {seconds / first:.2f} of the first")


if __name__ == "__main__":
    programs.run_script(main)
