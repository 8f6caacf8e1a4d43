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
import re
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from harness import programs
from harness.inputs import HELD_OUT
from harness.programs import Program, ProgramError

from deepmd_tf import names
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import find_checkpoint, read_model
from deepmd_tf.ops.library import LIBRARY_FOLDER

PLUGIN = {"DP_PLUGIN_PATH": str(LIBRARY_FOLDER / "libdeepmd_tf_ops.so")}
STOCK, COMPRESSED = "stock", "stock compressed"
DIALECT, NATIVE, OWN_COMPRESSED = "ours, stock dialect", "ours, native", "ours, compressed"
"""Files of a model."""
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
run {warm_up}
run {steps} pre no
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
    args = parser.parse_args()
    stock = programs.stock(args.stock_python)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_files(find_checkpoint(args.checkpoint), folder, stock)
        write_data(folder / "water.data")
        for replicate in args.replicate:
            steps = max(args.steps // replicate**3, 10)
            for ranks in args.ranks:
                times = {label: [] for label in files}
                for _ in range(args.rounds):
                    for label, model in files.items():
                        ms = time_step(model, label, folder, stock, ranks, replicate, steps)
                        times[label].append(ms)
                report(times, 192 * replicate**3, ranks)
    return 0


def make_files(checkpoint: Path, folder: Path, stock: Program) -> dict[str, Path]:
    """Frozen files of one model, by what they are. The first is the reference."""
    files = {
        STOCK: folder / "stock.pb",
        COMPRESSED: folder / "compressed.pb",
        DIALECT: folder / "ours.pb",
        NATIVE: folder / "native.pb",
    }
    freeze(checkpoint, files[DIALECT])
    freeze(checkpoint, files[NATIVE], dialect="native")
    files[OWN_COMPRESSED] = compress(files[DIALECT], folder / "own.pb").path
    # a change of the biases to what they are has stock build its own graph around our weights
    model = read_model(checkpoint)
    for path in checkpoint.parent.glob(f"{checkpoint.name}.*"):
        shutil.copy(path, folder)
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{checkpoint.name}"\n')
    (folder / "input.json").write_text(json.dumps(model.script))
    bias = [np.format_float_positional(value) for value in model.weights[names.BIAS_ATOM_E]]
    shutil.copytree(HELD_OUT, folder / "data")  # which it opens and does not need
    change = [checkpoint.name, "-b", *bias, "-o", "stock.pb"]
    stock.dp(folder, "change-bias", *change, threads=1)
    stock.dp(folder, "compress", "-i", "ours.pb", "-o", "compressed.pb", threads=1)
    return files


def write_data(path: Path) -> None:
    """The first frame of the example's validation data: 64 molecules in a cube, 300 K."""
    coords = np.load(HELD_OUT / "set.000" / "coord.npy")[0].reshape(-1, 3)
    edge = np.load(HELD_OUT / "set.000" / "box.npy")[0, 0]
    types = np.loadtxt(HELD_OUT / "type.raw", dtype=int)
    lines = ["", "", f"{len(types)} atoms", "2 atom types"]
    lines += [f"0 {edge} {x}lo {x}hi" for x in "xyz"]
    lines += ["", "Masses", "", "1 15.9994", "2 1.00794", "", "Atoms # atomic", ""]
    lines += [
        f"{i} {t + 1} {x} {y} {z}"
        for i, (t, (x, y, z)) in enumerate(zip(types, coords, strict=True), 1)
    ]
    path.write_text("\n".join(lines) + "\n")


def time_step(
    model: Path, label: str, folder: Path, stock: Program, ranks: int, replicate: int, steps: int
) -> float:
    """Milliseconds of one step, as LAMMPS counts them after some steps to warm up."""
    images = f"{replicate} {replicate} {replicate}"
    text = SCRIPT.format(
        model=model, images=images, timestep=TIMESTEP, warm_up=max(1, steps // 5), steps=steps
    )
    (folder / "in.lammps").write_text(text)
    command = [str(stock.folder / "lmp"), "-in", "in.lammps", "-log", "none"]
    if ranks > 1:
        command = [str(stock.folder / "mpirun"), "-n", str(ranks), *command]
    output = stock.run(command, folder, 1, **(PLUGIN if label == NATIVE else {})).text
    loops = re.findall(r"Loop time of (\S+) on", output)
    if len(loops) != 2:
        raise ProgramError(f"LAMMPS printed {len(loops)} times of runs, expected 2", output)
    return 1e3 * float(loops[1]) / steps


def report(times: dict[str, list[float]], n_atoms: int, ranks: int) -> None:
    """Print the table of one size and number of ranks."""
    print(f"\n{n_atoms} atoms, {ranks} MPI rank(s), one thread each")
    reference = min(times[STOCK])
    for label, values in times.items():
        ms = min(values)
        ns_per_day = 86400e3 / ms * TIMESTEP * 1e-3
        print(
            f"{label:20} {ms:9.2f} ms/step (median {statistics.median(values):9.2f})",
            f"{reference / ms:6.2f} x {ns_per_day:8.3f} ns/day",
            flush=True,
        )


if __name__ == "__main__":
    programs.run_script(main)
