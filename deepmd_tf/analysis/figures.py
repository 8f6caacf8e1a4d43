# SPDX-License-Identifier: BSD-3-Clause
"""Shared code of all figures: format by suffix, colours, written whole."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmd_tf.files import replacing, require_writable

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".pdf", ".svg")
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
"""Of Okabe and Ito, told apart with any kind of colour vision."""
DPI = 150
WIDTH_OF_SIGMA = math.sqrt(8 * math.log(2))
"""Full width at half maximum of a normal distribution of standard deviation 1."""


def require_picture(path: str | os.PathLike[str]) -> Path:
    """The path, if a picture can be written there; see :func:`deepmd_tf.files.require_writable`."""
    return require_writable(path, SUFFIXES, "picture")


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure and its panels, row by row; sizes of a panel in inches."""
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save(figure: Figure, path: Path) -> None:
    """:func:`write` a picture and say so."""
    write(figure, path)
    log.info("wrote %s", path)


def write(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all, in the format of its suffix.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    with replacing(path) as part:
        figure.savefig(part, format=path.suffix.lower()[1:], dpi=DPI)
