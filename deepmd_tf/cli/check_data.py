# SPDX-License-Identifier: BSD-3-Clause
"""``dp check-data``: what is wrong with data, without training."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp check-data``."""
    parser = subparsers.add_parser(
        "check-data",
        help="look for mistakes in data",
        description="Look at every number of some systems, as training does before it starts, and "
        "list everything that is wrong or looks wrong.",
        epilog="example: dp --tf check-data -s data/train --validation data/valid -t O H",
    )
    parser.add_argument(
        "-s",
        "--system",
        metavar="DIR",
        nargs="+",
        default=["."],
        help="directories or files; all systems in and below them are checked (default: .)",
    )
    parser.add_argument(
        "--validation",
        metavar="DIR",
        nargs="+",
        default=[],
        help="the same of validation data, whose frames should not be among the others",
    )
    parser.add_argument(
        "-t",
        "--type-map",
        metavar="TYPE",
        nargs="+",
        help="names of the types of a model, which the data may have (default: any)",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Check; an error if anything is wrong."""
    from deepmd_tf.data.checks.examine import check_data
    from deepmd_tf.output import print_pairs

    print_pairs(check_data(args.system, args.validation, type_map=args.type_map))
