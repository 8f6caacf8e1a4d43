# SPDX-License-Identifier: BSD-3-Clause
"""Bad inputs and data sets, each with what must be said about it.

A case changes a folder that holds a good training, see ``conftest.py``, and names a command and the
words of its message: where, what was found, what was expected.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from containers import as_extxyz, pack

SET = Path("data/train/cell/set.000")
FREE = Path("data/train/free")
TRAIN = ("train", "input.json")
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
        All of them are in the message.
    command
        Arguments of ``dp``.
    status
        How it ends.
    """

    name: str
    change: Change
    words: tuple[str, ...]
    command: tuple[str, ...] = TRAIN
    status: int = 1


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


# Cases --------------------------------------------------------------------------------------------

FILES = [
    Case("no such file", remove("input.json"), ("input.json: cannot be read (No such file",)),
    Case("empty file", text("input.json", ""), ("line 1, column 1", "the file is empty")),
    Case(
        "comma at the end",
        text("input.json", '{"model": {},}'),
        ("line 1, column 14", "a comma must stand between two entries"),
    ),
    Case("comment", text("input.json", "{ // x\n}"), ("line 1", "JSON has no comments")),
    Case("not text", text("input.json", b"\xff\xfe\x00"), ("is not a text file in UTF-8",)),
    Case("a list", text("input.json", "[]"), ("expected a block of keys", "model, learning_rate")),
    Case("a folder", all_of(remove("input.json"), lambda: os.mkdir("input.json")), ("not a file",)),
    Case(
        "another suffix", nothing, ("type.raw: an input script is a",), ("train", FREE / "type.raw")
    ),
    Case(
        "endless blocks",
        text("input.json", '{"a":' * 10**5),
        ("blocks inside blocks without end",),
    ),
    Case(
        "aliases of aliases",
        text(
            "input.yaml",
            "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
        ),
        ("input.yaml: has more than 1000000 values",),
        ("train", "input.yaml"),
    ),
    Case(
        "code in YAML",
        text("input.yaml", "model: !!python/object/apply:os.system ['true']"),
        ("line 1", "could not determine a constructor"),
        ("train", "input.yaml"),
    ),
    Case(
        "a tab in YAML",
        text("input.yaml", "model:\n\ttype: standard"),
        ("line 2, column 1: not valid YAML", "'\\t'"),
        ("train", "input.yaml"),
    ),
]

