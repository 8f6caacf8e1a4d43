#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""All that speed is judged by, against stock DeePMD-kit, in one run: ``make bench PEER=...``.

    python benchmarks/bench.py --stock-python PEER/bin/python [--suites train evaluate] [--quick]

Suites are ``train`` (steps of whole ``dp train`` commands), ``start`` (from the command to the
first step), ``evaluate`` (energy, force and virial by the Python DeepPot, and peak memory),
``lammps`` (steps of molecular dynamics in stock LAMMPS), and ``profile`` (where the time of one of
our training steps goes). Programs take turns, and what is compared are medians over the rounds.

Each time stands beside its floor: the floating-point operations of the matrix products that the
fitting nets cannot do without, over the rate at which this machine multiplies such matrices,
measured in the same run. Table, numbers and picture are written to ``--output``.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import lammps_vs_stock
import numpy as np
import train_vs_stock
from train_vs_stock import WATER

HERE = Path(__file__).resolve().parent
OURS, STOCK, COMPRESSED, PYTORCH = "ours", "stock", "stock, compressed", "stock, PyTorch"
SUITES = ("train", "start", "evaluate", "lammps", "profile")
ATOMS = 192
WEIGHTS = 1600 * 240 + 2 * 240 * 240 + 240
"""Elements of the matrices of a fitting net."""
EVALUATION, STEP = 2, 6
"""Products with each of those matrices: of an energy and its derivative; and, in a step on forces
as well, of the derivatives of both of these by what they multiply."""

EVALUATE = """
import json, resource, sys, time
import numpy as np
package, model, replicate, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if package == "ours":
    from deepmd_tf.infer import DeepPot
else:
    from deepmd.infer import DeepPot
given = np.load("frame.npz")
cell, coord = given["cell"].reshape(3, 3), given["coord"].reshape(-1, 3)
shifts = np.stack(np.meshgrid(*[np.arange(replicate)] * 3), axis=-1).reshape(-1, 3) @ cell
coord = (coord[:, None] + shifts).reshape(1, -1)
types = np.repeat(given["types"], len(shifts)).tolist()
cell = (replicate * cell).reshape(1, 9)
pot, times = DeepPot(model), []
for _ in range(count + 2):
    start = time.perf_counter()
    pot.eval(coord, cell, types)
    times.append(1e3 * (time.perf_counter() - start))
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"ms": float(np.median(times[2:])), "memory": memory}))
"""

RATE = """
import sys, time
import numpy as np
import tensorflow.compat.v1 as tf
dtype, threads = sys.argv[1], int(sys.argv[2])
config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
config.graph_options.rewrite_options.disable_meta_optimizer = True
rng = np.random.default_rng(1)
with tf.Graph().as_default(), tf.Session(config=config) as session:
    x, w = (tf.get_variable(n, initializer=rng.normal(size=s).astype(dtype))
            for n, s in (("x", (1024, 1600)), ("w", (1600, 240))))
    product = tf.matmul(x, w).op
    session.run(tf.global_variables_initializer())
    call, least = session.make_callable(product), np.inf
    end = time.perf_counter() + 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
print(2 * 1024 * 1600 * 240 / least / 1e9)
"""


@dataclass
class Row:
    """One line of the table.

    Attributes
    ----------
    suite, what
        What was measured.
    values
        By program, one number of each round: ms, s or MB.
    unit
        Of them.
    target
        Least ratio of what a peer takes to what ours takes, by peer.
    operations
        Floating-point operations that cannot be avoided, 10⁹.
    rate
        10⁹ of them in a second, measured.
    """

    suite: str
    what: str
    values: dict[str, list[float]]
    unit: str = "ms"
    target: dict[str, float] = field(default_factory=dict)
    operations: float | None = None
    rate: float | None = None

    def median(self, program: str) -> float | None:
        """Over the rounds."""
        values = self.values.get(program)
        return statistics.median(values) if values else None

    def ratio(self, peer: str) -> float | None:
        """How many times as much the peer takes."""
        ours, other = self.median(OURS), self.median(peer)
        return other / ours if ours and other else None

    @property
    def floor(self) -> float | None:
        """ms."""
        return 1e3 * self.operations / self.rate if self.operations and self.rate else None


