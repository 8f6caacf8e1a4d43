#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Time molecular dynamics in the LAMMPS of stock DeePMD-kit with frozen files of both packages.

The same weights go through LAMMPS as a file with the graph of stock, compressed by stock, as our
file in the stock dialect, compressed by us, and as our native file through DP_PLUGIN_PATH. The
runs are interleaved: every round times each file once, so that whatever else the machine does
meets all of them.

    python benchmarks/lammps_vs_stock.py runs/water/se_e2_a --stock-python .venv-stock/bin/python

Printed are the milliseconds per step, the shortest and the median of the rounds; the ratio of the
shortest to that of the file of stock; and ns/day for steps of 0.5 fs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from deepmd_tf import names
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import find_checkpoint, read_model
from deepmd_tf.ops.library import LIBRARY_FOLDER

PLUGIN = {"DP_PLUGIN_PATH": str(LIBRARY_FOLDER / "libdeepmd_tf_ops.so")}
WATER = Path(__file__).resolve().parents[1] / "examples" / "water" / "data" / "data_3"
TIMESTEP = 0.0005
SCRIPT = """
units metal
atom_style atomic
boundary p p p
newton on
read_data water.data
replicate {images}
pair_style deepmd {model}
pair_coeff * * O H
velocity all create 300 1
timestep {timestep}
fix move all nve
thermo 1000000
run 5
run {steps}
"""


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="checkpoint of a water model: prefix or folder")
    parser.add_argument("--stock-python", required=True, help="python of the stock environment")
    parser.add_argument("--steps", type=int, default=50, help="steps of 192 atoms in one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--replicate", type=int, nargs="+", default=[1, 2], help="in each direction"
    )
    parser.add_argument(
        "--also", metavar="FILE", nargs="*", default=[], help="further frozen files"
    )
    args = parser.parse_args()
    programs = Path(args.stock_python).absolute().parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_files(find_checkpoint(args.checkpoint), folder, programs)
        write_data(folder / "water.data")
        for replicate in args.replicate:
            steps = max(args.steps // replicate**3, 10)
            for ranks in args.ranks:
                times = {label: [] for label in files}
                for _ in range(args.rounds):
                    for label, model in files.items():
                        ms = time_step(model, label, folder, programs, ranks, replicate, steps)
                        times[label].append(ms)
                report(times, 192 * replicate**3, ranks)
    return 0


def make_files(checkpoint: Path, folder: Path, programs: Path) -> dict[str, Path]:
    """Frozen files of one model, by what they are. The first is the reference."""
    files = {
        "stock": folder / "stock.pb",
        "stock compressed": folder / "compressed.pb",
        "ours, stock dialect": folder / "ours.pb",
        "ours, native": folder / "native.pb",
    }
    freeze(checkpoint, files["ours, stock dialect"])
    freeze(checkpoint, files["ours, native"], dialect="native")
    files["ours, compressed"] = compress(files["ours, stock dialect"], folder / "own.pb").path
    # a change of the biases to what they are has stock build its own graph around our weights
    model = read_model(checkpoint)
    for path in checkpoint.parent.glob(f"{checkpoint.name}.*"):
        shutil.copy(path, folder)
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{checkpoint.name}"\n')
    (folder / "input.json").write_text(json.dumps(model.script))
    bias = [np.format_float_positional(value) for value in model.weights[names.BIAS_ATOM_E]]
    shutil.copytree(WATER, folder / "data")  # which it opens and does not need
    arguments = [checkpoint.name, "-b", *bias, "-o", "stock.pb"]
    stock_dp(programs, folder, "change-bias", *arguments)
    stock_dp(programs, folder, "compress", "-i", "ours.pb", "-o", "compressed.pb")
    return files


def stock_dp(programs: Path, folder: Path, *arguments: str) -> None:
    """Run ``dp`` of the stock environment."""
    environment = environment_of(programs)
    command = [str(programs / "dp"), "--tf", *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def environment_of(programs: Path, threads: int = 1) -> dict[str, str]:
    """Variables of a process of the stock environment."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return environment | {
        "PATH": f"{programs}:{os.environ.get('PATH', '')}",
        "OMP_NUM_THREADS": str(threads),
        "DP_INTRA_OP_PARALLELISM_THREADS": str(threads),
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def write_data(path: Path) -> None:
    """The first frame of the example's validation data: 64 molecules in a cube, 300 K."""
    coords = np.load(WATER / "set.000" / "coord.npy")[0].reshape(-1, 3)
    edge = np.load(WATER / "set.000" / "box.npy")[0, 0]
    types = np.loadtxt(WATER / "type.raw", dtype=int)
    lines = ["", "", f"{len(types)} atoms", "2 atom types"]
    lines += [f"0 {edge} {x}lo {x}hi" for x in "xyz"]
    lines += ["", "Masses", "", "1 15.9994", "2 1.00794", "", "Atoms # atomic", ""]
    lines += [
        f"{i} {t + 1} {x} {y} {z}"
        for i, (t, (x, y, z)) in enumerate(zip(types, coords, strict=True), 1)
    ]
    path.write_text("\n".join(lines) + "\n")


def time_step(
    model: Path, label: str, folder: Path, programs: Path, ranks: int, replicate: int, steps: int
) -> float:
    """Milliseconds of one step, as LAMMPS counts them after some steps to warm up."""
    images = f"{replicate} {replicate} {replicate}"
    text = SCRIPT.format(model=model, images=images, timestep=TIMESTEP, steps=steps)
    (folder / "in.lammps").write_text(text)
    command = [str(programs / "lmp"), "-in", "in.lammps", "-log", "none"]
    if ranks > 1:
        command = [str(programs / "mpirun"), "-n", str(ranks), *command]
    environment = environment_of(programs) | (PLUGIN if "native" in label else {})
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    loops = re.findall(r"Loop time of (\S+) on", done.stdout)
    if done.returncode != 0 or len(loops) != 2:
        sys.exit(f"{label}: LAMMPS failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return 1e3 * float(loops[1]) / steps


def report(times: dict[str, list[float]], n_atoms: int, ranks: int) -> None:
    """Print the table of one size and number of ranks."""
    print(f"\n{n_atoms} atoms, {ranks} MPI rank(s), one thread each")
    reference = min(times["stock"])
    for label, values in times.items():
        ms = min(values)
        ns_per_day = 86400e3 / ms * TIMESTEP * 1e-3
        print(
            f"{label:20} {ms:9.2f} ms/step (median {statistics.median(values):9.2f})",
            f"{reference / ms:6.2f} x {ns_per_day:8.3f} ns/day",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
