# SPDX-License-Identifier: BSD-3-Clause
"""Errors and suspicions about data, collected first, then reported together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from logging import Logger
from typing import Any

from deepmd_tf.errors import DataError, DeepmdError, InputError

PLACES_SHOWN = 10
"""Findings of one kind that are shown one by one; of the others it is said how many there are."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one file, however often it is wrong there.

    Attributes
    ----------
    check
        Name of what was checked; findings of the same name stand together.
    where
        File, or system.
    found
        What the first one is, with frame and atom counted from 0.
    expected
        What would be right, in the form ``"expected ..."``; may go on with what to do.
    count
        How many of them the file has.
    unit
        What is counted, in the plural.
    doubt
        Whether it is worth a look, but may be as it is meant.
    error
        What is raised if there are findings of this kind only.
    """

    check: str
    where: str
    found: str
    expected: str = ""
    count: int = 1
    unit: str = ""
    doubt: bool = False
    error: type[DeepmdError] = DataError

    def __str__(self) -> str:
        text = ", ".join(part for part in (self.found, self.expected) if part)
        if self.where:
            text = f"{self.where}: {text}"
        if self.unit:
            unit = self.unit.removesuffix("s") if self.count == 1 else self.unit
            text += f" ({self.count} {unit} in the file)"
        return text


class FindingsError(DataError):
    """Data are wrong; the message lists everything that was found.

    Attributes
    ----------
    findings
        The errors.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(_report(self.findings)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.findings,)


class FindingsInputError(FindingsError, InputError):
    """The same, where the input script asks for what the data do not have."""


class Findings:
    """Collects findings: one for each kind of mistake and file, in the order of their files."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())

    def add(self, *findings: Finding) -> None:
        """Record findings; repeats of one kind in one file are only counted."""
        for finding in findings:
            key = (finding.check, finding.where if finding.where else finding.found)
            known = self._found.get(key)
            if known is not None:
                finding = dataclasses.replace(known, count=known.count + finding.count)
            self._found[key] = finding

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Take up what a block raises as an error of the user's, and go on after the block."""
        try:
            yield
        except FindingsError as error:
            self.add(*error.findings)
        except (DataError, InputError) as error:
            self.add(Finding("", "", str(error), error=type(error)))

    @property
    def errors(self) -> list[Finding]:
        """Findings that nothing can be done with."""
        return [finding for finding in self if not finding.doubt]

    @property
    def doubts(self) -> list[Finding]:
        """The others."""
        return [finding for finding in self if finding.doubt]

    def raise_errors(self) -> None:
        """Raise all errors as one exception, if there are any.

        Raises
        ------
        FindingsError
            With a message that lists them; one that is an :class:`InputError` as well if nothing
            but the input script is at fault.
        """
        errors = self.errors
        if errors:
            about_input = all(issubclass(finding.error, InputError) for finding in errors)
            raise FindingsInputError(errors) if about_input else FindingsError(errors)

    def warn(self, log: Logger) -> None:
        """Say every doubt once."""
        for line in _lines(self.doubts):
            log.warning(line)


def _report(errors: Sequence[Finding]) -> Iterator[str]:
    """A message of one line for one error, else a head and a line for each."""
    if len(errors) == 1:
        yield str(errors[0])
        return
    yield f"{len(errors)} mistakes:"
    yield from (f"  {line}" for line in _lines(errors))


def _lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Findings of a kind one after the other, the kinds in the order of their first finding."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.check, []).append(finding)
    for alike in kinds.values():
        yield from map(str, alike[:PLACES_SHOWN])
        hidden = len(alike) - PLACES_SHOWN
        if hidden > 0:
            yield f"... and {hidden} more of this kind ({alike[0].check or 'unreadable'})"
