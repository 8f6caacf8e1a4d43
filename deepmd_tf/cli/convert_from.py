# SPDX-License-Identifier: BSD-3-Clause
"""``dp convert-from``: frozen files of older versions."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp convert-from``."""
    parser = subparsers.add_parser(
        "convert-from",
        help="bring a frozen model of an older version into the present form",
        description="Bring a frozen model of DeePMD-kit 0.12 to 2.0 into the present form, which "
        "programs of DeePMD-kit 3 and this package read; or write a graph as text, and back.",
        epilog="examples: dp --tf convert-from -i old.pb -o new.pb | "
        "dp --tf convert-from -i model.pb -o model.pbtxt",
    )
    parser.add_argument(
        "FROM",
        nargs="?",
        default="auto",
        help="version that wrote the file: auto, 0.12, 1.0, 1.1, 1.2, 1.3 or 2.0; or pbtxt, from "
        "text to binary only (default: auto)",
    )
    parser.add_argument(
        "-i",
        "--input-model",
        metavar="FILE",
        default="frozen_model.pb",
        help="frozen model (default: frozen_model.pb); text if its name ends in .pbtxt",
    )
    parser.add_argument(
        "-o",
        "--output-model",
        metavar="FILE",
        default="convert_out.pb",
        help="file to write (default: convert_out.pb); if its name ends in .pbtxt, the graph as "
        "text, not converted",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Convert."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    from deepmd_tf.export.convert import convert

    convert(args.FROM, args.input_model, args.output_model)
