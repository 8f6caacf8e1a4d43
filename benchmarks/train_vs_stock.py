#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Train the same input on the same data with this package and with stock DeePMD-kit.

For each seed both programs train examples/water (one after the other, in turn, so that a change
of the machine's load hits both), freeze, and test on the validation system. Printed are the
validation errors of both, the mean and spread over the seeds, and the time of a training step
with its ratio.

    python benchmarks/train_vs_stock.py --stock-python /path/to/stock/bin/python --steps 2000
    --seeds 1 2 3

The stock environment is made by ``pip install "deepmd-kit[cpu]==3.2.0"``. Errors and times are
read from what the programs print: ``dp --tf test`` and the training log.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

WATER = Path(__file__).resolve().parent.parent / "examples" / "water"
STEP_TIME = re.compile(r"average training time: ([0-9.]+) s/batch")
RMSE = {
    "energy (eV/atom)": re.compile(r"Energy RMSE/Natoms : (\S+) eV"),
    "force (eV/Å)": re.compile(r"Force  RMSE        : (\S+) eV"),
}


@dataclass(frozen=True)
class Result:
    """One training run: seconds per step, and validation errors by quantity."""

    step_seconds: float
    errors: dict[str, float]


def make_input(path: Path, steps: int, seed: int) -> None:
    """The example's input script with other seeds and a schedule for ``steps`` steps."""
    script = json.loads((WATER / "se_e2_a" / "input.json").read_text())
    script["model"]["descriptor"]["seed"] = seed
    script["model"]["fitting_net"]["seed"] = seed
    training = script["training"]
    training.update(seed=seed, numb_steps=steps, disp_freq=max(1, steps // 10), save_freq=steps)
    script["learning_rate"]["decay_steps"] = max(1, steps // 50)
    for key in ("training_data", "validation_data"):
        systems = training[key]["systems"]
        training[key]["systems"] = [str((WATER / "se_e2_a" / s).resolve()) for s in systems]
    path.write_text(json.dumps(script, indent=2))


def run(
    python: str,
    folder: Path,
    *arguments: str,
    backend: str = "--tf",
    environment: dict[str, str] | None = None,
) -> str:
    """Run ``dp`` of an environment and give back all that it printed."""
    dp = Path(python).parent / "dp"
    if environment is None:
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
        environment["OMP_NUM_THREADS"] = str(os.cpu_count())
    done = subprocess.run(
        [str(dp), backend, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        command = f"{dp} {backend} {' '.join(arguments)}"
        sys.exit(f"{command} failed in {folder}:\n{done.stdout[-4000:]}")
    return done.stdout


def train(python: str, folder: Path, steps: int, seed: int) -> Result:
    """Train, freeze and test in ``folder``."""
    folder.mkdir(parents=True)
    make_input(folder / "input.json", steps, seed)
    log = run(python, folder, "train", "input.json")
    run(python, folder, "freeze", "-o", "model.pb")
    report = run(python, folder, "test", "-m", "model.pb", "-s", str(WATER / "data" / "data_3"))
    errors = {name: float(pattern.search(report).group(1)) for name, pattern in RMSE.items()}
    return Result(float(STEP_TIME.search(log).group(1)), errors)


def main() -> None:
    """Train both programs with all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stock-python", required=True, help="python of a stock environment")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--folder", type=Path, help="keep the runs here; a temporary one by default"
    )
    arguments = parser.parse_args()
    pythons = {"ours": sys.executable, "stock": arguments.stock_python}
    results: dict[str, list[Result]] = {name: [] for name in pythons}
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.folder or Path(scratch)
        for seed in arguments.seeds:
            for name, python in pythons.items():
                result = train(python, root / f"{name}-seed{seed}", arguments.steps, seed)
                results[name].append(result)
                errors = "  ".join(f"{key}: {value:.3e}" for key, value in result.errors.items())
                print(
                    f"seed {seed} {name:5s}  {1e3 * result.step_seconds:7.1f} ms/step  {errors}",
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
    ours, stock = (statistics.median(r.step_seconds for r in results[n]) for n in ("ours", "stock"))
    print(
        f"training step: ours {1e3 * ours:.1f} ms, stock {1e3 * stock:.1f} ms, "
        f"{stock / ours:.2f} times faster"
    )


if __name__ == "__main__":
    main()
