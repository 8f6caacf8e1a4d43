#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Evaluate the same frames with this package and with stock DeePMD-kit, and compare every number.

The model is frozen in the stock dialect (unless it is a frozen file already); the Python DeepPot of
the stock environment evaluates that file, ours the same weights. Frames are those of the given
systems, as they are, as open systems, and in a cell that is sheared to a triclinic one. Printed are
the largest differences relative to the largest number, and the time of one frame.

    python benchmarks/evaluate_vs_stock.py model.ckpt examples/water/data/data_3
        --stock-python /path/to/stock/bin/python

The stock environment is made by ``pip install "deepmd-kit[cpu]==3.2.0"``. The exit status is 1 when
a difference is larger than the tolerance.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import programs

from deepmd_tf import DeepPot
from deepmd_tf.data import DataSystem
from deepmd_tf.export.freeze import freeze

KEYS = ("energy", "force", "virial", "atom_energy", "atom_virial")
SHEAR = np.array([[1.0, 0.0, 0.0], [0.15, 1.0, 0.0], [-0.1, 0.12, 1.0]])
STOCK = """
import sys, time
import numpy as np
from deepmd.infer import DeepPot
pot = DeepPot(sys.argv[1])
given, result = np.load(sys.argv[2]), {}
for i in range(int(given["n"])):
    cells = given[f"{i}_cells"] if f"{i}_cells" in given else None
    arguments = given[f"{i}_coords"], cells, given[f"{i}_types"]
    for key, value in zip(sys.argv[4:], pot.eval(*arguments, atomic=True)):
        result[f"{i}_{key}"] = value
    start = time.perf_counter()
    pot.eval(*arguments)
    result[f"{i}_seconds"] = time.perf_counter() - start
np.savez(sys.argv[3], **result)
"""


def main() -> int:
    """Run; 1 when a difference is larger than the tolerance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="checkpoint prefix or folder, or frozen file")
    parser.add_argument("systems", nargs="+", help="directories of systems")
    parser.add_argument("--stock-python", required=True, help="python of the stock environment")
    parser.add_argument("--frames", type=int, default=10, help="frames of each system")
    parser.add_argument("--tolerance", type=float, default=1e-10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, DeepPot(args.model) as pot:
        path = Path(args.model).resolve()
        if path.suffix != ".pb":
            path = freeze(path, Path(folder, "model.pb")).path
        cases = [case for system in args.systems for case in make_cases(system, pot, args.frames)]
        stock = run_stock(args.stock_python, path, Path(folder), cases)
        worst = max(compare(pot, case, result) for case, result in zip(cases, stock, strict=True))
    print(f"largest difference {worst:.1e}, tolerance {args.tolerance:.0e}")
    return int(worst > args.tolerance)


def make_cases(system: str, pot: DeepPot, n_frames: int) -> list[tuple]:
    """(name, coordinates, cells or None, types) of a system."""
    data = DataSystem(system, pot.get_type_map() or None, sort_atoms=False)
    batches = list(data.batches(limit=n_frames))
    coords, box = (
        np.concatenate([batch.arrays[key] for batch in batches]) for key in ("coord", "box")
    )
    name = Path(system).name
    cases = [(f"{name}, open", coords, None, data.types)]
    if data.pbc:
        sheared = [(a.reshape(len(a), -1, 3) @ SHEAR).reshape(len(a), -1) for a in (coords, box)]
        cases += [
            (f"{name}, periodic", coords, box, data.types),
            (f"{name}, triclinic", *sheared, data.types),
        ]
    return cases


def run_stock(python: str, model: Path, folder: Path, cases: list[tuple]) -> list[dict]:
    """What the stock environment makes of the cases."""
    given = {"n": len(cases)}
    for i, (_, coords, cells, types) in enumerate(cases):
        given |= {f"{i}_coords": coords, f"{i}_types": types}
        given |= {} if cells is None else {f"{i}_cells": cells}
    np.savez(folder / "given.npz", **given)
    command = [python, "-c", STOCK, str(model), "given.npz", "result.npz", *KEYS]
    programs.stock(python).run(command, folder, len(os.sched_getaffinity(0)))
    with np.load(folder / "result.npz") as result:
        keys = (*KEYS, "seconds")
        return [{key: result[f"{i}_{key}"] for key in keys} for i in range(len(cases))]


def compare(pot: DeepPot, case: tuple, stock: dict[str, np.ndarray]) -> float:
    """Print the line of a case; the largest of its differences."""
    name, *arguments = case
    ours = dict(zip(KEYS, pot.eval(*arguments, atomic=True), strict=True))
    start = time.perf_counter()
    pot.eval(*arguments)
    seconds = time.perf_counter() - start
    errors = {k: np.abs(ours[k] - stock[k]).max() / np.abs(stock[k]).max() for k in KEYS}
    frames = len(arguments[0])
    print(
        f"{name:24}",
        *(f"{key} {error:.1e}" for key, error in errors.items()),
        f"ms per frame: ours {1e3 * seconds / frames:.1f}, "
        f"stock {1e3 * float(stock['seconds']) / frames:.1f}",
        sep="  ",
    )
    return max(errors.values())


if __name__ == "__main__":
    programs.run_script(main)
