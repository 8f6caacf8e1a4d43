# SPDX-License-Identifier: BSD-3-Clause
"""``dp compress``: tables in place of the embedding nets."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from deepmd_tf.cli._options import add_log_options, add_mpi_log

log = logging.getLogger(__name__)


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp compress``."""
    parser = subparsers.add_parser(
        "compress",
        help="replace the embedding nets of a frozen model by tables",
        description="Write a frozen model with tables in place of the embedding nets, which "
        "programs of DeePMD-kit evaluate several times faster, and compare it with the original. "
        "This package tabulates every model by itself, so it gains nothing.",
        epilog="example: dp --tf compress -i water.pb -o water_compressed.pb",
    )
    parser.add_argument(
        "-i",
        "--input",
        metavar="FILE",
        default="frozen_model",
        help="frozen model (default: frozen_model)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="frozen_model_compressed",
        help="file to write; .pb is appended (default: frozen_model_compressed)",
    )
    parser.add_argument(
        "-s",
        "--step",
        type=float,
        default=0.01,
        help="width of a row of the tables; ten times as wide beyond the range of the training "
        "data (default: 0.01)",
    )
    parser.add_argument(
        "-e",
        "--extrapolate",
        type=float,
        default=5.0,
        metavar="FACTOR",
        help="the tables end at this multiple of the range of the training data (default: 5)",
    )
    parser.add_argument(
        "-f",
        "--frequency",
        type=int,
        default=-1,
        metavar="N",
        help="stored in the tables; programs do nothing with it (default: -1)",
    )
    parser.add_argument(
        "-c",
        "--checkpoint-folder",
        metavar="DIR",
        help="accepted for compatibility: no checkpoint is written",
    )
    parser.add_argument(
        "-t",
        "--training-script",
        metavar="INPUT",
        help="input script whose training data the smallest distance is measured on, when the "
        "model was trained without measuring it, and the compressed model is compared on",
    )
    add_log_options(parser)
    add_mpi_log(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Compress."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    from deepmd_tf.analysis.neighbors import neighbor_stat
    from deepmd_tf.config.compat import convert_layout
    from deepmd_tf.config.reader import read_input
    from deepmd_tf.export.comparison import training_systems
    from deepmd_tf.export.compress import compress
    from deepmd_tf.graph.frozen import read_model

    if args.checkpoint_folder is not None:
        log.info("--checkpoint-folder: nothing is written there, compressing needs no checkpoint")
    model = read_model(args.input)
    systems = None
    if (path := args.training_script) is not None:
        script = convert_layout(read_input(path), source=path)
        systems = training_systems(script, Path(path).parent)
    distance = model.min_nbor_dist
    if distance is None and systems is not None and model.rcut > 0:
        log.info("stage 0: compute the min_nbor_dist")
        found = neighbor_stat(
            systems,
            rcut=model.rcut,
            type_map=model.type_map or None,
        )
        distance = found.min_distance
    compress(
        model,
        args.output,
        step=args.step,
        extrapolate=args.extrapolate,
        check_frequency=args.frequency,
        min_nbor_dist=distance,
        systems=systems,
    )
