# SPDX-License-Identifier: BSD-3-Clause
"""Rows of what was measured, what is expected of them, and how both are written down."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.floor import Rate

OURS, STOCK, COMPRESSED, PYTORCH = "ours", "stock", "stock, compressed", "stock, PyTorch"
PROGRAMS = (OURS, STOCK, COMPRESSED, PYTORCH)
FLOOR = "floor"


@dataclass(frozen=True)
class Target:
    """What is expected of a row.

    Attributes
    ----------
    of
        A peer: how many times as much as ours it takes, at least ``bound``. :data:`FLOOR`: the
        share of the floor in our time, at least ``bound``. :data:`OURS`: our number itself, at most
        ``bound``.
    bound
        Of what is expected.
    """

    of: str
    bound: float

    def __str__(self) -> str:
        if self.of == OURS:
            return f"≤ {self.bound:g}"
        if self.of == FLOOR:
            return f"≥ {self.bound:.0%} of the floor"
        return f"≥ {self.bound:g} × ({self.of})"


@dataclass
class Row:
    """One line of the table.

    Attributes
    ----------
    suite, what
        What was measured.
    values
        By program, one number of each round.
    unit
        Of them.
    targets
        What is expected.
    operations
        Floating-point operations that cannot be avoided, 10⁹.
    rate
        At which the machine does them.
    """

    suite: str
    what: str
    values: dict[str, list[float]]
    unit: str = "ms"
    targets: Sequence[Target] = ()
    operations: float | None = None
    rate: Rate | None = None

    def median(self, program: str) -> float | None:
        """Over the rounds; None where the program was not measured."""
        values = self.values.get(program)
        return statistics.median(values) if values else None

    def ratio(self, peer: str) -> float | None:
        """How many times as much as ours the peer takes."""
        ours, other = self.median(OURS), self.median(peer)
        return other / ours if ours and other else None

    @property
    def floor(self) -> float | None:
        """ms."""
        return 1e3 * self.operations / self.rate.gflops if self.operations and self.rate else None

    @property
    def share(self) -> float | None:
        """Of the floor in our time."""
        ours = self.median(OURS)
        return self.floor / ours if self.floor and ours else None

    def reached(self, target: Target) -> float | None:
        """What the target is compared with."""
        if target.of == OURS:
            return self.median(OURS)
        return self.share if target.of == FLOOR else self.ratio(target.of)

    def meets(self, target: Target) -> bool:
        """Whether it is met; what was not measured is not."""
        reached = self.reached(target)
        if reached is None:
            return False
        return reached <= target.bound if target.of == OURS else reached >= target.bound

    def verdict(self, target: Target) -> str:
        """The target and what became of it."""
        if self.meets(target):
            return f"{target}: met"
        reached = self.reached(target)
        if reached is None:
            return f"{target}: **not measured**"
        return f"{target}: **missed**, {reached:{'.0%' if target.of == FLOOR else '.2f'}}"

    def to_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {
            "suite": self.suite,
            "what": self.what,
            "unit": self.unit,
            "programs": {
                name: {
                    "median": statistics.median(values),
                    "min": min(values),
                    "max": max(values),
                    "rounds": values,
                }
                for name, values in self.values.items()
                if values
            },
            "ratios": {p: r for p in PROGRAMS[1:] if (r := self.ratio(p)) is not None},
            "floor": self.floor,
            "share": self.share,
            "targets": [
                {
                    "of": target.of,
                    "bound": target.bound,
                    "reached": self.reached(target),
                    "met": self.meets(target),
                }
                for target in self.targets
            ],
        }


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table."""
    text = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    text += ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(text)


def table(rows: Sequence[Row]) -> str:
    """Medians, ratios, targets and floors; programs that no row has are left out."""
    programs = [p for p in PROGRAMS if any(row.values.get(p) for row in rows)]
    peers = [p for p in programs if p != OURS]
    head = ["", *programs, *(f"{p} / ours" for p in peers), "target", "floor, share"]
    lines = []
    for row in rows:
        cells = [f"{row.what} ({row.unit})" if row.unit else row.what]
        cells += ["" if (v := row.median(p)) is None else f"{v:.4g}" for p in programs]
        cells += ["" if (v := row.ratio(p)) is None else f"{v:.2f}" for p in peers]
        cells.append("; ".join(row.verdict(target) for target in row.targets))
        share = "" if row.share is None else f", {row.share:.0%}"
        cells.append("" if row.floor is None else f"{row.floor:.3g}{share}")
        lines.append(cells)
    return markdown(head, lines)


