# SPDX-License-Identifier: BSD-3-Clause
"""Files of statistics, and what is kept in them for the next training; judged by NumPy and h5py."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from deepmd_tf.model.stat_file import StatFile, descriptor_group
from fuzzing.arrays import npy_variant
from fuzzing.run import Loader

_GROUP = descriptor_group([12, 20], 3.4, 0.5)
_SUMS = np.array([[64.0, 3.0, 2.0, 0.1, 0.5], [32.0, 1.0, 4.0, -0.2, 0.7]])
_RECORD = {"key": "0123", "doubts": [{"check": "a"}]}


class Statistics(Loader):
    """Sums over environments and parameters, biases, and a record."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        file = self._open()
        file.save_sums(_GROUP, _SUMS)
        file.save_bias(np.array([-1.5, 0.25]), 0.01, ["O", "H"])
        file.save_parameter_sums("fparam", np.array([[4.0, 1.0, 3.0]]))
        file.save_record("kept", _RECORD)
        if self._path.is_dir():
            paths = [p for p in self._path.rglob("*") if p.is_file()]
        else:
            paths = [self._path]
        self.files = {str(p.relative_to(folder)): [p.read_bytes()] for p in sorted(paths)}

    def _open(self) -> StatFile:
        return StatFile(self._path, ["O", "H"], read_only=False)

    def variant(self, rng: random.Random, file: str) -> bytes | None:
        return None if self._path.is_file() else npy_variant(rng, self.files[file][0])

    def load(self, file: str) -> bool:
        opened = self._open()
        sums, bias = opened.load_sums(_GROUP, 2), opened.load_bias(2)
        parameters, record = opened.load_parameter_sums("fparam", 1), opened.load_record("kept")
        for values, shape in ((sums, (2, 5)), (bias, (2,)), (parameters, (1, 3))):
            assert values is None or (values.shape == shape and np.isfinite(values).all())
        if sums is not None:
            radial = np.array([self._array(f"{_GROUP}/r_{t}") for t in range(2)])
            np.testing.assert_array_equal(sums[:, :3], radial)
            angular = np.array([self._array(f"{_GROUP}/a_{t}") for t in range(2)])
            np.testing.assert_allclose(3 * sums[:, 3:], angular[:, 1:], 1e-15, 1e-300)
        if bias is not None:
            np.testing.assert_array_equal(bias[:, None], self._array("bias_atom_energy"))
        if parameters is not None:
            np.testing.assert_array_equal(parameters, self._array("fparam"))
        if record is not None:
            assert record == json.loads(bytes(self._array("deepmd_tf/kept")))
        return True

    def _array(self, name: str) -> np.ndarray:
        if self._path.is_dir():
            return np.load(self._path / "O H" / name, allow_pickle=False)
        with h5py.File(self._path, "r") as file:
            return file[f"O H/{name}"][()]


LOADERS: dict[str, Callable[[Path], Loader]] = {
    "statistics hdf5": lambda folder: Statistics(folder, "stat.hdf5"),
    "statistics npy": lambda folder: Statistics(folder, "stat"),
}
