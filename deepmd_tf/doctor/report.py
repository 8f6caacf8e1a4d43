# SPDX-License-Identifier: BSD-3-Clause
"""What was found: sections of findings."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

State = Literal["", "ok", "note", "broken"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    name
        What was looked at.
    value
        What was found.
    state
        "ok" and "broken" for what was tested, "note" for what may surprise, "" for plain facts.
    advice
        What to do, or why it matters.
    """

    name: str
    value: str
    state: State = ""
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """Findings of one kind."""

    title: str
    findings: list[Finding]


@dataclasses.dataclass(frozen=True)
class Report:
    """The whole page.

    Attributes
    ----------
    sections
        In the order of the page.
    shell
        Lines for a shell, after which other programs run native models.
    lammps
        Lines of a LAMMPS input script.
    """

    sections: list[Section]
    shell: list[str]
    lammps: list[str]

    @property
    def broken(self) -> list[Finding]:
        """What does not work."""
        return [f for s in self.sections for f in s.findings if f.state == "broken"]

    def to_dict(self) -> dict[str, Any]:
        """For machines: plain data, with ``works``."""
        return {"works": not self.broken, **dataclasses.asdict(self)}
