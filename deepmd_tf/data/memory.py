# SPDX-License-Identifier: BSD-3-Clause
"""How much of the data is kept in memory."""

from __future__ import annotations

DEFAULT_BYTES = 1 << 30


class Memory:
    """A bound that systems share; what does not fit is read from its files when it is needed.

    First come, first served: frames are drawn at random, so what is replaced would soon be wanted
    again.

    Parameters
    ----------
    size
        Bytes.
    """

    def __init__(self, size: int = DEFAULT_BYTES) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        """Whether `size` bytes can be had; if so, they are taken for good."""
        if size > self.left:
            return False
        self.left -= size
        return True
