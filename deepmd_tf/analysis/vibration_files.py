# SPDX-License-Identifier: BSD-3-Clause
"""Vibrations for readers and programs: tables, arrays, a spectrum, animations."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from deepmd_tf.analysis import figures
from deepmd_tf.analysis.vibrations import NormalModes
from deepmd_tf.errors import optional_package

with optional_package("ase"):
    from ase import Atoms, units
    from ase.io import write
    from ase.spectrum.dosdata import RawDOSData

WIDTH = 120
SHOWN = 60
"""Modes up to which a table on the terminal is complete, and animations are made unasked."""
FRAMES = 24
AMPLITUDE = 0.3
"""Å: how far the atom that moves most moves in an animation."""
POINTS = 2000


def wavenumber(value: float, digits: int = 1) -> str:
    """A frequency in words: ``1594.6``, or ``123.4i`` if it is imaginary (negative)."""
    size = f"{abs(value):.{digits}f}"
    return f"{size}i" if value < 0 and float(size) else size


def element_shares(modes: NormalModes, symbols: Sequence[str]) -> dict[str, np.ndarray]:
    """By element, the share [m] of its atoms in the kinetic energy of each mode."""
    names = np.array(symbols)
    return {
        name: modes.shares[:, names == name].sum(axis=1) for name in dict.fromkeys(names.tolist())
    }


def _rows(
    modes: NormalModes, shares: dict[str, np.ndarray]
) -> Iterator[tuple[float, float, float, list[float]]]:
    """Of each mode: wavenumber, cm⁻¹; energy, meV; reduced mass, u; shares of the elements."""
    for k, value in enumerate(modes.frequencies.tolist()):
        mev = 1000 * units.invcm * value
        yield value, mev, modes.reduced_masses[k], [share[k] for share in shares.values()]


def show(modes: NormalModes, symbols: Sequence[str]) -> None:
    """Print the modes to standard output, the lowest :data:`SHOWN` of them if there are more."""
    table = Table(title="vibrations", title_justify="left", box=box.SIMPLE)
    shares = element_shares(modes, symbols)
    for head in ["mode", "cm⁻¹", "meV", "reduced mass, u", *(f"{name}, %" for name in shares)]:
        table.add_column(head, justify="right", no_wrap=True)
    for k, (value, mev, mass, parts) in enumerate(_rows(modes, shares)):
        if k == SHOWN:
            table.caption = f"and {len(modes.frequencies) - SHOWN} more"
            break
        percents = [f"{100 * part:.0f}" for part in parts]
        table.add_row(str(k), wavenumber(value), wavenumber(mev, 2), f"{mass:.3f}", *percents)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH  # a file or a pipe has no width of its own
    console.print(table)


def write_table(path: Path, modes: NormalModes, symbols: Sequence[str]) -> None:
    """Write the modes as CSV, one per row; imaginary frequencies are negative numbers."""
    shares = element_shares(modes, symbols)
    heads = ["mode", "wavenumber_per_cm", "imaginary", "energy_meV", "reduced_mass_u"]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*heads, *(f"share_{name}" for name in shares)])
        for k, (value, mev, mass, parts) in enumerate(_rows(modes, shares)):
            numbers = [f"{x:.10g}" for x in (mev, mass, *parts)]
            writer.writerow([k, repr(value), int(value < 0), *numbers])


def write_arrays(
    path: Path, atoms: Atoms, moving: np.ndarray | None, modes: NormalModes, hessian: np.ndarray
) -> None:
    """Write what further work needs, for :func:`numpy.load`.

    ``frequencies`` [m] and ``removed``, cm⁻¹, imaginary ones negative; ``vectors`` [m, k, 3],
    mass-weighted eigenvectors; ``displacements``, the same without mass weights; ``hessian``
    [3k, 3k], eV/Å²; ``masses`` [k], u; ``atoms`` [k], which ones move; ``numbers``, ``positions``,
    ``cell``, ``pbc`` of all n atoms.
    """
    np.savez_compressed(
        path,
        frequencies=modes.frequencies,
        removed=modes.removed,
        vectors=modes.vectors,
        displacements=modes.displacements,
        hessian=hessian,
        masses=modes.masses,
        atoms=np.arange(len(atoms)) if moving is None else moving,
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
    )


def write_animation(
    path: Path, atoms: Atoms, moving: np.ndarray | None, modes: NormalModes, number: int
) -> None:
    """Write one period of a mode as extended XYZ, with its displacements in the column ``mode``."""
    shift = np.zeros((len(atoms), 3))
    shift[slice(None) if moving is None else moving] = modes.displacements[number]
    shift /= np.linalg.norm(shift, axis=1).max()
    value = wavenumber(float(modes.frequencies[number]), 2)
    frames = []
    for phase in np.arange(FRAMES) / FRAMES:
        moved = atoms.positions + AMPLITUDE * np.sin(2 * np.pi * phase) * shift
        frame = Atoms(atoms.numbers, moved, cell=atoms.cell, pbc=atoms.pbc)
        frame.arrays["mode"] = shift
        frame.info = {"number": number, "wavenumber": value, "phase": phase}
        frames.append(frame)
    write(path, frames, format="extxyz")


def draw_spectrum(path: Path, modes: NormalModes, symbols: Sequence[str], width: float) -> None:
    """Draw the density of vibrational states, and what each element has in it.

    Lines are broadened to ``width``, cm⁻¹, at half maximum.
    """
    found = modes.frequencies
    low, high = (min(found.min(), 0), max(found.max(), 0)) if len(found) else (0.0, 1.0)
    grid = np.linspace(low - 3 * width if low < 0 else 0, high + 3 * width, POINTS)
    figure, (ax,) = figures.new_figure(1, 1, 7, 3.6)
    below = np.zeros(POINTS)
    for number, (name, share) in enumerate(element_shares(modes, symbols).items()):
        lines = RawDOSData(found, share).sample_grid(
            POINTS, xmin=grid[0], xmax=grid[-1], width=width / figures.WIDTH_OF_SIGMA
        )
        above = below + lines.get_weights()
        tint = figures.COLOURS[number % len(figures.COLOURS)]
        ax.fill_between(grid, below, above, color=tint, alpha=0.5, lw=0, label=name)
        below = above
    ax.plot(grid, below, color="black", lw=1)
    ax.plot(found, np.zeros_like(found), "|", color="black", ms=9, clip_on=False)
    if low < 0:
        ax.axvspan(grid[0], 0, color="0.9", zorder=0, label="imaginary")
    ax.set(
        xlabel="wavenumber / cm⁻¹ (imaginary ones below zero)" if low < 0 else "wavenumber / cm⁻¹",
        ylabel="modes per cm⁻¹",
        title="density of vibrational states (no intensities: the model has no dipole)",
        xlim=(grid[0], grid[-1]),
        ylim=(0, None),
    )
    ax.title.set_fontsize("medium")
    ax.legend(frameon=False, fontsize="small")
    figures.write(figure, path)
