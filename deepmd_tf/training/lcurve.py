# SPDX-License-Identifier: BSD-3-Clause
"""Tables on disk that grow during training; the learning curve, ``lcurve.out``, is one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from deepmd_tf.errors import TrainingError
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
        self._file: TextIO | None = None

    def open(self, after_step: int | None = None) -> None:
        """Begin a new table, or go on with the one that is there.

        Parameters
        ----------
        after_step
            None begins anew. Otherwise rows up to this step are kept and later ones, which are
            about to be made again, are dropped, as is a row that was cut off when training was
            killed.

        Raises
        ------
        TrainingError
            If the file cannot be written.
        """
        kept = self.header if after_step is None else self._kept(after_step)
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(kept)
            os.replace(part, self.path)
            self._file = self.path.open("a", buffering=1)
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written ({error.strerror})") from error

    def append(self, line: str) -> None:
        """Append a row or a comment."""
        try:
            self._file.write(line + "\n")
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _kept(self, after_step: int) -> str:
        try:
            lines = self.path.read_text(errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            return self.header
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be read ({error.strerror})") from error
        text = "".join(_up_to(after_step, (line for line in lines if line.endswith("\n"))))
        # another loss or other data: their rows have other columns, and say so
        return text if self.header in text else text + self.header


class LearningCurve(StepTable):
    """One row per displayed step.

    Parameters
    ----------
    path
        ``disp_file`` of the input script.
    columns
        Names of the errors, see :attr:`deepmd_tf.losses.EnergyLoss.columns`.
    validation
        Whether there are validation data.
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str], validation: bool
    ) -> None:
        super().__init__(path, header(columns, validation))

    def write(self, record: Record) -> None:
        """Append the row of ``record``."""
        self.append(record.row())


def _up_to(step: int, lines: Iterable[str]) -> Iterator[str]:
    kept = True
    for line in lines:
        if not line.startswith("#"):
            words = line.split()
            kept = bool(words) and words[0].isdigit() and int(words[0]) <= step
        if kept:
            yield line
