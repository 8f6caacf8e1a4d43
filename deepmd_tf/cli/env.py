# SPDX-License-Identifier: BSD-3-Clause
"""``dp env``: lines for a shell, after which other programs run native models."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options
from deepmd_tf.errors import InstallError


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp env``."""
    parser = subparsers.add_parser(
        "env",
        help="print what a shell needs before LAMMPS runs native models",
        description="Print lines for a shell, after which LAMMPS and other programs of DeePMD-kit "
        "run models that were frozen with --native.",
        epilog='examples: eval "$(dp --tf env)" | dp --tf env >> job.sh',
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Print."""
    from deepmd_tf.compiled import library_path
    from deepmd_tf.doctor.installation import shell_lines

    path = library_path("deepmd_tf_ops")
    if not path.exists():
        raise InstallError(
            f"the compiled operations are missing ({path}); dp --tf doctor tells what to do"
        )
    print("\n".join(shell_lines()))
