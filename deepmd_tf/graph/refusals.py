# SPDX-License-Identifier: BSD-3-Clause
"""Translates errors of operations to the caller's frame and atom numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.errors import InputError
from deepmd_tf.graph.session import plain_message

# As the ops phrase it; a hint for callers of the ops follows a semicolon.
_FRAME = re.compile(r"frame (\d+) (has [^;]*)")
_TOO_LARGE = re.compile(r"(?:too many (?:atoms|pairs) in one call|.*needs more memory)[^;]*")
_ATOMS = re.compile(r"\b(atoms?) (\d+)(?: and (\d+))?")


class FrameError(InputError):
    """A frame that cannot be evaluated.

    Attributes
    ----------
    frame
        Which one, counted from 0.
    complaint
        What is wrong with it: a sentence without its subject, with atoms counted from 0.
    remedy
        What can be done about it.
    """

    def __init__(
        self, frame: int, complaint: str, remedy: str = "correct or remove the frame"
    ) -> None:
        super().__init__(f"frame {frame} {complaint}")
        self.frame = frame
        self.complaint = complaint
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.frame, self.complaint, self.remedy)

    def renumber(
        self,
        frames: Sequence[int] | Mapping[int, int] | np.ndarray,
        atoms: Sequence[int] | np.ndarray,
    ) -> FrameError:
        """The same error for a caller whose ``frames[i]`` and ``atoms[j]`` are i and j here."""

        def renumber(found: re.Match[str]) -> str:
            places = sorted(int(atoms[int(place)]) for place in found.groups()[1:] if place)
            return f"{found[1]} {' and '.join(map(str, places))}"

        complaint = _ATOMS.sub(renumber, self.complaint)
        return FrameError(int(frames[self.frame]), complaint, self.remedy)


def translate(error: tf.errors.InvalidArgumentError) -> Exception:
    """The error to raise in place of one of the ops: it itself when it is not about the input.

    Returns
    -------
    FrameError
        When one frame is wrong.
    MemoryError
        When there are too many frames for one call.
    """
    said = plain_message(error)
    if found := _TOO_LARGE.match(said):
        return MemoryError(found[0])
    if found := _FRAME.match(said):
        return FrameError(int(found[1]), found[2])
    return error
