# SPDX-License-Identifier: BSD-3-Clause
"""``dp neighbor-stat``: how many neighbours atoms have."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options, add_system


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp neighbor-stat``."""
    parser = subparsers.add_parser(
        "neighbor-stat",
        help="count neighbours in data",
        description="Find the smallest distance between two atoms, and the largest number of "
        "neighbours of each type around one atom.",
        epilog="example: dp --tf neighbor-stat -s data -r 6.0 -t O H",
    )
    add_system(parser, "looked at")
    parser.add_argument(
        "-r", "--rcut", metavar="RCUT", type=float, required=True, help="cutoff radius in Å"
    )
    parser.add_argument(
        "-t",
        "--type-map",
        metavar="TYPE",
        nargs="+",
        help="names of the types, in the order of counting (default: that of the data)",
    )
    parser.add_argument(
        "--mixed-type",
        "--one-type",
        dest="one_type",
        action="store_true",
        help="count neighbours of all types together",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Count."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    from deepmd_tf.analysis.neighbors import describe, named_neighbors
    from deepmd_tf.output import print_pairs

    found = named_neighbors(args.system, args.rcut, args.type_map, one_type=args.one_type)
    print_pairs(describe(*found, args.rcut))