KEYS = [
    Case(
        "a key twice",
        edit("input.json", '"rcut": 3.4', '"rcut": 3.4, "rcut": 6.0'),
        ("model.descriptor.rcut: given more than once (3.4, then 6.0); keep one",),
    ),
    Case(
        "a misspelt key",
        script(model__descriptor__rcut_smoth=0.4),
        ("model.descriptor.rcut_smoth: unknown key", 'did you mean "rcut_smth"?'),
    ),
    Case(
        "a key in the wrong block",
        script(model__rcut=6.0),
        ("model.rcut: unknown key; it belongs in model.descriptor",),
    ),
    Case(
        "a missing block",
        script(learning_rate=...),
        ("learning_rate: missing; expected a block of keys",),
    ),
    Case(
        "an unknown kind",
        script(model__descriptor__type="se_a3"),
        ('model.descriptor.type: read "se_a3"; available: "se_e2_a"',),
    ),
    Case(
        "a kind of other programs",
        script(model__descriptor__type="dpa2"),
        ('"dpa2" is part of other backends of DeePMD-kit only',),
    ),
    Case(
        "a feature that is not there",
        script(model__type_embedding={}),
        ("model.type_embedding: read {}; type embedding is not available yet",),
    ),
    Case(
        "text for a number",
        script(model__descriptor__rcut="3.4"),
        ('model.descriptor.rcut: read "3.4"; expected a number > 0',),
    ),
    Case(
        "not a number",
        script(loss__start_pref_e=float("nan")),
        ("loss.start_pref_e: read NaN; expected a number ≥ 0",),
    ),
    Case(
        "infinity",
        script(learning_rate__start_lr=float("inf")),
        ("learning_rate.start_lr: read Infinity; expected a number > 0",),
    ),
    Case(
        "a number beyond all bounds",
        script(model__descriptor__rcut=1e300),
        ("model.descriptor.rcut: read 1e+300; expected a number > 0 and ≤ 1000",),
    ),
    Case(
        "a misspelt word",
        script(model__descriptor__activation_function="tahn"),
        ('read "tahn"; expected one of none, linear', 'did you mean "tanh"?'),
    ),
    Case(
        "a list of another length",
        script(model__descriptor__sel=[12]),
        ("model.descriptor.sel: read [12]; has length 1, but there are 2 types",),
    ),
    Case(
        "the cutoff within the switch",
        script(model__descriptor__rcut_smth=3.4),
        ("model.descriptor.rcut_smth: read 3.4; must be smaller than rcut (3.4 Å)",),
    ),
    Case(
        "a learning rate that grows",
        script(learning_rate__stop_lr=0.1),
        ("learning_rate.stop_lr: read 0.1; 0.1 is larger than start_lr (0.005)",),
    ),
    Case(
        "two lengths",
        script(training__numb_epoch=3),
        ("training.numb_epoch: read 3; numb_steps is given too; give only one of them",),
    ),
    Case(
        "nothing to fit",
        script(loss={f"{a}_pref_{b}": 0 for a in ("start", "limit") for b in "efv"}),
        ("loss: every weight is zero, so there is nothing to fit",),
    ),
    Case(
        "an element twice",
        script(model__type_map=["O", "O"]),
        ('model.type_map: read ["O", "O"]; O stands there more than once',),
    ),
    Case(
        "validation of all data without data",
        script(training__validation_data=None, validating={"full_validation": True}),
        ("validating", "full_validation needs training.validation_data"),
    ),
    Case(
        "five mistakes",
        all_of(
            script(model__descriptor__rcut=-1, model__fitting_net__neuron=[0], loss__typ="ener"),
            script(learning_rate__start_lr="fast", training__save_freq=1.5),
        ),
        (
            "input.json: 5 mistakes",
            "learning_rate.start_lr: read",
            'loss.typ: unknown key; did you mean "type"?',
            "model.descriptor.rcut: read -1",
            "model.fitting_net.neuron[0]: read 0; expected an integer ≥ 1",
            "training.save_freq: read 1.5; expected an integer ≥ 0",
        ),
    ),
    Case(
        "batch sizes of other systems",
        script(training__training_data__batch_size=[1, 2, 3]),
        ("training.training_data.batch_size: the list has 3 entries", "each of the 2 systems"),
    ),
    Case(
        "probabilities of other systems",
        script(training__training_data__sys_probs=[0.5, 0.25, 0.25]),
        ("training.training_data.sys_probs: has 3 entries", "each of the 2 systems"),
    ),
    Case(
        "a block of systems that are not there",
        script(training__training_data__auto_prob="prob_sys_size;0:5:1.0"),
        ("training.training_data.auto_prob: the block 0:5 ends beyond the last of the 2 systems",),
    ),
]

OUTPUTS = [
    Case(
        "a file in the way of a folder",
        all_of(text("a_file", ""), script(training__disp_file="a_file/lcurve.out")),
        ("training.disp_file: a_file/lcurve.out cannot be written (is a file, not a directory",),
    ),
    Case(
        "a folder in the way of a file",
        script(training__disp_file="data"),
        ("training.disp_file: data is a directory; give the name of a file",),
    ),
    Case(
        "the input script in the way",
        script(training__disp_file="input.json"),
        ("training.disp_file: the learning curve would replace the input script",),
    ),
    Case(
        "checkpoints without a name",
        script(training__save_ckpt="."),
        ("training.save_ckpt: . is a folder; give a name for the checkpoints",),
    ),
    Case(
        "TensorBoard in a file",
        all_of(
            text("log", ""),
            script(training__tensorboard=True, training__profiling=True),
            script(training__profiling_file="no/timeline.json"),
        ),
        (
            "input.json: 2 mistakes",
            "training.profiling_file: no/timeline.json cannot be written (there is no directory no",
            "training.tensorboard_log_dir: log is a file; give the name of a folder",
        ),
    ),
    Case(
        "no folder for the output",
        nothing,
        ("--output: no/out.json cannot be written (there is no directory no)",),
        (*TRAIN, "-o", "no/out.json"),
    ),
]

