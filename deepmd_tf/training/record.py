# SPDX-License-Identifier: BSD-3-Clause
"""One displayed step, and its views: a row of ``lcurve.out``, messages, the progress bar."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HINT = "# If there is no available reference data, rmse_*_{val,trn} will print nan"


@dataclass(frozen=True)
class Record:
    """Errors after a number of steps.

    Attributes
    ----------
    step
        Steps done.
    lr
        Learning rate of the next step.
    training
        Errors on the training batch just used, by column.
    validation
        Errors on validation batches, by column; None without validation data.
    """

    step: int
    lr: float
    training: Mapping[str, float]
    validation: Mapping[str, float] | None = None

    def row(self) -> str:
        """Row of ``lcurve.out``, without the line break; columns as :func:`header`."""
        cells = [f"{self.step:7d}"]
        for column, error in self.training.items():
            if self.validation is None:
                cells.append(f"   {error:11.2e}")
            else:
                cells.append(f"   {self.validation[column]:11.2e} {error:11.2e}")
        return "".join(cells) + f"   {self.lr:8.1e}"

    def messages(self) -> list[str]:
        """Lines for the log, columns in alphabetical order."""
        lines = [f"Batch {self.step:7d}: trn: {_named(self.training)}, lr = {self.lr:8.2e}"]
        if self.validation is not None:
            lines.append(f"Batch {self.step:7d}: val: {_named(self.validation)}")
        return lines

    def summary(self) -> str:
        """Errors of the terms in a few characters, for the progress bar."""
        shown = self.training if self.validation is None else self.validation
        return "  ".join(
            f"{name.partition('_')[2]} {error:.1e}" for name, error in shown.items() if "_" in name
        )


def header(columns: Sequence[str], validation: bool) -> str:
    """The two lines at the head of ``lcurve.out``, each with its line break."""
    cells = ["# step "]
    for column in columns:
        cells.append(
            f"   {column + '_val':>11} {column + '_trn':>11}"
            if validation
            else f"   {column + '_trn':>11}"
        )
    return "".join(cells) + f"   {'lr':8}\n" + HINT + "\n"


def timing_message(step: int, seconds: float, remaining: int, now: datetime.datetime) -> str:
    """Line for the log: wall time of the last interval, and when training will end.

    Parameters
    ----------
    step
        Steps done.
    seconds
        Since the last such line.
    remaining
        Seconds until the end.
    now
        Local time.
    """
    left = datetime.timedelta(seconds=remaining)
    end = (now + left).strftime("%Y-%m-%d %H:%M")
    return f"Batch {step:7d}: total wall time = {seconds:.2f} s, eta = {left} at {end}"


def _named(errors: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {errors[name]:8.2e}" for name in sorted(errors))
