# SPDX-License-Identifier: BSD-3-Clause
"""Tables on disk that grow during training; the learning curve, ``lcurve.out``, is one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepmd_tf.errors import TrainingError
from deepmd_tf.files import RowFile, read_text, unwritable
from deepmd_tf.training.observer import Observer, Training
from deepmd_tf.training.record import Record, header


class StepTable:
    """A text file with one row per step, whose rows are in the file as soon as they are written.

    Rows begin with the step. Lines that begin with ``#`` are comments and belong to the row before.

    Parameters
    ----------
    path
        The file.
    header
        First lines, comments, with line breaks.
    """

    def __init__(self, path: str | os.PathLike[str], header: str) -> None:
        self.path = Path(path)
        self.header = header
        self._file: RowFile | None = None

    def open(self, after_step: int | None = None) -> None:
        """Begin a new table, or continue the existing one.

        Parameters
        ----------
        after_step
            None begins anew. Otherwise rows up to this step are kept and later ones, which are
            about to be made again, are dropped, as is what is no row; of a step that is there
            twice, the last row is kept.

        Raises
        ------
        TrainingError
            If the file cannot be written.
        """
        kept = self.header if after_step is None else self._kept(after_step)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error, TrainingError) from error
        self._file = RowFile(self.path, kept, TrainingError)

    def append(self, line: str) -> None:
        """Append a row or a comment."""
        self._opened.append(line)

    def sync(self) -> None:
        """Wait until all rows are on disk."""
        self._opened.sync()

    @property
    def _opened(self) -> RowFile:
        if self._file is None:
            raise ValueError("the file is not open")
        return self._file

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _kept(self, after_step: int) -> str:
        try:
            lines = read_text(self.path, TrainingError, errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            return self.header
        text = "".join(_up_to(after_step, (line for line in lines if line.endswith("\n"))))
        # another loss or other data: their rows have other columns, and say so
        return text if self.header in text else text + self.header


class LearningCurve(Observer):
    """A table with one row per displayed step.

    Parameters
    ----------
    path
        ``disp_file`` of the input script.
    columns
        Names of the errors, see :attr:`deepmd_tf.losses.TermLoss.columns`.
    validation
        Whether there are validation data.
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str], validation: bool
    ) -> None:
        self.table = StepTable(path, header(columns, validation))

    def open(
        self,
        training: Training,
        after_step: int | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the table."""
        self.table.open(after_step)

    def displayed(self, training: Training, record: Record) -> None:
        """Append the row of ``record``."""
        self.write(record)

    def write(self, record: Record) -> None:
        """Append the row of ``record``."""
        self.table.append(record.row())

    def sync(self) -> None:
        """Wait until all rows are on disk."""
        self.table.sync()

    def close(self) -> None:
        """Close the file."""
        self.table.close()


def _up_to(step: int, lines: Iterable[str]) -> list[str]:
    """The rows up to ``step``, with the comments after each; the last one of a step counts."""
    found: list[tuple[int, str]] = []
    kept = True
    for line in lines:
        if line.startswith("#"):
            row = found[-1][0] if found else -1
        else:
            number = _step_of(line)
            kept = number is not None and number <= step
            row = -1 if number is None else number
            while kept and found and found[-1][0] >= row:
                found.pop()
        if kept:
            found.append((row, line))
    return [line for _, line in found]


def _step_of(line: str) -> int | None:
    """Step of a row; None if it is not one, for instance because a machine lost its power."""
    try:
        words = line.split()
        [float(word) for word in words]
        return int(words[0])
    except (ValueError, IndexError):
        return None
