# SPDX-License-Identifier: BSD-3-Clause
"""The time that no program can beat: operations that the networks must do over the best rate.

Counted are the matrix products of the fitting nets of examples/water, with all rows and columns of
their matrices, whatever symmetry or structure a program makes use of. Embedding nets are left out,
because tables can take their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.programs import Program

WEIGHTS = 1600 * 240 + 2 * 240 * 240 + 240
"""Elements of the matrices of a fitting net."""
EVALUATION, STEP = 2, 6
"""Products with each of those matrices: of an energy and its derivative; and, in a step on forces
as well, of the derivatives of both of these by what they multiply."""

RATES = """
import json, os, sys, time
import numpy as np
dtype, seconds = np.dtype(sys.argv[1]), float(sys.argv[2])
shapes = [(192, 1600, 240), (1024, 1600, 240), (1536, 1536, 1536)]
rng = np.random.default_rng(1)
given = [[rng.normal(size=s).astype(dtype) for s in ((m, k), (k, n))] for m, k, n in shapes]

def best(call):
    call()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)

def rate(shape, call):
    return 2e-9 * shape[0] * shape[1] * shape[2] / best(call)

rates = {"NumPy": [rate(s, lambda: np.matmul(a, b)) for s, (a, b) in zip(shapes, given)]}
import tensorflow.compat.v1 as tf
from deepmd_tf import ops
threads = int(os.environ["DP_INTRA_OP_PARALLELISM_THREADS"])
config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
config.graph_options.rewrite_options.disable_meta_optimizer = True
for name, product in (("TensorFlow", tf.matmul), ("deepmd_tf", ops.matmul)):
    with tf.Graph().as_default() as graph, tf.Session(config=config) as session:
        products = []
        for number, pair in enumerate(given):
            a, b = (tf.get_variable(f"{n}{number}", initializer=v) for n, v in zip("ab", pair))
            products.append(product(a, b).op)
        session.run(tf.global_variables_initializer())
        rates[name] = [rate(s, session.make_callable(op)) for s, op in zip(shapes, products)]
print("RESULT " + json.dumps(rates))
"""


def operations(products: int, atoms: int) -> float:
    """10⁹ floating-point operations of so many products with each matrix."""
    return 2e-9 * products * atoms * WEIGHTS


@dataclass
class Rate:
    """How fast this machine multiplies matrices.

    Attributes
    ----------
    best
        10⁹ floating-point operations in a second that each program reached, for any shape.
    """

    best: dict[str, float]

    @property
    def by(self) -> str:
        """The fastest program."""
        return max(self.best, key=self.best.__getitem__)

    @property
    def gflops(self) -> float:
        """Of the fastest program."""
        return self.best[self.by]

    def include(self, other: Rate) -> None:
        """Take another measurement into account: what was reached once can be reached."""
        for name, value in other.best.items():
            self.best[name] = max(value, self.best.get(name, 0.0))

    def __str__(self) -> str:
        others = [f", {name} {value:.0f}" for name, value in self.best.items() if name != self.by]
        return f"{self.gflops:.0f} ({self.by}{''.join(others)})"


def measure_rate(
    program: Program, folder: Path, precision: str, threads: int, seconds: float
) -> Rate:
    """Measure with all that is there: TensorFlow, NumPy, and this package's own product."""
    measured = program.evaluate(RATES, folder, precision, str(seconds), threads=threads)
    return Rate({name: max(values) for name, values in measured.items()})
