# SPDX-License-Identifier: BSD-3-Clause
"""The second line of a frame of extended XYZ: keys and their values."""

from __future__ import annotations

import re

import numpy as np

_KEY = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^\s="]+))')
_VALUE = re.compile(
    r"""\s*=\s*(?:
        "(?P<double>(?:[^"\\]|\\.)*)"
      | '(?P<single>(?:[^'\\]|\\.)*)'
      | \{(?P<brace>[^{}]*)\}
      | (?P<bracket>\[(?:[^\[\]]|\[[^\[\]]*\])*\])
      | (?P<bare>[^\s"'{\[][^\s]*)
    )(?=\s|$)""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_ESCAPED = re.compile(r"\\(.)")
_VOIGT = [[0, 5, 4], [5, 1, 3], [4, 3, 2]]


def keys_of(line: str) -> dict[str, str]:
    """Keys and values of the line; a key without a value has "T".

    A list in brackets keeps the outer ones, which say that its order is that of rows.

    Raises
    ------
    ValueError
        If a quote or bracket is not closed, or a key is given twice.
    """
    found: dict[str, str] = {}
    position = 0
    line = line.rstrip()
    while position < len(line):
        key = _KEY.match(line, position)
        if key is None:
            raise ValueError(f"{line[position : position + 20]!r} is not understood")
        name, position = key[1] if key[1] is not None else key[2], key.end()
        value = _VALUE.match(line, position)
        if value is not None:
            position = value.end()
            text = _ESCAPED.sub(r"\1", value[value.lastgroup or 0])
        elif line[position:].lstrip().startswith("="):
            raise ValueError(
                f"the value of {name!r} is not understood (a quote that is not closed?)"
            )
        else:
            text = "T"
        if name in found:
            raise ValueError(f"the key {name!r} is given twice")
        found[name] = text
    return found


def numbers_of(text: str) -> np.ndarray:
    """The numbers of a value, float64, rank 1.

    Raises
    ------
    ValueError
        If it is anything else than finite numbers.
    """
    words = text.replace("[", " ").replace("]", " ").replace(",", " ").split()
    return np.array([number_of(word) for word in words])


def number_of(word: str) -> float:
    """A finite number.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word!r} is not a number")
    value = float(word)
    if not np.isfinite(value):
        raise ValueError(f"{word!r} is too large")
    return value


def matrix_of(text: str) -> np.ndarray:
    """A symmetric or general 3 x 3 matrix: 9 numbers, or the 6 xx yy zz yz xz xy.

    Nine numbers are in the order of columns, as the format has it, those of a nested list in the
    order of rows.

    Raises
    ------
    ValueError
        If it is something else.
    """
    values = numbers_of(text)
    if values.size == 6:
        return values[_VOIGT]
    if values.size != 9:
        raise ValueError(f"{values.size} numbers, expected 9, or 6 (xx yy zz yz xz xy)")
    return values.reshape((3, 3), order="C" if text.lstrip().startswith("[[") else "F")
