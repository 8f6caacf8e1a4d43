# SPDX-License-Identifier: BSD-3-Clause
"""Writing systems: as directories, into an HDF5 file, or as extended XYZ.

StoredFrames of one composition become one system, atoms in the order of the first of them. What is
written takes its name when everything is there.
"""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepmd_tf.data.formats.frames import StoredFrames
from deepmd_tf.data.formats.hdf5_writer import HDF5Writer
from deepmd_tf.data.formats.source import NOPBC_FILE, TYPE_FILE, TYPE_MAP_FILE
from deepmd_tf.errors import InputError
from deepmd_tf.fields import ENERGY, FIELDS, NUMB_COPY, VIRIAL
from deepmd_tf.files import part_of, save_array, settle, unwritable

FRAMES_PER_SET = 5000
_DIGITS = "%.17g"


class Store(abc.ABC):
    """Destination of frames, used in a ``with`` statement.

    Parameters
    ----------
    path
        Its name in the end.
    overwrite
        Whether what has this name already is replaced.

    Raises
    ------
    InputError
        If it cannot be written there.
    """

    _file: Any = None

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        self.path = Path(os.path.abspath(path))
        self._part = part_of(self.path)
        self._species: dict[str, tuple[str, ...]] = {}
        if not self.path.parent.is_dir():
            raise InputError(f"{path}: there is no directory {self.path.parent}")
        if os.path.lexists(self.path):
            if not overwrite:
                raise InputError(f"{path}: exists already; remove it, or give --overwrite")
            self._require_replaceable()

    def __enter__(self) -> Store:
        self._remove(self._part)
        self._guard(self._begin)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None:
                self._guard(self._finish)
                self._guard(lambda: settle(self._part, self.path))
        finally:
            if self._file is not None:
                # after an error, which is told
                with contextlib.suppress(OSError):
                    self._file.close()
            self._remove(self._part)

    def add(self, frames: StoredFrames) -> None:
        """Write frames.

        Raises
        ------
        InputError
            If that is not possible.
        """
        species = self._species.setdefault(frames.name, frames.species)
        frames = frames.reordered(species)
        self._guard(lambda: self._write(frames))

    @property
    def elements(self) -> list[str]:
        """Names of all types, sorted."""
        return sorted({name for species in self._species.values() for name in species})

    @abc.abstractmethod
    def _begin(self) -> None: ...

    @abc.abstractmethod
    def _write(self, frames: StoredFrames) -> None: ...

    @abc.abstractmethod
    def _finish(self) -> None: ...

    def _require_replaceable(self) -> None:
        if not self.path.is_file():
            raise InputError(f"{self.path}: is not a file, and is not replaced by one")

    def _guard(self, function: Callable[[], None]) -> None:
        try:
            function()
        except OSError as error:
            raise unwritable(self.path, error) from error

    @staticmethod
    def _remove(path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class _Sets(Store):
    """Systems with ``type.raw`` and ``set.*/*.npy``, below one place."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        type_map: list[str] | None = None,
    ) -> None:
        super().__init__(path, overwrite)
        self._type_map = type_map
        self._nsets: dict[str, int] = {}

    def _write(self, frames: StoredFrames) -> None:
        for begin in range(0, frames.nframes, FRAMES_PER_SET):
            number = self._nsets.get(frames.name, 0)
            self._nsets[frames.name] = number + 1
            part = slice(begin, begin + FRAMES_PER_SET)
            arrays = {"coord": frames.coord[part]} | {k: v[part] for k, v in frames.items.items()}
            if frames.box is not None:
                arrays["box"] = frames.box[part]
            for name, values in arrays.items():
                values = values.reshape(len(values), -1)
                dtype = np.int64 if name == NUMB_COPY.name else np.float64
                if name in (ENERGY.name, NUMB_COPY.name):
                    values = values.reshape(-1)
                self._save(f"{frames.name}/set.{number:03d}/{name}.npy", values.astype(dtype))

    def _finish(self) -> None:
        names = self._type_map or self.elements
        for system, species in self._species.items():
            self._save(f"{system}/{TYPE_FILE}", np.array([names.index(s) for s in species]))
            self._save(f"{system}/{TYPE_MAP_FILE}", np.array(names))
            if system.endswith("-free"):
                self._save(f"{system}/{NOPBC_FILE}", np.zeros(0))

    @abc.abstractmethod
    def _save(self, name: str, values: np.ndarray) -> None: ...


class Directories(_Sets):
    """A directory with one directory for each system."""

    def _begin(self) -> None:
        self._part.mkdir()

    def _save(self, name: str, values: np.ndarray) -> None:
        file = self._part / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".npy":
            save_array(file, values)
        else:
            file.write_text("".join(f"{value}\n" for value in values), encoding="utf-8")

    def _require_replaceable(self) -> None:
        """Nothing is removed but systems."""
        if self.path.is_symlink() or not self.path.is_dir():
            raise InputError(f"{self.path}: is not a directory, and is not replaced by one")
        for directory, _, files in os.walk(self.path):
            for name in files:
                known = name in (TYPE_FILE, TYPE_MAP_FILE, NOPBC_FILE) or (
                    name.endswith(".npy") and os.path.basename(directory).startswith("set.")
                )
                if not known:
                    raise InputError(
                        f"{self.path}: has {os.path.join(directory, name)}, which is no part of a "
                        "system, and is not replaced; remove it, or write elsewhere"
                    )


class HDF5(_Sets):
    """A file with one group for each system."""

    def _begin(self) -> None:
        self._file = HDF5Writer(self._part)

    def _save(self, name: str, values: np.ndarray) -> None:
        # names of types in the form that dpdata writes
        text = values.dtype.kind == "U"
        self._file.put(name, np.char.encode(values, "utf-8") if text else values)

    def _finish(self) -> None:
        super()._finish()
        self._file.close()


class XYZStore(Store):
    """A file of extended XYZ with all digits of all numbers.

    Columns and keys have the names that ASE gives them; others those of the items. Hessians are
    left out.
    """

    def _begin(self) -> None:
        self._file = self._part.open("w", encoding="utf-8")

    def _write(self, frames: StoredFrames) -> None:
        table, words, keys = [frames.coord], ["Properties=species:S:1:pos:R:3"], {}
        for name, values in frames.items.items():
            shown = {"force": "forces"}.get(name, name)
            kind = FIELDS[name].kind
            if kind == "atom":
                table.append(values.reshape(frames.nframes, len(frames.species), -1))
                words[0] += f":{shown}:R:{table[-1].shape[2]}"
            elif kind == "frame":
                keys[shown] = values
        if VIRIAL.name in keys:
            matrices = keys[VIRIAL.name].reshape(-1, 3, 3)
            keys[VIRIAL.name] = matrices.swapaxes(1, 2).reshape(-1, 9)
        rows = np.concatenate(table, axis=2)
        row = " ".join([_DIGITS] * rows.shape[2])
        for k in range(frames.nframes):
            head = list(words)
            if frames.box is not None:
                head.insert(0, f'Lattice="{_numbers(frames.box[k])}" pbc="T T T"')
            else:
                head.append('pbc="F F F"')
            head += [f'{name}="{_numbers(values[k])}"' for name, values in keys.items()]
            lines = [
                f"{symbol} {row % tuple(numbers)}"
                for symbol, numbers in zip(frames.species, rows[k].tolist(), strict=True)
            ]
            self._file.write("\n".join([str(len(lines)), " ".join(head), *lines, ""]))

    def _finish(self) -> None:
        self._file.close()


def _numbers(values: np.ndarray) -> str:
    return " ".join(_DIGITS % value for value in values.reshape(-1).tolist())


STORES: dict[str, type[Store]] = {"npy": Directories, "hdf5": HDF5, "extxyz": XYZStore}
"""By the name of the format."""
