# SPDX-License-Identifier: BSD-3-Clause
"""What is measured, suite by suite, and what is expected of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from harness import floor
from harness.inputs import ATOMS, FIRST_STEP, HELD_OUT, STEP_TIME, write_input
from harness.programs import Program, ProgramError
from harness.report import COMPRESSED, FLOOR, OURS, PYTORCH, STOCK, Report, Row, Target

T = TypeVar("T")

EVALUATE = """
import json, re, sys, time
from pathlib import Path
import numpy as np
package, model, cases = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if package == "ours":
    from deepmd_tf.infer import DeepPot
else:
    from deepmd.infer import DeepPot
given, pot, found = np.load("frame.npz"), DeepPot(model), {}
for replicate, count in cases:
    cell, coord = given["cell"].reshape(3, 3), given["coord"].reshape(-1, 3)
    shifts = np.stack(np.meshgrid(*[np.arange(replicate)] * 3), axis=-1).reshape(-1, 3) @ cell
    coord = (coord[:, None] + shifts).reshape(1, -1)
    types = np.repeat(given["types"], len(shifts)).tolist()
    cell, times = (replicate * cell).reshape(1, 9), []
    for _ in range(count + 1):
        start = time.perf_counter()
        pot.eval(coord, cell, types)
        times.append(1e3 * (time.perf_counter() - start))
    # of this program; what getrusage gives may be that of the one that started it
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    found[len(types)] = {"ms": float(np.median(times[1:])), "memory": int(peak[1]) / 1024}
print("RESULT " + json.dumps(found))
"""


@dataclass(frozen=True)
class Example:
    """A model of examples/water.

    Attributes
    ----------
    name
        Its folder.
    compressible
        Whether DeePMD-kit compresses it.
    speedup
        How many times faster than DeePMD-kit a training step and an evaluation are to be.
    """

    name: str
    compressible: bool = True
    speedup: float = 5.0


MODELS = (
    Example("se_e2_r"),
    Example("se_e3"),
    Example("se_atten"),
    Example("hybrid"),
    Example("zbl"),
    Example("dpa1", compressible=False, speedup=2.5),
)
"""Measured beside ``se_e2_a``, which has suites of its own."""


@dataclass
class Bench:
    """What all suites need.

    Attributes
    ----------
    ours, stock, pytorch
        Programs; no PyTorch: None.
    folder
        For what they write.
    rounds
        In each of which programs take turns.
    quick
        Few steps, two threads, no large system: to see that everything works.
    report
        Gets rates, profiles, and what failed.
    """

    ours: Program
    stock: Program
    pytorch: Program | None
    folder: Path
    rounds: int
    quick: bool
    report: Report
    models: set[Path] = field(default_factory=set)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How often the cell is repeated in each direction."""
        return (1, 2) if self.quick else (1, 2, 4)

    @property
    def threads(self) -> tuple[int, ...]:
        """Numbers of threads."""
        return (2,) if self.quick else (2, 1)

    def fail(self, what: str, error: ProgramError) -> None:
        """One line for the user, and the whole output beside the report."""
        line = f"{what}: {error}"
        self.report.left_out.append(line)
        print(f"left out: {line}", file=sys.stderr, flush=True)
        if error.output:
            with (self.report.folder / "failures.log").open("a") as log:
                log.write(f"--- {line}\n{error.output}\n")

    def turns(
        self, what: str, calls: Mapping[str, Callable[[], T]], once: Collection[str] = ()
    ) -> dict[str, list[T]]:
        """Call each in turn, round after round; one that fails is left out from then on."""
        found: dict[str, list[T]] = {name: [] for name in calls}
        failed = set()
        for number in range(self.rounds):
            for name, call in calls.items():
                if name in failed or (number and name in once):
                    continue
                try:
                    found[name].append(call())
                except ProgramError as error:
                    failed.add(name)
                    self.fail(f"{what}, {name}", error)
        return {name: values for name, values in found.items() if values}

    def rate(self, precision: str, threads: int) -> floor.Rate | None:
        """Of the machine; measured when first asked for."""
        key = precision, threads
        if key not in self.report.rates:
            self._measure_rate(*key)
        return self.report.rates.get(key)

    def measure_rates_again(self) -> None:
        """Once more, some time after: a machine that was busy has only seemed slow."""
        for key in tuple(self.report.rates):
            self._measure_rate(*key)

    def _measure_rate(self, precision: str, threads: int) -> None:
        seconds, rates = 0.1 if self.quick else 0.7, self.report.rates
        try:
            found = floor.measure_rate(self.ours, self.folder, precision, threads, seconds)
        except ProgramError as error:
            self.fail(f"matrix products, {precision}, {threads} threads", error)
            return
        rates.setdefault((precision, threads), found).include(found)

    def model(self, precision: str, example: Example | None = None) -> Path:
        """Folder of a short training: model.ckpt, model.pb, and compressed.pb by stock."""
        example = example or Example("se_e2_a")
        folder = self.folder / f"model-{precision}-{example.name}"
        if folder not in self.models:
            write_input(folder, 50, precision, example=example.name)
            self.ours.dp(folder, "train", "input.json", threads=2)
            self.ours.dp(folder, "freeze", "-o", "model.pb", threads=2)
            if example.compressible:
                files = ["-i", "model.pb", "-o", "compressed.pb"]
                self.stock.dp(folder, "compress", *files, threads=2)
            self.models.add(folder)
        return folder


