# SPDX-License-Identifier: BSD-3-Clause
"""``dp vibrations`` from the structure file to the folder of results."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms, FixBondLength
from ase.io import read, write
from ase.vibrations import Vibrations
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf.analysis.stationary import Relaxation
from deepmd_tf.analysis.structures import read_structure, set_masses
from deepmd_tf.analysis.vibration_study import Study
from deepmd_tf.cli.main import main
from deepmd_tf.data import write_system
from deepmd_tf.errors import DeepmdError
from deepmd_tf.interfaces.ase import DP

N = 5


@pytest.fixture(scope="module")
def calculator(saved):
    with DP(saved) as calculator:
        yield calculator


@pytest.fixture
def structure(rng):
    """Five atoms in a cell, without a calculator."""
    coords, cells, types = water_like(rng, n_atoms=N, n_frames=1, length=5.0)
    symbols = ["OH"[i] for i in types]
    return Atoms(symbols, coords[0], cell=cells[0].reshape(3, 3), pbc=True)


@pytest.fixture
def free(structure):
    atoms = structure.copy()
    atoms.pbc, atoms.cell = False, None
    return atoms


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dp(saved, here, capsys):
    """``dp vibrations`` in an empty folder: exit status, standard output and error."""

    def run(*words):
        status = main(["--tf", "vibrations", "-m", str(saved), *map(str, words)])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


@pytest.mark.parametrize("pbc", [True, False], ids=["periodic", "free"])
@pytest.mark.parametrize("moving", [None, ["3", "0:2"]], ids=["all", "some"])
def test_finite_differences_of_ase(structure, free, calculator, here, pbc, moving):
    atoms = structure if pbc else free
    atoms.calc = calculator
    summary = Study(atoms, Path("out")).vibrations(moving=moving, project="none", animated=["none"])
    with np.load("out/modes.npz") as arrays:
        found = arrays["frequencies"]
        assert arrays["atoms"].tolist() == ([0, 1, 3] if moving else list(range(N)))
        assert arrays["hessian"].shape == (len(found), len(found))
    assert found.tolist() == summary["frequencies_per_cm"]
    atoms.set_constraint()
    indices = [0, 1, 3] if moving else None
    theirs = Vibrations(atoms, indices=indices, name="fd", delta=1e-3, nfree=4)
    theirs.run()
    squares = np.sort((theirs.get_frequencies() ** 2).real)
    np.testing.assert_allclose(
        np.sign(found) * found**2, squares, rtol=0, atol=2e-6 * np.abs(squares).max()
    )


class Springs(Calculator):
    """E = Σ ½ k (|r_i − r_j| − l)² over all pairs, with what a study wants of a model."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, lengths, stiffness):
        super().__init__()
        self.lengths, self.stiffness = lengths, stiffness

    def _pairs(self, positions):
        along = positions[None] - positions[:, None]
        return along, np.linalg.norm(along, axis=2) + np.eye(len(positions))

    def calculate(self, atoms, properties, changes):
        super().calculate(atoms, properties, changes)
        along, r = self._pairs(atoms.positions)
        pull = self.stiffness * (r - self.lengths)
        energy = 0.25 * np.sum(pull * (r - self.lengths))
        forces = np.sum((pull / r)[..., None] * along, axis=1)
        self.results = {"energy": energy, "forces": forces}

    def get_hessian(self, atoms, indices=None, progress=False):
        along, r = self._pairs(atoms.positions)
        unit = along / r[..., None]
        outer = unit[..., None] * unit[..., None, :]
        bent = (self.stiffness * (1 - self.lengths / r))[..., None, None] * (np.eye(3) - outer)
        blocks = -(self.stiffness[..., None, None] * outer + bent)
        blocks[np.arange(len(r)), np.arange(len(r))] = -blocks.sum(axis=1)
        assert indices is None
        return blocks.swapaxes(1, 2).reshape(3 * len(r), -1)


