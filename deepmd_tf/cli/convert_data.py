# SPDX-License-Identifier: BSD-3-Clause
"""``dp convert-data``: data of other programs as systems."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp convert-data``."""
    parser = subparsers.add_parser(
        "convert-data",
        help="make data that training reads from files of other programs",
        description="Read frames in any format that training, dpdata or ASE reads, and write them "
        "as systems, one for each composition and periodicity.",
        epilog="examples: dp --tf convert-data OUTCAR --from vasp/outcar -o data | "
        "dp --tf convert-data data -o data.hdf5 | dp --tf convert-data run.traj -o run.extxyz",
    )
    parser.add_argument("INPUT", nargs="+", help="file, or directory")
    parser.add_argument(
        "-o", "--output", metavar="PATH", required=True, help="file or directory to write"
    )
    parser.add_argument(
        "--from",
        dest="source_format",
        metavar="FORMAT",
        help="npy, hdf5, extxyz, or a name that dpdata or ASE has for a format, for example "
        "vasp/outcar; dpdata:NAME or ase:NAME where both have it (default: recognised)",
    )
    parser.add_argument(
        "--to",
        dest="target_format",
        choices=["npy", "hdf5", "extxyz"],
        help="format to write (default: that of the output's name, or npy)",
    )
    parser.add_argument(
        "-t",
        "--type-map",
        metavar="TYPE",
        nargs="+",
        help="names of the types in the order of their numbers (default: sorted)",
    )
    parser.add_argument(
        "--energy",
        choices=["energy", "free_energy"],
        help="which of them is the energy, where a file that ASE reads has two",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the output if it exists already"
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from deepmd_tf.interfaces.conversion import convert_data

    convert_data(
        args.INPUT,
        args.output,
        source_format=args.source_format,
        target_format=args.target_format,
        type_map=args.type_map,
        energy=args.energy,
        overwrite=args.overwrite,
    )