DATA = [
    Case(
        "no such folder",
        script(training__training_data__systems="dta"),
        ("training.training_data.systems: dta is not a directory that exists",),
    ),
    Case(
        "a folder without systems",
        script(training__training_data__systems=str(SET)),
        (f"systems: no system in {SET}", "has a type.raw"),
    ),
    Case(
        "no sets",
        lambda: [shutil.rmtree(p) for p in FREE.glob("set.*")],
        ("free: no frames", "set.*"),
    ),
    Case("no coordinates", remove(SET / "coord.npy"), (f"{SET}/coord.npy: not found",)),
    Case("no cell", remove(SET / "box.npy"), (f"{SET}/box.npy: not found", "nopbc")),
    Case(
        "text in type.raw",
        text("data/train/cell/type.raw", "0 1 1 0 x 1"),
        ("data/train/cell/type.raw: atom 4", "'x', expected a number 0, 1, 2"),
    ),
    Case(
        "a type that does not exist",
        text("data/train/cell/type.raw", "0 1 1 0 7 1"),
        ("data/train/cell/type.raw: atom 4", "has the type 7", "types 0 to 1"),
    ),
    Case(
        "one atom less",
        text("data/train/cell/type.raw", "0 1 1 0 1"),
        (f"{SET}/coord.npy: 18 numbers per frame", "expected 15 = 3 x 5 atoms of type.raw"),
    ),
    Case(
        "an unknown element",
        text("data/train/cell/type_map.raw", "O\nXe"),
        ("data/train/cell", "['Xe']", "type_map of the model ['O', 'H']"),
    ),
    Case(
        "no labels", lambda: [p.unlink() for p in Path("data").rglob("force.npy")], ("force.npy",)
    ),
    Case(
        "one frame less",
        array(SET / "energy.npy", lambda values: values[1:]),
        (f"{SET}/energy.npy: 3 frames", "expected 4 as in coord.npy"),
    ),
    Case(
        "not a number in a force",
        array(SET / "force.npy", put((2, 4), np.nan)),
        (f"{SET}/force.npy", "frame 2", "atom 1", "nan", "expected"),
    ),
    Case(
        "infinite energies",
        array(SET / "energy.npy", put(slice(1, None), np.inf)),
        (f"{SET}/energy.npy", "frame 1", "inf", "3 such"),
    ),
    Case(
        "a flat cell",
        array(SET / "box.npy", put((3, slice(6, 9)), 0.0)),
        (f"{SET}/box.npy", "frame 3", "has no volume"),
    ),
    Case(
        "a cell of zeros",
        array(SET / "box.npy", put(slice(None), 0.0)),
        (f"{SET}/box.npy", "frame 0", "has no volume", "nopbc"),
    ),
    Case(
        "two atoms in one place",
        array(SET / "coord.npy", lambda x: x.__setitem__((1, slice(3, 6)), x[1, :3])),
        (f"{SET}/coord.npy", "frame 1 has atoms 0 and 1"),
    ),
    Case(
        "pickled objects",
        array(SET / "energy.npy", lambda e: e.astype(object)),
        ("object", "real numbers"),
    ),
    Case(
        "complex numbers", array(SET / "energy.npy", lambda e: e + 1j), ("complex", "real numbers")
    ),
    Case(
        "a file that was cut off",
        cut(SET / "coord.npy"),
        (f"{SET}/coord.npy", "its header", "damaged"),
    ),
    Case(
        "not an array",
        text(SET / "coord.npy", "0 0 0"),
        (f"{SET}/coord.npy: is not a NumPy .npy file",),
    ),
    Case(
        "several mistakes in several files",
        all_of(
            array(SET / "force.npy", put((2, 4), np.nan)),
            array(SET / "box.npy", put((3, slice(6, 9)), 0.0)),
            array(FREE / "set.001/energy.npy", put(0, np.inf)),
            array(Path("data/valid/cell/set.000/coord.npy"), put((0, 0), np.nan)),
            script(loss__start_pref_ae=1.0),
        ),
        (
            f"{SET}/force.npy",
            f"{SET}/box.npy",
            "data/train/free/set.001/energy.npy",
            "data/valid/cell/set.000/coord.npy",
            "atom_ener.npy",
        ),
    ),
    Case(
        "a dataset that is missing",
        hdf5(lambda g: g.__delitem__("set.000/coord.npy")),
        ("bad.hdf5#/system", "coord.npy"),
    ),
    Case(
        "a link to another file",
        hdf5(lambda g: g.__setitem__("set.000/fparam.npy", h5py.ExternalLink("/etc/x", "/y"))),
        ("bad.hdf5", "link to the file '/etc/x'", "not followed"),
    ),
    Case(
        "an HDF5 file that was cut off",
        all_of(hdf5(lambda g: None), cut("bad.hdf5")),
        ("bad.hdf5", "cannot be read"),
    ),
    Case(
        "no such group",
        all_of(hdf5(lambda g: None), script(training__training_data__systems="bad.hdf5#/x")),
        ("bad.hdf5#/x", "no such group"),
    ),
    Case(
        "not a number in extended XYZ",
        xyz("energy=", "energy=nan energi="),
        ("bad.extxyz", "frame 0", "nan"),
    ),
    Case("a missing atom in extended XYZ", xyz("6\n", "7\n"), ("bad.extxyz", "frame 0", "line")),
    Case(
        "not a count in extended XYZ",
        xyz("6\n", "six\n"),
        ("bad.extxyz", "frame 0 (counted from 0), line 1"),
    ),
    Case(
        "a type beyond the last of a mixed system",
        mixed(put((1, 2), 5)),
        ("real_atom_types.npy", "frame 1", "5"),
    ),
    Case(
        "types of one atom less",
        mixed(lambda types: types[:, 1:]),
        ("real_atom_types.npy", "5", "6"),
    ),
]

