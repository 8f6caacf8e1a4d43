# SPDX-License-Identifier: BSD-3-Clause
"""Time, CPU time and peak memory until training has done its first step, by size of the data.

Synthetic systems of 64 atoms in two types, on a jittered lattice, with energies, forces and virials
of harmonic springs. Every run is a process of its own: without a file of statistics, with a new one
and with one that is known.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from deepmd_tf.data import write_system

STIFFNESS = 2.0
"""eV/Å²."""
SPACING = 2.4
"""Å, of the lattice."""


def write_data(folder: Path, systems: int, frames: int, atoms: int) -> None:
    """``folder/000`` and so on."""
    edge = round(atoms ** (1 / 3))
    if edge**3 != atoms:
        raise SystemExit(f"--atoms {atoms}: expected a cube, 8, 27, 64, 125, ...")
    lattice = SPACING * np.stack(np.meshgrid(*[np.arange(edge)] * 3), axis=-1).reshape(-1, 3)
    box = np.tile(SPACING * edge * np.eye(3), (frames, 1, 1))
    for number in range(systems):
        rng = np.random.default_rng([number, systems])
        u = 0.15 * rng.normal(size=(frames, atoms, 3))
        write_system(
            folder / f"{number:03d}",
            types=np.arange(atoms) % 2,
            coord=lattice + u,
            box=box,
            type_map=["O", "H"],
            energy=0.5 * STIFFNESS * np.sum(u**2, axis=(1, 2)),
            force=-STIFFNESS * u,
            virial=-STIFFNESS * np.einsum("fia,fib->fab", u, u),
        )


def write_script(folder: Path, stat_file: str | None) -> None:
    """``folder/input.json``: a usual model, one step."""
    descriptor = {
        "type": "se_e2_a",
        "rcut": 6.0,
        "rcut_smth": 0.5,
        "sel": [60, 60],
        "neuron": [25, 50, 100],
        "axis_neuron": 16,
        "seed": 1,
    }
    training = {
        "training_data": {"systems": str(folder / "data"), "batch_size": "auto"},
        "validation_data": {"systems": str(folder / "held_out"), "batch_size": 1},
        "numb_steps": 1,
        "disp_freq": 1,
        "save_freq": 1,
        "seed": 1,
    }
    if stat_file:
        training["stat_file"] = stat_file
    script = {
        "model": {
            "type_map": ["O", "H"],
            "descriptor": descriptor,
            "fitting_net": {"neuron": [240, 240, 240], "seed": 1},
        },
        "learning_rate": {"start_lr": 0.001, "stop_lr": 1e-6, "decay_steps": 5000},
        "loss": {"start_pref_v": 0.02, "limit_pref_v": 1.0},
        "training": training,
    }
    (folder / "input.json").write_text(json.dumps(script))


def run(folder: Path) -> tuple[float, float, float]:
    """Wall time and CPU time in s, peak memory in MB of a training of one step."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "deepmd_tf.cli.main", "train", "input.json"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("w"),
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit((folder / "log").read_text())
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", type=int, default=100)
    parser.add_argument("--frames", type=int, default=1000, help="of each system")
    parser.add_argument("--atoms", type=int, default=64, help="of each frame, a cube")
    parser.add_argument("--folder", type=Path, help="keep data and logs here")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    if not (folder / "data").exists():
        write_data(folder / "data", args.systems, args.frames, args.atoms)
        write_data(folder / "held_out", 1, args.frames, args.atoms)
    print(f"{args.systems} systems x {args.frames} frames x {args.atoms} atoms")
    print("| statistics | wall time (s) | CPU time (s) | peak memory (MB) |\n|---|---|---|---|")
    for name, stat_file in (("no file", None), ("new file", "stat.h5"), ("known", "stat.h5")):
        if name == "new file":
            (folder / "stat.h5").unlink(missing_ok=True)
        write_script(folder, stat_file)
        wall, cpu, memory = run(folder)
        print(f"| {name} | {wall:.1f} | {cpu:.1f} | {memory:.0f} |", flush=True)
        shutil.copy(folder / "log", folder / f"log.{name.replace(' ', '_')}")
    if args.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
