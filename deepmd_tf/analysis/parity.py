# SPDX-License-Identifier: BSD-3-Clause
"""Model against label: what ``dp test --plot`` draws, and its table of systems."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from deepmd_tf.analysis import error_table, figures
from deepmd_tf.analysis.histogram import GrowingHistogram
from deepmd_tf.files import require_writable
from deepmd_tf.inference.tested import Consumer, SystemErrors, Tested
from deepmd_tf.metrics import (
    DIPOLE_QUANTITIES,
    DOS_QUANTITIES,
    POLAR_QUANTITIES,
    Comparison,
    ErrorSum,
    Evaluated,
    Quantity,
    Spread,
    energy,
    r_squared,
)

log = logging.getLogger(__name__)

BINS = 1024
"""Of a parity plot in each direction: finer than the pixels of a panel."""
ERROR_BINS = 4096
ERROR_BARS = 100
FEW = 2000
"""Points below which they are drawn larger, and their errors counted on a linear axis."""
SMOOTH = 6.0
"""Cells over which the density of points is averaged."""


@dataclass(frozen=True)
class Panel:
    """One column of the picture.

    Attributes
    ----------
    quantity
        What is drawn.
    title
        Heading.
    unit
        Of the axes.
    factor
        From the unit of the quantity to that of the axes.
    centred
        Whether the mean of the labels is subtracted on both axes.
    component
        Which of the numbers of a tensor, and how many there are; None: all numbers.
    """

    quantity: Quantity
    title: str
    unit: str
    factor: float = 1.0
    centred: bool = False
    component: tuple[int, int] | None = None

    def compare(self, frames: Evaluated) -> Comparison | None:
        """What is drawn of these frames."""
        one = self.quantity.compare(frames)
        if one is None or self.component is None:
            return one
        index, size = self.component
        sides = (np.reshape(side, (-1, size))[:, index] for side in (one.prediction, one.label))
        return Comparison(*sides)


def _components(quantities: Sequence[Quantity], words: str, components: str) -> list[Panel]:
    """Panels of the tensors of frames and of atoms, by component: "x y z" or "xx yy … yz"."""
    named = components.split()
    places = {"x": 0, "y": 1, "z": 2}
    panels = []
    for quantity, whose in zip(quantities, ("", " of atoms"), strict=True):
        for name in named:
            index = sum(places[c] * 3**k for k, c in enumerate(reversed(name)))
            where = (index, 3 ** len(name))
            panels.append(Panel(quantity, f"{words}{whose}, {name}", "label", component=where))
    return panels


PANELS = (
    Panel(energy.ENERGY_PER_ATOM, "energy per atom", "meV", 1000.0, centred=True),
    Panel(energy.FORCE, "force components", "eV/Å"),
    Panel(energy.FORCE_REAL, "force components, atoms", "eV/Å"),
    Panel(energy.FORCE_MAGNETIC, "force components, spins", "eV/[spin]"),
    Panel(energy.VIRIAL_PER_ATOM, "virial per atom", "meV", 1000.0),
    Panel(energy.ATOM_ENERGY, "energies of atoms", "eV"),
    Panel(energy.HESSIAN, "Hessian elements", "eV/Å²"),
    *_components(DIPOLE_QUANTITIES[::3], "dipole", "x y z"),
    *_components(POLAR_QUANTITIES[::3], "polarisability", "xx yy zz xy xz yz"),
    Panel(DOS_QUANTITIES[0], "density of states", "states/eV"),
    Panel(DOS_QUANTITIES[2], "density of states of atoms", "states/eV"),
)
"""A quantity that was not compared leaves its column out."""


@dataclass
class Points:
    """Statistics of the points of a panel, in memory that does not grow with their number."""

    parity: GrowingHistogram = field(default_factory=lambda: GrowingHistogram(2, BINS))
    errors: GrowingHistogram = field(default_factory=lambda: GrowingHistogram(1, ERROR_BINS))
    labels: Spread = field(default_factory=Spread)
    error: ErrorSum = field(default_factory=ErrorSum)

    def add(self, one: Comparison) -> None:
        """Add elements."""
        label = np.asarray(one.label, dtype=np.float64)
        prediction = np.asarray(one.prediction, dtype=np.float64).reshape(label.shape)
        self.error.add(prediction, label, weight=one.weight, scale=one.scale)
        error = ((prediction - label) * one.scale).reshape(-1, 1)
        labels, predictions = ((v * one.scale).reshape(-1) for v in (label, prediction))
        self.parity.add(np.stack([labels, predictions], axis=1))
        self.errors.add(error)
        self.labels.add(labels)


class ParityPlot(Consumer):
    """Draws model against label and the distribution of errors, and writes a table of systems.

    Points are coloured by their density. They are counted on a grid while the test runs, so that
    memory does not grow with their number. The table is written beside the picture as ``.csv`` and
    ``.md``.

    Parameters
    ----------
    path
        Picture, ``.png``, ``.pdf`` or ``.svg``.

    Raises
    ------
    InputError
        When it, or the table, cannot be written there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = figures.require_picture(path)
        self.tables = [self.path.with_suffix(suffix) for suffix in error_table.SUFFIXES]
        for table in self.tables:
            require_writable(table)
        self._points = {panel: Points() for panel in PANELS}

    def add(self, tested: Tested) -> None:
        """Take frames."""
        for panel, points in self._points.items():
            if (one := panel.compare(tested)) is not None:
                points.add(one)

    def finish(self, systems: list[SystemErrors]) -> None:
        """Draw and write."""
        for table in self.tables:
            error_table.write(systems, table)
        panels = [panel for panel, points in self._points.items() if points.parity.count]
        if not panels:
            log.warning(
                "%s: not drawn, because there is no label with a finite prediction", self.path
            )
            return
        figure, axes = figures.new_figure(2, len(panels), 4.6, 3.9)
        for k, panel in enumerate(panels):
            points = self._points[panel]
            draw_parity(axes[k], panel, points, points.error)
            draw_errors(axes[len(panels) + k], panel, points.errors, points.error)
        figures.save(figure, self.path)


