# SPDX-License-Identifier: BSD-3-Clause
"""Kernels of the GPU on a machine that has one, without TensorFlow: are they right, and how fast?

    python benchmarks/on_gpu.py                          all, into benchmarks/RESULTS-gpu.md
    python benchmarks/on_gpu.py --output /tmp/gpu.md     … elsewhere
    python benchmarks/on_gpu.py --on-host                the same program on the host, to try it

Builds ``benchmarks/gpu`` (CMake, a C++ compiler), compares every family of functions with the
processor's kernels, runs ``compute-sanitizer`` where it is found, and times steps of molecular
dynamics and of training. Of CUDA it needs the driver, NVRTC and cuBLAS. It takes less than five
minutes after the build; what takes too long is given up, and the table is written after each part.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.gpu import ATOMS, FAMILIES, FRAMES, MISSING, SIZES, TOOLS, Found, report

ROOT = Path(__file__).resolve().parents[1]


def build(tree: Path) -> Path:
    """The program."""
    configure = ["cmake", "-S", ROOT / "source", "-B", tree, "--log-level=WARNING"]
    if not (tree / "CMakeCache.txt").exists() and shutil.which("ninja"):
        configure += ["-G", "Ninja"]
    configure += ["-DDEEPMD_TF_OPS=OFF", "-DDEEPMD_TF_GPU_BENCHMARK=ON"]
    make = ["cmake", "--build", tree, "--target", "gpu_bench", "--parallel", str(os.cpu_count())]
    for command in (configure, make):
        if subprocess.run(command, stdout=sys.stderr).returncode:
            raise SystemExit("benchmarks/gpu cannot be built")
    return tree / "gpu_bench"


def environment() -> dict[str, str]:
    """That of the program, which finds NVRTC and cuBLAS among the packages of this Python, too."""
    found = [str(path) for site in sys.path if site for path in Path(site).glob("nvidia/*/lib")]
    known = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join([*([known] if known else []), *found])}


def run(command: Sequence[object], timeout: float) -> tuple[int | None, list[str], str]:
    """Exit status, or none where it took too long; lines of its output; the end of what it says."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=max(timeout, 1), env=environment()
        )
    except subprocess.TimeoutExpired as expired:
        out = expired.stdout or b""
        text = out.decode() if isinstance(out, bytes) else out
        # the last line may be a part of one
        return None, text.splitlines()[:-1], f"given up after {timeout:.0f} s"
    return done.returncode, done.stdout.splitlines(), done.stderr.strip()[-400:].replace("\n", " ")


