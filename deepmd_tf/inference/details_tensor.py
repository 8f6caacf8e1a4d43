# SPDX-License-Identifier: BSD-3-Clause
"""Detail files of tensors and of densities of states: one for each system, or for each frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepmd_tf.errors import InputError
from deepmd_tf.files import GrowingFile, require_writable, unwritable
from deepmd_tf.inference.tested import Consumer, Tested

COMPONENTS = {3: ("x", "y", "z"), 9: tuple(f"p{a}{b}" for a in "xyz" for b in "xyz")}
"""Names of the components of a tensor, in the first line, by their number."""


class NumberedFiles(Consumer):
    """Base of consumers that write files whose names and number follow from the data.

    They appear when the test has ended; if it fails, none does, and those of an earlier test stay.

    Parameters
    ----------
    prefix
        A suffix in it is replaced, as ``details.out`` by ``details.dos.out.0``.

    Raises
    ------
    InputError
        When the folder does not exist or cannot be written to.
    """

    suffixes: tuple[str, ...] = (".out",)
    """That of the files, before a number."""

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.prefix = Path(prefix)
        self._files: dict[Path, GrowingFile] = {}

    def __enter__(self) -> NumberedFiles:
        try:
            for suffix in self.suffixes:
                # known before the test, which may take long
                require_writable(self.prefix.with_suffix(suffix))
        except ValueError as error:
            raise InputError(f"{self.prefix}: no prefix of detail files ({error})") from None
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None:
            for file in self._files.values():
                file.discard()
            return
        while self._files:
            file = self._files.pop(next(iter(self._files)))
            try:
                file.keep()
            except InputError:
                for other in self._files.values():
                    other.discard()
                raise

    def append(self, name: str, rows: np.ndarray, header: str) -> None:
        """Write rows to the file of this suffix, after a line of names where they are the first."""
        path = self.prefix.with_suffix(name)
        first = path not in self._files
        if first:
            self._files[path] = GrowingFile(path)
        try:
            np.savetxt(self._files[path].stream, rows, header=header if first else "")
        except OSError as error:
            raise unwritable(path, error) from None


class TensorDetails(NumberedFiles):
    """``PREFIX.out`` of the first system, ``PREFIX.out.1`` of the next, and so on.

    A row is a frame: the label, then the prediction; with ``atomic`` the labels of all atoms that
    have a tensor, then their predictions.

    Parameters
    ----------
    prefix
        See :class:`NumberedFiles`.
    item
        Data item that is compared.
    size
        Numbers in a tensor.
    atomic
        Whether it is of atoms.
    """

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
