# SPDX-License-Identifier: BSD-3-Clause
"""Frames that are both trained on and validated with."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

import numpy as np

from deepmd_tf.data.checks.findings import Finding
from deepmd_tf.data.sets import Chunk
from deepmd_tf.data.system import DataSystem
from deepmd_tf.fields import BOX, COORD


class Duplicates:
    """Compares frames by what float32 makes of types, cell and coordinates.

    Parameters
    ----------
    training
        Systems that are trained on; the others are validated with, and come later.
    """

    def __init__(self, training: Collection[DataSystem]) -> None:
        self._training = {id(system) for system in training}
        self._known: dict[bytes, tuple[str, int]] = {}
        self._again: list[tuple[str, int, str, int]] = []

    def see(self, system: DataSystem, chunk: Chunk) -> None:
        """Take frames up."""
        where = chunk.where(COORD.name)
        types = np.ascontiguousarray(system.types_of(chunk), np.int32)
        with np.errstate(over="ignore"):
            coord = chunk.arrays[COORD.name].astype(np.float32, order="C")
            box = chunk.arrays[BOX.name].astype(np.float32, order="C") if system.pbc else None
        for frame in range(chunk.nframes):
            content = hashlib.blake2b(types[frame], digest_size=16)
            if box is not None:
                content.update(box[frame])
            content.update(coord[frame])
            place = (where, chunk.origin(frame, 0)[0])
            if id(system) in self._training:
                self._known.setdefault(content.digest(), place)
            elif (twin := self._known.get(content.digest())) is not None:
                self._again.append((*place, *twin))

    def end(self, system: DataSystem) -> Iterator[Finding]:
        """Findings in a system."""
        n = len(self._again)
        if n:
            _, frame, twin, other = self._again[0]
            first = f"frame {frame} is frame {other} of {twin}, counted from 0"
            part = "all" if n == system.nframes else f"{n} of"
            found = f"{part} {system.nframes} validation frames are in the training data ({first})"
            yield Finding(
                "duplicates",
                system.path,
                found,
                "expected frames that are not trained on: errors of these say nothing about others",
                doubt=True,
            )
        self._again.clear()
