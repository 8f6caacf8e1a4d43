# SPDX-License-Identifier: BSD-3-Clause
"""``dp freeze``: one file from a checkpoint."""

from __future__ import annotations

import argparse

from deepmd_tf.cli._options import add_log_options


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Options of ``dp freeze``."""
    parser = subparsers.add_parser(
        "freeze",
        help="write a trained model as one frozen file",
        description="Write the model of a checkpoint as one frozen graph, which programs of stock "
        "DeePMD-kit (LAMMPS, ASE, Python, C++) and of this package run.",
        epilog="examples: dp --tf freeze | dp --tf freeze -c model.ckpt-2000 -o water.pb",
    )
    parser.add_argument(
        "-c",
        "--checkpoint-folder",
        "--checkpoint",
        dest="checkpoint",
        metavar="DIR|PREFIX",
        default=".",
        help="directory with a file called checkpoint, or prefix of a checkpoint (default: .)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="frozen_model",
        help="file to write; .pb is appended (default: frozen_model)",
    )
    parser.add_argument(
        "-n",
        "--node-names",
        metavar="A,B,...",
        help="nodes to keep, instead of all that a runtime asks for; attributes are dropped",
    )
    parser.add_argument(
        "--native",
        action="store_true",
        help="use this package's own ops: faster, and stock programs need them in DP_PLUGIN_PATH",
    )
    parser.add_argument(
        "--hessian",
        action="store_true",
        help="native file with the Hessian as a further output, computed only when it is fetched",
    )
    add_log_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Freeze."""
    from deepmd_tf.cli._tensorflow import import_tensorflow

    import_tensorflow()
    from deepmd_tf.export.freeze import freeze

    nodes = [name.strip() for name in (args.node_names or "").split(",") if name.strip()]
    freeze(
        args.checkpoint,
        args.output,
        node_names=nodes or None,
        dialect="native" if args.native or args.hessian else "stock",
        hessian=args.hessian,
    )
