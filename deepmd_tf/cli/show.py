# SPDX-License-Identifier: BSD-3-Clause
"""``dp show``: what a model file holds."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options

ATTRIBUTES = ("model-branch", "type-map", "descriptor", "fitting-net", "size", "observed-type")


def _attribute(word: str) -> str:
    # "choices" would refuse that there are none
    if word not in ATTRIBUTES:
        choices = ", ".join(map(repr, ATTRIBUTES))
        raise argparse.ArgumentTypeError(f"invalid choice: {word!r} (choose from {choices})")
    return word


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp show``."""
    parser = subparsers.add_parser(
        "show",
        help="show what a model file holds",
        description="Show a summary of a model file; or type map, parameters of descriptor and "
        "fitting net, numbers of weights, and the types that were in the training data.",
        epilog="examples: dp --tf show frozen_model.pb | "
        "dp --tf show frozen_model.pb type-map descriptor fitting-net size",
    )
    parser.add_argument(
        "INPUT", help="frozen model, or checkpoint: its prefix or the folder that it is in"
    )
    parser.add_argument(
        "ATTRIBUTES",
        type=_attribute,
        nargs="*",
        metavar="ATTRIBUTE",
        help=f"some of {', '.join(ATTRIBUTES[1:])} (model-branch: multi-task models only); without "
        "one, a summary",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Show."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    from deepmd_tf.analysis.show import card, show
    from deepmd_tf.output import print_pairs

    print_pairs(show(args.INPUT, args.ATTRIBUTES) if args.ATTRIBUTES else card(args.INPUT))
