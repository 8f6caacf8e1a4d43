#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Full Hessian of a frame by DeepPot: time, peak memory, and how well it keeps its rules.

    python benchmarks/hessian.py model.ckpt examples/water/data/data_3

Printed are, for each number of atoms that are evaluated at once, the time of all 3 n Hessian–vector
products, that of one, of energy and force for comparison, and the highest resident memory of the
process so far; smaller blocks come first, because that only grows. Then the largest difference
between the matrix and its transpose, and the largest sum of a row over the atoms, both relative to
the largest element.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from deepmd_tf import DeepPot
from deepmd_tf.data import DataSystem


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="checkpoint prefix or folder, or frozen file")
    parser.add_argument("system", help="directory of a system, whose first frame is taken")
    parser.add_argument("--blocks", nargs="+", type=int, default=[192, 1024, 4096])
    args = parser.parse_args()
    for block in sorted(args.blocks):
        with DeepPot(args.model, auto_batch_size=block) as pot:
            frame = first_frame(args.system, pot)
            n_atoms = frame[0].shape[1]
            plain = min(timed(pot.eval, *frame)[0] for _ in range(5))
            before = peak()
            pot.eval_hessian(*frame, atoms=[0])  # builds the graph
            seconds, matrix = timed(pot.eval_hessian, *frame)
        print(
            f"{block:6d} atoms at once: {n_atoms} atoms, {seconds:.2f} s, "
            f"{1e3 * seconds / (3 * n_atoms):.1f} ms per product, energy and force "
            f"{1e3 * plain:.1f} ms, memory {before:.0f} MB before, {peak():.0f} MB at the end"
        )
    report(matrix[0])


def first_frame(system: str, pot: DeepPot) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Coordinates [1, n, 3], cell or None, types."""
    data = DataSystem(system, pot.get_type_map() or None, sort_atoms=False)
    arrays = next(data.batches(limit=1)).arrays
    return arrays["coord"].reshape(1, -1, 3), arrays["box"] if data.pbc else None, data.types


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    result = call(*arguments)
    return time.perf_counter() - start, result


def peak() -> float:
    """Highest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(matrix: np.ndarray) -> None:
    """Print how symmetric the matrix is, and the acoustic sum rule."""
    scale = np.abs(matrix).max()
    sums = matrix.reshape(len(matrix), -1, 3).sum(axis=1)
    print(
        f"largest element {scale:.3g} eV/Å^2; "
        f"asymmetry {np.abs(matrix - matrix.T).max() / scale:.1e}, "
        f"sum over the atoms of a row {np.abs(sums).max() / scale:.1e}"
    )


if __name__ == "__main__":
    main()
