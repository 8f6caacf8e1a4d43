# SPDX-License-Identifier: BSD-3-Clause
"""How a case makes something wrong in a folder, and what must be said about it.

A case changes a folder that holds a good training, see ``conftest.py``, and names a command and the
words of its message: where, what was found, what was expected. Words that stand in the page of the
documentation on messages are written as there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow.compat.v1 as tf
from containers import as_extxyz, pack
from small_training import EDGE, TYPES, pair_potential

from deepmd_tf.data import write_system

SET = Path("data/train/cell/set.000")
FREE = Path("data/train/free")
TRAIN = ("train", "input.json")
CHECK = ("check-data", "-s", "data/train", "--validation", "data/valid")
DRY_RUN = (*TRAIN, "--dry-run")
TEST = ("test", "-m", "frozen.pb", "-s", "data/valid/cell")
Change = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """One mistake, or several that must be told together.

    Attributes
    ----------
    name
        What is wrong.
    change
        Makes it so, in the working directory.
    words
        All of them are in the message; "…" stands for anything in a line.
    command
        Arguments of ``dp``.
    status
        How it ends; 0 if it is a warning, of which the first words are there once.
    leaves
        What the command may write all the same: patterns of paths.
    """

    name: str
    change: Change
    words: tuple[str, ...]
    command: tuple[str, ...] = TRAIN
    status: int = 1
    leaves: tuple[str, ...] = ()


# Changes ------------------------------------------------------------------------------------------


def nothing() -> None:
    """The mistake is in the command."""


def script(**values: Any) -> Change:
    """Set keys of the input script, ``__`` between blocks and key; ``...`` takes one away."""

    def change() -> None:
        data = json.loads(Path("input.json").read_text())
        for path, value in values.items():
            block = data
            *blocks, key = path.split("__")
            for name in blocks:
                block = block.setdefault(name, {})
            if value is ...:
                del block[key]
            else:
                block[key] = value
        Path("input.json").write_text(json.dumps(data))

    return change


def text(path: Path | str, content: str | bytes) -> Change:
    """Write a file."""

    def change() -> None:
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def edit(path: Path | str, old: str, new: str) -> Change:
    """Replace in a text file."""
    return lambda: text(path, Path(path).read_text().replace(old, new, 1))()


def array(path: Path, function: Callable[[np.ndarray], Any]) -> Change:
    """Change the numbers of an array, or put others in their place."""

    def change() -> None:
        values = np.load(path)
        changed = function(values)
        np.save(path, values if changed is None else changed)

    return change


def put(index: Any, value: float) -> Callable[[np.ndarray], None]:
    """Set elements."""
    return lambda values: values.__setitem__(index, value)


def cut(path: str | Path, keep: float = 0.5) -> Change:
    """Lose the end of a file."""

    def change() -> None:
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: int(len(data) * keep)])

    return change


def remove(path: str | Path) -> Change:
    """Lose a file or a folder."""
    return lambda: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def all_of(*changes: Change) -> Change:
    """One after the other."""

    def change() -> None:
        for one in changes:
            one()

    return change


def hdf5(function: Callable[[h5py.Group], None]) -> Change:
    """Train on an HDF5 file instead, which is changed."""

    def change() -> None:
        pack(Path("data/train/cell"), Path("bad.hdf5"), "/system")
        with h5py.File("bad.hdf5", "a") as file:
            function(file["system"])
        script(training__training_data={"systems": "bad.hdf5#/system"})()

    return change


def xyz(old: str, new: str) -> Change:
    """Train on an extended XYZ file instead, in which something is replaced."""

    def change() -> None:
        as_extxyz(Path("data/train/cell"), Path("bad.extxyz"))
        edit("bad.extxyz", old, new)()
        script(training__training_data={"systems": "bad.extxyz"})()

    return change


def mixed(function: Callable[[np.ndarray], Any]) -> Change:
    """Train on a system of the mixed type instead, whose types are changed."""

    def change() -> None:
        types = np.loadtxt("data/train/cell/type.raw", dtype=int)
        for folder in sorted(Path("data/train/cell").glob("set.*")):
            frames = len(np.load(folder / "energy.npy"))
            np.save(folder / "real_atom_types.npy", np.tile(types, (frames, 1)))
        Path("data/train/cell/type.raw").write_text("0\n" * len(types))
        array(SET / "real_atom_types.npy", function)()

    return change


def one_system(energy: Callable[[np.ndarray], np.ndarray], sign: float = 1.0) -> Change:
    """Train on frames of a path along which energy and force change, as they do or otherwise.

    Parameters
    ----------
    energy
        Makes of the energies what is stored.
    sign
        Forces are multiplied with it.
    """

    def change() -> None:
        rng = np.random.default_rng(3)
        start = np.load(SET / "coord.npy")[:1].reshape(1, -1, 3)
        steps = rng.normal(scale=0.02, size=(30, *start.shape[1:])).cumsum(axis=0)
        coord = start + steps
        labels = pair_potential(coord, EDGE)
        labels["energy"] = energy(labels["energy"])
        labels["force"] = sign * labels["force"]
        del labels["virial"]
        cells = np.tile(EDGE * np.eye(3), (len(coord), 1, 1))
        shutil.rmtree("data/train")
        write_system(
            "data/train", types=TYPES, type_map=["O", "H"], coord=coord, box=cells, **labels
        )
        script(
            training__training_data={"systems": "data/train"},
            loss={"start_pref_v": 0, "limit_pref_v": 0},
        )()

    return change


def dense(folder: str) -> Change:
    """Bring atoms and cells of a system closer together than the model was made for."""

    def change() -> None:
        for path in [*Path(folder).glob("set.*/coord.npy"), *Path(folder).glob("set.*/box.npy")]:
            array(path, lambda values: 0.4 * values)()

    return change


def virtual(group: h5py.Group) -> None:
    """Energies that are in another file."""
    count = len(group["set.000/energy.npy"])
    layout = h5py.VirtualLayout((count,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.hdf5", "energy", (count,))
    del group["set.000/energy.npy"]
    group.create_virtual_dataset("set.000/energy.npy", layout)


def external(group: h5py.Group) -> None:
    """Energies that are in a file of no format."""
    shape = group["set.000/energy.npy"].shape
    del group["set.000/energy.npy"]
    group.create_dataset(
        "set.000/energy.npy", shape, "f8", external=[("other.raw", 0, 8 * shape[0])]
    )


def absurd(group: h5py.Group) -> None:
    """Energies of which none was written."""
    del group["set.000/energy.npy"]
    group.create_dataset("set.000/energy.npy", (10**12,), "f8", chunks=(10**6,))


def program_as_model() -> None:
    """A graph that reads a file."""
    graph = tf.GraphDef()
    graph.ParseFromString(Path("compressed.pb").read_bytes())
    graph.node.add(name="spy", op="ReadFile")
    Path("spy.pb").write_bytes(graph.SerializeToString())
