# SPDX-License-Identifier: BSD-3-Clause
"""``dp doctor``: does it work here?"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from deepmd_tf.cli._options import add_log_options

if TYPE_CHECKING:
    from deepmd_tf.doctor.report import Examination

STYLES = {"": "", "ok": "green", "note": "yellow", "broken": "bold red"}


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp doctor``."""
    parser = subparsers.add_parser(
        "doctor",
        help="tell what is installed and whether it works here",
        description="Tell what is installed, test whether it works on this machine, and say what "
        "to do if not. The exit status is 1 if something is broken.",
        epilog="examples: dp --tf doctor | dp --tf doctor --json > report.json",
    )
    parser.add_argument("--json", action="store_true", help="print the report for programs")
    parser.add_argument(
        "--clear-cache",
        action="store_true",
        help="remove the kernels that were compiled for GPUs, and do nothing else",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Examine and print; 1 if something is broken."""
    if args.clear_cache:
        from deepmd_tf.doctor.cubins import clear_cache

        print(f"removed {clear_cache()}")
        return 0
    from deepmd_tf.doctor.examine import examine

    report = examine()
    if args.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(report)
    return 1 if report.broken else 0


def _print(report: Examination) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for title, checks in report.sections.items():
        width = max(len(check.name) for check in checks)
        console.print(Text(title, "bold"))
        for check in checks:
            line = Text(f"  {check.state.upper():<6} ", STYLES[check.state])
            line.append(f"{check.name:<{width}}  ", "")
            console.print(line.append(check.value, ""))
            if check.advice:
                console.print(Text(f"{'':<{width + 11}}{check.advice}", STYLES[check.state]))
    for title, lines in (
        ("Native models in other programs: in the shell", report.shell),
        ("and in LAMMPS", report.lammps),
    ):
        console.print(Text(title, "bold"))
        for command in lines:
            console.print(Text(f"  {command}"))
    if broken := report.broken:
        text = f"{len(broken)} broken: {', '.join(f.name for f in broken)}"
        console.print(Text(text, STYLES["broken"]))
    else:
        console.print(Text("Everything works.", STYLES["ok"]))
