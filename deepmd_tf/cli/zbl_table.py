# SPDX-License-Identifier: BSD-3-Clause
"""``dp zbl-table``: a table of the universal screened repulsion of nuclei, for ``use_srtab``."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp zbl-table``."""
    parser = subparsers.add_parser(
        "zbl-table",
        help="write a table of the ZBL repulsion for model/use_srtab",
        description="Write the universal screened repulsion of nuclei (Ziegler, Biersack, "
        "Littmark) of all pairs of elements as a table of pair potentials, which "
        "model/use_srtab of an input script reads. It is switched to zero at --rmax.",
        epilog="example: dp --tf zbl-table O H -o zbl.tab",
    )
    parser.add_argument(
        "ELEMENT", nargs="+", help="symbols of the types, in the order of model/type_map"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="zbl.tab", help="table (default: zbl.tab)"
    )
    for name, default, what in (
        ("rmin", 0.005, "first distance in Å; closer atoms end an evaluation"),
        ("rmax", 5.0, "last distance in Å, where energies are 0"),
        ("step", 0.005, "distance of two rows in Å"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="R",
            type=float,
            default=default,
            help=f"{what} (default: {default})",
        )
    parser.add_argument(
        "--rswitch",
        metavar="R",
        type=float,
        help="where the switch to 0 begins, in Å (default: half of rmax)",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Write the table."""
    from deepmd_tf.pair_table.zbl import write_zbl_table

    write_zbl_table(
        args.output,
        args.ELEMENT,
        rmin=args.rmin,
        rmax=args.rmax,
        step=args.step,
        rswitch=0.5 * args.rmax if args.rswitch is None else args.rswitch,
    )
