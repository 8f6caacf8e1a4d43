# SPDX-License-Identifier: BSD-3-Clause
"""Inputs of the operation of the fitting nets."""

from __future__ import annotations

from typing import Any, NamedTuple


class Nets(NamedTuple):
    """What :func:`ops.fitting_nets` takes, as arrays or tensors."""

    x: list[Any]
    matrix: list[Any]
    bias: list[Any]
    idt: list[Any]

    @property
    def hidden(self) -> int:
        """Number of hidden layers of each net."""
        return len(self.matrix) // len(self.x) - 1
