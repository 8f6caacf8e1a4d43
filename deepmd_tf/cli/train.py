# SPDX-License-Identifier: BSD-3-Clause
"""``dp train``: train a model from an input script."""

from __future__ import annotations

import argparse
import re

from deepmd_tf.cli._options import add_log_options, add_mpi_log


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp train``."""
    parser = subparsers.add_parser(
        "train",
        help="train a model",
        description="Train a model as the input script says.",
        epilog="examples: dp --tf train input.json | dp --tf train input.json --restart model.ckpt",
    )
    parser.add_argument("INPUT", help="input script, JSON or YAML")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "-i",
        "--init-model",
        metavar="PREFIX",
        help="begin with the weights of this checkpoint (a folder: its newest one), at step 0",
    )
    start.add_argument(
        "-r",
        "--restart",
        metavar="PREFIX",
        help="go on from this checkpoint (a folder: its newest one), as if training had not been "
        "interrupted",
    )
    start.add_argument(
        "-f",
        "--init-frz-model",
        metavar="FILE",
        help="begin with the weights of this frozen model, of this package or of DeePMD-kit",
    )
    start.add_argument(
        "-t",
        "--finetune",
        metavar="FILE",
        help="begin with this trained model (frozen, or a checkpoint), whatever descriptor and "
        "fitting net the input script has, and adjust its energy bias to the training data",
    )
    parser.add_argument(
        "--use-pretrain-script",
        action="store_true",
        help="with -i, -f or -t: the section model of the input script is that of the checkpoint "
        "or of the frozen model",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="out.json",
        help="where to write the input with all defaults filled in (default: out.json)",
    )
    parser.add_argument(
        "--skip-neighbor-stat",
        action="store_true",
        help="do not count neighbours first; then sel cannot be checked or automatic, and the "
        "model cannot be compressed",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="do everything up to the first steps, print what would be trained, how long it would "
        "take and what would be written, and stop; writes nothing",
    )
    parser.add_argument(
        "--max-time",
        metavar="TIME",
        type=_seconds,
        help="write a checkpoint and end with exit status 75 before this time is over, counted "
        "from the start of the program: seconds, a number with s, m, h or d, or "
        "[days-]hours:minutes:seconds",
    )
    add_log_options(parser)
    add_mpi_log(parser)
    return parser


def _seconds(text: str) -> float:
    if found := re.fullmatch(r"(\d+(?:\.\d*)?)([smhd]?)", text):
        seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
    elif found := re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)", text):
        days, hours, minutes, rest = (int(group or 0) for group in found.groups())
        seconds = ((24 * days + hours) * 60 + minutes) * 60 + rest
    else:
        seconds = 0
    if not seconds:
        raise argparse.ArgumentTypeError(
            f'"{text}" is no time; expected seconds, a number with s, m, h or d, or '
            "[days-]hours:minutes:seconds"
        )
    return float(seconds)


def run(args: argparse.Namespace) -> int:
    """Train; the exit status is 0, or if training ended early, 128 + the signal number or 75."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    from deepmd_tf.training.entrypoint import train
    from deepmd_tf.training.interrupt import process_age

    max_time = None if args.max_time is None else args.max_time - process_age()
    return train(
        args.INPUT,
        init_model=args.init_model,
        restart=args.restart,
        init_frz_model=args.init_frz_model,
        finetune=args.finetune,
        use_pretrain_script=args.use_pretrain_script,
        output=args.output,
        skip_neighbor_stat=args.skip_neighbor_stat,
        dry_run=args.dry_run,
        max_time=max_time,
    )
