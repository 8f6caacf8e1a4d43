# SPDX-License-Identifier: BSD-3-Clause
"""Reads files with tabulated pair potentials, and says what is wrong with them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deepmd_tf.errors import InputError
from deepmd_tf.files import read_text
from deepmd_tf.pair_table.table import PairTable

TYPES = "types:"
"""Begins the comment that names the types of a table: ``# types: O H``."""
LARGEST_STEP_ERROR = 1e-3
"""Of a step: distances may be rounded, but the energies count as those at equal steps."""


def read_pair_table(
    path: str | os.PathLike[str],
    type_map: Sequence[str],
    ntypes: int,
    key: str = "model.use_srtab",
) -> PairTable:
    """Read a table of pair potentials.

    Each line has a distance in Å and the energies in eV of all pairs of types (0, 0), (0, 1), …,
    (1, 1), …; what follows ``#`` is a comment. The steps between distances are equal. A comment
    ``# types: O H`` says which types these are, and is compared with ``type_map``.

    Parameters
    ----------
    path
        The file.
    type_map
        Names of the types of the model; may be empty.
    ntypes
        How many there are.
    key
        Of the input script, which names the file, for messages.

    Raises
    ------
    InputError
        With file, line and column of what cannot be right.
    """
    path = Path(path)
    lines, rows, named = [], [], None
    for number, text in enumerate(_lines(path, key), 1):
        words, comment = text.partition("#")[::2]
        if comment.strip().startswith(TYPES):
            named = comment.strip().removeprefix(TYPES).split()
        if words.strip():
            lines.append(number)
            rows.append(_numbers(path, number, words.split()))
            if len(rows[-1]) != len(rows[0]):
                raise InputError(
                    f"{path}, line {number}: has {len(rows[-1])} columns, but line {lines[0]} has "
                    f"{len(rows[0])}"
                )
    if len(rows) < 2:
        raise InputError(f"{path}: has {len(rows)} rows of numbers; a table needs at least 2")
    table = np.array(rows)
    _require_columns(path, table.shape[1], type_map, ntypes)
    if named is not None and type_map and named != list(type_map):
        raise InputError(
            f"{path}: is a table of the types {' '.join(named)} in this order, but "
            f"model.type_map is {' '.join(type_map)}; the columns must be in the order of type_map"
        )
    _require_steps(path, table[:, 0], lines)
    return PairTable(table[:, 0], table[:, 1:])


def line_of(path: str | os.PathLike[str], row: int) -> int:
    """The line in the file, counted from 1, of a row of the table, counted from 0."""
    filled = (n for n, text in enumerate(_lines(Path(path)), 1) if text.partition("#")[0].strip())
    return next(number for place, number in enumerate(filled) if place == row)


def _lines(path: Path, key: str = "model.use_srtab") -> list[str]:
    try:
        return read_text(path).splitlines()
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no such file; {key} is the name of a table of pair "
            "potentials, from the folder in which training is started"
        ) from None


def _numbers(path: Path, line: int, words: list[str]) -> list[float]:
    values = []
    for column, word in enumerate(words, 1):
        try:
            value = float(word)
        except ValueError:
            raise InputError(
                f'{path}, line {line}, column {column}: "{word[:40]}" is not a number'
            ) from None
        if not math.isfinite(value):
            raise InputError(f"{path}, line {line}, column {column}: {word} is not finite")
        values.append(value)
    return values


def _require_columns(path: Path, columns: int, type_map: Sequence[str], ntypes: int) -> None:
    expected = 1 + ntypes * (ntypes + 1) // 2
    if columns != expected:
        known = list(type_map) or [str(i) for i in range(ntypes)]
        raise InputError(
            f"{path}: has {columns} columns; expected {expected} for {ntypes} types: the distance, "
            f"and the energies of {', '.join(_pair_names(known))}"
        )


def _pair_names(known: list[str]) -> Iterator[str]:
    return (f"{a}-{b}" for i, a in enumerate(known) for b in known[i:])


def _require_steps(path: Path, r: np.ndarray, lines: list[int]) -> None:
    step = float(r[1] - r[0])
    if r[0] < 0:
        raise InputError(f"{path}, line {lines[0]}: the distance {r[0]:g} Å is negative")
    if not step > 0:
        raise InputError(
            f"{path}, line {lines[1]}: the distance {r[1]:g} Å does not follow {r[0]:g} Å; "
            "distances rise in equal steps"
        )
    off = np.abs(r - (r[0] + step * np.arange(len(r)))) > LARGEST_STEP_ERROR * step
    if off.any():
        row = int(off.argmax())
        raise InputError(
            f"{path}, line {lines[row]}: the distance is {r[row]:.10g} Å; expected "
            f"{r[0] + step * row:.10g} Å, as the first two are {step:g} Å apart and all steps are "
            "equal"
        )
