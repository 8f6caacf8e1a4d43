# SPDX-License-Identifier: BSD-3-Clause
"""Lines of an XYZ file as counts of atoms, comments and tables of words; errors name the line."""

from __future__ import annotations

import os
import warnings
from codecs import BOM_UTF8
from typing import BinaryIO, NoReturn

import numpy as np

from deepmd_tf.data.formats.xyz_comment import number_of
from deepmd_tf.errors import DataError

_LONGEST_LINE = 1 << 22
_SHORTEST_ATOM = len(b"H 0 0 0")
_OF_NUMBERS = b"0123456789+-.eE \t\r\n\f\v"


class LineScanner:
    """Reads frame by frame: :meth:`count`, the comment by :meth:`next_line`, :meth:`rows`.

    Attributes
    ----------
    file
        Name of the file, for messages.
    line
        Number of the line that was read last, counted from 1.
    frame
        Number of the frame that is being read, counted from 0.
    """

    def __init__(self, opened: BinaryIO, file: str) -> None:
        self.file = file
        self.line = 0
        self.frame = -1
        self._opened = opened
        if opened.read(len(BOM_UTF8)) != BOM_UTF8:
            opened.seek(0)
        self._size = os.fstat(opened.fileno()).st_size

    def fail(self, text: str, line: int | None = None) -> NoReturn:
        """Raise :class:`DataError` that names file, frame and line (the last one)."""
        raise DataError(
            f"{self.file}: frame {max(0, self.frame)} (counted from 0), line "
            f"{line or self.line}: {text}"
        )

    def fail_at(self, atom: int, text: str, natoms: int) -> NoReturn:
        """The same for an atom of the rows that were read last."""
        self.fail(f"atom {atom}{text}", self.line - natoms + 1 + atom)

    def next_line(self) -> bytes:
        """The next line, empty at the end of the file."""
        line = self._opened.readline(_LONGEST_LINE)
        self.line += 1
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            self.fail(f"has more than {_LONGEST_LINE} characters; is this a file of XYZ?")
        return line

    def count(self) -> int | None:
        """Number of atoms of the next frame, or None at the end."""
        line = self.next_line()
        if not line.strip():
            while line:
                if line.strip():
                    self.fail(f"expected nothing after an empty line, found {excerpt(line)}")
                line = self.next_line()
            return None
        self.frame += 1
        word = line.strip()
        if not word.isdigit() or len(word) > 18 or int(word) == 0:
            self.fail(f"expected the number of atoms of a frame, found {excerpt(line)}")
        left = self._size - self._opened.tell()
        if int(word) * _SHORTEST_ATOM > left:
            self.fail(f"{int(word)} atoms are announced, but only {left} bytes follow")
        return int(word)

    def rows(self, natoms: int, ncolumns: int) -> list[list[bytes]]:
        """Words of the lines of the given number of atoms."""
        first = self.line + 1
        read_line = self._opened.readline
        rows = [read_line(_LONGEST_LINE).split() for _ in range(natoms)]
        self.line += natoms
        for atom, row in enumerate(rows):
            if len(row) != ncolumns:
                ended = not row and self._opened.tell() >= self._size
                found = "the file ends" if ended else f"{len(row)} words"
                self.fail(f"atom {atom}: {found}, expected {ncolumns} columns", first + atom)
        return rows

    def numbers(self, rows: list[list[bytes]], part: slice, role: str) -> np.ndarray:
        """Columns ``part`` of the rows that were read last, [natoms, width]; finite numbers."""
        words = [row[part] for row in rows]
        values = _parsed(b" ".join([b" ".join(row) for row in words]))
        if values.size == len(rows) * len(words[0]) and np.isfinite(values).all():
            return values.reshape(len(rows), -1)
        for atom, row in enumerate(words):
            try:
                for word in row:
                    number_of(word.decode("utf-8", errors="replace"))
            except ValueError as error:
                self.fail_at(atom, f", {role}: {error}", len(rows))
        raise AssertionError(f"frame {self.frame}: a number was refused without a reason")


def _parsed(text: bytes) -> np.ndarray:
    """Numbers separated by blanks; none if there is anything else."""
    if not text.translate(None, _OF_NUMBERS):
        with warnings.catch_warnings():
            # Two numbers without a blank are two, which the count shows; the rest is a warning.
            warnings.simplefilter("error", DeprecationWarning)
            try:
                return np.fromstring(text, sep=" ")
            except (ValueError, DeprecationWarning):
                pass
    return np.empty(0)


def excerpt(line: bytes) -> str:
    """The beginning of a line for a message."""
    text = line.strip().decode("utf-8", errors="replace")
    return repr(text if len(text) <= 40 else text[:40] + "…")
