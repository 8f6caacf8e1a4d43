# SPDX-License-Identifier: BSD-3-Clause
"""``dp doc-train-input``: what an input script may hold."""

from __future__ import annotations

import argparse
import json

from deepmd_tf.cli._options import add_log_options


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp doc-train-input``."""
    parser = subparsers.add_parser(
        "doc-train-input",
        help="print what an input script may hold",
        description="Print every key of the input script with its meaning: as text, as a tree in "
        "JSON, or as a JSON schema, by which editors complete and check input scripts.",
        epilog="example: dp --tf doc-train-input --out-type json_schema > deepmd_tf.json",
    )
    parser.add_argument(
        "--out-type",
        choices=["rst", "json", "json_schema"],
        default="rst",
        help="reStructuredText, a tree of arguments, or a JSON schema (default: rst)",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Print."""
    from deepmd_tf.config.schema import json_schema
    from deepmd_tf.config.tree import arguments, rst

    if args.out_type == "rst":
        print(rst())
    elif args.out_type == "json":
        print(json.dumps(arguments()))
    else:
        print(json.dumps(json_schema()))
