# SPDX-License-Identifier: BSD-3-Clause
"""Detail files of tensors and of densities of states: one for each system, or for each frame."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from deepmd_tf.inference.details import PrefixedFiles
from deepmd_tf.inference.tested import Tested

COMPONENTS = {3: ("x", "y", "z"), 9: tuple(f"p{a}{b}" for a in "xyz" for b in "xyz")}
"""Names of the components of a tensor, in the first line, by their number."""


class NumberedFiles(PrefixedFiles):
    """Base of consumers whose files have numbers, which follow from the data."""

    def append(self, suffix: str, rows: np.ndarray, header: str) -> None:
        """The same; the line of names stands before the first rows of a file."""
        super().append(suffix, rows, "" if suffix in self.files else header)


class TensorDetails(NumberedFiles):
    """``PREFIX.out`` of the first system, ``PREFIX.out.1`` of the next, and so on.

    A row is a frame: the label, then the prediction; with ``atomic`` the labels of all atoms that
    have a tensor, then their predictions.

    Parameters
    ----------
    prefix
        See :class:`PrefixedFiles`.
    item
        Data item that is compared.
    size
        Numbers in a tensor.
    atomic
        Whether it is of atoms.
    """

    suffixes = (".out",)

    def __init__(
        self, prefix: str | os.PathLike[str], item: str, size: int, *, atomic: bool
    ) -> None:
        super().__init__(prefix)
        self.item = item
        self.size = size
        self.atomic = atomic
        self._systems: list[str] = []

    def add(self, tested: Tested) -> None:
        """Append frames."""
        if not tested.has_both(self.item):
            return
        sides = [np.asarray(a[self.item]) for a in (tested.labels, tested.prediction)]
        sides = [np.reshape(side, (tested.batch.nframes, -1, self.size)) for side in sides]
        if self.atomic and tested.selected is not None:
            sides = [side[:, tested.selected] for side in sides]
        count = sides[0].shape[1]
        if tested.system not in self._systems:
            self._systems.append(tested.system)
        number = self._systems.index(tested.system)
        rows = np.concatenate([side.reshape(len(side), -1) for side in sides], axis=1)
        columns = " ".join(
            f"{side}_{component}{atom + 1 if self.atomic else ''}"
            for side in ("data", "pred")
            for atom in range(count)
            for component in COMPONENTS[self.size]
        )
        self.append(f".out.{number}" if number else ".out", rows, columns)


class DosDetails(NumberedFiles):
    """``PREFIX.dos.out.0`` of the first frame, ``PREFIX.dos.out.1`` of the second, and so on over
    all systems, with the label and the prediction at each energy; likewise ``PREFIX.ados.out.0``,
    atom after atom, where those of atoms were compared.
    """

    suffixes = (".dos.out.0", ".ados.out.0")

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        super().__init__(prefix)
        self._frames = 0

    def add(self, tested: Tested) -> None:
        """Write frames."""
        for frame in range(tested.batch.nframes):
            for item, suffix in self._compared(tested):
                sides = (np.asarray(a[item]) for a in (tested.labels, tested.prediction))
                rows = np.stack([side[frame].reshape(-1) for side in sides], axis=1)
                header = f"{tested.system} - {self._frames}: data_{suffix} pred_{suffix}"
                self.append(f".{suffix}.out.{self._frames}", rows, header)
            self._frames += 1

    def _compared(self, tested: Tested) -> Iterator[tuple[str, str]]:
        for item, suffix in (("dos", "dos"), ("atom_dos", "ados")):
            if tested.has_both(item):
                yield item, suffix
