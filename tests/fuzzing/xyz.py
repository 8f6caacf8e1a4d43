# SPDX-License-Identifier: BSD-3-Clause
"""Extended XYZ, judged by ASE."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from containers import as_extxyz

from deepmd_tf.data import DataSystem, expand_systems
from fuzzing.arrays import LABELS, good_system
from fuzzing.damage import WORDS
from fuzzing.run import Loader

_CHOICES = ("", "#energy=energy", "#force=", "#virial=stress", "#energy=REF,force=forces")
_PROPERTIES = (
    "species:S:1:pos:R:3",
    "pos:R:3:species:S:1:forces:R:3",
    "species:S:1:pos:R:3:forces:R:3:tags:I:1",
    "species:S:1:pos:R:3:forces:R:2",
    "species:S:1:pos:R:3:pos:R:3",
    "species:S:1:pos:R:99999999999",
    "species:S:2:pos:R:3",
    "species:S:1:pos:R:3:",
)
_VALUES = (
    "1", "-2.5e3", '"1 0 0 0 1 0 0 0 1"', '"9 0 0 0 9 0 0 0 9"', "[[9,0,0],[0,9,0],[1,0,9]]",
    "{9 0 0 0 9 0 0 0 9}", '"1 2 3 4 5 6"', "'T T T'", '"T F T"', "F", '"1 2', "[1,[2,3]", "{}",
    '""', "a=b", "1e999", "nan", "1,2", '"a \\" b"', "_", "1_0", "１",
)  # fmt: skip
_KEYS = ("Lattice", "pbc", "energy", "free_energy", "virial", "stress", "REF", "x", "Properties")


class ExtendedXYZ(Loader):
    """Periodic and free frames, in the forms that values may have."""

    words = (*WORDS, *(v.encode() for v in _VALUES), b"species:S:1:pos:R:3", b"stress", b"pbc=F")

    def __init__(self, folder: Path) -> None:
        one = good_system(folder / "one")
        for number, names in enumerate(({}, {"stress": "stress", "force": "REF_forces"})):
            as_extxyz(one, folder / f"{number}.xyz", **names)
        self.files = {
            "a.extxyz": [(folder / f"{k}.xyz").read_bytes() for k in range(2)]
            + [
                b"2\nenergy=-3.5 Properties=species:S:1:pos:R:3:tags:I:1:forces:R:3 pbc='F F F' "
                b'remark="a \\"b\\" = c" flag list=[1,2]\n'
                b"O 0 0 0 7 1 2 3\nH 1 0 0 7 4 5 6\n"
                b"1\nLattice=[[5,0,0],[0,5,0],[1,0,5]] virial={1 2 3 4 5 6 7 8 9} energy=2\n"
                b"H 0 0 0\n",
                b"3\nplain = 'water\nO 0 0 0\nH 1 0 0\nH 0 1 0\n\n\n",
            ]
        }
        self._path = folder / "a.extxyz"

    def variant(self, rng: random.Random, file: str) -> bytes:
        """Frames with any keys and columns."""
        frames = []
        for _ in range(rng.randrange(1, 4)):
            natoms = rng.randrange(1, 4)
            properties = rng.choice((_PROPERTIES[0], *_PROPERTIES))
            words = [f"Properties={properties}"]
            for _ in range(rng.randrange(4)):
                sign = rng.choice(("=", "=", "=", " = ", ""))
                words.append(f"{rng.choice(_KEYS[:-1])}{sign}{rng.choice(_VALUES)}")
            rng.shuffle(words)
            rows = [
                " ".join(
                    rng.choice(("O", "H")) if kind == "S" else f"{rng.uniform(-9, 9):.6g}"
                    for kind, count in re.findall(r":([SRI]):(\d{1,2})", properties)
                    for _ in range(min(int(count), 9))
                )
                for _ in range(natoms + (rng.random() < 0.05))
            ]
            frames.append("\n".join([str(natoms), " ".join(words), *rows, ""]))
        return "".join(frames).encode()

    def load(self, file: str) -> bool:
        content = self._path.read_bytes() if self._path.is_file() else b""
        choice = _CHOICES[len(content) % len(_CHOICES)] if content not in self.files[file] else ""
        paths = expand_systems(f"{self._path}{choice}")
        judge = _frames_of_ase(self._path)
        seen = 0
        for path in paths:
            system = DataSystem(path, type_map=["H", "O"], fields=LABELS)
            system.check()
            for batch in system.batches():
                for k in range(batch.nframes):
                    number, atoms = system.origin(batch, k)
                    seen += 1
                    if judge is not None:
                        _compare(batch, k, judge[number], atoms, system.pbc, choice)
                assert all(np.isfinite(values).all() for values in batch.arrays.values())
        assert judge is None or seen == len(judge)
        return judge is not None


def _frames_of_ase(path: Path) -> list[ase.Atoms] | None:
    """What ASE reads, which is nothing for much that is good."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = ase.io.read(path, ":", format="extxyz")
    except Exception:
        return None
    # frames behind an empty line are left out by ASE, and "nan" is a number
    return frames or None


def _compare(
    batch: Any, k: int, expected: ase.Atoms, atoms: list[int], periodic: bool, choice: str
) -> None:
    """One frame; labels that have one name only."""
    arrays, results = batch.arrays, expected.calc.results if expected.calc else {}
    # ASE reads no cell under "lattice" or "cell"
    other_name = periodic and not expected.cell.array.any()
    assert expected.get_chemical_symbols()
    assert other_name or bool(expected.pbc.any()) == periodic
    symbols = [expected.get_chemical_symbols()[a] for a in atoms]
    assert [["H", "O"][t] for t in arrays["type"][k]] == symbols
    _same(arrays["coord"][k].reshape(-1, 3), expected.positions[atoms])
    if expected.pbc.all() and not other_name:
        _same(arrays["box"][k].reshape(3, 3), expected.cell.array)
    if choice:
        return
    forces = results.get("forces", expected.arrays.get("REF_forces"))
    if arrays["find_force"]:
        _same(arrays["force"][k].reshape(-1, 3), np.asarray(forces)[atoms])
    if arrays["find_energy"] and "energy" in results:
        _same(arrays["energy"][k], results["energy"])
    if arrays["find_virial"] and "virial" in expected.info and "stress" not in results:
        virial = np.asarray(expected.info["virial"], dtype=np.float64)
        if virial.shape == (3, 3):
            _same(arrays["virial"][k].reshape(3, 3), virial)


def _same(found: np.ndarray, expected: Any) -> None:
    np.testing.assert_array_equal(found, np.asarray(expected, dtype=np.float64))


LOADERS: dict[str, Callable[[Path], Loader]] = {"extxyz": ExtendedXYZ}
