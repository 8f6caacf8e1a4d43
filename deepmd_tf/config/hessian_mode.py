# SPDX-License-Identifier: BSD-3-Clause
"""The forms of ``hessian_mode``: how much of a Hessian a training step looks at."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Rule = Literal["auto", "full", "probe", "columns"]

FORMS = '"auto", "full", "probe:<k>" or "columns:<k>", k directions of each frame, 1 to 100'
_MOST = 100


@dataclasses.dataclass(frozen=True)
class HessianMode:
    """A parsed ``hessian_mode``.

    ===========  =======================================================
    ``full``     the whole matrix
    ``probe``    its products with ``count`` random vectors of signs
    ``columns``  ``count`` random columns, all different
    ``auto``     ``full`` for small systems, otherwise one of the others
    ===========  =======================================================
    """

    rule: Rule
    count: int = 0

    @classmethod
    def parse(cls, value: Any) -> HessianMode:
        """Read the value of the key ``hessian_mode``.

        Raises
        ------
        ValueError
            What is wrong, in words for the user.
        """
        if value in ("auto", "full"):
            return cls("full" if value == "full" else "auto")
        rule, _, count = value.partition(":") if isinstance(value, str) else ("", "", "")
        if rule not in ("probe", "columns"):
            raise ValueError(f"expected {FORMS}")
        if not (count.isascii() and count.isdigit() and 1 <= int(count) <= _MOST):
            raise ValueError(
                f'"{rule}" needs a number of directions from 1 to {_MOST} after a colon, as in '
                f'"{rule}:1"'
            )
        return cls("probe" if rule == "probe" else "columns", int(count))

    def __str__(self) -> str:
        return f"{self.rule}:{self.count}" if self.count else self.rule
