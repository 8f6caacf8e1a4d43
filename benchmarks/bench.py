#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""All that speed is judged by, against stock DeePMD-kit, in one run: ``make bench PEER=...``.

    python benchmarks/bench.py --stock-python PEER/bin/python [--suites train evaluate] [--quick]

Suites are ``train`` (steps of whole ``dp train`` commands), ``start`` (from the command to the
first step), ``evaluate`` (energy, force and virial by the Python DeepPot, time per atom, and peak
memory), ``lammps`` (steps of molecular dynamics in stock LAMMPS), ``models`` (all of these with the
other models of examples/water), and ``profile`` (where the time of one of our training steps goes).
Programs take turns, and what is compared are medians over the rounds.

Each time stands beside its floor: the floating-point operations of the matrix products that the
fitting nets cannot do without, over the best rate at which this machine multiplies matrices,
measured in the same run. ``RESULTS.md``, ``results.json`` and ``results.png`` are written to
``--output``, after every row, so that a run that is interrupted leaves what it has found. The exit
status is 1 if a target is missed or something could not be measured.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from harness import programs
from harness.programs import Program, ProgramError
from harness.report import PYTORCH, Report, table
from harness.suites import SUITES, Bench

HERE = Path(__file__).resolve().parent
NOTES = HERE / "NOTES.md"


def main() -> int:
    """Run; 1 when a target is missed or something was left out, 2 for a wrong argument."""
    args = parse_arguments()
    # freezing in this process has TensorFlow speak otherwise
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    ours, stock = programs.ours(args.timeout), programs.stock(args.stock_python, args.timeout)
    report = Report(args.output, NOTES, [], unfinished=list(args.suites))
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "failures.log").unlink(missing_ok=True)
    versions = {"deepmd_tf": ours.versions()}
    try:
        versions["DeePMD-kit"] = check_peer(stock)
    except ProgramError as error:
        print(f"--stock-python: {error}; expected an environment of DeePMD-kit", file=sys.stderr)
        return 2
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(ours, stock, None, Path(name), args.rounds, args.quick, report)
        if args.pytorch_python:
            pytorch = Program(PYTORCH, args.pytorch_python, "--pt", args.timeout)
            try:
                versions["its PyTorch backend"] = check_peer(pytorch, "torch")
                bench.pytorch = pytorch
            except ProgramError as error:
                bench.fail(PYTORCH, error)
        report.heading = heading(args, versions)
        try:
            for suite in args.suites:
                measure(bench, suite)
                report.unfinished.remove(suite)
            bench.measure_rates_again()
        except KeyboardInterrupt:
            print("interrupted; what was found so far is written", file=sys.stderr)
        finally:
            minutes, load = (time.monotonic() - begin) / 60, os.getloadavg()[0]
            report.heading.append(f"It took {minutes:.1f} minutes; load at the end {load:.1f}.")
            report.write(draws=True)
    print(f"{report.missed} targets missed; {args.output / 'RESULTS.md'}")
    return int(bool(report.missed or report.left_out or report.unfinished))


def parse_arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stock-python", required=True, help="environment of DeePMD-kit 3.2.0")
    parser.add_argument("--pytorch-python", help="one in which its PyTorch backend works")
    parser.add_argument("--suites", nargs="+", choices=tuple(SUITES), default=list(SUITES))
    parser.add_argument("--rounds", type=int, default=3, help="in which programs take turns")
    parser.add_argument(
        "--quick", action="store_true", help="few steps, no large system: does everything work?"
    )
    parser.add_argument(
        "--timeout", type=float, default=programs.TIMEOUT, help="seconds for each process"
    )
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: expected 1 or more")
    return args


def check_peer(program: Program, needed: str = "tensorflow") -> dict[str, str]:
    """Versions of a peer; an error if it is none."""
    found = program.versions()
    for name in ("deepmd-kit", needed):
        if name not in found:
            raise ProgramError(f"{program.python} has no {name}")
    return found


def measure(bench: Bench, suite: str) -> None:
    """Run a suite; its rows are printed and written one by one."""
    report = bench.report
    try:
        for row in SUITES[suite](bench):
            report.rows.append(row)
            report.write()
            print(table([row]).splitlines()[-1], flush=True)
    except ProgramError as error:
        bench.fail(suite, error)
    if suite == "profile":
        for title, profile in report.profiles.items():
            print(f"{title}\n\n{profile}\n")


def heading(args: argparse.Namespace, versions: dict[str, dict[str, str]]) -> list[str]:
    """Command, date, machine and versions."""
    options = [f"--rounds {args.rounds}", *(["--quick"] if args.quick else [])]
    if len(args.suites) < len(SUITES):
        options.append(f"--suites {' '.join(args.suites)}")
    peers = "PEER=/path/to/python" + (" PYTORCH=/path/to/python" if args.pytorch_python else "")
    installed = "; ".join(
        f"{name}: {', '.join(f'{package} {v}' for package, v in found.items())}"
        for name, found in versions.items()
    )
    return [
        f'    make bench {peers} ARGS="{" ".join(options)}"',
        f"{datetime.date.today()}, {machine()}, load at the start {os.getloadavg()[0]:.1f}. "
        f"Medians of {args.rounds} rounds.",
        f"Versions: {installed}.",
    ]


def machine() -> str:
    """Processor and number of its cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return f"{len(os.sched_getaffinity(0))} cores of {model}"


if __name__ == "__main__":
    sys.exit(main())