@dataclass
class Bench:
    """What all suites need."""

    stock: str
    pytorch: str | None
    folder: Path
    rounds: int
    quick: bool
    rates: dict[tuple[str, int], float] = field(default_factory=dict)

    def environment(self, threads: int) -> dict[str, str]:
        """Of a process of either program; ours has its bytecode written, as if it was installed."""
        count, unwanted = str(threads), ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        return {k: v for k, v in os.environ.items() if k not in unwanted} | {
            "OMP_NUM_THREADS": count,
            "DP_INTRA_OP_PARALLELISM_THREADS": count,
            "DP_INTER_OP_PARALLELISM_THREADS": count,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def python(self, python: str, threads: int, program: str, *arguments: str) -> str:
        """Run a program text; the last line that it printed."""
        done = subprocess.run(
            [python, "-c", program, *arguments],
            cwd=self.folder,
            env=self.environment(threads),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{python} failed:\n{done.stderr[-3000:]}")
        return done.stdout.strip().splitlines()[-1]

    def rate(self, precision: str, threads: int) -> float:
        """Matrix products of this machine, GFLOP/s."""
        key = precision, threads
        if key not in self.rates:
            self.rates[key] = float(self.python(sys.executable, threads, RATE, *map(str, key)))
        return self.rates[key]

    def training_programs(self) -> dict[str, tuple[str, str]]:
        """Python and backend by program."""
        programs = {OURS: (sys.executable, "--tf"), STOCK: (self.stock, "--tf")}
        return programs | ({PYTORCH: (self.pytorch, "--pt")} if self.pytorch else {})

    def train(self, program: str, folder: Path, threads: int) -> str:
        """Run ``dp train input.json`` in an existing folder; what it printed."""
        python, backend = self.training_programs()[program]
        environment = self.environment(threads)
        return train_vs_stock.run(
            python, folder, "train", "input.json", backend=backend, environment=environment
        )


def write_input(
    folder: Path, steps: int, precision: str = "float64", frames: int = 1, **training: object
) -> None:
    """``folder/input.json``: that of the example, without validation."""
    folder.mkdir(parents=True, exist_ok=True)
    train_vs_stock.make_input(folder / "input.json", steps, seed=1)
    script = json.loads((folder / "input.json").read_text())
    for part in ("descriptor", "fitting_net"):
        script["model"][part]["precision"] = precision
    del script["training"]["validation_data"]
    script["training"]["training_data"]["batch_size"] = frames
    script["training"].update(training)
    (folder / "input.json").write_text(json.dumps(script))


def train(bench: Bench) -> Iterator[Row]:
    """Time of a step, as the programs count it themselves after their first steps."""
    targets = {("float64", 1): 4.5, ("float32", 1): 7.0, ("float64", 4): 5.0}
    cases = [(p, f, t) for p, f in targets for t in ((2,) if bench.quick else (2, 1))]
    for precision, frames, threads in cases:
        steps = 200 // frames if bench.quick else 600 // frames
        values: dict[str, list[float]] = collections.defaultdict(list)
        for number in range(bench.rounds):
            for program in bench.training_programs():
                if program == PYTORCH and number > 0:
                    continue
                folder = bench.folder / f"train-{precision}-{frames}-{threads}-{number}-{program}"
                write_input(folder, steps, precision, frames)
                log = bench.train(program, folder, threads)
                values[program].append(1e3 * float(train_vs_stock.STEP_TIME.search(log).group(1)))
        yield Row(
            "train",
            f"training step, {precision}, {frames} x {ATOMS} atoms, {threads} threads",
            dict(values),
            target={STOCK: targets[precision, frames]} if threads == 2 else {},
            operations=2e-9 * STEP * frames * ATOMS * WEIGHTS,
            rate=bench.rate(precision, threads),
        )


def start(bench: Bench) -> Iterator[Row]:
    """The whole command with one step, its statistics known."""
    values: dict[str, list[float]] = collections.defaultdict(list)
    programs = [OURS, STOCK]
    for program in programs:
        write_input(bench.folder / f"start-{program}", 1, stat_file="stat.hdf5")
        bench.train(program, bench.folder / f"start-{program}", 2)
    for _ in range(bench.rounds):
        for program in programs:
            begin = time.perf_counter()
            bench.train(program, bench.folder / f"start-{program}", 2)
            values[program].append(time.perf_counter() - begin)
    what = "dp train of one step, statistics known, 2 threads"
    yield Row("start", what, dict(values), "s", {STOCK: 2.0})


def make_models(bench: Bench, precision: str) -> Path:
    """Folder of a short training with its frozen files; the checkpoint is model.ckpt."""
    folder = bench.folder / f"model-{precision}"
    if folder.exists():
        return folder
    write_input(folder, 50, precision)
    bench.train(OURS, folder, 2)
    train_vs_stock.run(sys.executable, folder, "freeze", "-o", "model.pb")
    train_vs_stock.run(bench.stock, folder, "compress", "-i", "model.pb", "-o", "compressed.pb")
    return folder


def evaluate(bench: Bench) -> Iterator[Row]:
    """Median of evaluations of one frame in a process of its own, and the memory of the process."""
    data = WATER / "data" / "data_3"
    np.savez(
        bench.folder / "frame.npz",
        coord=np.load(data / "set.000" / "coord.npy")[0],
        cell=np.load(data / "set.000" / "box.npy")[0],
        types=np.loadtxt(data / "type.raw", dtype=int),
    )
    per_atom = {}
    cases = [("float64", 2), ("float32", 2)] + ([] if bench.quick else [("float64", 1)])
    for precision, threads in cases:
        folder = make_models(bench, precision)
        programs = {
            OURS: (sys.executable, "ours", "model.pb"),
            STOCK: (bench.stock, "stock", "model.pb"),
            COMPRESSED: (bench.stock, "stock", "compressed.pb"),
        }
        for replicate in (1, 2, 4):
            atoms = ATOMS * replicate**3
            found: dict[str, list[dict]] = collections.defaultdict(list)
            for _ in range(bench.rounds if replicate < 4 else 1):
                for program, (python, package, file) in programs.items():
                    count = max(3, 40 // replicate**3)
                    line = bench.python(
                        python,
                        threads,
                        EVALUATE,
                        package,
                        str(folder / file),
                        str(replicate),
                        str(count),
                    )
                    found[program].append(json.loads(line))
            values = {p: [one["ms"] for one in each] for p, each in found.items()}
            judged = precision == "float64" and threads == 2
            row = Row(
                "evaluate",
                f"energy, force, virial, {precision}, {atoms} atoms, {threads} threads",
                values,
                target={STOCK: 4.0, COMPRESSED: 2.5} if judged and replicate < 4 else {},
                operations=2e-9 * EVALUATION * atoms * WEIGHTS,
                rate=bench.rate(precision, threads),
            )
            per_atom[precision, threads, atoms] = row.median(OURS) / atoms
            yield row
            if replicate == 4:
                memory = {p: [one["memory"] for one in each] for p, each in found.items()}
                what = f"peak memory of that, {precision}, {atoms} atoms, {threads} threads"
                yield Row("evaluate", what, memory, "MB", {STOCK: 5.0} if judged else {})


def lammps(bench: Bench) -> Iterator[Row]:
    """Steps of LAMMPS with one thread for each rank."""
    files = lammps_vs_stock
    programs = Path(bench.stock).absolute().parent
    folder = bench.folder / "lammps"
    folder.mkdir()
    models = files.make_files(make_models(bench, "float64") / "model.ckpt", folder, programs)
    files.write_data(folder / "water.data")
    for replicate, ranks in [(r, n) for r in (1, 2, 4) for n in (1, 2)]:
        steps = max((20 if bench.quick else 50) // replicate**3, 5)
        values: dict[str, list[float]] = collections.defaultdict(list)
        for _ in range(bench.rounds if replicate < 4 else 1):
            for label, model in models.items():
                values[label].append(
                    files.time_step(model, label, folder, programs, ranks, replicate, steps)
                )
        what = f"LAMMPS, {ATOMS * replicate**3} atoms, {ranks} ranks"
        native, dialect = "ours, native", "ours, stock dialect"
        compressed = values["stock compressed"]
        yield Row(
            "lammps",
            f"{what}, native file",
            {
                OURS: values[native],
                STOCK: values[STOCK],
                COMPRESSED: compressed,
            },
            target={COMPRESSED: 2.0},
            operations=2e-9 * EVALUATION * ATOMS * replicate**3 * WEIGHTS / ranks,
            rate=bench.rate("float64", 1),
        )
        yield Row(
            "lammps",
            f"{what}, file in the stock dialect",
            {OURS: values[dialect], STOCK: values[STOCK]},
            target={STOCK: 1.0},
        )
        yield Row(
            "lammps",
            f"{what}, compressed file",
            {OURS: values["ours, compressed"], COMPRESSED: compressed},
        )


def profile(bench: Bench) -> str:
    """Where the time of a training step goes: a table by type of operation."""
    folder = bench.folder / "profile"
    write_input(folder, 60, profiling=True)
    bench.train(OURS, folder, 1)
    events = json.loads((folder / "timeline.json").read_text())["traceEvents"]
    total: dict[str, list[float]] = collections.defaultdict(list)
    for event in events:
        if event.get("ph") == "X":
            total[event["name"]].append(event["dur"] / 1e3)
    whole = sum(map(sum, total.values()))
    lines = ["| operation | number | ms | share |", "|---|---|---|---|"]
    ordered = sorted(total.items(), key=lambda item: -sum(item[1]))
    lines += [
        f"| {name} | {len(each)} | {sum(each):.2f} | {100 * sum(each) / whole:.0f} % |"
        for name, each in ordered[:20]
    ]
    rest = [value for _, each in ordered[20:] for value in each]
    lines.append(f"| others | {len(rest)} | {sum(rest):.2f} | {100 * sum(rest) / whole:.0f} % |")
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    """In Markdown."""
    programs = [OURS, STOCK, COMPRESSED, PYTORCH]
    programs = [p for p in programs if any(row.values.get(p) for row in rows)]
    head = ["", *programs, *(f"{p} / ours" for p in programs[1:]), "target", "floor, share"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [f"{row.what} ({row.unit})"]
        cells += ["" if (v := row.median(p)) is None else f"{v:.4g}" for p in programs]
        cells += ["" if (v := row.ratio(p)) is None else f"{v:.2f}" for p in programs[1:]]
        cells.append(", ".join(verdict(row, peer) for peer in row.target))
        share = "" if row.floor is None else f"{row.floor:.3g}, {row.floor / row.median(OURS):.0%}"
        lines.append("| " + " | ".join([*cells, share]) + " |")
    return "\n".join(lines)


def verdict(row: Row, peer: str) -> str:
    """Whether a target is met."""
    met = (row.ratio(peer) or 0.0) >= row.target[peer]
    which = "" if len(row.target) == 1 else f" ({peer})"
    return f"≥ {row.target[peer]:g}{which}: {'met' if met else '**missed**'}"


def draw(rows: list[Row], path: Path) -> None:
    """Ratios as bars, with targets as marks."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    bars = [(row, peer) for row in rows for peer in row.values if row.ratio(peer) and peer != OURS]
    colours = {STOCK: "tab:blue", COMPRESSED: "tab:orange", PYTORCH: "tab:green"}
    figure, axes = plt.subplots(figsize=(9, 0.5 + 0.2 * len(bars)), layout="constrained")
    for place, (row, peer) in enumerate(bars):
        axes.barh(place, row.ratio(peer), color=colours[peer])
        if peer in row.target:
            axes.plot([row.target[peer]] * 2, [place - 0.45, place + 0.45], color="black")
    for peer, colour in colours.items():
        if any(other == peer for _, other in bars):
            axes.barh(0, 0, color=colour, label=f"against {peer}")
    axes.set_yticks(range(len(bars)), [row.what for row, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_xlabel("times faster (or less memory); marks are targets")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def machine() -> str:
    """Processor, its number, and what else it does."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{len(os.sched_getaffinity(0))} cores of {model}, load {os.getloadavg()[0]:.1f}"


def main() -> int:
    """Run; 1 when a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stock-python", required=True, help="environment of DeePMD-kit 3.2.0")
    parser.add_argument("--pytorch-python", help="one in which its PyTorch backend works")
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=SUITES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer steps, 2 threads only")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results")
    args = parser.parse_args()
    begin = f"{datetime.date.today()}, {machine()} at the start"
    rows, where = [], ""
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args.stock_python, args.pytorch_python, Path(name), args.rounds, args.quick)
        for suite in (s for s in args.suites if s != "profile"):
            for row in globals()[suite](bench):
                rows.append(row)
                print(table([row]).splitlines()[-1], flush=True)
        if "profile" in args.suites:
            where = profile(bench)
            print(where)
    args.output.mkdir(parents=True, exist_ok=True)
    rates = ", ".join(f"{p}, {t} threads: {r:.0f}" for (p, t), r in bench.rates.items())
    text = (
        "# Results\n\n"
        f"    {' '.join(['python benchmarks/bench.py', *sys.argv[1:]])}\n\n"
        f"{begin}, {os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}, "
        f"TensorFlow {version('tensorflow_cpu')}, deepmd_tf {version('deepmd_tf')}. Medians of "
        f"{args.rounds} rounds. Matrix products (GFLOP/s): {rates}.\n\n{table(rows)}\n"
    )
    if where:
        text += f"\n## Where the time of a training step goes\n\nOne thread.\n\n{where}\n"
    (args.output / "RESULTS.md").write_text(text)
    numbers = [{"suite": r.suite, "what": r.what, "unit": r.unit, "values": r.values} for r in rows]
    (args.output / "results.json").write_text(json.dumps(numbers, indent=1) + "\n")
    if rows:
        draw(rows, args.output / "results.png")
    missed = [r for r in rows for p in r.target if (r.ratio(p) or 0.0) < r.target[p]]
    print(f"{len(missed)} targets missed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
