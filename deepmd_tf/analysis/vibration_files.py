# SPDX-License-Identifier: BSD-3-Clause
"""Vibrations for readers and programs: tables, arrays, a spectrum, animations."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write
from rich import box
from rich.console import Console
from rich.table import Table

from deepmd_tf.analysis import figures
from deepmd_tf.analysis.vibrations import EV_PER_WAVENUMBER, NormalModes, broadened

NAMES = ("summary.json", "structure.xyz", "modes.csv", "modes.npz", "mode_*.xyz", "spectrum.*")
"""Patterns of all files."""
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


def show(modes: NormalModes, symbols: Sequence[str]) -> None:
    """Print the modes to standard output, the lowest :data:`SHOWN` of them if there are more."""
    table = Table(title="vibrations", title_justify="left", box=box.SIMPLE)
    shares = element_shares(modes, symbols)
    heads = ["mode", "cm⁻¹", "meV", "reduced mass, u", *(f"{name}, %" for name in shares)]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for k, value in enumerate(modes.frequencies[:SHOWN]):
        table.add_row(
            str(k),
            wavenumber(value),
            wavenumber(1000 * EV_PER_WAVENUMBER * value, 2),
            f"{modes.reduced_masses[k]:.3f}",
            *(f"{100 * share[k]:.0f}" for share in shares.values()),
        )
    if len(modes.frequencies) > SHOWN:
        table.caption = f"and {len(modes.frequencies) - SHOWN} more"
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH  # a file or a pipe has no width of its own
    console.print(table)


def write_table(path: Path, modes: NormalModes, symbols: Sequence[str]) -> None:
    """Write the modes as CSV, one per row; imaginary frequencies are negative numbers."""
    shares = element_shares(modes, symbols)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            [
                "mode",
                "wavenumber_per_cm",
                "imaginary",
                "energy_meV",
                "reduced_mass_u",
                *(f"share_{name}" for name in shares),
            ]
        )
        for k, value in enumerate(modes.frequencies.tolist()):
            numbers = [
                1000 * EV_PER_WAVENUMBER * value,
                modes.reduced_masses[k],
                *(share[k] for share in shares.values()),
            ]
            writer.writerow([k, repr(value), int(value < 0), *(f"{x:.10g}" for x in numbers)])


def write_summary(path: Path, content: Mapping[str, Any]) -> None:
    """Write numbers and words as JSON."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


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
    value = float(modes.frequencies[number])
    frames = []
    for phase in np.arange(FRAMES) / FRAMES:
        frame = Atoms(
            atoms.numbers,
            atoms.positions + AMPLITUDE * np.sin(2 * np.pi * phase) * shift,
            cell=atoms.cell,
            pbc=atoms.pbc,
        )
        frame.arrays["mode"] = shift
        frame.info = {"number": number, "wavenumber": wavenumber(value, 2), "phase": phase}
        frames.append(frame)
    write(path, frames, format="extxyz")


def draw_spectrum(path: Path, modes: NormalModes, symbols: Sequence[str], width: float) -> None:
    """Draw the density of vibrational states, broadened, and what each element has in it.

    Parameters
    ----------
    path
        Picture.
    modes, symbols
        Modes, and chemical symbols of the atoms that move.
    width
        Full width at half maximum, cm⁻¹.
    """
    found = modes.frequencies
    low, high = (min(found.min(), 0), max(found.max(), 0)) if len(found) else (0.0, 1.0)
    grid = np.linspace(low - 3 * width if low < 0 else 0, high + 3 * width, POINTS)
    figure, (ax,) = figures.new_figure(1, 1, 7, 3.6)
    below = np.zeros(POINTS)
    for number, (name, share) in enumerate(element_shares(modes, symbols).items()):
        above = below + broadened(found, share, grid, width)
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
