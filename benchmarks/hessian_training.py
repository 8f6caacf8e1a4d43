#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Time of a training step with Hessians, compared with energies and forces alone.

    python benchmarks/hessian_training.py --atoms 15 18 --steps 40 --peer PEER/bin/python

Random molecules of H, C, N and O; sel [10, 16, 6, 4], nets [25, 50, 100] / 16 / [240, 240, 240],
float64, one frame in a step. With ``--peer``, an environment with deepmd-kit 3.2.0, torch, mpich
and e3nn, steps of stock's PyTorch backend on whole Hessians of the same frame take part.

All take turns, so that a change of the machine's load hits all of them; printed are the fastest
step and the median of each, and the ratios of the fastest and of the medians to those of energies
and forces.

    python benchmarks/hessian_training.py --memory --atoms 64 128 192

The peak memory of steps on whole Hessians, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_tf.config import Config, HessianMode
from deepmd_tf.data import Batch
from deepmd_tf.data.batch import FREE_MESH
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.energy import Statistics
from deepmd_tf.training import blocks
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.hessian import HessianPlan

MODES = ("plain", "full", "probe:1", "columns:1")
PEER = "stock, PyTorch"
LR = np.float32(1e-6)


def make_script(mode: str | None) -> dict[str, Any]:
    """The input script of a mode; None: without the key, for stock."""
    loss = {"start_pref_e": 1.0, "limit_pref_e": 1.0}
    if mode != "plain":
        loss |= {"start_pref_h": 1.0, "limit_pref_h": 1.0}
    if mode not in ("plain", None):
        loss["hessian_mode"] = mode
    return {
        "model": {
            "type_map": ["H", "C", "N", "O"],
            "descriptor": {
                "type": "se_e2_a",
                "sel": [10, 16, 6, 4],
                "rcut": 6.0,
                "rcut_smth": 0.5,
                "neuron": [25, 50, 100],
                "axis_neuron": 16,
                "seed": 1,
            },
            "fitting_net": {"neuron": [240, 240, 240], "seed": 1},
        },
        "loss": {"type": "ener", **loss},
        "learning_rate": {"type": "exp", "start_lr": 1e-6, "stop_lr": 1e-7, "decay_steps": 100},
        "training": {"numb_steps": 10, "training_data": {"systems": ["."]}, "seed": 1},
    }