MODELS = [
    Case("no such model", nothing, ("no.pb",), ("test", "-m", "no.pb", "-s", "data/valid/cell")),
    Case("a model that was cut off", cut("frozen.pb"), ("frozen.pb",), TEST),
    Case(
        "an empty model",
        text("frozen.pb", ""),
        ("frozen.pb: not a model: the file holds no graph",),
        TEST,
    ),
    Case("text as a model", text("frozen.pb", "hello\n" * 100), ("frozen.pb",), TEST),
    Case(
        "no data to test",
        nothing,
        ("systems: none is not a directory",),
        ("test", "-m", "frozen.pb", "-s", "none"),
    ),
    Case(
        "data of other elements",
        text("data/valid/cell/type_map.raw", "O\nXe"),
        ("data/valid/cell", "['Xe']", "type_map of the model ['O', 'H']"),
        TEST,
    ),
    Case(
        "a list of systems that is not there",
        nothing,
        ("none.txt: cannot be read (No such file",),
        ("test", "-m", "frozen.pb", "-f", "none.txt"),
    ),
    Case("no energies to test of atoms", nothing, ("atom_ener.npy",), (*TEST, "-a")),
    Case("nothing to freeze", nothing, ("none",), ("freeze", "-c", "none", "-o", "new.pb")),
    Case(
        "a checkpoint without values",
        remove("model.ckpt-2.data-00000-of-00001"),
        ("model.ckpt-2",),
        ("freeze", "-c", ".", "-o", "new.pb"),
    ),
    Case(
        "compressing a compressed model",
        nothing,
        ("compressed.pb",),
        ("compress", "-i", "compressed.pb", "-o", "new.pb"),
    ),
    Case(
        "compressing what was cut off",
        cut("frozen.pb"),
        ("frozen.pb",),
        ("compress", "-i", "frozen.pb", "-o", "new.pb"),
    ),
    Case(
        "no such checkpoint",
        nothing,
        ("none: no checkpoint with this prefix", "model.ckpt-2"),
        (*TRAIN, "--restart", "none"),
    ),
    Case(
        "a checkpoint that was cut off",
        cut("model.ckpt-2.data-00000-of-00001"),
        ("checkpoint model.ckpt-2 is damaged", "bytes", "no older one that is whole"),
        (*TRAIN, "--restart", "model.ckpt"),
    ),
    Case(
        "a damaged index",
        cut("model.ckpt-2.index"),
        ("model.ckpt-2",),
        (*TRAIN, "--restart", "model.ckpt"),
    ),
    Case(
        "a damaged state",
        cut("model.ckpt-2.state.json"),
        ("model.ckpt-2.state.json",),
        (*TRAIN, "--restart", "model.ckpt"),
    ),
    Case(
        "another model than that of the checkpoint",
        script(
            model__type_map=["H", "O"], model__descriptor__rcut=3.0, model__fitting_net__neuron=[5]
        ),
        (
            "is a checkpoint of another model than that of the input script",
            "type_map",
            "rcut",
            "neuron",
        ),
        (*TRAIN, "--restart", "model.ckpt"),
    ),
    Case(
        "a checkpoint as a frozen model",
        nothing,
        ("model.ckpt", "--init-model"),
        (*TRAIN, "--init-frz-model", "model.ckpt"),
    ),
    Case(
        "an unknown command",
        nothing,
        ('unknown command "trian"', 'did you mean "train"?'),
        ("trian",),
        2,
    ),
    Case(
        "an unknown option",
        nothing,
        ('unknown option "--restrat"', 'did you mean "--restart"?'),
        (*TRAIN, "--restrat"),
        2,
    ),
    Case("no input", nothing, ("INPUT",), ("train",), 2),
]

CASES = [*FILES, *KEYS, *OUTPUTS, *DATA, *MODELS]
