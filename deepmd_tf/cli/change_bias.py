# SPDX-License-Identifier: BSD-3-Clause
"""``dp change-bias``: another energy bias for a trained model."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options, add_systems


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp change-bias``."""
    parser = subparsers.add_parser(
        "change-bias",
        help="adjust the energy bias of a model to data",
        description="Change the energy that a model adds to each atom of a type: by what it lacks "
        "on average for the given data, or to given values.",
        epilog="examples: dp --tf change-bias frozen_model.pb -s data | "
        "dp --tf change-bias model.ckpt -b -93.57 -187.1",
    )
    parser.add_argument(
        "INPUT", help="frozen model, or checkpoint: its prefix or the folder that it is in"
    )
    source = add_systems(parser)
    source.add_argument(
        "-b",
        "--bias-value",
        metavar="E",
        type=float,
        nargs="+",
        help="the new bias, in eV, one value for each type in the order of the type map",
    )
    parser.add_argument(
        "-n",
        "--numb-batch",
        metavar="N",
        type=int,
        default=0,
        help="frames of each system; 0 means all (default: 0)",
    )
    parser.add_argument(
        "-m",
        "--mode",
        choices=["change", "set"],
        default="change",
        help="change: add what the model lacks, by a regression of its errors; set: replace the "
        "bias by a regression of the energies (default: change)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="frozen model to write; .pb is appended (default: name of the model with _updated, "
        "or model.pb for a checkpoint model.ckpt)",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Change."""
    from deepmd_tf.cli._tensorflow import import_tensorflow
    from deepmd_tf.errors import InputError

    import_tensorflow()
    from deepmd_tf.analysis.change_bias import change_bias
    from deepmd_tf.inference.testing import find_systems

    if args.numb_batch < 0:
        raise InputError(f"-n {args.numb_batch}: expected a number of frames, or 0 for all")
    systems = []
    if args.bias_value is None:
        systems = find_systems(system=args.system, list_file=args.datafile)
    change_bias(
        args.INPUT,
        systems,
        bias=args.bias_value,
        n_frames=args.numb_batch,
        mode=args.mode,
        output=args.output,
    )
