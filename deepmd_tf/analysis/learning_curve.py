# SPDX-License-Identifier: BSD-3-Clause
"""Learning curves, read from ``lcurve.out`` and drawn: what ``dp plot`` does."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from deepmd_tf.analysis import figures
from deepmd_tf.errors import InputError
from deepmd_tf.files import read_text

log = logging.getLogger(__name__)

CURVE = "lcurve.out"
INPUTS = ("out.json", "input.json")
"""Where prefactors are looked for, beside the curve."""
STEPS = ("step", "batch")
VALIDATION, TRAINING = "val", "trn"
PARTS = {"_val": VALIDATION, "_tst": VALIDATION, "_trn": TRAINING}
"""Ends of the names of columns; old files have ``_tst``."""
COLUMNS_OF_PANELS = 3
LARGE = 5_000
"""Rows from which lines in PDF and SVG are stored as pixels."""

TERMS = {
    "e": ("energy", "eV per atom"),
    "f": ("force", "eV/Å"),
    "v": ("virial", "eV per atom"),
    "h": ("Hessian", "eV/Å²"),
    "ae": ("energies of atoms", "eV"),
    "pf": ("force with prefactors", "eV/Å"),
    "gf": ("generalised force", "eV per unit of q"),
    "de": ("energy differences", "eV per atom"),
}
"""Name and unit of a term by the end of its columns."""


@dataclass
class Run:
    """One learning curve.

    Attributes
    ----------
    label
        Name in the legend.
    steps
        int [n], ascending.
    errors
        ``errors["rmse_f"]["val"]``: float64 [n], nan where there is no number.
    lr
        Learning rate, float64 [n]; None if the file has none.
    prefactors
        By term, float64 [n].
    """

    label: str
    steps: np.ndarray
    errors: dict[str, dict[str, np.ndarray]]
    lr: np.ndarray | None = None
    prefactors: dict[str, np.ndarray] = field(default_factory=dict)


def read_curve(path: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps and columns of a learning curve, of this package or of any backend of DeePMD-kit.

    Of rows with the same step, or after which the steps begin again lower, as a restarted training
    appends them, the last ones count. A row that is cut off is left out. Where the head changes in
    the middle, a column is nan in the rows that do not have it.

    Raises
    ------
    InputError
        When the file cannot be read, has no head, or has no row.
    """
    path = Path(path)
    try:
        text = read_text(path, errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    names: list[str] = []
    rows: dict[int, dict[str, float]] = {}
    for line in text.splitlines(keepends=True):
        words = line.split()
        if line.startswith("#"):
            if len(words) > 2 and words[1] in STEPS:
                names = words[2:]
        elif names and line.endswith("\n") and (row := _row(words, names)) is not None:
            step, numbers = row
            # a restart goes back: what was written after that step does not count
            while rows and next(reversed(rows)) >= step:
                rows.popitem()
            rows[step] = numbers
    if not names:
        raise InputError(
            f'{path}: is not a learning curve; expected a first line as "# step  rmse_val …"'
        )
    if not rows:
        raise InputError(f"{path}: has no complete row yet")
    columns = dict.fromkeys(name for numbers in rows.values() for name in numbers)
    table = {
        name: np.array([numbers.get(name, math.nan) for numbers in rows.values()])
        for name in columns
    }
    return np.array(list(rows)), table


def _row(words: Sequence[str], names: Sequence[str]) -> tuple[int, dict[str, float]] | None:
    if len(words) != len(names) + 1:
        return None
    try:
        return int(words[0]), dict(zip(names, map(float, words[1:]), strict=True))
    except ValueError:
        return None


def read_run(
    path: str | os.PathLike[str], label: str, input_file: str | os.PathLike[str] | None = None
) -> Run:
    """Read a learning curve, and the prefactors from the input script that belongs to it.

    Parameters
    ----------
    path
        Learning curve, or the folder of one.
    label
        Name in the legend.
    input_file
        Input script; by default ``out.json`` or ``input.json`` beside the curve, if it has one.

    Raises
    ------
    InputError
        When a file cannot be read, or has no errors (curves of several tasks are not read).
    """
    path = curve_path(path)
    steps, table = read_curve(path)
    errors: dict[str, dict[str, np.ndarray]] = {}
    for name, values in table.items():
        part = PARTS.get(name[-4:])
        if part is not None and np.isfinite(values).any():
            errors.setdefault(name[:-4], {})[part] = values
    if not errors:
        raise InputError(
            f"{path}: has no errors of training or validation; expected columns as rmse_f_trn "
            f"with numbers, found {', '.join(table)}"
        )
    lr = table.get("lr")
    run = Run(label, steps, errors, lr)
    script = _script(path, input_file)
    if script is not None and lr is not None:
        run.prefactors = prefactors(script, lr, terms={name.partition("_")[2] for name in errors})
    return run


def curve_path(path: str | os.PathLike[str]) -> Path:
    """The file itself, where a folder stands for the curve in it."""
    path = Path(path)
    return path / CURVE if path.is_dir() else path


def prefactors(script: Mapping[str, Any], lr: np.ndarray, terms: set[str]) -> dict[str, np.ndarray]:
    """limit + (start − limit) · lr/start_lr of the terms that an input script gives both for.

    Parameters
    ----------
    script
        Input script, as parsed from JSON; of any backend.
    lr
        Learning rates [n].
    terms
        Which ones are wanted, e.g. ``{"e", "f"}``.
    """
    loss, start_lr = script.get("loss"), _real(script.get("learning_rate", {}).get("start_lr"))
    found: dict[str, np.ndarray] = {}
    if not isinstance(loss, dict) or not start_lr:
        return found
    for term in sorted(terms):
        start, limit = (_real(loss.get(f"{end}_pref_{term}")) for end in ("start", "limit"))
        if start is not None and limit is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                found[term] = limit + (start - limit) * lr / start_lr
    return found


def _real(value: Any) -> float | None:
    """A finite number, if it is one; scripts of other programs are not checked."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _script(curve: Path, input_file: str | os.PathLike[str] | None) -> Mapping[str, Any] | None:
    """The input script, as it is: it may be of another backend."""
    beside = [curve.parent / name for name in INPUTS]
    for path in [Path(input_file)] if input_file is not None else beside:
        try:
            script = json.loads(read_text(path))
            if isinstance(script, dict) and isinstance(script.get("learning_rate", {}), dict):
                return script
            reason = "not an input script"
        except FileNotFoundError as error:
            reason = error.strerror or str(error)
        except (InputError, ValueError, RecursionError) as error:
            reason = str(error)
        if input_file is not None:
            raise InputError(f"{path}: cannot be read ({reason})")
    return None


def labels_of(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Names that tell curves apart: of the files if they differ, otherwise with their folders."""
    resolved = [curve_path(path).resolve() for path in paths]
    depth = max(len(path.parts) for path in resolved)
    for length in range(1, depth + 1):
        names = ["/".join(path.parts[-length:]) for path in resolved]
        if len(set(names)) == len(set(resolved)):
            break
    if length > 1 and len({path.name for path in resolved}) == 1:
        names = [name.rpartition("/")[0] for name in names]
    return names


def draw(runs: Sequence[Run], output: str | os.PathLike[str], *, log_steps: bool = False) -> None:
    """Draw all terms, the learning rate and the prefactors of runs, one panel each.

    Parameters
    ----------
    runs
        In the order of the legend; each has a colour.
    output
        Picture, ``.png``, ``.pdf`` or ``.svg``.
    log_steps
        Whether the axis of the steps is logarithmic, too; step 0 is left out then.

    Raises
    ------
    InputError
        When the picture cannot be written.
    """
    output = figures.require_picture(output)
    terms = list(dict.fromkeys(name for run in runs for name in run.errors))
    weighted = any(run.prefactors for run in runs)
    rates = any(run.lr is not None for run in runs)
    count = len(terms) + rates + weighted
    columns = min(COLUMNS_OF_PANELS, count)
    figure, axes = figures.new_figure(math.ceil(count / columns), columns, 4.4, 3.3)
    for name, ax in zip(terms, axes, strict=False):
        _draw_term(ax, name, runs)
    rest = iter(axes[len(terms) :])
    if rates:
        _draw_rates(next(rest), runs)
    if weighted:
        _draw_prefactors(next(rest), runs)
    for ax in axes[:count]:
        ax.set_xlabel("training step")
        if log_steps:
            ax.set_xscale("log")
        ax.grid(alpha=0.3, lw=0.5)
    for ax in axes[count:]:
        ax.remove()
    figures.save(figure, output)


def _draw_term(ax: Axes, name: str, runs: Sequence[Run]) -> None:
    measure, _, term = name.partition("_")
    title, unit = TERMS.get(term, (term or "square root of the loss", ""))
    for run, colour in _coloured(runs):
        parts = run.errors.get(name, {})
        named = f"{run.label}, " if len(runs) > 1 else ""
        if TRAINING in parts:
            thin = {"alpha": 0.6, "lw": 0.8} if VALIDATION in parts else {}
            tint = colour if named else figures.COLOURS[1]
            _line(ax, run, parts[TRAINING], color=tint, label=f"{named}training", **thin)
        if VALIDATION in parts:
            _line(ax, run, parts[VALIDATION], color=colour, label=f"{named}validation")
    words = f"{measure.upper()} / {unit}" if unit else measure.upper()
    ax.set(title=title if term else "loss", ylabel=words if term else title, yscale="log")
    ax.legend(frameon=False, fontsize="x-small")


def _draw_rates(ax: Axes, runs: Sequence[Run]) -> None:
    for run, colour in _coloured(runs):
        if run.lr is not None:
            _line(ax, run, run.lr, color=colour, label=run.label)
    ax.set(title="learning rate", yscale="log")
    if len(runs) > 1:
        ax.legend(frameon=False, fontsize="x-small")


def _draw_prefactors(ax: Axes, runs: Sequence[Run]) -> None:
    terms = sorted({term for run in runs for term in run.prefactors})
    for run, colour in _coloured(runs):
        for number, term in enumerate(terms):
            values = run.prefactors.get(term)
            if values is not None and np.any(values > 0):
                named = term if len(runs) == 1 else f"{run.label}, {term}"
                style = ("-", "--", ":", "-.")[number % 4]
                tint = colour if len(runs) > 1 else figures.COLOURS[number % len(figures.COLOURS)]
                _line(ax, run, values, color=tint, ls=style, label=named)
    ax.set(title="prefactors", yscale="log")
    ax.legend(frameon=False, fontsize="x-small")


def _coloured(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    return [(run, figures.COLOURS[k % len(figures.COLOURS)]) for k, run in enumerate(runs)]


def _line(ax: Axes, run: Run, values: np.ndarray, **style: Any) -> None:
    """Values against steps; what a logarithmic axis cannot show is left out."""
    shown = np.where(values > 0, values, math.nan)
    marker = "." if np.isfinite(shown).sum() < 2 else None
    ax.plot(run.steps, shown, marker=marker, rasterized=len(shown) > LARGE, **style)
