# SPDX-License-Identifier: BSD-3-Clause
"""Arrays: ``.npy`` files, systems of them, and HDF5 files; judged by NumPy and h5py."""

from __future__ import annotations

import ast
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from containers import pack

from deepmd_tf import fields
from deepmd_tf.data import DataSystem, expand_systems, write_system
from deepmd_tf.data.formats.npy import read_array, read_header
from fuzzing.damage import WORDS
from fuzzing.run import Loader

LABELS = (fields.ENERGY, fields.FORCE, fields.VIRIAL)
TYPE_MAP = ["H", "O"]
_DTYPES = ("<f8", ">f8", "<f4", "<f2", "<i8", "|u1", "<c16", "|b1", "|O", "<U3", "|S4", "<M8[s]")
_SIZES = (0, 1, 2, 3, 4, 6, 9, 81, -1, 2**31, 2**62, 10**30)


def npy_variant(rng: random.Random, content: bytes) -> bytes:
    """The same file with another header."""
    begin = 10 if content[6] == 1 else 12
    length = int.from_bytes(content[8:begin], "little")
    header = ast.literal_eval(content[begin : begin + length].decode("latin1").strip())
    rest = content[begin + length :]
    kind = rng.randrange(9)
    if kind == 0:
        header["descr"] = rng.choice((*_DTYPES, [("a", "<f8")], "f8, f8", 3, None))
    elif kind == 1:
        header["shape"] = tuple(rng.choice(_SIZES) for _ in range(rng.randrange(5)))
    elif kind == 2:
        header["shape"] = rng.choice(
            (None, 3, [2, 3], ("2",), (True,), (2.0,), (1,) * 40, header["shape"][::-1])
        )
    elif kind == 3:
        header["fortran_order"] = rng.choice((True, False, 1, None, "yes"))
    elif kind == 4:
        header.pop(rng.choice(list(header)))
    elif kind == 5:
        header[rng.choice(("x", "shape ", ""))] = 1
    elif kind == 6:
        rest = rest[: rng.randrange(len(rest) + 1)]
    elif kind == 7:
        rest += rng.randbytes(rng.choice((1, 8, 100)))
    text = repr(header)
    if kind == 8:
        text = rng.choice(
            (text[:-1], "(" * 300, "__import__('os')", "[" * 9000, text + " " * 20_000, "")
        )
    version = rng.choice((content[6], 1, 2, 3, 4, 0))
    encoded = text.encode() + b" " * (-len(text) % 16) + b"\n"
    form, most = ("<H", 65535) if version == 1 else ("<I", 2**32 - 1)
    size = struct.pack(form, len(encoded) & most)
    return content[:6] + bytes((version, 0)) + size + encoded + rest


class Npy(Loader):
    """Header and numbers of one array."""

    words = (*WORDS, b"descr", b"fortran_order", b"shape", b"|O", b"<f8", b">c16", b"(", b")")
    stands_alone = False  # those who call it have made sure that it is a file

    def __init__(self, folder: Path) -> None:
        self._path = folder / "a.npy"
        seeds = []
        for values in (
            np.arange(12.0).reshape(3, 4),
            np.asfortranarray(np.arange(12, dtype=">f4").reshape(4, 3)),
            np.arange(5, dtype=np.int16),
            np.zeros((2, 0), np.float16),
            np.array(3, dtype=np.longdouble),
        ):
            np.save(self._path, values)
            seeds.append(self._path.read_bytes())
        self.files = {"a.npy": seeds}

    def variant(self, rng: random.Random, file: str) -> bytes:
        return npy_variant(rng, rng.choice(self.files[file]))

    def load(self, file: str) -> bool:
        header = read_header(self._path)
        values = read_array(self._path, header)
        expected = np.load(self._path, allow_pickle=False)
        assert values.dtype == expected.dtype and values.dtype.kind in "fiu"
        assert values.shape == expected.shape == header.shape
        assert values.tobytes() == expected.tobytes()
        return True


def numbers_of(text: str) -> list[int]:
    """What ``type.raw`` says."""
    return [int(float(word)) for word in words_of(text)]


def words_of(text: str) -> list[str]:
    return " ".join(line.split("#")[0] for line in text.splitlines()).split()