def make_batch(natoms: int) -> Batch:
    """One molecule: atoms on a jittered lattice, in the shares 4 H, 4 C, 1 N, 1 O."""
    rng = np.random.default_rng(natoms)
    counts = np.array([natoms - natoms // 2 - 4, natoms // 2, 2, 2])
    side = int(np.ceil(natoms ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(side) * 1.5] * 3), axis=-1).reshape(-1, 3)[:natoms]
    coord = (sites + rng.uniform(-0.2, 0.2, sites.shape)).reshape(1, -1)
    half = rng.normal(size=(3 * natoms, 3 * natoms))
    found = np.float32(1.0)
    return Batch(
        arrays={
            "coord": coord,
            "box": np.zeros((1, 9)),
            "type": np.repeat(np.arange(4, dtype=np.int32), counts)[None],
            "energy": rng.normal(size=1),
            "force": rng.normal(size=(1, 3 * natoms)),
            "hessian": (half + half.T).reshape(1, -1),
            **{f"find_{name}": found for name in ("energy", "force", "hessian")},
        },
        natoms=np.array([natoms, natoms, *counts], dtype=np.int32),
        mesh=FREE_MESH,
        system=0,
        set_name="set.000",
        frames=np.zeros(1, dtype=np.int64),
    )


def make_graph(mode: str, batch: Batch) -> TrainingGraph:
    """Built and opened."""
    config = Config.from_dict(make_script(mode))
    natoms, plan = int(batch.natoms[0]), None
    if mode != "plain":
        mode = HessianMode.parse(mode)
        in_blocks = mode.rule == "full" and not blocks.fits_at_once(1, natoms)
        plan = HessianPlan(mode, everywhere=True, in_blocks=in_blocks)
    pairs = float(natoms * min(natoms, 36) * (1 if plan is None else plan.copies))
    model = EnergyModel(config.model, min_nbor_dist=0.9, expected_pairs=pairs)
    graph = TrainingGraph(config, model, EnergyLoss(config.loss), hessians=plan)
    graph.build(Statistics(np.zeros((4, 4)), np.full((4, 4), 0.1), np.zeros(4)))
    graph.open()
    graph.state.refresh_table()
    return graph


class Peer:
    """Stock's PyTorch backend, in a process of its own."""

    def __init__(self, python: str, batch: Batch, folder: Path) -> None:
        self.folder = folder
        (folder / "set.000").mkdir(parents=True)
        for name in ("coord", "box", "energy", "force", "hessian"):
            np.save(folder / "set.000" / f"{name}.npy", batch.arrays[name].reshape(1, -1))
        (folder / "nopbc").touch()
        np.savetxt(folder / "type.raw", batch.arrays["type"][0], fmt="%d")
        (folder / "type_map.raw").write_text("H\nC\nN\nO\n")
        (folder / "input.json").write_text(json.dumps(make_script(None)))
        script = Path(__file__).with_name("stock_pytorch_steps.py").resolve()
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [python, str(script)],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        print(f"peer: {self._answer()}")

    def step(self) -> float:
        """ms."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer().split()[0])

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"the peer has stopped:\n{(self.folder / 'log').read_text()[-2000:]}")
        return line.strip()


def measure_times(args: argparse.Namespace, natoms: int, folder: Path) -> None:
    """Print the times of all modes."""
    batch = make_batch(natoms)
    graphs = {mode: make_graph(mode, batch) for mode in args.modes}

    def timed(graph: TrainingGraph) -> float:
        begin = time.perf_counter()
        graph.step.train(batch, LR)
        return 1000 * (time.perf_counter() - begin)

    peer = Peer(args.peer, batch, folder) if args.peer else None
    times: dict[str, list[float]] = {mode: [] for mode in [*graphs, *([PEER] if peer else [])]}
    for step in range(args.steps + 3):
        for mode, values in times.items():
            value = peer.step() if mode == PEER else timed(graphs[mode])
            if step >= 3:
                values.append(value)
    reference = times[args.modes[0]]
    print(f"{natoms} atoms, {args.steps} steps of each: fastest (ms), median (ms), and these")
    print(f"divided by those of {args.modes[0]}")
    for mode, values in times.items():
        fastest, median = min(values), statistics.median(values)
        print(
            f"  {mode:14} {fastest:8.1f} {median:8.1f} {fastest / min(reference):6.1f} "
            f"{median / statistics.median(reference):6.1f}",
            flush=True,
        )
    for graph in graphs.values():
        graph.close()
    if peer is not None:
        peer.close()


def peak_memory() -> float:
    """MB, of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(natoms: int, at_once: int | None) -> None:
    """Print the memory that steps on whole Hessians need; in a process of its own."""
    if at_once is not None:
        blocks.PAIRS_AT_ONCE = at_once
    batch = make_batch(natoms)
    graph = make_graph("full", batch)
    number = len(list(blocks.atom_ranges(natoms)))
    before = peak_memory()
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        graph.step.train(batch, LR)
        times.append(time.perf_counter() - begin)
    print(
        f"{natoms} atoms, {number} blocks: {before:.0f} MB before, {peak_memory():.0f} MB after, "
        f"fastest step {min(times):.2f} s",
        flush=True,
    )


def main() -> None:
    """Measure for each number of atoms."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[15, 18])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--peer", metavar="PYTHON", help="with stock's PyTorch backend")
    parser.add_argument("--memory", action="store_true", help="memory instead of time")
    parser.add_argument("--at-once", type=int, help="with --memory: atoms² that are no blocks")
    args = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}")
    if args.memory and len(args.atoms) > 1:
        options = [] if args.at_once is None else ["--at-once", str(args.at_once)]
        for natoms in args.atoms:
            command = [sys.executable, __file__, "--memory", "--atoms", str(natoms), *options]
            subprocess.run(command, check=True)
        return
    if args.memory:
        measure_memory(args.atoms[0], args.at_once)
        return
    if args.peer is None:
        print("stock's PyTorch backend is not measured: no --peer")
    with tempfile.TemporaryDirectory() as folder:
        for natoms in args.atoms:
            measure_times(args, natoms, Path(folder) / str(natoms))


if __name__ == "__main__":
    main()
