# SPDX-License-Identifier: BSD-3-Clause
"""Data sets that are wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

from .changes import (
    CHECK,
    FREE,
    SET,
    TEST,
    Case,
    absurd,
    all_of,
    array,
    cut,
    dense,
    external,
    hdf5,
    mixed,
    nothing,
    put,
    remove,
    script,
    text,
    virtual,
    xyz,
)

DATA = [
    Case(
        "no such folder",
        script(training__training_data__systems="dta"),
        (
            "training.training_data.systems: dta is not a directory that exists",
            "training.training_data.systems: … is not a directory that exists; …",
        ),
    ),
    Case(
        "a folder without systems",
        script(training__training_data__systems=str(SET)),
        (
            f"systems: no system in {SET}",
            "has a type.raw",
            "systems: no system in …: no directory in or below it has a type.raw",
        ),
    ),
    Case(
        "no sets",
        lambda: [shutil.rmtree(p) for p in FREE.glob("set.*")],
        ("free: no frames", "set.*"),
    ),
    Case(
        "no coordinates",
        remove(SET / "coord.npy"),
        (
            f"{SET}/coord.npy: not found",
            "….npy: not found, but it is needed (…)",
        ),
    ),
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
        (
            f"{SET}/coord.npy: 18 numbers per frame",
            "expected 15 = 3 x 5 atoms of type.raw",
            "…/coord.npy: … numbers per frame (shape …), expected … = 3 x … atoms of type.raw",
        ),
    ),
    Case(
        "an unknown element",
        text("data/train/cell/type_map.raw", "O\nXe"),
        (
            "data/train/cell",
            "['Xe']",
            "type map ['O', 'H']",
            "the elements […] of this system are not in the type map […]",
        ),
    ),
    Case(
        "no labels",
        lambda: [p.unlink() for p in Path("data").rglob("force.npy")],
        (
            "force.npy",
            "loss: … is not 0, but no training system has …; add the file, or set both to 0",
        ),
    ),
    Case(
        "one frame less",
        array(SET / "energy.npy", lambda values: values[1:]),
        (
            f"{SET}/energy.npy: 3 frames",
            "expected 4 as in coord.npy",
            "…: … frames (shape …), expected … as in coord.npy, each with …",
        ),
    ),
    Case(
        "transposed forces",
        array(SET / "force.npy", lambda values: values.T),
        (
            f"{SET}/force.npy",
            "expected the shape (4, 18) or (4, 6, 3)",
            "…: the shape … has as many numbers as … frames need, but not frame after frame and "
            "atom after atom",
        ),
    ),
    Case(
        "not a number in a force",
        array(SET / "force.npy", put((2, 4), np.nan)),
        (
            f"{SET}/force.npy",
            "frame 2",
            "atom 1",
            "nan",
            "expected",
            "(counted from 0) is nan, expected a finite float64 number (… such in the file)",
        ),
    ),
    Case(
        "infinite energies",
        array(SET / "energy.npy", put(slice(1, None), np.inf)),
        (f"{SET}/energy.npy", "frame 1", "inf", "3 such"),
    ),
    Case(
        "a flat cell",
        array(SET / "box.npy", put((3, slice(6, 9)), 0.0)),
        (
            f"{SET}/box.npy",
            "frame 3",
            "has no volume",
            "the cell of frame … (counted from 0) has no volume",
        ),
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
        ("object", "real numbers", "holds elements of type object, expected real numbers"),
    ),
    Case(
        "complex numbers", array(SET / "energy.npy", lambda e: e + 1j), ("complex", "real numbers")
    ),
    Case(
        "a file that was cut off",
        cut(SET / "coord.npy"),
        (
            f"{SET}/coord.npy",
            "its header",
            "damaged",
            "… bytes, but its header (…) needs …; the file is damaged or still being written",
        ),
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
        "types without names to convert",
        remove("data/train/cell/type_map.raw"),
        ("data/train/cell: its types have no names; give them with --type-map",),
        ("convert-data", "data/train/cell", "-o", "new"),
    ),
    Case(
        "a folder in place of a file",
        nothing,
        ("data: is not a file, and is not replaced by one",),
        ("convert-data", "data/train", "-o", "data", "--to", "hdf5", "--overwrite"),
    ),
    Case(
        "a dataset that is missing",
        hdf5(lambda g: g.__delitem__("set.000/coord.npy")),
        ("bad.hdf5#/system", "coord.npy"),
    ),
    Case(
        "a link to another file",
        hdf5(lambda g: g.__setitem__("set.000/fparam.npy", h5py.ExternalLink("/etc/x", "/y"))),
        (
            "bad.hdf5",
            "link to the file '/etc/x'",
            "not followed",
            "is a link to the file …, which is not followed; …",
        ),
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
        ("bad.extxyz", "frame 0 (counted from 0), line 1", "frame … (counted from 0), line …: …"),
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

HOSTILE = [
    Case(
        "a header of more numbers than the file has",
        text(
            SET / "energy.npy",
            b"\x93NUMPY\x01\x00\x46\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999,)}".ljust(69)
            + b"\n",
        ),
        (f"{SET}/energy.npy: has 80 bytes, but its header (shape (9999999999999,), float64)…",),
    ),
    Case(
        "a link to nothing",
        all_of(
            remove(SET / "energy.npy"), lambda: (SET / "energy.npy").symlink_to("/none/energy.npy")
        ),
        (f"{SET}/energy.npy: cannot be read (No such file…; it is a link to /none/energy",),
    ),
    Case(
        "a folder of the name of a file",
        all_of(remove(SET / "force.npy"), lambda: (SET / "force.npy").mkdir()),
        (f"{SET}/force.npy: is a directory, expected …",),
    ),
    Case(
        "numbers of another file in HDF5",
        hdf5(virtual),
        (
            "bad.hdf5#/system/set.000/energy.npy: its numbers are in other files, …",
            "its numbers are in other files, …",
        ),
    ),
    Case(
        "numbers of any file in HDF5",
        hdf5(external),
        ("bad.hdf5#/system/set.000/energy.npy: its numbers are in other files, …",),
    ),
    Case(
        "a link within HDF5",
        hdf5(
            lambda group: (
                group.move("set.000/energy.npy", "energies"),
                group.__setitem__("set.000/energy.npy", h5py.SoftLink("/system/energies")),
            )
        ),
        ("'energy.npy' is a link, which is not followed; copy the data",),
    ),
    Case(
        "numbers without end in HDF5",
        hdf5(absurd),
        ("would be 8000000000000 bytes from a file of …; not read",),
    ),
    Case(
        "text in place of numbers in HDF5",
        hdf5(
            lambda group: (
                group.__delitem__("set.000/energy.npy"),
                group.__setitem__("set.000/energy.npy", ["much"]),
            )
        ),
        ("bad.hdf5#/system/set.000/energy.npy: holds elements of type object, expected real",),
    ),
    Case(
        "atoms without end in extended XYZ",
        xyz("6\n", "9999999999\n"),
        ("line 1: 9999999999 atoms are announced, but only … bytes follow",),
    ),
    Case(
        "a quote that is not closed in extended XYZ",
        xyz('pbc="T T T"', 'pbc="T T T'),
        ("bad.extxyz: frame 0 (counted from 0), line 2: …is not understood",),
    ),
]

MORE = [
    Case(
        "atoms too close",
        array(SET / "coord.npy", lambda x: x.__setitem__((1, slice(3, 6)), x[1, :3] + 0.03)),
        (
            "…/coord.npy: frame … has atoms … (counted from 0) … Å apart",
            "expected at least 0.1 Å; correct or remove the frame",
        ),
    ),
    Case(
        "a cell in nanometres",
        array(SET / "box.npy", lambda box: 0.01 * box),
        (f"{SET}/box.npy", "opposite faces 0.07 Å apart", "are its lattice vectors in Å?"),
    ),
    Case(
        "a file that is empty",
        text("data/train/cell/type.raw", ""),
        ("data/train/cell/type.raw: is empty; expected one type number per atom",),
    ),
    Case(
        "a list without systems",
        script(training__training_data__systems=[]),
        ("training.training_data.systems: …",),
    ),
    Case(
        "a pattern that nothing matches",
        script(training__training_data__rglob_patterns=["water*"]),
        ("systems: no system in data/train: … that matches ['water*'] has a type.raw",),
    ),
    Case(
        "a count of copies below zero",
        array(SET / "energy.npy", lambda e: np.save(SET / "numb_copy.npy", [1, 1, -1, 1])),
        (f"{SET}/numb_copy.npy: frame 2 (counted from 0) is to be used -1 times, expected 0, 1,",),
    ),
    Case(
        "no frame parameters",
        script(model__fitting_net__numb_fparam=1),
        (f"{SET}/fparam.npy: not found, but it is needed",),
    ),
    Case(
        "forces of one atom more",
        array(SET / "force.npy", lambda f: np.hstack([f, f[:, :3]])),
        (
            f"{SET}/force.npy: 21 numbers per frame (shape (4, 21))",
            "expected 18 = ",
        ),
    ),
    Case(
        "virials of six numbers",
        array(SET / "virial.npy", lambda v: v[:, :6]),
        (f"{SET}/virial.npy: 6 numbers per frame (shape (4, 6)), expected 9",),
    ),
    Case(
        "energies beyond float64",
        array(SET / "force.npy", lambda f: f.astype(np.longdouble) * np.longdouble("1e4000")),
        (f"{SET}/force.npy", "expected a finite float64 number"),
    ),
    Case(
        "types in half of the sets",
        all_of(mixed(lambda t: None), remove("data/train/cell/set.001/real_atom_types.npy")),
        ("set.001/real_atom_types.npy: not found, but set.000 has types of frames",),
    ),
    Case(
        "frames of virtual atoms only",
        mixed(put(2, -1)),
        ("real_atom_types.npy: frame 2 (counted from 0) has virtual atoms (-1) only",),
    ),
    Case(
        "a chosen label that no frame has",
        all_of(
            xyz("", ""), script(training__training_data__systems="bad.extxyz#energy=REF_energy")
        ),
        ("bad.extxyz: no frame has 'REF_energy'; there are",),
    ),
    Case(
        "periodic in extended XYZ without a cell",
        xyz("Lattice=", "Lettice="),
        ("bad.extxyz: frame 0 (counted from 0), line 2: is periodic (pbc), but has no Lattice",),
    ),
    Case(
        "periodic in two directions of two",
        xyz('pbc="T T T"', 'pbc="T T"'),
        ("bad.extxyz: frame 0 (counted from 0), line 2", "pbc"),
    ),
    Case(
        "no such HDF5 file",
        script(training__training_data__systems="none.hdf5"),
        ("none.hdf5: cannot be read (No such file or directory",),
    ),
    Case(
        "no such file to convert",
        nothing,
        ("none.xyz: ",),
        ("convert-data", "none.xyz", "-o", "new"),
    ),
    Case(
        "an unknown format to convert from",
        nothing,
        ('"vaps/outcar" is not a format: neither npy, hdf5, extxyz nor one that dpdata or…',),
        ("convert-data", "data/train", "--from", "vaps/outcar", "-o", "new"),
    ),
    Case(
        "converting onto something else",
        nothing,
        ("data/valid: exists already; remove it, or give --overwrite",),
        ("convert-data", "data/train", "-o", "data/valid"),
    ),
    Case(
        "converting elements without a name",
        nothing,
        ("--type-map",),
        ("convert-data", "data/train", "-o", "new", "-t", "O", "C"),
    ),
    Case(
        "neighbours of other elements",
        nothing,
        ("the elements ['H'] of this system are not in the type map ['O', 'C']; use a type map",),
        ("neighbor-stat", "-s", "data/train", "-r", "3", "-t", "O", "C"),
    ),
    Case(
        "looking at data only",
        all_of(
            array(SET / "force.npy", put((2, 4), np.nan)),
            array(Path("data/valid/cell/set.000/energy.npy"), put(1, np.inf)),
        ),
        (
            "2 mistakes",
            f"{SET}/force.npy: frame 2, atom 1, component 1 (counted from 0) is nan",
            "data/valid/cell/set.000/energy.npy: frame 1 (counted from 0) is inf",
        ),
        CHECK,
    ),
    Case(
        "no cutoff radius",
        nothing,
        ("rcut is -3; expected a distance in Å, larger than 0",),
        ("neighbor-stat", "-s", "data/train", "-r", "-3"),
    ),
    Case(
        "an old file of statistics that is none",
        all_of(text("stat.hdf5", "hello"), script(training__stat_file="stat.hdf5")),
        (
            "training/stat_file stat.hdf5: ",
            "training/stat_file …: is not an HDF5 file, or a damaged one; remove it",
        ),
    ),
    Case(
        "more neighbours than the model sees",
        dense("data/valid/cell"),
        (
            "…/coord.npy: frame … has an atom with more neighbours",
            "sel is ",
            'train with a larger sel, or choose "warn" for missing neighbours',
        ),
        (*TEST, "--on-missing-neighbors", "error"),
    ),
]