class Session:
    """One run of everything."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.found = Found()
        self.program = options.program or build(options.tree)
        self.begin = time.monotonic()
        self.mode = ["--on-host"] if options.on_host else []

    @property
    def left(self) -> float:
        """Seconds until all must be done."""
        return self.options.seconds - (time.monotonic() - self.begin)

    def ask(self, *words: object, timeout: float) -> None:
        """Run the program and take over what it prints."""
        command = [self.program, *self.mode, *words]
        status, lines, message = run(command, min(timeout, self.left))
        self.found.read(lines)
        if status not in (0, 1) or (status == 1 and not lines):
            what = " ".join(map(str, words))
            self.found.failed.append(f"{what}: {message or f'ended with status {status}'}")

    def card(self) -> None:
        """What it runs on."""
        self.ask("card", timeout=60)
        options = self.options
        for name, value, unit in (
            ("bandwidth", options.bandwidth, 1e9),
            ("peak float32", options.peak32, 1e12),
            ("peak float64", options.peak64, 1e12),
        ):
            if value is not None:
                self.found.card[name] = str(value * unit)

    def check(self) -> None:
        """All families, each in a process of its own: kernels are compiled at the same time."""
        with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
            ask = lambda family: self.ask("check", family, timeout=150)  # noqa: E731
            list(pool.map(ask, FAMILIES))

    def sanitize(self) -> None:
        """A small case in each tool of compute-sanitizer."""
        tool = self.options.sanitizer or shutil.which("compute-sanitizer")
        tool = tool or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
        if tool is None or self.options.on_host:
            self.found.tools = dict.fromkeys(TOOLS, "compute-sanitizer was not found")
            return

        command = (tool, "--error-exitcode", "9")

        def run_tool(name: str) -> None:
            status, lines, message = run(
                (*command, "--tool", name, self.program, "--exact", "--atoms", "48", "check"),
                min(90, self.left),
            )
            said = [line for line in lines if line.startswith("=========")]
            last = said[-1].strip("= ") if said else message
            n = len({line.split("\t")[1] for line in lines if line.startswith("check")})
            text = f"{last} ({n} of {len(FAMILIES)} families)"
            self.found.tools[name] = text if status == 0 else f"**{text}**, status {status}"
            if status not in (0, None):
                log = self.options.output.with_suffix(f".{name}.log")
                log.write_text("\n".join(lines))

        with ThreadPoolExecutor(len(TOOLS)) as pool:
            list(pool.map(run_tool, TOOLS))

    def times(self) -> None:
        """Steps, one after the other."""
        for atoms in SIZES[:1] if self.options.on_host else SIZES:
            self.ask("md", atoms, timeout=120 if self.options.on_host else 60)
            self.write()
        if not self.options.on_host:
            self.ask("train", FRAMES, ATOMS, timeout=60)

    def write(self) -> None:
        """The table, as far as it is known."""
        lines = [self.options.heading] if self.options.heading else []
        lines += [f"    python benchmarks/on_gpu.py {' '.join(sys.argv[1:])}".rstrip(), ""]
        lines += [f"- date: {datetime.date.today()}", f"- driver: {driver()}"]
        lines += [f"- {name}: {shown(name, value)}" for name, value in self.found.card.items()]
        lines += [f"- took: {time.monotonic() - self.begin:.0f} s after the build"]
        self.options.output.write_text(report(self.found, lines))


def shown(name: str, value: str) -> str:
    """Rates in usual units."""
    if name.startswith("bandwidth"):
        return f"{float(value) / 1e9:,.0f} GB/s"
    return f"{float(value) / 1e12:.1f} TFLOP/s" if name.startswith("peak") else value


def driver() -> str:
    """Its version."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "nvidia-smi was not found"
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    return " ".join(run(query, 20)[1]) or "not known"


def blank() -> str:
    """The table before anything has been measured."""
    lines = [
        f"**Every row is {MISSING}**: no GPU has been at hand. On a machine with one (its driver,",
        "NVRTC, cuBLAS, a C++ compiler, CMake and Python; no TensorFlow, no network) this fills it",
        "in, in less than five minutes after the build:",
        "",
        "    python benchmarks/on_gpu.py",
        "",
        "It compares every family of functions with the processor's kernels, runs",
        "compute-sanitizer where that is found, and times a step of molecular dynamics and one of",
        "training of the model of examples/water (`gpu/chain.h`). The targets are for an H200.",
    ]
    return report(Found(), lines)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=ROOT / "benchmarks" / "RESULTS-gpu.md")
    add("--tree", type=Path, default=ROOT / "build" / "gpu-benchmark", help="where it is built")
    add("--program", type=Path, help="gpu_bench that is built already")
    add("--on-host", action="store_true", help="kernels on the host, to try this program")
    add("--bandwidth", type=float, help="GB/s of the card, instead of what the driver says")
    add("--peak32", type=float, help="TFLOP/s in float32")
    add("--peak64", type=float, help="TFLOP/s in float64")
    add("--sanitizer", help="path of compute-sanitizer")
    add("--seconds", type=float, default=290, help="all must be done after this time")
    add("--heading", help="a line for the top of the table")
    add("--blank", action="store_true", help="write the table of what has not been measured")
    options = parser.parse_args()
    if options.blank:
        options.output.write_text(blank())
        return 0
    session = Session(options)
    session.card()
    if "card" not in session.found.card:
        print(*session.found.failed, sep="\n", file=sys.stderr)
        return 1
    for part in (session.check, session.times, session.sanitize):
        part()
        session.write()
    print(options.output.read_text())
    found = session.found
    wrong = any(error > limit for *_, error, limit in found.checks)
    return int(wrong or bool(found.failed))


if __name__ == "__main__":
    sys.exit(main())
