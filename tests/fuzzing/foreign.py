# SPDX-License-Identifier: BSD-3-Clause
"""Files that ASE and dpdata read; nobody else judges their numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepmd_tf.analysis.structures import read_structure
from deepmd_tf.interfaces.conversion import convert_data
from fuzzing.arrays import words_of
from fuzzing.run import Loader

_POSCAR = b"""water
1.0
9.0 0.0 0.0
0.0 9.0 0.0
1.0 0.0 9.0
O H
1 2
Cartesian
0.0 0.0 0.0
0.9 0.0 0.0
0.0 0.9 0.1
"""
_XYZ = (
    b"3\nLattice=\"9 0 0 0 9 0 0 0 9\" Properties=species:S:1:pos:R:3:forces:R:3 energy=-3.5\n"
    b"O 0 0 0 1 2 3\nH 1 0 0 4 5 6\nH 0 1 0 7 8 9\n"
)  # fmt: skip
_DUMP = b"""ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0.0 9.0
0.0 9.0
0.0 9.0
ITEM: ATOMS id type x y z
1 1 0.0 0.0 0.0
2 2 1.0 0.0 0.5
"""
_FILES = {"POSCAR": [_POSCAR], "a.xyz": [_XYZ], "a.dump": [_DUMP]}


class Structure(Loader):
    """A structure for ``dp vibrations``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files = {name: _FILES[name] for name in ("POSCAR", "a.xyz")}

    def load(self, file: str) -> bool:
        atoms = read_structure(str(self._folder / file), ["O", "H"])
        assert len(atoms) > 0
        assert np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()
        return False


class ConvertData(Loader):
    """What ``dp convert-data`` makes of files, read again as systems."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files = dict(_FILES)

    def load(self, file: str) -> bool:
        form = {"POSCAR": "vasp/poscar", "a.xyz": "ase:extxyz", "a.dump": "lammps/dump"}[file]
        out = self._folder / "out"
        found = convert_data([str(self._folder / file)], out, source_format=form, overwrite=True)
        assert found
        for name in found:
            types = words_of((out / name / "type.raw").read_text())
            coord = np.load(out / name / "set.000/coord.npy")
            assert len(types) > 0 and coord.shape[1] == 3 * len(types)
            for array in (out / name).glob("set.*/*.npy"):
                assert np.isfinite(np.load(array)).all()
        return False


LOADERS: dict[str, Callable[[Path], Loader]] = {
    "structure": Structure,
    "convert-data": ConvertData,
}
