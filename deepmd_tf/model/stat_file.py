# SPDX-License-Identifier: BSD-3-Clause
"""Statistics kept in a file for the next training, in the layout of DeePMD-kit.

``training/stat_file`` is an HDF5 file (``.h5``, ``.hdf5``) or a directory of NumPy arrays. Below it
is a group for the element names, with the energy bias and the sums of parameters, and in that a
group for each descriptor, whose name is a hash of its type, ``sel`` and cutoff. The hash does not
cover data nor excluded types, so records of our own, which other programs do not see, say what the
statistics depend on.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deepmd_tf.data.formats.hdf5 import read_arrays
from deepmd_tf.data.formats.hdf5_writer import hdf5_writer
from deepmd_tf.data.formats.npy import read_array, read_header
from deepmd_tf.environment import ANGULAR, RADIAL
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.files import replacing, save_array

RECORDS = "deepmd_tf"
"""Group of what only this package reads: which data the statistics are of, numbers of neighbours,
what was found when data were checked."""
HDF5_SUFFIXES = (".h5", ".hdf5")


def descriptor_group(
    sel: Sequence[int],
    rcut: float,
    rcut_smth: float,
    components: int = ANGULAR,
    member: Sequence[Sequence[int]] | None = None,
) -> str:
    """Name of the group of an environment: with rows of 4 components that of ``se_e2_a``, with 1
    that of ``se_e2_r``.

    Other members of a list may have other excluded types (``member``), or a cutoff that is the same
    only when it is rounded. Such a member has a group of its own, which DeePMD-kit does not know.
    """
    key: dict[str, Any] = {
        "type": "se_r" if components == RADIAL else "se_a",
        "ntypes": len(sel),
        "rcut": round(rcut, 2),
        "rcut_smth": round(rcut_smth, 2),
        "nsel": sum(sel),
        "sel": list(sel),
        "mixed_types": False,
    }
    rounded = key["rcut"], key["rcut_smth"]
    if member is not None and (member or rounded != (rcut, rcut_smth)):
        key["member"] = [rcut, rcut_smth, *map(list, member)]
    return hashlib.sha1(json.dumps(key).encode()).hexdigest()


class StatFile:
    """Sums over the environment and over parameters, and the energy bias.

    Parameters
    ----------
    path
        File or directory.
    type_map
        Names of the types, or None.
    read_only
        Whether everything must be there and nothing is written.
    writes
        Whether anything is written otherwise.

    Raises
    ------
    InputError
        When it must be there and is not, or is not what its name says.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        type_map: Sequence[str] | None,
        *,
        read_only: bool,
        writes: bool = True,
    ) -> None:
        self.path = Path(path)
        self.group = " ".join(type_map or ())
        self.read_only = read_only
        self.writes = writes and not read_only
        self._hdf5 = self.path.suffix in HDF5_SUFFIXES
        if not self.path.exists():
            if read_only:
                raise self._error("does not exist; stat_file_mode is read")
        elif self._hdf5 == self.path.is_dir():
            kind = "an HDF5 file" if self._hdf5 else "a directory"
            raise self._error(f"is not {kind}, as its name says; remove it or take another name")
        elif self._hdf5 and not h5py.is_hdf5(self.path):
            raise self._error("is not an HDF5 file, or a damaged one; remove it")

    def below(self, group: str) -> StatFile:
        """What it has of one of several models."""
        other = copy.copy(self)
        other.group = f"{group}/{self.group}".rstrip("/")
        return other

    def load_sums(self, group: str, ntypes: int, components: int = ANGULAR) -> np.ndarray | None:
        """As :func:`deepmd_tf.model.statistics.environment_sums` has them, or None."""
        kinds = "r" if components == RADIAL else "ra"
        names = [f"{group}/{kind}_{t}" for kind in kinds for t in range(ntypes)]
        arrays = self._load(names, (3,))
        if arrays is None:
            return None
        radial = np.reshape(arrays[:ntypes], (ntypes, 3))
        angular = np.reshape(arrays[ntypes:], (-1, 3)) if len(kinds) > 1 else radial * [3, 0, 0]
        # the sums over the three directions are stored, not their means
        sums = np.concatenate([radial, angular[:, 1:] / 3.0], axis=1)[:, : 1 + 2 * len(kinds)]
        if (sums[:, 0] < 0).any() or not np.allclose(angular[:, 0], 3.0 * radial[:, 0]):
            raise self._error(f"its statistics in {group} are damaged; remove it")
        return sums

    def save_sums(self, group: str, sums: np.ndarray) -> None:
        """Write them."""
        items = {f"{group}/r_{t}": row[:3] for t, row in enumerate(sums)}
        if sums.shape[1] > 3:
            items |= {f"{group}/a_{t}": 3.0 * row[[0, 3, 4]] for t, row in enumerate(sums)}
        self._save(items)

    def load_bias(self, ntypes: int) -> np.ndarray | None:
        """Energy bias [ntypes] in eV, or None."""
        arrays = self._load(["bias_atom_energy", "std_atom_energy"], (ntypes, 1))
        return None if arrays is None else arrays[0].ravel()

    def save_bias(self, bias: np.ndarray, spread: float, observed: Sequence[str]) -> None:
        """Write it, with what is left of the energies of the frames (standard deviation, eV) and
        the names of the types that the data have.
        """
        self._save(
            {
                "bias_atom_energy": bias[:, None],
                "std_atom_energy": np.full((len(bias), 1), spread),
                "observed_type": np.array(sorted(observed), dtype="S"),
            }
        )

    def load_parameter_sums(self, key: str, dim: int) -> np.ndarray | None:
        """[dim, 3] as :func:`deepmd_tf.model.statistics.parameter_sums` has them for ``key``,
        "fparam" or "aparam", or None.
        """
        arrays = self._load([key], (dim, 3))
        if arrays is not None and (arrays[0][:, 0] <= 0).any():
            raise self._error(f"its statistics in {key} are damaged; remove it")
        return None if arrays is None else arrays[0]

    def save_parameter_sums(self, key: str, sums: np.ndarray) -> None:
        """Write them."""
        self._save({key: sums})

    def load_record(self, name: str) -> dict[str, Any] | None:
        """The record of :meth:`save_record` under this name; None if missing or unreadable."""
        try:
            arrays = self._read([f"{self.group}/{RECORDS}/{name}".lstrip("/")])
            record = json.loads(bytes(arrays[0])) if arrays else None
        except (DataError, ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) else None

    def save_record(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep something that JSON knows, where other programs do not look."""
        text = json.dumps(record, sort_keys=True).encode()
        self._save({f"{RECORDS}/{name}": np.frombuffer(text, np.uint8)})

    def _load(self, names: Sequence[str], shape: tuple[int, ...]) -> list[np.ndarray] | None:
        """All of these arrays, or None when one is missing and may be."""
        try:
            arrays = self._read([f"{self.group}/{name}".lstrip("/") for name in names])
        except DataError as error:
            raise self._error(f"cannot be read ({error}); remove it") from error
        if arrays is None:
            if self.read_only:
                missing = f"{names[0]} and others for the types {self.group}"
                raise self._error(f"has no {missing}; stat_file_mode is read")
            return None
        for name, array in zip(names, arrays, strict=True):
            if array.shape != shape or not np.isfinite(array).all():
                expected = f"expected finite numbers of shape {shape}"
                raise self._error(f"{name} has shape {array.shape}; {expected}; remove it")
        return arrays

    def _read(self, names: Sequence[str]) -> list[np.ndarray] | None:
        if not self.path.exists():
            return None
        if self._hdf5:
            return read_arrays(str(self.path), names)
        files = [self.path / name for name in names]
        if not all(file.is_file() for file in files):
            return None
        return [np.array(read_array(file, read_header(file))) for file in files]

    def _save(self, items: Mapping[str, np.ndarray]) -> None:
        if not self.writes:
            return
        items = {f"{self.group}/{name}".lstrip("/"): array for name, array in items.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self._hdf5:
                self._save_arrays(items)
                return
            with replacing(self.path) as part:
                keeps = self.path.exists()
                if keeps:
                    shutil.copyfile(self.path, part)
                with hdf5_writer(part, keeps=keeps) as file:
                    for name, array in items.items():
                        file.put(name, array)
        except OSError as error:
            raise self._error(f"cannot be written ({error.strerror or error})") from error

    def _save_arrays(self, items: Mapping[str, np.ndarray]) -> None:
        for name, array in items.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as part:
                save_array(part, array)

    def _error(self, text: str) -> InputError:
        return InputError(f"training/stat_file {self.path}: {text}")
