# SPDX-License-Identifier: BSD-3-Clause
"""The same frames give the same energies, forces and virials, whichever way a model is used.

What training shows, ``dp test``, ``DeepPot``, ASE, and LAMMPS with the plugin of DeePMD-kit, for a
periodic, a triclinic and a free system, with a checkpoint and files of both dialects. The numbers
of ``DeepPot`` on the checkpoint are those that the others are compared with.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import stock_lammps
import stock_wheel
from ase import Atoms
from saved_models import INPUT, save_checkpoint, water_like
from water_model import PLUGIN

from deepmd_tf.cli.main import main
from deepmd_tf.data import write_system
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.interfaces.ase import DP
from deepmd_tf.training.entrypoint import train

TOLERANCE = 1e-10
"""Of the largest number of a quantity in a system."""
EDGE = 7.0
TYPE_MAP = ["O", "H"]
QUANTITIES = ("energy", "force", "virial")

Errors = dict[tuple[str, str], float]
"""Relative errors by system and quantity."""


@dataclass
class System:
    """Frames, and what they are expected to give.

    Attributes
    ----------
    coords, cells, types
        [n_frames, n_atoms, 3], [n_frames, 3, 3] or None, [n_atoms].
    expected
        "energy" [n_frames], "force" [n_frames, n_atoms, 3], "virial" [n_frames, 3, 3].
    """

    coords: np.ndarray
    cells: np.ndarray | None
    types: np.ndarray
    expected: dict[str, np.ndarray]

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        cells = [None] * len(self.coords) if self.cells is None else self.cells
        yield from zip(self.coords, cells, strict=True)

    def scale(self, key: str) -> float:
        return float(np.abs(self.expected[key]).max())


@dataclass
class Setting:
    """Files of one model, and systems in memory and on disk, in ``folder/data``."""

    folder: Path
    files: dict[str, Path]
    systems: dict[str, System]

    def errors(self, found: dict[str, Sequence[np.ndarray]]) -> Errors:
        """Largest difference of each quantity over its largest number, from those of each system.

        All must be there.
        """
        errors = {}
        for name, system in self.systems.items():
            for key, values in zip(QUANTITIES, found[name], strict=True):
                want = system.expected[key]
                error = np.abs(np.reshape(values, want.shape) - want).max()
                errors[name, key] = float(error) / system.scale(key)
        return errors


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    folder = tmp_path_factory.mktemp("parity")
    prefix, _ = save_checkpoint(folder)
    files = {"checkpoint": prefix}
    for dialect in ("stock", "native"):
        files[dialect] = freeze(prefix, folder / f"{dialect}.pb", dialect=dialect).path
    coords, cells, types = water_like(np.random.default_rng(11), n_frames=2)
    cells = cells.reshape(-1, 3, 3)
    cube = np.tile(EDGE * np.eye(3), (2, 1, 1))
    frames = {
        "periodic": (coords @ np.linalg.inv(cells) @ cube, cube),
        "triclinic": (coords, cells),
        "free": (coords, None),
    }
    systems = {}
    with DeepPot(prefix) as pot:
        for name, (positions, box) in frames.items():
            energy, force, virial = pot.eval(positions, box, types)
            expected = {
                "energy": energy[:, 0],
                "force": force,
                "virial": virial.reshape(-1, 3, 3),
            }
            systems[name] = System(positions, box, types, expected)
            write_system(
                folder / "data" / name,
                types=types,
                type_map=TYPE_MAP,
                coord=positions,
                box=box,
                **{key: values.reshape(len(values), -1) for key, values in expected.items()},
            )
    return Setting(folder, files, systems)


def by_training(setting: Setting, file: Path) -> Errors:
    """Errors that a training shows which begins with the model, with the model's numbers as labels.

    Its learning rate is too small to change a weight.
    """
    errors = {}
    script = copy.deepcopy(INPUT)
    script["learning_rate"] |= {"start_lr": 1e-30, "stop_lr": 1e-31}
    script["loss"] = {"type": "ener", "start_pref_v": 1.0, "limit_pref_v": 1.0}
    for name, system in setting.systems.items():
        data = {"systems": [str(setting.folder / "data" / name)], "batch_size": 2}
        validation = data | {"numb_btch": 1}
        training = {"training_data": data, "validation_data": validation, "numb_steps": 1}
        script["training"] = training | {"disp_freq": 1}
        Path("input.json").write_text(json.dumps(script))
        assert train("input.json", init_frz_model=str(file)) == 0
        curve = np.genfromtxt("lcurve.out", names=True)
        assert len(curve) == 2
        for key in QUANTITIES:
            per_atom = 1 if key == "force" else len(system.types)
            for part in ("trn", "val"):
                error = curve[f"rmse_{key[0]}_{part}"].max()
                errors[name, f"{key}_{part}"] = error * per_atom / system.scale(key)
    return errors


def by_dp_test(setting: Setting, file: Path) -> Errors:
    """Predictions in the detail files, where systems follow each other by name."""
    arguments = ["-m", str(file), "-s", str(setting.folder / "data"), "-d", "detail"]
    assert main(["--tf", "test", *arguments]) == 0
    found = {}
    for letter, key in zip("efv", QUANTITIES, strict=True):
        rows = np.loadtxt(f"detail.{letter}.out", ndmin=2)
        predicted = rows[:, rows.shape[1] // 2 :]
        found[key] = np.split(predicted, len(setting.systems))
    return setting.errors(
        {
            name: [values[number] for values in found.values()]
            for number, name in enumerate(sorted(setting.systems))
        }
    )


def by_deep_pot(setting: Setting, file: Path) -> Errors:
    with DeepPot(file) as pot:
        return setting.errors(
            {
                name: pot.eval(system.coords, system.cells, system.types)
                for name, system in setting.systems.items()
            }
        )


def by_ase(setting: Setting, file: Path) -> Errors:
    """The virial is minus stress times volume where there is one."""
    found = {}
    with DP(file) as calculator:
        for name, system in setting.systems.items():
            frames = []
            for coords, cell in system.frames():
                symbols = [TYPE_MAP[t] for t in system.types]
                atoms = Atoms(symbols, coords, cell=cell, pbc=cell is not None)
                atoms.calc = calculator
                if cell is None:
                    virial = calculator.get_virial(atoms)
                else:
                    virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
                frames.append((atoms.get_potential_energy(), atoms.get_forces(), virial))
            found[name] = [np.array(values) for values in zip(*frames, strict=True)]
    return setting.errors(found)


def by_lammps(setting: Setting, file: Path, *, ranks: int) -> Errors:
    cases = {
        f"{name}_{number}": stock_lammps.Case(file, coords, cell, system.types)
        for name, system in setting.systems.items()
        for number, (coords, cell) in enumerate(system.frames())
    }
    variables = PLUGIN if file == setting.files["native"] else {}
    results = stock_lammps.evaluate(cases, Path.cwd(), ranks, **variables)
    return setting.errors(
        {
            name: [
                np.array([results[f"{name}_{k}"][key] for k in range(len(system.coords))])
                for key in QUANTITIES
            ]
            for name, system in setting.systems.items()
        }
    )


WAYS: dict[str, tuple[Callable[..., Errors], tuple[str, ...], list]] = {
    "training": (by_training, ("stock",), []),
    "dp test": (by_dp_test, ("checkpoint", "stock", "native"), []),
    "DeepPot": (by_deep_pot, ("stock", "native"), []),
    "ASE": (by_ase, ("checkpoint", "stock", "native"), []),
    **{
        f"LAMMPS, {ranks} rank{'s' * (ranks > 1)}": (
            partial(by_lammps, ranks=ranks),
            ("stock", "native"),
            stock_wheel.needs_stock,
        )
        for ranks in (1, 2)
    },
}
"""How to use a model: a function that gives relative errors, the files it takes, marks."""


@pytest.mark.parametrize(
    ("way", "file"),
    [
        pytest.param(way, file, id=f"{label}, {file}", marks=marks)
        for label, (way, files, marks) in WAYS.items()
        for file in files
    ],
)
def test_same_numbers(setting, tmp_path, monkeypatch, way, file):
    monkeypatch.chdir(tmp_path)
    errors = way(setting, setting.files[file])
    assert {(name, key.partition("_")[0]) for name, key in errors} == {
        (name, key) for name in setting.systems for key in QUANTITIES
    }
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] < TOLERANCE, f"{', '.join(worst)}: {errors[worst]:.1e}"


def test_systems_differ(setting):
    """Otherwise agreement would mean little."""
    values = [setting.systems[name].expected for name in ("periodic", "triclinic", "free")]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        for key in QUANTITIES:
            scale = np.abs(values[one][key]).max()
            assert np.abs(values[one][key] - values[other][key]).max() > 1e-3 * scale
