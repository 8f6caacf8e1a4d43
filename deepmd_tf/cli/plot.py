# SPDX-License-Identifier: BSD-3-Clause
"""``dp plot``: pictures of learning curves."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp plot``."""
    parser = subparsers.add_parser(
        "plot",
        help="draw learning curves",
        description="Draw every term of one or more learning curves against the training step, "
        "with learning rate and prefactors.",
        epilog="examples: dp --tf plot lcurve.out | "
        "dp --tf plot one/lcurve.out two -o runs.pdf --label small large",
    )
    parser.add_argument(
        "CURVE", nargs="*", default=["lcurve.out"], help="learning curves, or their folders"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="lcurve.png",
        help="picture, .png, .pdf or .svg (default: lcurve.png)",
    )
    parser.add_argument(
        "--label", metavar="NAME", nargs="+", help="names of the curves (default: of the files)"
    )
    parser.add_argument(
        "-i",
        "--input",
        metavar="FILE",
        help="input script with the prefactors (default: out.json or input.json beside each curve)",
    )
    parser.add_argument(
        "--log-steps", action="store_true", help="logarithmic axis for the steps, too"
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Draw."""
    from deepmd_tf.analysis.figures import require_picture
    from deepmd_tf.analysis.learning_curve import draw, labels_of, read_run
    from deepmd_tf.errors import InputError

    require_picture(args.output)
    labels = args.label or labels_of(args.CURVE)
    if len(labels) != len(args.CURVE):
        raise InputError(
            f"--label: there are {len(labels)} names for {len(args.CURVE)} learning curves"
        )
    runs = [
        read_run(path, label, args.input) for path, label in zip(args.CURVE, labels, strict=True)
    ]
    draw(runs, args.output, log_steps=args.log_steps)
