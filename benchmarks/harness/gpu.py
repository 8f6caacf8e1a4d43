# SPDX-License-Identifier: BSD-3-Clause
"""Tables of what ``benchmarks/gpu`` finds on a GPU. Needs nothing but Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

SINGLE, DOUBLE = TYPES = ("float32", "float64")
SIZES = (1_000, 10_000, 100_000, 1_000_000)
FRAMES, ATOMS = 64, 192
"""Of a training step."""

MISSING = "not yet measured"
PARTS = {
    "md": (
        *("neighbour list", "gather", "environment rows", "moment", "descriptor", "fitting net"),
        *("fitting net, back", "descriptor, back", "moment, back", "environment rows, back"),
        "forces and virial",
    ),
    "train": (
        *("embedding nets", "neighbour list", "gather", "environment rows", "moment"),
        *("descriptor", "fitting net", "fitting net, back", "descriptor, back", "moment, back"),
        *("environment rows, back", "forces and virial", "tangent of pairs", "tangent of rows"),
        *("tangent of the moment", "tangent of the descriptor", "tangent of the fitting net"),
        *("fitting net, back again", "weights of the fitting net", "descriptor, back again"),
        *("table of the embedding", "embedding nets, back", "Adam"),
    ),
}
FAMILIES = (
    *("chain", "training", "neighbors", "pairs", "env_matrix", "moment", "contract", "attention"),
    *("angles", "tabulate", "gelu", "layer_norm", "fragments", "mask_rows", "slot_pairs"),
    *("padded_rows", "pair_spline"),
)
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")


@dataclass(frozen=True)
class Part:
    """A part of a step: its time in s, the bytes and operations that cannot be avoided."""

    seconds: float
    bytes: float
    flops: float


@dataclass
class Step:
    """A step of molecular dynamics or of training."""

    seconds: float
    peak: int
    pairs: int
    parts: dict[str, Part] = field(default_factory=dict)


@dataclass
class Found:
    """What the program has printed, over all of its runs."""

    card: dict[str, str] = field(default_factory=dict)
    checks: list[tuple[str, str, str, float, float]] = field(default_factory=list)
    steps: dict[tuple[str, int, str], Step] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    tools: dict[str, str] = field(default_factory=dict)
    """Of compute-sanitizer: what each of them says."""

    def read(self, lines: Iterable[str]) -> None:
        """Take over lines of the program; others are no concern of ours."""
        for line in lines:
            kind, *words = line.rstrip("\n").split("\t")
            if kind == "card":
                self.card[words[0]] = words[1]
            elif kind == "check":
                family, name, dtype, error, limit = words
                self.checks.append((family, name, dtype, float(error), float(limit)))
            elif kind == "step":
                what, atoms, dtype, seconds, peak, pairs = words
                self.steps[what, int(atoms), dtype] = Step(float(seconds), int(peak), int(pairs))
            elif kind == "stage":
                what, atoms, dtype, name, *numbers = words
                self.steps[what, int(atoms), dtype].parts[name] = Part(*map(float, numbers))
            elif kind == "failed":
                self.failed.append(": ".join(words))

    def step(self, what: str, atoms: int, dtype: str) -> tuple[int, Step] | None:
        """That of about so many atoms, which are whole molecules, and how many they are."""
        for (kind, n, of), step in self.steps.items():
            if (kind, of) == (what, dtype) and abs(n - atoms) <= 2:
                return n, step
        return None

    def rate(self, name: str) -> float:
        """The bandwidth in bytes/s or the peak of a type in 1/s; 0 if it is not known."""
        value = float(self.card.get(name, 0))
        # a driver that does not tell the clock of its memory
        return value or float(self.card.get(f"{name} of a copy", 0))

    def floor(self, part: Part, dtype: str) -> float:
        """Seconds that the part takes at least."""
        bandwidth, peak = self.rate("bandwidth"), self.rate(f"peak {dtype}")
        if not bandwidth or not peak:
            return 0.0
        return max(part.bytes / bandwidth, part.flops / peak)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _share(seconds: float, least: float) -> str:
    return f"{least / seconds:.0%}" if seconds and least else ""


def _us(found: Found, atoms: int, dtype: str) -> float | None:
    at = found.step("md", atoms, dtype)
    return 1e6 * at[1].seconds / at[0] if at else None


def targets(found: Found) -> str:
    """What is asked for of an H200, and whether it is met."""
    rows = []

    def add(what: str, unit: str, bound: float, value: float | None) -> None:
        verdict = MISSING if value is None else "met" if value <= bound else "**missed**"
        number = MISSING if value is None else f"{value:.3g} {unit}".strip()
        rows.append((what, f"≤ {bound:g} {unit}".strip(), number, verdict))

    for atoms, bound in ((10_000, 0.3), (100_000, 0.15)):
        what = f"MD step of {atoms:,} atoms, float32, per atom"
        add(what, "µs", bound, _us(found, atoms, SINGLE))
    for atoms in (10_000, 100_000):
        single, double = (_us(found, atoms, dtype) for dtype in TYPES)
        value = double / single if single and double else None
        add(f"float64 / float32, {atoms:,} atoms", "", 3, value)
    at = found.step("train", FRAMES * ATOMS, SINGLE)
    what = f"training step of {FRAMES} × {ATOMS} atoms, float32"
    add(what, "ms", 6, 1e3 * at[1].seconds if at else None)
    at = found.step("md", 100_000, SINGLE)
    value = at[1].peak / at[0] / 1e3 if at else None
    add("memory per atom, 100,000 atoms, float32", "kB", 2, value)
    return table(("what", "target (H200)", "measured", ""), rows)


def agreement(found: Found) -> str:
    """The largest difference of each family from the processor's kernels."""
    rows = []
    for family in FAMILIES:
        row = [f"`{family}`"]
        for dtype in (DOUBLE, SINGLE):
            of = [c for c in found.checks if (c[0], c[2]) == (family, dtype)]
            if not of:
                row.append(MISSING)
                continue
            worst = max(of, key=lambda c: c[3] / c[4])
            text = f"{worst[3]:.1e} ({worst[1]})"
            row.append(text if worst[3] <= worst[4] else f"**{text}, more than {worst[4]:.0e}**")
        rows.append(row)
    return table(("family", *(DOUBLE, SINGLE)), rows)


