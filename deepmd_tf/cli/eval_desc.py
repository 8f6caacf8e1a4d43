# SPDX-License-Identifier: BSD-3-Clause
"""``dp eval-desc``: descriptors of data sets."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options, add_model, add_systems


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp eval-desc``."""
    parser = subparsers.add_parser(
        "eval-desc",
        help="write the descriptors of atoms",
        description="Evaluate the descriptor of every atom of all systems and write one NumPy "
        "file for each system.",
        epilog="example: dp --tf eval-desc -m frozen_model.pb -s data -o desc",
    )
    add_model(parser)
    add_systems(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="desc",
        help="folder; a system called water is written to DIR/water.npy (default: desc)",
    )
    parser.add_argument(
        "--dtype",
        choices=["fp32", "fp64", "native"],
        default="native",
        help="type of the numbers; native is that of the model (default: native)",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Evaluate."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    import numpy as np

    from deepmd_tf.analysis.descriptors import eval_desc
    from deepmd_tf.inference.testing import find_systems

    systems = find_systems(system=args.system, list_file=args.datafile)
    for path in eval_desc(args.model, systems, args.output, dtype=args.dtype):
        found = np.load(path, mmap_mode="r")
        print(f"{path}  {found.shape} {found.dtype}")
