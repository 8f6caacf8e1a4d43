#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Time of a training step with Hessians, compared with energies and forces alone.

    python benchmarks/hessian_training.py --atoms 15 18 --steps 40

Random molecules of H, C, N and O; sel [10, 16, 6, 4], nets [25, 50, 100] / 16 / [240, 240, 240],
float64, one frame in a step. The modes take turns, so that a change of the machine's load hits all
of them; printed are the fastest step and the median of each, and the ratio of the fastest to that
of energies and forces.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from deepmd_tf.config import Config, HessianMode
from deepmd_tf.data import Batch
from deepmd_tf.data.batch import FREE_MESH
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.energy import Statistics
from deepmd_tf.training.graph import TrainingGraph
from deepmd_tf.training.hessian import HessianPlan

MODES = ("plain", "full", "probe:1", "columns:1")
LR = np.float32(1e-6)


def make_config(mode: str) -> Config:
    """The input script of a mode."""
    loss = {"start_pref_e": 1.0, "limit_pref_e": 1.0}
    if mode != "plain":
        loss |= {"start_pref_h": 1.0, "limit_pref_h": 1.0, "hessian_mode": mode}
    return Config.from_dict(
        {
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
            "loss": loss,
            "learning_rate": {"start_lr": 1e-6},
            "training": {"numb_steps": 1, "training_data": {"systems": "."}, "seed": 1},
        }
    )


def make_batch(natoms: int) -> Batch:
    """One molecule: atoms on a jittered lattice, in the shares 4 H, 4 C, 1 N, 1 O."""
    rng = np.random.default_rng(natoms)
    counts = np.array([natoms - natoms // 2 - 4, natoms // 2, 2, 2])
    sites = np.stack(np.meshgrid(*[np.arange(3) * 1.5] * 3), axis=-1).reshape(-1, 3)[:natoms]
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
    config = make_config(mode)
    natoms, plan = int(batch.natoms[0]), None
    if mode != "plain":
        plan = HessianPlan(HessianMode.parse(mode), everywhere=True)
    pairs = float(natoms**2 * (1 if plan is None else plan.copies))
    model = EnergyModel(config.model, min_nbor_dist=0.9, expected_pairs=pairs)
    graph = TrainingGraph(config, model, EnergyLoss(config.loss), min_nbor_dist=0.9, hessians=plan)
    graph.build(Statistics(np.zeros((4, 4)), np.full((4, 4), 0.1), np.zeros(4)))
    graph.open()
    graph.refresh_table()
    return graph


def main() -> None:
    """Time all modes for each number of atoms."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[15, 18])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--modes", nargs="+", default=MODES)
    args = parser.parse_args()
    for natoms in args.atoms:
        batch = make_batch(natoms)
        graphs = {mode: make_graph(mode, batch) for mode in args.modes}
        times: dict[str, list[float]] = {mode: [] for mode in graphs}
        for step in range(args.steps + 3):
            for mode, graph in graphs.items():
                begin = time.perf_counter()
                graph.train(batch, LR)
                if step >= 3:
                    times[mode].append(1000 * (time.perf_counter() - begin))
        reference = min(times[args.modes[0]])
        print(f"{natoms} atoms: fastest and median step in ms, fastest / {args.modes[0]}")
        for mode, values in times.items():
            fastest, median = min(values), statistics.median(values)
            print(f"  {mode:10} {fastest:8.1f} {median:8.1f} {fastest / reference:6.1f}")
        for graph in graphs.values():
            graph.close()


if __name__ == "__main__":
    main()