def draw_parity(ax: Axes, panel: Panel, points: Points, error: ErrorSum) -> None:
    """Prediction against label, with the diagonal, RMSE, MAE and R²."""
    centres, counts = points.parity.occupied()
    shift = points.labels.mean if panel.centred else 0.0
    x, y = panel.factor * (centres - shift).T
    order, density = _by_density(points.parity)
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.04 * (high - low) or 1.0
    ax.axline((low, low), slope=1, color="0.6", lw=1, zorder=0)
    ax.scatter(
        x[order],
        y[order],
        c=density,
        s=9 if counts.sum() < FEW else 3,
        cmap="viridis",
        linewidths=0,
        rasterized=True,
    )
    limits = (low - margin, high + margin)
    origin = ", from the mean label" if panel.centred else ""
    ax.set(
        title=panel.title,
        xlabel=f"label{origin} / {panel.unit}",
        ylabel=f"model / {panel.unit}",
        xlim=limits,
        ylim=limits,
        aspect="equal",
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    lines = [
        f"RMSE {panel.factor * error.rmse:.3g} {panel.unit}",
        f"MAE {panel.factor * error.mae:.3g} {panel.unit}",
        f"R² {r_squared(error, points.labels):.5f}",
        f"{counts.sum():,} points",
    ]
    ax.text(0.04, 0.96, "\n".join(lines), transform=ax.transAxes, va="top", fontsize="small")


def draw_errors(ax: Axes, panel: Panel, errors: GrowingHistogram, error: ErrorSum) -> None:
    """How often which error occurs, with lines at plus and minus the RMSE."""
    centres, counts = errors.occupied()
    x = panel.factor * centres[:, 0]
    half = panel.factor * errors.width / 2
    # more bars for more points, and none narrower than a cell
    cells = round((x[-1] - x[0]) / (2 * half)) + 1
    bars = min(cells, ERROR_BARS, 4 * math.ceil(counts.sum() ** (1 / 3)))
    ax.hist(
        x, bins=bars, range=(x[0] - half, x[-1] + half), weights=counts, color=figures.COLOURS[0]
    )
    rmse = panel.factor * error.rmse
    for value in (-rmse, rmse):
        ax.axvline(value, color=figures.COLOURS[1], lw=1, ls="--")
    ax.plot([], [], color=figures.COLOURS[1], lw=1, ls="--", label="±RMSE")
    ax.legend(frameon=False, fontsize="small")
    ax.set(xlabel=f"model − label / {panel.unit}", ylabel="number")
    if counts.sum() >= FEW:
        ax.set(yscale="log", ylim=(0.5, None))
    else:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))


def _by_density(grid: GrowingHistogram) -> tuple[np.ndarray, np.ndarray]:
    """Occupied cells from sparse to dense, and the logarithm of the density in that order."""
    counts, index = grid.dense()
    smooth = gaussian_filter(counts.astype(np.float32), SMOOTH, mode="constant")
    density = np.log(smooth[tuple(index.T)] + 1e-12)
    order = np.argsort(density)
    return order, density[order]
