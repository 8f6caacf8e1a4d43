# SPDX-License-Identifier: BSD-3-Clause
"""Detail files of ``dp test``: label and prediction side by side, one row per element or frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmd_tf.errors import InputError
from deepmd_tf.files import GrowingFile, require_writable, unwritable
from deepmd_tf.inference.tested import Consumer, Tested
from deepmd_tf.metrics import Evaluated, cell_volumes

Rows = Callable[[Evaluated], np.ndarray | None]


@dataclass(frozen=True)
class DetailFile:
    """One of the files; see :class:`DetailFiles`.

    Attributes
    ----------
    suffix
        Replaces that of the prefix.
    columns
        Names of the columns, in the first line.
    rows
        Labels and predictions of frames, one row after the other; None: nothing to write.
    unit
        Of the numbers, in the first line if it is not empty.
    headed
        Whether the rows of each system begin with a line of names.
    """

    suffix: str
    columns: str
    rows: Callable[[Evaluated], np.ndarray | None]
    unit: str = ""
    headed: bool = False

    def header(self, system: str) -> str:
        """The line of names."""
        return f"{system}{self.unit and f' ({self.unit})'}: {self.columns}"


def _columns(symbol: str, components: tuple[str, ...]) -> str:
    return " ".join(f"{side}_{symbol}{c}" for side in ("data", "pred") for c in components)


def _side_by_side(item: str, width: int) -> Rows:
    """Label and prediction of a data item beside each other, ``width`` numbers a row."""

    def rows(frames: Evaluated) -> np.ndarray:
        sides = (frames.labels[item], frames.prediction[item])
        return np.concatenate([np.reshape(side, (-1, width)) for side in sides], axis=1)

    return rows


def _per_atom(rows: Rows) -> Rows:
    def scaled(frames: Evaluated) -> np.ndarray | None:
        found = rows(frames)
        return None if found is None else found / frames.natoms

    return scaled


def _stress(frames: Evaluated) -> np.ndarray | None:
    virial = _virial(frames)
    if virial is None or not (frames.periodic and frames.labels["find_virial"]):
        return None
    return -virial / cell_volumes(frames.labels["box"])[:, None]


def _hessian(frames: Evaluated) -> np.ndarray | None:
    if "hessian" not in frames.prediction:
        return None
    return _side_by_side("hessian", 1)(frames)


def _force(frames: Evaluated) -> np.ndarray | None:
    return None if frames.real_types is not None else _side_by_side("force", 3)(frames)


def _force_on(*, spins: bool) -> Rows:
    """Forces on atoms, or on spins, where there are spins."""

    def rows(frames: Evaluated) -> np.ndarray | None:
        if frames.real_types is None:
            return None
        chosen = frames.of_atoms(spins=spins)
        sides = (frames.labels["force"], frames.prediction["force"])
        parts = (np.reshape(side, (-1, frames.natoms, 3))[:, chosen] for side in sides)
        return np.concatenate([part.reshape(-1, 3) for part in parts], axis=1)

    return rows


_energy, _virial = (_side_by_side(item, width) for item, width in (("energy", 1), ("virial", 9)))
_FORCE = _columns("f", ("x", "y", "z"))
_TENSOR = tuple(a + b for a in "xyz" for b in "xyz")
_ENERGY, _VIRIAL = _columns("e", ("",)), _columns("v", _TENSOR)

ENERGY_DETAILS = (
    DetailFile(".e.out", _ENERGY, _energy),
    DetailFile(".e_peratom.out", _ENERGY, _per_atom(_energy)),
    DetailFile(".f.out", _FORCE, _force),
    DetailFile(".fr.out", _FORCE, _force_on(spins=False)),
    DetailFile(".fm.out", _FORCE, _force_on(spins=True)),
    DetailFile(".v.out", _VIRIAL, _virial),
    DetailFile(".v_peratom.out", _VIRIAL, _per_atom(_virial)),
    DetailFile(".s.out", _columns("s", _TENSOR), _stress, unit="eV/Å³"),
    DetailFile(
        ".h.out",
        f"{_columns('h', ('',))} (3Na*3Na matrix in row-major order)",
        _hessian,
        headed=True,
    ),
)
"""Of an energy model."""


class PrefixedFiles(Consumer):
    """Base of consumers that write files of one prefix. They appear when the test has ended; if it
    fails, none does, and those of an earlier test stay.

    Parameters
    ----------
    prefix
        A suffix in it is replaced, as ``details.out`` by ``details.e.out``.

    Raises
    ------
    InputError
        When the folder does not exist or cannot be written to.
    """

    suffixes: Sequence[str]
    """Of the files, of numbered ones of the first."""

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.prefix = Path(prefix)
        self.files: dict[str, GrowingFile] = {}

    def __enter__(self) -> PrefixedFiles:
        try:
            for suffix in self.suffixes:
                # known before the test, which may take long
                require_writable(self.prefix.with_suffix(suffix))
        except ValueError as error:
            raise InputError(f"{self.prefix}: no prefix of detail files ({error})") from None
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None:
            self._discard()
            return
        while self.files:
            try:
                self.files.pop(next(iter(self.files))).keep()
            except InputError:
                self._discard()
                raise

    def _discard(self) -> None:
        for file in self.files.values():
            file.discard()

    def append(self, suffix: str, rows: np.ndarray, header: str) -> None:
        """Write rows to the file of this suffix, after a line of names where there is one."""
        if suffix not in self.files:
            self.files[suffix] = GrowingFile(self.prefix.with_suffix(suffix))
        file = self.files[suffix]
        try:
            np.savetxt(file.stream, rows, header=header)
        except OSError as error:
            raise unwritable(file.path, error) from None


class DetailFiles(PrefixedFiles):
    """Writes ``PREFIX.e.out`` and its siblings; use it in a ``with`` statement.

    =====================  =========================================================
    ``.e.out``             energy, eV
    ``.e_peratom.out``     energy per atom, eV
    ``.f.out``             force on each atom, eV/Å; not of models with spins
    ``.fr.out``            of models with spins: force on each real atom, eV/Å
    ``.fm.out``            the same on each spin, eV per unit of spin
    ``.v.out``             virial, eV (zeros as label where there is none)
    ``.v_peratom.out``     virial per atom, eV
    ``.s.out``             stress, eV/Å³; periodic systems with a virial label only
    ``.h.out``             Hessian, eV/Å²; an element per row, where it was compared
    =====================  =========================================================

    The first line of a file names the first system and the columns; further systems follow without
    a line of their own, except in ``.h.out``. Files of an earlier run are replaced when the new
    ones are complete, and stay if the test fails.

    Parameters
    ----------
    prefix
        A suffix in it is replaced, as ``details.out`` by ``details.e.out``.
    kinds
        Which files.

    Raises
    ------
    InputError
        When the folder does not exist or cannot be written to.
    """

    def __init__(
        self, prefix: str | os.PathLike[str], kinds: Sequence[DetailFile] = ENERGY_DETAILS
    ) -> None:
        super().__init__(prefix)
        self.kinds = kinds
        self.suffixes = [kind.suffix for kind in kinds]
        self._headed: set[tuple[str, str]] = set()

    def __exit__(self, kind: object, *rest: object) -> None:
        written = set(self.files)
        super().__exit__(kind, *rest)
        if kind is None:
            for suffix in self.suffixes:
                if suffix not in written:
                    self.prefix.with_suffix(suffix).unlink(missing_ok=True)

    def add(self, tested: Tested) -> None:
        """Append frames."""
        for kind in self.kinds:
            if (rows := kind.rows(tested)) is not None:
                self._write(kind, rows, tested.system)

    def _write(self, kind: DetailFile, rows: np.ndarray, system: str) -> None:
        """Append rows, after the line of names where they are the first."""
        key = (kind.suffix, system if kind.headed else "")
        header = "" if key in self._headed else kind.header(system)
        self._headed.add(key)
        self.append(kind.suffix, rows, header)
