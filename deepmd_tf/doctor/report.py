# SPDX-License-Identifier: BSD-3-Clause
"""The page of ``dp doctor``: titles and, below each, what was checked."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the page.

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
    state: Literal["", "ok", "note", "broken"] = ""
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Examination:
    """The whole page.

    Attributes
    ----------
    sections
        Checks by title, in the order of the page.
    shell
        Lines for a shell, after which other programs run native models.
    lammps
        Lines of a LAMMPS input script.
    """

    sections: dict[str, list[Check]]
    shell: list[str]
    lammps: list[str]

    @property
    def broken(self) -> list[Check]:
        """Checks that failed."""
        return [c for checks in self.sections.values() for c in checks if c.state == "broken"]

    def to_dict(self) -> dict[str, Any]:
        """For programs: plain data, with ``works``."""
        sections = [
            {"title": title, "findings": [dataclasses.asdict(check) for check in checks]}
            for title, checks in self.sections.items()
        ]
        return {
            "works": not self.broken,
            "sections": sections,
            "shell": self.shell,
            "lammps": self.lammps,
        }
