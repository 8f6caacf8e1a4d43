# SPDX-License-Identifier: BSD-3-Clause
"""``dp test``: errors of a model on labelled data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deepmd_tf.cli._options import (
    add_log_options,
    add_model,
    add_set_prefix,
    add_systems,
    warn_set_prefix,
)
from deepmd_tf.cli._ranks import sharing_ranks

if TYPE_CHECKING:
    from deepmd_tf.parallel import Ranks


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp test``."""
    parser = subparsers.add_parser(
        "test",
        help="compare a model with labelled data",
        description="Evaluate a frozen model on labelled data and print a table of the errors of "
        "energy, force and stress, for each system and for all together.",
        epilog="examples: dp --tf test -m frozen_model.pb -s data | "
        "dp --tf test -m frozen_model.pb --valid-data input.json -d detail | "
        "mpirun -n 4 dp --tf test -m frozen_model.pb -s data",
    )
    add_model(parser)
    source = add_systems(parser, "tested")
    source.add_argument(
        "--train-data", metavar="INPUT", help="input script, whose training systems are tested"
    )
    source.add_argument(
        "--valid-data", metavar="INPUT", help="input script, whose validation systems are tested"
    )
    parser.add_argument(
        "-n",
        "--numb-test",
        metavar="N",
        type=int,
        default=0,
        help="frames of each system; 0 means all (default: 0)",
    )
    parser.add_argument(
        "-r", "--rand-seed", metavar="SEED", type=int, help="seed of --shuffle-test"
    )
    parser.add_argument(
        "--shuffle-test", action="store_true", help="take the frames of a system in random order"
    )
    parser.add_argument(
        "-d",
        "--detail-file",
        metavar="PREFIX",
        help="write label and prediction of every number to PREFIX.e.out, PREFIX.f.out, …",
    )
    parser.add_argument(
        "-a",
        "--atomic",
        action="store_true",
        help="compare energies of atoms too, where the data have them",
    )
    parser.add_argument(
        "--hessian",
        action="store_true",
        help="compare Hessians whatever the model was trained on; the data must have them (without "
        "this option: where the data have them, if the model was trained on or frozen with them)",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        nargs="?",
        const="test.png",
        help="draw model against label and the distribution of errors (.png, .pdf or .svg; "
        "default: test.png), and write the table of errors beside it (.csv, .md)",
    )
    parser.add_argument(
        "--extxyz",
        metavar="FILE",
        help="write frames, predictions, labels and errors of each atom as extended XYZ "
        "(.xyz or .extxyz)",
    )
    parser.add_argument(
        "--on-missing-neighbors",
        metavar="RULE",
        choices=("warn", "error", "ignore"),
        help="what to do where an atom has more neighbours than sel: warn, error or ignore "
        "(default: DP_ON_MISSING_NEIGHBORS, or else warn)",
    )
    add_set_prefix(parser)
    parser.add_argument("--head", "--model-branch", help=argparse.SUPPRESS)
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Test."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    with sharing_ranks() as ranks:
        _test(args, ranks)


def _test(args: argparse.Namespace, ranks: Ranks) -> None:
    """Test, with the other ranks."""
    from deepmd_tf.analysis.error_table import Shown
    from deepmd_tf.errors import InputError
    from deepmd_tf.inference.tested import Consumer
    from deepmd_tf.inference.testing import find_systems, run_test

    if args.head is not None:
        raise InputError("--head: models of this package have one head; leave the option out")
    if args.numb_test < 0:
        raise InputError(f"-n {args.numb_test}: expected a number of frames, or 0 for all")
    consumers: list[Consumer] = [Shown()]
    if args.plot is not None:
        from deepmd_tf.analysis.parity import ParityPlot

        consumers.append(ParityPlot(args.plot))
    if args.extxyz is not None:
        from deepmd_tf.analysis.extxyz import ExtendedXYZ

        consumers.append(ExtendedXYZ(args.extxyz))
    systems = find_systems(
        system=args.system,
        list_file=args.datafile,
        train_input=args.train_data,
        valid_input=args.valid_data,
    )
    if args.set_prefix is not None:
        warn_set_prefix()
    run_test(
        args.model if not Path(f"{args.model}.pb").is_file() else f"{args.model}.pb",
        systems,
        n_frames=args.numb_test,
        seed=args.rand_seed,
        shuffle=args.shuffle_test,
        detail_prefix=args.detail_file,
        atomic=args.atomic,
        hessian=args.hessian or None,
        consumers=consumers,
        on_missing_neighbors=args.on_missing_neighbors,
        ranks=ranks,
    )
