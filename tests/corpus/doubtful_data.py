# SPDX-License-Identifier: BSD-3-Clause
"""Data sets that look wrong but can be used: there is a warning, and work goes on."""

from __future__ import annotations

import shutil

import numpy as np

from deepmd_tf.data import write_system

from .changes import (
    CHECK,
    DRY_RUN,
    FREE,
    SET,
    TEST,
    Case,
    array,
    dense,
    one_system,
    script,
)

SHIFT = -123456.0
"""eV, an energy of which float32 keeps too few digits."""


def lone_atom() -> None:
    """An oxygen in vacuum among the training data."""
    coord = np.zeros((1, 1, 3))
    write_system(
        "data/train/lone",
        types=[0],
        type_map=["O", "H"],
        coord=coord,
        box=30.0 * np.eye(3)[None],
        energy=np.array([-3.5]),
        force=coord,
    )
    script(training__training_data__batch_size="auto")()


DOUBTS = [
    Case(
        "forces in some systems only",
        lambda: [path.unlink() for path in FREE.rglob("force.npy")],
        ("loss: start_pref_f or limit_pref_f is not 0, but ", "force.npy"),
        DRY_RUN,
        0,
    ),
    Case(
        "virials that are not trained on",
        script(loss__start_pref_v=0, loss__limit_pref_v=0),
        (
            "virial.npy: in 1 of 2 training systems, but not trained on, because its prefactors",
            "start_pref_v",
        ),
        DRY_RUN,
        0,
    ),
    Case(
        "an isolated atom",
        lone_atom,
        ("data/train/lone: has one atom without neighbours", '"atom_ener": [-3.5, null]'),
        DRY_RUN,
        0,
    ),
    Case(
        "forces in another shape",
        array(SET / "force.npy", lambda values: values.reshape(1, -1)),
        (f"{SET}/force.npy: has the shape (1, 72) in place of (4, 18)", "one frame after the"),
        CHECK,
        0,
    ),
    Case(
        "a left-handed cell",
        array(SET / "box.npy", lambda box: box[:, [3, 4, 5, 0, 1, 2, 6, 7, 8]]),
        (
            f"{SET}/box.npy: the lattice vectors of frame 0 (counted from 0) form a left-handed",
            "form a left-handed",
        ),
        CHECK,
        0,
    ),
    Case(
        "energies of few digits",
        array(SET / "energy.npy", lambda e: (e + SHIFT).astype(np.float32)),
        (
            f"{SET}/energy.npy: energies of about … eV have been rounded to float32",
            "which matters",
            "energies of about … eV have been rounded to float32",
        ),
        CHECK,
        0,
    ),
    Case(
        "gradients in place of forces",
        one_system(lambda energy: energy, sign=-1.0),
        ("energies change -1 times as much as the forces say", "look like gradients (the sign"),
        CHECK,
        0,
    ),
    Case(
        "energies in Hartree",
        one_system(lambda energy: energy / 27.211386),
        (
            "…/force.npy: energies change … times as much as the forces say",
            "energies in Hartree",
            "energies change … times as much as the forces say",
        ),
        CHECK,
        0,
    ),
    Case(
        "validation with frames that are trained on",
        lambda: shutil.copytree("data/train/cell", "data/valid/again"),
        ("… validation frames are in the training data", "data/valid/again: all 8"),
        CHECK,
        0,
    ),
    Case(
        "more neighbours than sel in a dry run",
        script(model__descriptor__sel=[1, 2]),
        (
            "sel of type 0 is not enough!",
            "neighbours beyond sel in these steps",
            "sel of type … is not enough! The expected value is not less than …, but …",
        ),
        DRY_RUN,
        0,
    ),
    Case(
        "more neighbours than sel in a training",
        script(model__descriptor__sel=[1, 2]),
        (
            "in … steps … neighbours were beyond sel and left out; sel is …, at least … is needed",
            "step …: … neighbours of type O are beyond sel and were left out; sel[0] is 1, at …",
        ),
        status=0,
        leaves=("lcurve.out", "out.json", "input_v2_compat.json", "model.ckpt*", "checkpoint"),
    ),
    Case(
        "more neighbours than the model sees, by choice",
        dense("data/valid/cell"),
        (
            "… have more neighbours within the cutoff than the model was made for",
            "the errors include atoms with more neighbours than the model sees",
        ),
        TEST,
        0,
    ),
]