def check(
    system: DataSystem, texts: dict[str, str], array: Callable[[str, str], np.ndarray | None]
) -> None:
    """That all frames of a system can be fed to a model, and are what `texts` and `array` say.

    Parameters
    ----------
    system
        For the type map :data:`TYPE_MAP`.
    texts
        By name, of those that there are.
    array
        Gives the numbers of (set, stem), or None.
    """
    types = numbers_of(texts["type.raw"])
    names = words_of(texts["type_map.raw"]) if "type_map.raw" in texts else TYPE_MAP
    assert system.pbc == ("nopbc" not in texts)
    frames = 0
    for batch in system.batches(max_atoms=10_000):
        arrays, natoms = batch.arrays, batch.arrays["type"].shape[1]
        n = batch.nframes
        for key, values in arrays.items():
            assert np.isfinite(values).all(), key
        frames += n
        given = array(batch.set_name, "real_atom_types")
        rows = np.tile(types, (n, 1))
        if given is not None:
            rows = given.reshape(-1, len(types))[batch.frames]
        for k, row in enumerate(rows.astype(int).tolist()):
            found = [TYPE_MAP.index(names[t]) if t >= 0 else 99 for t in row]
            order = sorted(range(len(row)), key=found.__getitem__)
            real = sum(t < 99 for t in found)
            assert arrays["type"][k].tolist() == [
                found[a] if found[a] < 99 else -1 for a in order[:natoms]
            ]
            number = int(batch.frames[k])
            for name, shape in (("coord", (-1, len(row), 3)), ("force", (-1, len(row), 3))):
                stored = array(batch.set_name, name)
                expected = np.zeros((natoms, 3))
                if stored is not None:
                    moved = stored.astype(np.float64).reshape(shape)[number][order[:natoms]]
                    expected[:real] = moved[:real]
                np.testing.assert_array_equal(arrays[name][k].reshape(-1, 3), expected, name)
            for name, stem in (("box", "box"), ("virial", "virial"), ("energy", "energy")):
                stored = array(batch.set_name, stem) if name != "box" or system.pbc else None
                if stored is not None:
                    stored = stored.astype(np.float64).reshape(system.set_sizes[0], -1)[number]
                    np.testing.assert_array_equal(arrays[name][k].ravel(), stored, name)
                elif name != "box":
                    assert not arrays[name][k].any() and arrays[f"find_{name}"] == 0.0
    assert frames == system.nframes > 0


def opened(path: str) -> DataSystem:
    """The system, all of its numbers checked."""
    system = DataSystem(path, type_map=TYPE_MAP, fields=(*LABELS, fields.HESSIAN))
    system.check()
    return system


def good_system(folder: Path, natoms: int = 3, *, mixed: bool = False) -> Path:
    """Two frames with all labels."""
    rng = np.random.default_rng(1)
    n, types = 2, ([0, 1, 1] * natoms)[:natoms]
    symmetric = rng.normal(size=(n, 3 * natoms, 3 * natoms))
    items = {
        "energy": rng.normal(size=n),
        "force": rng.normal(size=(n, 3 * natoms)),
        "virial": rng.normal(size=(n, 9)),
        "hessian": (symmetric + symmetric.swapaxes(1, 2)).reshape(n, -1),
    }
    path = write_system(
        folder,
        types=types,
        type_map=["O", "H"],
        coord=rng.normal(size=(n, natoms, 3)),
        box=np.tile(9 * np.eye(3), (n, 1, 1)),
        **items,
    )
    np.save(path / "set.000/numb_copy.npy", np.array([[1], [3]]))
    if mixed:
        np.save(path / "set.000/real_atom_types.npy", np.array([[1, 0, -1], [-1, 1, 1]]))
    return path


class System(Loader):
    """A directory."""

    words = (*WORDS, b"0", b"1", b"2", b"1.5", b"O", b"H", b"0.0e+00", b"# two\n")

    def __init__(self, folder: Path, *, mixed: bool = False) -> None:
        self._path = good_system(folder / "system", mixed=mixed)
        names = ["type.raw", "type_map.raw"]
        names += sorted(f"set.000/{file.name}" for file in self._path.glob("set.000/*.npy"))
        self.files = {f"system/{name}": [(self._path / name).read_bytes()] for name in names}
        if not mixed:
            self.files["system/type.raw"].append(b"0.0e+00 1\t1 # all\n")
        self.files["system/type_map.raw"].append(b"# names\nO H # of two\n")

    def variant(self, rng: random.Random, file: str) -> bytes | None:
        if file.endswith(".npy"):
            return npy_variant(rng, self.files[file][0])
        return None

    def load(self, file: str) -> bool:
        (path,) = expand_systems(str(self._path))
        system = opened(path)
        texts = {
            name: (self._path / name).read_text()
            for name in ("type.raw", "type_map.raw", "nopbc")
            if (self._path / name).exists()
        }

        def array(set_name: str, stem: str) -> np.ndarray | None:
            path = self._path / set_name / f"{stem}.npy"
            return np.load(path, allow_pickle=False) if path.exists() else None

        check(system, texts, array)
        return True


