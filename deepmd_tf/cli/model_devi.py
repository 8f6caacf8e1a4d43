# SPDX-License-Identifier: BSD-3-Clause
"""``dp model-devi``: how far models disagree."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import (
    add_log_options,
    add_set_prefix,
    add_system,
    warn_set_prefix,
)
from deepmd_tf.cli._ranks import sharing_ranks


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp model-devi``."""
    parser = subparsers.add_parser(
        "model-devi",
        help="measure how far several models disagree",
        description="Evaluate several models on the same frames and write how far their forces, "
        "virials and energies deviate from each other.",
        epilog="example: dp --tf model-devi -m graph.000.pb graph.001.pb graph.002.pb -s data",
    )
    parser.add_argument(
        "-m",
        "--models",
        metavar="FILE",
        nargs="+",
        default=[f"graph.{i:03d}" for i in range(4)],
        help="frozen models, .pb may be left out; or checkpoints "
        "(default: graph.000 graph.001 graph.002 graph.003)",
    )
    add_system(parser)
    add_set_prefix(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="model_devi.out",
        help="file that the result is appended to (default: model_devi.out)",
    )
    parser.add_argument(
        "-f",
        "--frequency",
        metavar="N",
        type=int,
        default=1,
        help="steps of a simulation from one frame to the next, for the first column (default: 1)",
    )
    parser.add_argument(
        "--real_error",
        action="store_true",
        help="measure the error against the labels of the data instead",
    )
    parser.add_argument(
        "--atomic", action="store_true", help="write the deviation of the force on each atom too"
    )
    parser.add_argument(
        "--relative",
        metavar="LEVEL",
        type=float,
        help="divide the deviation of a force by its size plus this number, in eV/Å",
    )
    parser.add_argument(
        "--relative_v",
        metavar="LEVEL",
        type=float,
        help="divide the deviation of a virial per atom by its size plus this number, in eV",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Measure."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    from deepmd_tf.analysis.model_devi import describe, named_model_devi
    from deepmd_tf.data import expand_systems
    from deepmd_tf.output import print_pairs

    with sharing_ranks() as ranks:
        if args.set_prefix is not None:
            warn_set_prefix()
        found = named_model_devi(
            args.models,
            expand_systems(args.system),
            args.output,
            frequency=args.frequency,
            real_error=args.real_error,
            atomic=args.atomic,
            relative=args.relative,
            relative_v=args.relative_v,
            ranks=ranks,
        )
    unit = "eV/Å" if args.relative is None else "of the force"
    print_pairs((name, describe(devi, unit)) for name, devi in found)