def summary(rows: Sequence[Row]) -> str:
    """How many targets are met, and those that are not."""
    judged = [(row, target) for row in rows for target in row.targets]
    missed = [(row, target) for row, target in judged if not row.meets(target)]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets are met."
    if missed:
        text += " Those that are not:\n"
        text += "".join(f"\n- {row.what}: {row.verdict(target)}" for row, target in missed)
    return text


@dataclass
class Report:
    """All that a run has found so far.

    Attributes
    ----------
    folder
        Where it is written.
    notes
        File with what was written by hand, which the report ends with.
    heading
        Lines on command, machine and versions.
    rows, rates, profiles
        What was measured: rows of the table; rates by precision and threads; tables by title.
    left_out
        What could not be measured, and why.
    unfinished
        Suites that are still to come.
    """

    folder: Path
    notes: Path
    heading: list[str]
    rows: list[Row] = field(default_factory=list)
    rates: dict[tuple[str, int], Rate] = field(default_factory=dict)
    profiles: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    @property
    def missed(self) -> int:
        """Number of targets that are not met."""
        return sum(not row.meets(target) for row in self.rows for target in row.targets)

    def text(self) -> str:
        """In Markdown."""
        parts = ["# Results", *self.heading]
        if self.unfinished:
            parts.append(f"**This run has not finished: {', '.join(self.unfinished)}.**")
        if self.rows:
            parts += ["## Targets", summary(self.rows), "## Table", table(self.rows)]
            parts.append("![times faster, by row](results.png)")
        if self.left_out:
            parts += ["## Left out", "\n".join(f"- {line}" for line in self.left_out)]
        if self.rates:
            precisions = sorted({p for p, _ in self.rates}, reverse=True)
            threads = sorted({t for _, t in self.rates})
            lines = [
                [p, *(str(self.rates[p, t]) if (p, t) in self.rates else "" for t in threads)]
                for p in precisions
            ]
            heads = [f"{t} thread{'s' if t > 1 else ''}" for t in threads]
            parts += [
                "## Matrix products of this machine",
                "GFLOP/s, the best and what reached it.",
            ]
            parts.append(markdown(["", *heads], lines))
        if self.profiles:
            parts.append("## Where the time of a training step goes")
        for title, profile in self.profiles.items():
            parts += [f"### {title}", profile]
        parts.append(self.notes.read_text().strip())
        return "\n\n".join(parts) + "\n"

    def write(self, *, draws: bool = False) -> None:
        """Write ``RESULTS.md`` and ``results.json``, and the picture if told to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "RESULTS.md").write_text(self.text())
        numbers = {
            "heading": self.heading,
            "rows": [row.to_dict() for row in self.rows],
            "rates": [
                {"precision": p, "threads": t, "gflops": r.best} for (p, t), r in self.rates.items()
            ],
            "left_out": self.left_out,
            "unfinished": self.unfinished,
        }
        (self.folder / "results.json").write_text(json.dumps(numbers, indent=1) + "\n")
        if draws and any(row.ratio(p) for row in self.rows for p in PROGRAMS[1:]):
            draw(self.rows, self.folder / "results.png")


def draw(rows: Sequence[Row], path: Path) -> None:
    """Ratios as bars, with targets as marks."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    bars = [(row, peer) for row in rows for peer in PROGRAMS[1:] if row.ratio(peer)]
    colours = dict(zip(PROGRAMS[1:], ("tab:blue", "tab:orange", "tab:green"), strict=True))
    figure, axes = plt.subplots(figsize=(9, 0.8 + 0.17 * len(bars)), layout="constrained")
    for place, (row, peer) in enumerate(bars):
        axes.barh(place, row.ratio(peer), color=colours[peer])
        for target in row.targets:
            if target.of == peer:
                axes.plot([target.bound] * 2, [place - 0.45, place + 0.45], color="black")
    for peer, colour in colours.items():
        if any(other == peer for _, other in bars):
            axes.barh(0, 0, color=colour, label=f"against {peer}")
    axes.set_yticks(range(len(bars)), [row.what for row, _ in bars], fontsize=6)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_xlabel("times faster, or times less memory; marks are targets")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
