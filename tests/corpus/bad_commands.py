# SPDX-License-Identifier: BSD-3-Clause
"""Commands with arguments that are wrong, or that do not fit to good files."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from .changes import (
    FREE,
    SET,
    Case,
    Change,
    all_of,
    array,
    edit,
    mixed,
    nothing,
    put,
    remove,
    script,
    text,
)


def lines(change: Change, status: int, *given: tuple[str, ...]) -> list[Case]:
    """A case for each command line, with the words of its message; its name is the line."""
    return [Case(line, change, words, tuple(shlex.split(line)), status) for line, *words in given]


def structures() -> None:
    """Five atoms, an element that the model does not know, and what is no structure."""
    atoms = ["O 0 0 0", "H 0.9 0 0", "H 0 0.9 0", "O 2 2 2", "H 2.9 2 2"]
    text("one.xyz", "\n".join(["5", "", *atoms, ""]))()
    text("helium.xyz", "2\n\nO 0 0 0\nHe 0 0 1\n")()
    text("bad.xyz", "three\n")()
    text("bad.qqq", "nothing")()


ONE = "vibrations -m frozen.pb -s one.xyz"
VIBRATIONS = lines(
    structures,
    1,
    ("vibrations -m frozen.pb -s no.xyz", "no.xyz: no such file or folder"),
    ("vibrations -m frozen.pb -s bad.xyz", "bad.xyz: ASE cannot read it"),
    ("vibrations -m frozen.pb -s bad.qqq", "bad.qqq: ASE does not know this format"),
    (
        "vibrations -m frozen.pb -s helium.xyz",
        "atom 1 is He, which the model does not know",
        "(nearest: H)",
    ),
    ("vibrations -m frozen.pb -s data/valid/cell@9", "has no frame 9"),
    (f"{ONE} --types O=OW", "expected ELEMENT=TYPE, for example O=OW; types of the model: O, H"),
    (f"{ONE} --masses C=12", "no atom is C; elements: O, H"),
    (f"{ONE} --masses 7=12", "there are 5 atoms, counted from 0"),
    (f"{ONE} --masses O=D", "D is an isotope of H, not O"),
    (f"{ONE} --masses H=-1", "expected ELEMENT=MASS or ATOM=MASS with a positive mass"),
    (f"{ONE} --masses H", "expected ELEMENT=MASS or ATOM=MASS with a positive mass"),
    (f"{ONE} --atoms 5", "--atoms 5: there are 5"),
    (f"{ONE} --atoms x", "expected numbers counted from 0, or ranges as 0:12"),
    (f"{ONE} --atoms 9:", "--atoms 9:: selects none of 5"),
    (f"{ONE} --atoms 1 --project rotations", "with fixed atoms there are no such motions"),
    (f"{ONE} --relax 0", "--relax 0: expected a positive force in eV/Å"),
    (f"{ONE} --relax --steps 0", "--steps 0: expected at least 1"),
    (f"{ONE} --optimizer FIRE", "--optimizer goes with --relax"),
    (f"{ONE} --width 0", "--width 0: expected a positive number of cm⁻¹"),
    (f"{ONE} --temperature -3", "--temperature -3: expected a positive number of K"),
    (f"{ONE} --path GX", "--path goes with --supercell"),
    (f"{ONE} --supercell 1 1 1 --atoms 0", "--atoms goes without --supercell"),
    (f"{ONE} --supercell 1 1 1", "--supercell: the structure is not periodic"),
    (f"{ONE} -o one.xyz", "is a file"),
    (f"{ONE} -o no/where", "there is no directory no"),
)
TWO = "model-devi -m frozen.pb native.pb -s data"
MODELS = lines(
    nothing,
    1,
    (f"{TWO} --relative -1", "--relative -1: expected a number that is not negative"),
    (f"{TWO} -o no/devi.out", "no/devi.out: there is no directory no"),
    ("model-devi -m frozen.pb 3.pb -s data", "3.pb: there is no such model file"),
    ("model-devi -m frozen.pb native.pb -s data/valid/cell/set.000", "no system in data/valid"),
    ("model-devi -s data", "graph.000: there is no such model file"),
    ("eval-desc -m frozen.pb -s data", "data/train/cell and data/valid/cell have the same name"),
    ("eval-desc -m frozen.pb -s none", "none is not a directory that exists"),
    ("eval-desc -m frozen.pb -s data/valid -o frozen.pb", "frozen.pb/cell.npy: cannot be written"),
    ("eval-desc -m 3.pb -s data/valid", "3.pb: there is no such model file"),
    ("show frozen.pb model-branch", "frozen.pb: model-branch is an attribute of multi-task models"),
    ("show none.pb size", "none.pb: there is no such model file"),
    (
        "change-bias frozen.pb -b 1.0",
        "1 values of the bias are given; frozen.pb has 2 types, O H, and one value for each",
    ),
    ("change-bias frozen.pb -b 1 nan", "the bias [1.0, nan] has entries that are not finite"),
    ("change-bias frozen.pb -s data -n -1", "-n -1: expected a number of frames, or 0 for all"),
    ("change-bias frozen.pb -s data/train/cell/set.000", "no system in data/train/cell/set.000"),
    ("change-bias frozen.pb -s data -o no/new.pb", "no/new.pb: there is no directory no"),
    ("change-bias 3.ckpt -b 1 2", "3.ckpt: there is no such model file"),
    ("test -m frozen.pb -s data/valid -n -1", "-n -1: expected a number of frames, or 0 for all"),
    ("test -m frozen.pb -s data/valid --head a", "--head: models of this package have one head"),
    ("freeze -c . -o new.pb -n o_nothing", 'there is no node "o_nothing" in the graph'),
    ("convert-from pbtxt -i frozen.pb -o new.pb", 'frozen.pb: "pbtxt" reads or writes text'),
)
MODELS += lines(
    lambda: [path.unlink() for path in Path("data").rglob("energy.npy")],
    1,
    (
        "change-bias frozen.pb -s data",
        "no system has an energy.npy, from which the energy bias could be found",
    ),
)
MODELS += lines(nothing, 2, ("show frozen.pb colour", "invalid choice: 'colour'"))


def curves() -> None:
    """Files without a learning curve, or without a complete one."""
    columns = "# step  rmse_trn  lr\n"
    text("empty.out", "")()
    text("numbers.out", "1 2 3\n")()
    text("words", "nothing to see\n")()
    text("columns.out", columns)()
    text("begun.out", f"{columns}  1  2.0")()
    text("nan.out", f"{columns}  1  nan  0.1\n")()


CURVES = lines(
    curves,
    1,
    ("plot empty.out -o new.png", "empty.out: is not a learning curve"),
    ("plot numbers.out -o new.png", "numbers.out: is not a learning curve"),
    ("plot columns.out -o new.png", "columns.out: has no complete row yet"),
    ("plot begun.out -o new.png", "begun.out: has no complete row yet"),
    ("plot nan.out -o new.png", "nan.out: has no errors of training or validation"),
    ("plot nan.out -o new.png --label a b", "--label: there are 2 names for 1 learning curves"),
    ("convert-data none -o out", "none is not a directory that exists"),
    ("convert-data none -o out --from vasp/outcar", "none: there is no such file"),
    ("convert-data data -o out --from foo/bar", '"foo/bar" is not a format'),
    ("convert-data data -o out --from hdf5", "data: is not hdf5"),
    (
        "convert-data words -o out",
        "words: its format is not recognised; name it with --from",
    ),
    ("neighbor-stat -s data -r -1 -t O H", "rcut is -1; expected a distance in Å, larger than 0"),
    ("neighbor-stat -s data -r nan -t O H", "rcut is nan"),
    ("neighbor-stat -s data -r 3 -t O O", "the type map ['O', 'O'] has a name more than once"),
)


def data_case(name: str, change: Change, *words: str) -> Case:
    return Case(name, change, words)


WEIGHTS = "training__training_data__"
SYSTEMS = [
    data_case(
        "an atom that the type map lacks in a mixed system",
        all_of(mixed(put((2, 3), 2)), text("data/train/cell/type_map.raw", "O H C")),
        f"{SET}/real_atom_types.npy: atom 3 of frame 2 (counted from 0) is C",
        "which is not in the type map ['O', 'H']",
    ),
    data_case(
        "types beyond those of the model",
        all_of(
            script(model__type_map=...),
            *(remove(f"{name}/type_map.raw") for name in ("data/train/cell", FREE)),
            edit("data/train/cell/type.raw", "1", "2"),
        ),
        "data/train/cell",
        "has atoms of type 2, but the model has only 2 types (0 to 1)",
    ),
    data_case(
        "an array of another number of frames",
        array(FREE / "set.000/force.npy", lambda values: np.repeat(values, 2, axis=0)),
        f"{FREE}/set.000/force.npy",
        "as in coord.npy",
    ),
    data_case(
        "more batch sizes than systems",
        script(**{f"{WEIGHTS}batch_size": [1, 1, 1]}),
        "batch_size: the list has 3 entries, expected one for each of the 2 systems",
    ),
    data_case(
        "every system is filtered out",
        script(**{f"{WEIGHTS}batch_size": "filter:1"}),
        'batch_size: "filter:1" leaves out every system; the smallest has 6 atoms',
    ),
    data_case(
        "more probabilities than systems",
        script(**{f"{WEIGHTS}sys_probs": [0.5, 0.3, 0.2]}),
        "sys_probs: has 3 entries, expected one for each of the 2 systems",
    ),
    data_case(
        "a block beyond the last system",
        script(**{f"{WEIGHTS}auto_prob": "prob_sys_size;0:4:1"}),
        "auto_prob: the block 0:4 ends beyond the last of the 2 systems",
    ),
    data_case(
        "a coordinate file of a later format",
        lambda: Path(SET / "coord.npy").write_bytes(
            b"\x93NUMPY\x09" + Path(SET / "coord.npy").read_bytes()[7:]
        ),
        f"{SET}/coord.npy: version (9, 0) of the .npy format is not known",
    ),
]
