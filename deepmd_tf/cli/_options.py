# SPDX-License-Identifier: BSD-3-Clause
"""Options shared by all commands."""

from __future__ import annotations

import argparse
import logging

from deepmd_tf.log import ROOT

LOG_LEVELS = {
    "DEBUG": "DEBUG",
    "3": "DEBUG",
    "INFO": "INFO",
    "2": "INFO",
    "WARNING": "WARNING",
    "1": "WARNING",
    "ERROR": "ERROR",
    "0": "ERROR",
}


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add ``-v/--log-level`` and ``-l/--log-path``, on which :mod:`deepmd_tf.cli.main` acts."""
    parser.add_argument(
        "-v",
        "--log-level",
        choices=list(LOG_LEVELS),
        default="INFO",
        help="how much to say: 0=ERROR, 1=WARNING, 2=INFO, 3=DEBUG (default: INFO)",
    )
    parser.add_argument(
        "-l", "--log-path", metavar="FILE", help="write the messages to this file as well"
    )


def add_mpi_log(parser: argparse.ArgumentParser) -> None:
    """Add ``-m/--mpi-log``, which scripts for DeePMD-kit give; rank 0 writes the one log here."""
    parser.add_argument(
        "-m",
        "--mpi-log",
        choices=["master", "collect", "workers"],
        default="master",
        help="accepted for compatibility: of several processes the first writes the log",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``-m/--model``, the model to evaluate."""
    parser.add_argument(
        "-m",
        "--model",
        metavar="FILE",
        default="frozen_model",
        help="frozen model, .pb may be left out; or a checkpoint (default: frozen_model)",
    )


def add_system(parser: argparse._ActionsContainer, done: str = "taken") -> None:
    """Add ``-s/--system``; ``done`` says what is done to the systems."""
    parser.add_argument(
        "-s",
        "--system",
        metavar="DIR",
        default=".",
        help=f"directory; all systems in and below it are {done} (default: .)",
    )


def add_systems(
    parser: argparse.ArgumentParser, done: str = "taken"
) -> argparse._MutuallyExclusiveGroup:
    """Add ``-s/--system`` and ``-f/--datafile``, of which one may be given.

    Returns the group, for further ways to name systems.
    """
    source = parser.add_mutually_exclusive_group()
    add_system(source, done)
    source.add_argument(
        "-f", "--datafile", metavar="FILE", help="file with the directory of one system per line"
    )
    return source


def add_set_prefix(parser: argparse.ArgumentParser) -> None:
    """Add ``-S/--set-prefix``, which old scripts give; see :func:`warn_set_prefix`."""
    parser.add_argument("-S", "--set-prefix", metavar="PREFIX", help=argparse.SUPPRESS)


def warn_set_prefix() -> None:
    """Say that ``-S/--set-prefix``, which old scripts give, does nothing."""
    logging.getLogger(ROOT).warning("-S is ignored: sets are the directories set.*")