def sizes(found: Found) -> str:
    """MD steps as a whole."""
    rows = []
    for atoms in SIZES:
        for dtype in TYPES:
            at = found.step("md", atoms, dtype)
            if at is None:
                rows.append((f"{atoms:,}", dtype, *[MISSING] * 6))
                continue
            n, step = at
            floor = sum(found.floor(part, dtype) for part in step.parts.values())
            rows.append(
                (
                    *(f"{n:,}", dtype, f"{1e3 * step.seconds:.3g}"),
                    *(f"{1e6 * step.seconds / n:.3g}", f"{1e6 * floor / n:.3g}"),
                    *(_share(step.seconds, floor), f"{step.pairs / n:.0f}"),
                    f"{step.peak / n / 1e3:.1f}",
                )
            )
    head = ("atoms", "type", "ms per step", "µs per atom", "floor, µs per atom", "share")
    return table((*head, "pairs per atom", "kB per atom"), rows)


def parts(found: Found, what: str, atoms: int) -> str:
    """The parts of a step, with the shares of bandwidth and peak that they reach."""
    head = ["part"]
    for dtype in TYPES:
        head += [f"{dtype}, ms", "bandwidth", "peak"]
    rows = []
    for name in PARTS[what]:
        row = [name]
        for dtype in TYPES:
            at = found.step(what, atoms, dtype)
            part = at[1].parts.get(name) if at else None
            if part is None:
                row += [MISSING, "", ""]
                continue
            bandwidth, peak = found.rate("bandwidth"), found.rate(f"peak {dtype}")
            row += [
                f"{1e3 * part.seconds:.3g}",
                _share(part.seconds, part.bytes / bandwidth if bandwidth else 0),
                _share(part.seconds, part.flops / peak if peak else 0),
            ]
        rows.append(row)
    last = ["**all**"]
    for dtype in TYPES:
        at = found.step(what, atoms, dtype)
        last += [f"{1e3 * at[1].seconds:.3g}" if at else MISSING, "", ""]
    return table(head, [*rows, last])


HOW_TO_READ = """\
How to read it:

- Times are medians; the whole step is timed without a mark in between, so that parts may add up
  to more.
- *floor*: what the parts take at least, each the larger of bytes / bandwidth and operations / peak.
  Bytes are those of its inputs and results, each once; operations those of its formulas, without
  what is done to find indices.
- *bandwidth, peak*: which share of these of the card a part reaches. The peak is that of the units
  for float32 and float64 without tensor cores, which products of matrices in float64 may use: they
  can show more than 100 %.
- *kB per atom*: most bytes in use at a time, of arrays and scratch; the program keeps none longer
  than it is needed.
- *agreement*: largest difference from the processor's result, over the largest number of that. Each
  result is computed twice and must have the same bits.
"""


def report(found: Found, lines: Iterable[str]) -> str:
    """The whole of RESULTS-gpu.md; ``lines`` say when and how."""
    text = ["# On a GPU", "", *lines, ""]
    if found.failed:
        text += ["## Failed", "", *(f"- {line}" for line in found.failed), ""]
    text += ["## Targets", "", targets(found), "## Steps of molecular dynamics", "", sizes(found)]
    for atoms in SIZES:
        text += [f"### Parts, {atoms:,} atoms", "", parts(found, "md", atoms)]
    text += [f"## Training step, {FRAMES} frames of {ATOMS} atoms", ""]
    text += [parts(found, "train", FRAMES * ATOMS)]
    text += ["## Agreement with the processor", "", agreement(found), "## compute-sanitizer", ""]
    rows = ((tool, found.tools.get(tool, MISSING)) for tool in TOOLS)
    return "\n".join([*text, table(("tool", "result"), rows), HOW_TO_READ])
