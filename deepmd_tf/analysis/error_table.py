# SPDX-License-Identifier: BSD-3-Clause
"""Errors of each system as a table: on the terminal, as CSV, as Markdown."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from deepmd_tf.files import BYTES_OF_NAMES, replacing
from deepmd_tf.inference.tested import SystemErrors
from deepmd_tf.metrics import (
    DIPOLE_QUANTITIES,
    DOS_QUANTITIES,
    POLAR_QUANTITIES,
    Quantity,
    energy,
)

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".md")
KINDS = ("MAE", "RMSE")
WIDTH = 160
SHOWN = {
    energy.ENERGY_PER_ATOM: "E/N, meV",
    energy.FORCE: "F, meV/Å",
    energy.VIRIAL_PER_ATOM: "V/N, meV",
    energy.HESSIAN: "H, meV/Å²",
    DIPOLE_QUANTITIES[0]: "dipole, 0.001",
    DIPOLE_QUANTITIES[3]: "dipole of atoms, 0.001",
    POLAR_QUANTITIES[0]: "polar., 0.001",
    POLAR_QUANTITIES[3]: "polar. of atoms, 0.001",
    DOS_QUANTITIES[0]: "DOS, 0.001",
    DOS_QUANTITIES[2]: "DOS of atoms, 0.001",
}
"""Columns for readers, a thousandth of the units of the quantities."""


def show(systems: list[SystemErrors]) -> None:
    """Print the table to standard output."""
    table = Table(title="errors of each system", title_justify="left", box=box.SIMPLE)
    for number, head in enumerate(_heads(systems)):
        if number == 0:
            table.add_column(head, overflow="fold", min_width=16)
        else:
            table.add_column(head.replace(", ", "\n"), justify="right", no_wrap=True)
    rows = _rows(systems)
    for row in rows[:-1]:
        table.add_row(*row)
    table.add_section()
    table.add_row(*rows[-1])
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH  # a file or a pipe has no width of its own
    console.print(table)


def write(systems: list[SystemErrors], path: Path) -> None:
    """Write the table, as ``.csv`` with every quantity and digit, or as ``.md``.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    with replacing(path) as part:
        if path.suffix == ".csv":
            _write_csv(systems, part)
        else:
            heads = _heads(systems)
            lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *_rows(systems)]
            text = "".join(
                f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |\n" for line in lines
            )
            part.write_text(text, encoding="utf-8", errors=BYTES_OF_NAMES)
    log.info("wrote %s", path)


def _write_csv(systems: list[SystemErrors], path: Path) -> None:
    with path.open("w", encoding="utf-8", errors=BYTES_OF_NAMES, newline="") as file:
        writer = csv.writer(file)
        quantities = systems[-1].errors
        names = [
            f"{q.name}_{kind.lower()}" + (f" ({q.unit})" if q.unit else "")
            for q in quantities
            for kind in KINDS
        ]
        writer.writerow(["system", "frames", "natoms", *names])
        for one in systems:
            numbers = [x for error in one.errors.values() for x in (error.mae, error.rmse)]
            written = ["" if math.isnan(x) else repr(x) for x in numbers]
            writer.writerow([one.system, one.frames, one.natoms or "", *written])


def _present(systems: list[SystemErrors]) -> list[Quantity]:
    total = systems[-1].errors
    return [quantity for quantity in SHOWN if quantity in total and total[quantity].weight > 0]


def _heads(systems: list[SystemErrors]) -> list[str]:
    errors = [f"{kind} {SHOWN[q]}" for q in _present(systems) for kind in KINDS]
    return ["system", "frames", "atoms", *errors]


def _rows(systems: list[SystemErrors]) -> list[list[str]]:
    rows = []
    for one in systems:
        row = [one.system, str(one.frames), "" if one.natoms is None else str(one.natoms)]
        for quantity in _present(systems):
            error = one.errors[quantity]
            row += ["" if math.isnan(x) else f"{1000 * x:.4g}" for x in (error.mae, error.rmse)]
        rows.append(row)
    return rows