class HDF5(Loader):
    """Files with two systems, one of them compressed; and one of the newest layout."""

    def __init__(self, folder: Path) -> None:
        one, two = good_system(folder / "one"), good_system(folder / "two", 2)
        self._path = folder / "a.hdf5"
        seeds = []
        for options in ({}, {"compression": "gzip", "shuffle": True, "fletcher32": True}):
            self._path.unlink(missing_ok=True)
            pack(one, self._path, "/x/one")
            pack(two, self._path, "/two", **options)
            seeds.append(self._path.read_bytes())
        with h5py.File(self._path, "w", libver="latest") as opened:
            opened["type.raw"] = [0, 1]
            opened["type_map.raw"] = ["O", "H"]
            opened["nopbc"] = True
            opened["set.000/coord.npy"] = np.arange(12.0).reshape(2, 6)
        seeds.append(self._path.read_bytes())
        self._path.unlink()
        self._scratch = folder / "b.hdf5"
        self.files = {"a.hdf5": seeds}

    def variant(self, rng: random.Random, file: str) -> bytes:
        self._scratch.write_bytes(rng.choice(self.files[file]))
        with h5py.File(self._scratch, "r+") as opened:
            names: list[str] = []
            opened.visit(names.append)
            name = rng.choice(names)
            target = rng.choice(names)
            old = opened[name][()] if isinstance(opened[name], h5py.Dataset) else np.arange(3.0)
            kind = rng.randrange(12)
            del opened[name]
            name = rng.choice((name, name, f"{name}x", "set.001"))
            if name in opened:
                del opened[name]
            if kind < 3:
                _store(opened, name, old, _DTYPES_OF_HDF5[rng.randrange(len(_DTYPES_OF_HDF5))])
            elif kind < 6:
                shape = tuple(rng.choice(_SIZES[:8]) for _ in range(rng.randrange(4)))
                opened.create_dataset(name, shape, rng.choice(("f8", "i4", "u1")))
            elif kind == 6:
                opened[name] = h5py.SoftLink(f"/{target}")
            elif kind == 7:
                opened[name] = h5py.ExternalLink("two.hdf5", f"/{target}")
            elif kind == 8:
                layout = h5py.VirtualLayout((2, 9), "f8")
                layout[:] = h5py.VirtualSource("b.hdf5", "x", (2, 9))
                opened.create_virtual_dataset(name, layout)
            elif kind == 9:
                opened.create_dataset(name, (2, 9), "f8", external=[("/dev/zero", 0, 144)])
            elif kind == 10:
                opened.create_dataset(name, (10**7, 10**4), "f8", chunks=(10, 10**4))
            elif name != target:
                opened[name] = opened[target] if target in opened else opened["/"]
        return self._scratch.read_bytes()

    def load(self, file: str) -> bool:
        for path in expand_systems(str(self._path)):
            system = opened(path)
            group = path.partition("#")[2]
            texts, arrays = _independent(self._path, group)
            check(system, texts, lambda set_name, stem, a=arrays: a.get((set_name, stem)))
        return True


_DTYPES_OF_HDF5 = ("f4", ">f8", "i2", "u8", "f2", "c16", "S5", "?", h5py.string_dtype())


def _store(opened: h5py.File, name: str, old: Any, dtype: Any) -> None:
    try:
        opened.create_dataset(name, data=np.asarray(old).astype(dtype), dtype=dtype)
    except (TypeError, ValueError):
        if name in opened:
            del opened[name]
        opened.create_dataset(name, (2,), dtype)


def _independent(
    path: Path, group: str
) -> tuple[dict[str, str], dict[tuple[str, str], np.ndarray]]:
    """Texts and arrays of a group by h5py alone."""
    texts, arrays = {}, {}
    with h5py.File(path, "r") as file:
        root = file[group]
        for name in ("type.raw", "type_map.raw", "nopbc"):
            if name not in root:
                continue
            words = [] if name == "nopbc" else np.atleast_1d(root[name][()]).ravel().tolist()
            texts[name] = " ".join(w.decode() if isinstance(w, bytes) else str(w) for w in words)
        for set_name in root:
            if not set_name.startswith("set.") or not isinstance(root[set_name], h5py.Group):
                continue
            for name in ("coord", "box", "energy", "force", "virial", "real_atom_types"):
                if f"{name}.npy" in root[set_name]:
                    arrays[set_name, name] = root[set_name][f"{name}.npy"][()]
    return texts, arrays


LOADERS: dict[str, Callable[[Path], Loader]] = {
    "npy": Npy,
    "system": System,
    "mixed": lambda folder: System(folder, mixed=True),
    "hdf5": HDF5,
}
