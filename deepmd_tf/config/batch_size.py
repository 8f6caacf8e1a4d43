# SPDX-License-Identifier: BSD-3-Clause
"""The forms of ``batch_size``: how many frames of each system make a batch."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Rule = Literal["fixed", "list", "auto", "max", "filter", "mixed"]

DEFAULT_AUTO_ATOMS = 32
FORMS = (
    'an integer ≥ 1, a list with one such integer per system, "auto", "auto:<atoms>", '
    '"max:<atoms>", "filter:<atoms>" or "mixed:<frames>"'
)


@dataclasses.dataclass(frozen=True)
class BatchSizeRule:
    """A parsed ``batch_size``.

    With n atoms in a system, the number of frames in a batch is

    =============  ===========================================================
    ``fixed``      ``sizes[0]``, the same for every system
    ``list``       ``sizes[i]`` for system i
    ``auto``       ⌈``atoms`` / n⌉: at least that many atoms
    ``max``        max(1, ⌊``atoms`` / n⌋): at most that many atoms
    ``filter``     as ``max``, and systems with n > ``atoms`` are left out
    ``mixed``      ``sizes[0]``, each frame from a system drawn at random
    =============  ===========================================================
    """

    rule: Rule
    sizes: tuple[int, ...] = ()
    atoms: int = 0

    @classmethod
    def parse(cls, value: Any) -> BatchSizeRule:
        """Read the value of the key ``batch_size``.

        Raises
        ------
        ValueError
            What is wrong, in words for the user.
        """
        if isinstance(value, cls):
            return value
        if type(value) is int:
            return cls("fixed", sizes=(_positive(value),))
        if isinstance(value, list):
            if not value:
                raise ValueError("the list is empty; give one integer per system")
            return cls("list", sizes=tuple(_positive(n) for n in value))
        if isinstance(value, str):
            return cls._parse_rule(value)
        raise ValueError(f"expected {FORMS}")

    @classmethod
    def _parse_rule(cls, text: str) -> BatchSizeRule:
        rule, colon, atoms = text.partition(":")
        if rule == "mix":
            raise ValueError(f'"{text}" is for LMDB data sets of other backends of DeePMD-kit')
        if rule not in ("auto", "max", "filter", "mixed"):
            raise ValueError(f"expected {FORMS}")
        if rule == "auto" and not colon:
            return cls("auto", atoms=DEFAULT_AUTO_ATOMS)
        if not (atoms.isascii() and atoms.isdigit() and int(atoms) > 0):
            things, example = ("frames", 8) if rule == "mixed" else ("atoms", 256)
            raise ValueError(
                f'"{rule}" needs a number of {things} ≥ 1 after a colon, as in "{rule}:{example}"'
            )
        if rule == "mixed":
            return cls("mixed", sizes=(int(atoms),))
        return cls(rule, atoms=int(atoms))  # type: ignore[arg-type]

    def keeps(self, natoms: int) -> bool:
        """Whether a system of ``natoms`` atoms takes part."""
        return self.rule != "filter" or natoms <= self.atoms

    def frames(self, natoms: int, index: int) -> int:
        """Frames in a batch of system ``index`` (of those given), which has ``natoms`` atoms."""
        if self.rule in ("fixed", "mixed"):
            return self.sizes[0]
        if self.rule == "list":
            return self.sizes[index]
        if self.rule == "auto":
            return -(-self.atoms // natoms)
        return max(1, self.atoms // natoms)


def _positive(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"expected {FORMS}")
    return value