@pytest.fixture
def molecule(free, rng):
    """Five atoms with springs, not where they want to be."""
    along = free.positions[None] - free.positions[:, None]
    lengths = np.linalg.norm(along, axis=2) + np.eye(N)
    stiffness = rng.uniform(5, 30, (N, N)) * (1 - np.eye(N))
    free.calc = Springs(lengths, stiffness + stiffness.T)
    free.positions += rng.normal(scale=0.05, size=(N, 3))
    return free


def test_a_molecule(molecule, here, capsys, caplog):
    """Relaxed, so that what is projected out has no frequency of its own."""
    start = molecule.copy()
    with caplog.at_level(logging.INFO, "deepmd_tf"):
        summary = Study(
            molecule,
            Path("out"),
            {"model": "m"},
            relaxation=Relaxation(1e-6),
            temperatures=(100, 200),
        ).vibrations()
    names = {path.name for path in (here / "out").iterdir()}
    modes = {f"mode_{k:03d}.xyz" for k in range(3 * N - 6)}
    files = {"modes.csv", "modes.npz", "spectrum.png", "structure.xyz", "summary.json"}
    assert names == modes | files
    assert "relaxed in" in caplog.text
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert json.loads((here / "out/summary.json").read_text()) == summary
    assert summary["projected"] == "rotations" and not summary["linear"]
    assert summary["largest_force_eV_per_A"] < 1e-6 and summary["doubts"] == []
    np.testing.assert_allclose(summary["projected_per_cm"], 0, atol=0.5)
    frequencies = np.array(summary["frequencies_per_cm"])
    assert len(frequencies) == 9 and summary["imaginary"] == 0 and frequencies[0] > 20
    hc = 1.239841984e-4  # eV cm
    assert summary["zero_point_energy_eV"] == pytest.approx(hc * frequencies.sum() / 2)
    assert [one["temperature_K"] for one in summary["thermal"]] == [100, 200]
    out = capsys.readouterr().out
    for value in frequencies:
        assert f"{value:.1f}" in out
    with (here / "out/modes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["wavenumber_per_cm"]) for row in rows] == frequencies.tolist()
    for row in rows:
        assert float(row["share_O"]) + float(row["share_H"]) == pytest.approx(1)
    relaxed = read("out/structure.xyz")
    assert np.abs(relaxed.positions - start.positions).max() > 0.01
    np.testing.assert_allclose(relaxed.get_potential_energy(), summary["energy_eV"], atol=1e-8)


def test_animation(molecule, here):
    """Along the stiffest mode the energy grows by half its curvature."""
    Study(molecule, Path("out"), relaxation=Relaxation(1e-6)).vibrations(animated=["8"])
    frames = read("out/mode_008.xyz", ":")
    assert len(frames) == 24 and frames[0].info["number"] == 8
    rest = molecule.positions.copy()
    np.testing.assert_allclose(frames[0].positions, rest, atol=1e-7)
    moved = frames[6].positions - rest
    np.testing.assert_allclose(moved, 0.3 * frames[0].arrays["mode"], atol=1e-7)
    assert np.linalg.norm(moved, axis=1).max() == pytest.approx(0.3, abs=1e-6)
    np.testing.assert_allclose(frames[18].positions - rest, -moved, atol=1e-7)
    with np.load("out/modes.npz") as arrays:
        curvature = moved.reshape(-1) @ arrays["hessian"] @ moved.reshape(-1)
    energies = []
    for step in (0, 0.01, -0.01):
        molecule.positions = rest + step * moved
        energies.append(molecule.get_potential_energy())
    growth = (energies[1] + energies[2]) / 2 - energies[0]
    assert growth == pytest.approx(0.5 * curvature * 1e-4, rel=1e-3)


def test_product_rule(molecule, here):
    """Isotopes change the product of all frequencies by a ratio of masses and inertia only."""
    light = Study(molecule, Path("a"), relaxation=Relaxation(1e-7)).vibrations(animated=["none"])
    masses, inertia = molecule.get_masses(), molecule.get_moments_of_inertia()
    set_masses(molecule, ["H=D"])
    heavy = Study(molecule, Path("b")).vibrations(animated=["none"])
    ratio = masses / molecule.get_masses()
    assert set(np.round(ratio, 3)) == {0.5, 1.0}
    expected = (
        np.prod(ratio) ** 1.5
        * (molecule.get_masses().sum() / masses.sum()) ** 1.5
        * np.sqrt(np.prod(molecule.get_moments_of_inertia() / inertia))
    )
    frequencies = [np.array(one["frequencies_per_cm"]) for one in (heavy, light)]
    assert np.prod(frequencies[0] / frequencies[1]) == pytest.approx(expected, rel=1e-5)
    assert heavy["masses_u"] == molecule.get_masses().tolist()


def test_doubts(structure, dp, here):
    write("one.extxyz", structure)
    status, out, err = dp("-s", "one.extxyz")
    assert status == 0
    assert "is not stationary" in err and "--relax" in err
    summary = json.loads((here / "vibrations/summary.json").read_text())
    assert summary["projected"] == "translations" and len(summary["frequencies_per_cm"]) == 12
    assert "pressure" in err and summary["pressure_GPa"] is not None
    imaginary = [value for value in summary["frequencies_per_cm"] if value < 0]
    assert imaginary and len(summary["doubts"]) == 2
    assert f"{-imaginary[0]:.1f}i" in out
    assert "imaginary frequenc" in err and "no minimum" in err


def test_unfinished_relaxation(free, dp, here):
    write("one.xyz", free)
    status, _, err = dp("-s", "one.xyz", "--relax", "1e-6", "--steps", 2)
    assert status == 1
    assert "after 2 steps of BFGS" in err and "vibrations.unrelaxed.xyz" in err
    assert [path.name for path in here.iterdir() if path.name != "one.xyz"] == [
        "vibrations.unrelaxed.xyz"
    ]
    assert dp("-s", "vibrations.unrelaxed.xyz", "--relax", "1e-3", "--optimizer", "FIRE")[0] == 0


def test_files_of_an_earlier_run(free, dp, here):
    write("one.xyz", free)
    assert dp("-s", "one.xyz", "--picture", "pdf")[0] == 0
    (here / "vibrations/notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in (here / "vibrations").iterdir()}
    status, _, err = dp("-s", "one.xyz", "--modes", "0", "99")
    assert status == 1 and "--modes 99: there are 9" in err
    assert {path.name: path.read_bytes() for path in (here / "vibrations").iterdir()} == before
    assert dp("-s", "one.xyz", "--modes", "0", "-1", "--atoms", "0:2")[0] == 0
    names = {path.name for path in (here / "vibrations").iterdir()}
    assert {name for name in names if name.startswith(("mode_", "spec", "notes"))} == {
        "mode_000.xyz",
        "mode_005.xyz",
        "notes.txt",
        "spectrum.png",
    }
    assert not list(here.glob(".*"))


def test_atoms_that_the_file_fixes(free, dp, here):
    free.set_constraint(FixAtoms([0, 3]))
    write("one.traj", free)
    status, _, err = dp("-s", "one.traj", "--relax")
    assert status == 0 and "fixes 2 of 5 atoms" in err
    with np.load("vibrations/modes.npz") as arrays:
        assert arrays["atoms"].tolist() == [1, 2, 4]
        assert arrays["frequencies"].shape == (9,)
        np.testing.assert_allclose(arrays["positions"][[0, 3]], free.positions[[0, 3]])
    frames = read("vibrations/mode_000.xyz", ":")
    np.testing.assert_array_equal(frames[0].positions[0], frames[5].positions[0])
    assert dp("-s", "one.traj", "--atoms", "0:")[0] == 0
    with np.load("vibrations/modes.npz") as arrays:
        assert arrays["frequencies"].shape == (9,) and len(arrays["atoms"]) == 5
    free.set_constraint(FixBondLength(0, 1))
    write("two.traj", free)
    assert "FixBondLength" in dp("-s", "two.traj")[2]
    free.set_constraint(FixAtoms(range(5)))
    write("three.traj", free)
    assert "fixes all atoms" in dp("-s", "three.traj")[2]


def test_frames_of_files_and_systems(structure, here, rng):
    frames = [structure.copy() for _ in range(4)]
    for frame in frames:
        frame.positions += rng.normal(scale=0.02, size=(N, 3))
    write("many.extxyz", frames)
    write("odd@1.extxyz", frames[2], format="extxyz")
    types = np.array([{"H": 0, "O": 1}[s] for s in structure.get_chemical_symbols()])
    write_system(
        here / "system",
        types=types,
        type_map=["H", "O"],
        coord=np.array([frame.positions for frame in frames]),
        box=np.array([frame.cell.array for frame in frames]),
        energy=np.zeros(4),
        frames_per_set=3,
    )
    places = {"many.extxyz": 3, "many.extxyz@1": 1, "many.extxyz@-2": 2, "odd@1.extxyz": 2}
    for where, number in (places | {"system": 3, "system@2": 2, "system@-4": 0}).items():
        atoms = read_structure(where, ["O", "H"])
        assert atoms.get_chemical_symbols() == structure.get_chemical_symbols()
        np.testing.assert_allclose(atoms.positions, frames[number].positions, atol=1e-7)
        np.testing.assert_allclose(atoms.cell.array, structure.cell.array, atol=1e-7)
        assert atoms.pbc.all()
    for where in ("many.extxyz@4", "system@4", "system@-5"):
        with pytest.raises(DeepmdError, match="has no frame"):
            read_structure(where, ["O", "H"])


def test_cell_that_ase_does_not_read(here):
    (here / "a.extxyz").write_text('1\nlattice="9 0 0 0 9 0 0 0 9"\nO 0 0 0\n')
    with pytest.raises(DeepmdError, match="has no Lattice, but 'lattice'"):
        read_structure("a.extxyz", ["O", "H"])


def test_crystal(saved, dp, here):
    cell = Atoms("OH", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=3.1 * np.eye(3), pbc=True)
    write("POSCAR", cell, format="vasp")
    status, _, err = dp("-s", "POSCAR", "--supercell", 2, 2, 2, "--path", "GX", "-o", "phonons")
    assert status == 0, err
    assert "sum rule" in err and "16 in the supercell" in err and "6.2 Å wide" in err
    names = {path.name for path in (here / "phonons").iterdir()}
    assert {"FORCE_CONSTANTS", "band.yaml", "bands.png"} <= names
    assert dp("-s", "POSCAR", "-o", "phonons")[0] == 0
    assert not (here / "phonons/FORCE_CONSTANTS").exists()


def test_names_of_types(tmp_path, here):
    """A model whose types are no elements, told which they are."""
    script = small_input()
    script["model"]["type_map"] = ["OW", "HW"]
    prefix, _ = save_checkpoint(tmp_path, script)
    atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    write_system(
        here / "system",
        types=np.array([1, 0, 0]),
        type_map=["HW", "OW"],
        coord=atoms.positions[None],
        box=None,
        energy=np.zeros(1),
    )
    command = ["--tf", "vibrations", "-m", str(prefix), "-s", "system"]
    assert main(command) == 1
    assert main([*command, "--types", "O=OW", "H=HW"]) == 0
    found = read("vibrations/structure.xyz")
    assert found.get_chemical_symbols() == ["O", "H", "H"]
    with DP(prefix, type_dict={"O": 0, "H": 1}) as atoms.calc:
        expected = atoms.get_potential_energy()
    assert found.get_potential_energy() == pytest.approx(expected, abs=1e-8)


def test_many_modes(structure, calculator, here, caplog):
    atoms = structure.repeat((1, 1, 5))
    atoms.calc = calculator
    with caplog.at_level(logging.INFO, "deepmd_tf"):
        Study(atoms, Path("out")).vibrations()
    assert "choose some with --modes" in caplog.text
    assert not list(here.glob("out/mode_*.xyz"))
