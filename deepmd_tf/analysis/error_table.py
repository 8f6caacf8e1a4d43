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

from deepmd_tf import units
from deepmd_tf.files import BYTES_OF_NAMES, replacing
from deepmd_tf.inference.tested import Consumer, SystemErrors
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
    energy.ENERGY_PER_ATOM: ("E, meV/atom", 1e3),
    energy.FORCE: ("F, meV/Å", 1e3),
    energy.STRESS: ("S, GPa", units.GPA_PER_EV_A3),
    energy.HESSIAN: ("H, meV/Å²", 1e3),
    DIPOLE_QUANTITIES[0]: ("dipole", 1.0),
    DIPOLE_QUANTITIES[3]: ("dipole of atoms", 1.0),
    POLAR_QUANTITIES[0]: ("polarisability", 1.0),
    POLAR_QUANTITIES[3]: ("polarisability of atoms", 1.0),
    DOS_QUANTITIES[0]: ("DOS", 1.0),
    DOS_QUANTITIES[2]: ("DOS of atoms", 1.0),
}
"""Columns for readers: symbol and unit, and its factor."""


class Shown(Consumer):
    """Prints the table when all systems are tested."""

    def finish(self, systems: list[SystemErrors]) -> None:
        """Print."""
        show(systems)


def show(systems: list[SystemErrors]) -> None:
    """Print the table to standard output."""
    table = Table(title="errors of each system", title_justify="left", box=box.SIMPLE)
    for number, head in enumerate(_heads(systems)):
        if number == 0:
            table.add_column(head, overflow="fold", min_width=10)
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


def _present(systems: list[SystemErrors]) -> dict[Quantity, tuple[str, float]]:
    """Quantities that were compared, with their columns; of kinds that have none of their own, in
    the units of the log."""
    total = systems[-1].errors
    columns = {q: column for q, column in SHOWN.items() if q in total}
    if not columns:
        columns = {q: (f"{q.name.replace('_', ' ')}, {q.unit}", 1.0) for q in total if q.averaged}
    return {q: column for q, column in columns.items() if total[q].weight > 0}


def _heads(systems: list[SystemErrors]) -> list[str]:
    errors = [f"{kind} {head}" for head, _ in _present(systems).values() for kind in KINDS]
    return ["system", "frames", "atoms", *errors]


def _rows(systems: list[SystemErrors]) -> list[list[str]]:
    rows = []
    for one in systems:
        row = [one.system, str(one.frames), "" if one.natoms is None else str(one.natoms)]
        for quantity, (_, factor) in _present(systems).items():
            error = one.errors[quantity]
            row += ["" if math.isnan(x) else f"{factor * x:.4g}" for x in (error.mae, error.rmse)]
        rows.append(row)
    return rows