def train(bench: Bench) -> Iterator[Row]:
    """Steps of whole ``dp train`` commands, as the programs count their time themselves."""
    bounds = {("float64", 1): 4.5, ("float32", 1): 7.0, ("float64", 4): 5.0}
    for precision, frames, threads in [(*case, t) for case in bounds for t in bench.threads]:
        targets = []
        if threads == 2:
            targets.append(Target(STOCK, bounds[precision, frames]))
            if (precision, frames) == ("float64", 1):
                targets.append(Target(FLOOR, 0.5))
        what = f"training step, {precision}, {frames} x {ATOMS} atoms, {threads} threads"
        yield Row(
            "train",
            what,
            _steps(bench, what, precision, frames, threads),
            targets=targets,
            operations=floor.operations(floor.STEP, frames * ATOMS),
            rate=bench.rate(precision, threads),
        )


def _steps(
    bench: Bench, what: str, precision: str, frames: int, threads: int, example: str = "se_e2_a"
) -> dict[str, list[float]]:
    """Milliseconds of a training step, by program."""
    # about as many seconds of each
    programs = {OURS: (bench.ours, 480), STOCK: (bench.stock, 60)}
    if bench.pytorch is not None and example == "se_e2_a":
        programs[PYTORCH] = (bench.pytorch, 20)

    def step(name: str) -> float:
        program, steps = programs[name]
        folder = bench.folder / f"train-{example}-{precision}-{frames}-{threads}-{name}"
        steps = 10 if bench.quick else max(10, steps // frames)
        write_input(folder, steps, precision, frames, example=example)
        log = program.dp(folder, "train", "input.json", threads=threads).text
        if (found := STEP_TIME.search(log)) is None:
            raise ProgramError("no time of a step was printed", log)
        return 1e3 * float(found.group(1))

    calls = {name: lambda name=name: step(name) for name in programs}
    return bench.turns(what, calls, once={PYTORCH})


def start(bench: Bench) -> Iterator[Row]:
    """From the command to the line of the first step, and to the end of a training of one step."""
    programs = {OURS: bench.ours, STOCK: bench.stock}
    if bench.pytorch is not None:
        programs[PYTORCH] = bench.pytorch
    what, prepared = "start, statistics known, 2 threads", set()

    def seconds(name: str) -> tuple[float, float]:
        folder = bench.folder / f"start-{name}"
        if name not in prepared:
            write_input(folder, 1, stat_file="stat.hdf5")
            programs[name].dp(folder, "train", "input.json", threads=2)
            prepared.add(name)
        output = programs[name].dp(folder, "train", "input.json", threads=2)
        first = [line.seconds for line in output.lines if FIRST_STEP.search(line.text)]
        if not first:
            raise ProgramError("no line of a first step was printed", output.text)
        return first[0], output.seconds

    calls = {name: lambda name=name: seconds(name) for name in programs}
    found = bench.turns(what, calls, once={PYTORCH})
    first, whole = ({p: [one[k] for one in each] for p, each in found.items()} for k in (0, 1))
    yield Row("start", f"{what}: to the first step", first, "s", [Target(STOCK, 2.0)])
    yield Row("start", f"{what}: whole training of one step", whole, "s")


def evaluate(bench: Bench) -> Iterator[Row]:
    """Evaluations of one frame by ``DeepPot``, each program in a process for all sizes."""
    for precision, threads in [(p, t) for t in bench.threads for p in ("float64", "float32")]:
        yield from _evaluate(bench, precision, threads)


def _evaluations(
    bench: Bench, what: str, folder: Path, threads: int
) -> Callable[[str, int], dict[str, list[float]]]:
    """Evaluations of the model in ``folder``: a function of "ms" or "memory", and a number of
    atoms, that gives the numbers of each program.
    """
    frame = bench.folder / "frame.npz"
    if not frame.exists():
        np.savez(
            frame,
            coord=np.load(HELD_OUT / "set.000" / "coord.npy")[0],
            cell=np.load(HELD_OUT / "set.000" / "box.npy")[0],
            types=np.loadtxt(HELD_OUT / "type.raw", dtype=int),
        )
    programs = {
        OURS: (bench.ours, "ours", "model.pb"),
        STOCK: (bench.stock, "stock", "model.pb"),
        COMPRESSED: (bench.stock, "stock", "compressed.pb"),
    }
    if not (folder / "compressed.pb").exists():
        del programs[COMPRESSED]
    counts = {1: 5, 2: 2} if bench.quick else {1: 40, 2: 8, 4: 2}
    large_done = set()

    def measure(name: str) -> dict[str, dict[str, float]]:
        # the largest system takes so long in the peers that they do it in the first round only
        sizes = [size for size in bench.sizes if size < 4 or name not in large_done]
        if name != OURS:
            large_done.add(name)
        program, package, file = programs[name]
        cases = json.dumps([(size, counts[size]) for size in sizes])
        arguments = package, str(folder / file), cases
        return program.evaluate(EVALUATE, bench.folder, *arguments, threads=threads)

    calls = {name: lambda name=name: measure(name) for name in programs}
    found = bench.turns(f"energy, force, virial, {what}", calls)

    def values(key: str, atoms: int) -> dict[str, list[float]]:
        return {
            name: [one[str(atoms)][key] for one in each if str(atoms) in one]
            for name, each in found.items()
        }

    return values


def _evaluate(bench: Bench, precision: str, threads: int) -> Iterator[Row]:
    at, judged = f"{precision}, {threads} threads", (precision, threads) == ("float64", 2)
    values = _evaluations(bench, at, bench.model(precision), threads)
    sizes = [ATOMS * size**3 for size in bench.sizes]
    rows = [
        Row(
            "evaluate",
            f"energy, force, virial, {precision}, {atoms} atoms, {threads} threads",
            values("ms", atoms),
            targets=[Target(STOCK, 4.0), Target(COMPRESSED, 2.5)]
            if judged and atoms < 12288
            else [],
            operations=floor.operations(floor.EVALUATION, atoms),
            rate=bench.rate(precision, threads),
        )
        for atoms in sizes
    ]
    yield from rows
    medians = [(atoms, row.median(OURS)) for atoms, row in zip(sizes, rows, strict=True)]
    per_atom = [1e3 * ms / atoms for atoms, ms in medians if ms is not None]
    shown = ", ".join(f"{value:.1f}" for value in per_atom)
    yield Row(
        "evaluate",
        f"time per atom, {at}, {sizes[0]} to {sizes[-1]} atoms ({shown} µs): largest / smallest",
        {OURS: [max(per_atom) / min(per_atom)]} if per_atom else {},
        "",
        [Target(OURS, 1.2)] if judged and not bench.quick else [],
    )
    if threads == 2:
        for atoms in sizes:
            targets = [Target(STOCK, 5.0)] if judged and atoms == 12288 else []
            what = f"peak memory of an evaluation, {precision}, {atoms} atoms, {threads} threads"
            yield Row("evaluate", what, values("memory", atoms), "MB", targets)


def _require_lammps(bench: Bench) -> None:
    for name in ("lmp", "mpirun"):
        if not (bench.stock.folder / name).exists():
            raise ProgramError(
                f"{bench.stock.folder} has no {name}; expected an environment with "
                'pip install "deepmd-kit[cpu,lmp]==3.2.0"'
            )


def lammps(bench: Bench) -> Iterator[Row]:
    """Steps of molecular dynamics in stock LAMMPS, one thread for each rank."""
    import lammps_vs_stock as dynamics

    _require_lammps(bench)
    folder = bench.folder / "lammps"
    folder.mkdir()
    models = dynamics.make_files(bench.model("float64") / "model.ckpt", folder, bench.stock)
    dynamics.write_data(folder / "water.data")
    for replicate, ranks in [(size, n) for size in bench.sizes for n in (1, 2)]:
        atoms = ATOMS * replicate**3
        steps = {1: 5, 2: 1}[replicate] if bench.quick else {1: 25, 2: 5, 4: 2}[replicate]
        what = f"LAMMPS, {atoms} atoms, {ranks} ranks"

        def step(label: str, replicate: int = replicate, ranks=ranks, steps=steps) -> float:
            model = models[label]
            return dynamics.time_step(model, label, folder, bench.stock, ranks, replicate, steps)

        calls = {label: lambda label=label: step(label) for label in models}
        once = [label for label in models if replicate == 4 and label != dynamics.NATIVE]
        found = bench.turns(what, calls, once)
        stock, compressed = found.get(dynamics.STOCK, []), found.get(dynamics.COMPRESSED, [])
        rows = [
            (
                "native file",
                {OURS: found.get(dynamics.NATIVE, []), STOCK: stock, COMPRESSED: compressed},
                [Target(COMPRESSED, 2.0)],
            ),
            (
                # the same operations as in the file of stock: equal, as far as this can resolve
                "file in the stock dialect",
                {OURS: found.get(dynamics.DIALECT, []), STOCK: stock},
                [Target(STOCK, 0.95)],
            ),
            (
                "compressed file",
                {OURS: found.get(dynamics.OWN_COMPRESSED, []), COMPRESSED: compressed},
                [],
            ),
        ]
        for file, values, targets in rows:
            yield Row(
                "lammps",
                f"{what}, {file}",
                values,
                targets=targets,
                operations=floor.operations(floor.EVALUATION, atoms),
                rate=bench.rate("float64", ranks),
            )


def models(bench: Bench) -> Iterator[Row]:
    """Training, evaluation and LAMMPS with the other models of examples/water, in float64 on two
    threads.
    """
    for example in MODELS:
        try:
            yield from _model(bench, example)
        except ProgramError as error:
            bench.fail(example.name, error)


def _model(bench: Bench, example: Example) -> Iterator[Row]:
    what = f"{example.name}: training step, 1 x {ATOMS} atoms"
    found = _steps(bench, what, "float64", 1, 2, example.name)
    yield Row("models", what, found, targets=[Target(STOCK, example.speedup)])
    values = _evaluations(bench, example.name, bench.model("float64", example), 2)
    for atoms in [ATOMS * size**3 for size in bench.sizes]:
        targets = [Target(STOCK, example.speedup)]
        if example.compressible:
            targets.append(Target(COMPRESSED, 2.5))
        what = f"{example.name}: energy, force, virial, {atoms} atoms"
        yield Row("models", what, values("ms", atoms), targets=targets)
    what = f"{example.name}: peak memory of an evaluation, {atoms} atoms"
    targets = [] if bench.quick else [Target(STOCK, 3.0)]
    yield Row("models", what, values("memory", atoms), "MB", targets)
    yield from _model_in_lammps(bench, example)


def _model_in_lammps(bench: Bench, example: Example) -> Iterator[Row]:
    import lammps_vs_stock as dynamics

    _require_lammps(bench)
    model = bench.model("float64", example)
    dynamics.write_data(model / "water.data")
    bench.ours.dp(model, "freeze", "--native", "-o", "native.pb", threads=2)
    files = {
        OURS: ("native.pb", dynamics.NATIVE),
        STOCK: ("model.pb", dynamics.DIALECT),
        COMPRESSED: ("compressed.pb", dynamics.COMPRESSED),
    }
    if not example.compressible:
        del files[COMPRESSED]
    for replicate in bench.sizes[:2]:
        steps = {1: 5, 2: 1}[replicate] if bench.quick else {1: 25, 2: 5}[replicate]
        what = f"{example.name}: LAMMPS, {ATOMS * replicate**3} atoms, 1 rank"

        def step(name: str, replicate: int = replicate, steps: int = steps) -> float:
            file, label = files[name]
            at = (model, bench.stock, 1, replicate, steps)
            return dynamics.time_step(model / file, label, *at)

        calls = {name: lambda name=name: step(name) for name in files}
        yield Row("models", what, bench.turns(what, calls))


def profile(bench: Bench) -> Iterator[Row]:
    """Where the time of a step goes, in a table for each precision."""
    import profile_step

    for precision in ("float64", "float32"):
        script = str(Path(profile_step.__file__))
        counts = ["--steps", "5", "--traces", "2"] if bench.quick else []
        command = [bench.ours.python, script, "--json", "--precision", precision, *counts]
        result = bench.ours.run(command, bench.folder, 1).result
        nodes = [profile_step.Node(**node) for node in result["nodes"]]
        title = f"{precision}, 1 x {ATOMS} atoms, one thread: {np.median(result['times']):.1f} ms"
        bench.report.profiles[title] = profile_step.by_kind(nodes)
    yield from ()


SUITES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "train": train,
    "start": start,
    "evaluate": evaluate,
    "lammps": lammps,
    "models": models,
    "profile": profile,
}
