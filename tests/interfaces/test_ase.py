# SPDX-License-Identifier: BSD-3-Clause
"""The ASE calculator: numbers of DeepPot and of finite differences, through ASE."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_properties
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress
from ase.vibrations import VibrationsData
from saved_models import save_checkpoint, small_input, water_like
from scipy.spatial.transform import Rotation

from deepmd_tf.errors import InputError
from deepmd_tf.infer import DeepDipole, DeepPot
from deepmd_tf.interfaces.ase import DP

N = 9


@pytest.fixture(scope="module")
def calculator(saved):
    with DP(saved) as calculator:
        yield calculator


@pytest.fixture
def structure(rng):
    """Coordinates, cell, types of a frame."""
    coords, cells, types = water_like(rng, n_atoms=N, n_frames=1, length=5.0)
    return coords[0], cells[0].reshape(3, 3), types


def make_atoms(structure, calculator, pbc=True):
    coords, cell, types = structure
    symbols = ["OH"[i] for i in types]
    return Atoms(symbols, coords, cell=cell if pbc else None, pbc=pbc, calculator=calculator)


@pytest.fixture(params=[True, False], ids=["periodic", "free"])
def atoms(request, structure, calculator):
    return make_atoms(structure, calculator, request.param)


@pytest.fixture
def crystal(structure, calculator):
    """Periodic, for tests that have one kind of cell only or make their own."""
    return make_atoms(structure, calculator)


def test_numbers_of_deep_pot(saved, atoms, structure):
    coords, cell, types = structure
    box = cell.reshape(1, 9) if atoms.pbc.all() else None
    with DeepPot(saved) as pot:
        energy, force, virial, atom_energy, _ = pot.eval(coords[None], box, types, atomic=True)
    assert atoms.get_potential_energy() == energy[0, 0]
    assert atoms.get_potential_energy(force_consistent=True) == energy[0, 0]
    np.testing.assert_array_equal(atoms.get_forces(), force[0])
    np.testing.assert_allclose(atoms.get_potential_energies(), atom_energy[0, :, 0], rtol=1e-13)
    np.testing.assert_allclose(atoms.get_potential_energies().sum(), energy[0, 0], rtol=1e-13)
    np.testing.assert_allclose(atoms.calc.get_virial(atoms), virial[0].reshape(3, 3), rtol=1e-12)


def test_results_have_the_names_of_ase(atoms):
    """So that they can be copied into other calculators, and exported."""
    atoms.get_potential_energies()
    if atoms.pbc.all():
        atoms.get_stresses()
    results = atoms.calc.results
    assert set(results) <= set(all_properties) and set(DP.implemented_properties) >= set(results)
    copy = SinglePointCalculator(atoms, **results)
    assert copy.get_potential_energy() == results["energy"]
    exported = atoms.calc.export_properties()
    np.testing.assert_array_equal(exported["forces"], results["forces"])


def test_stress(atoms):
    if not atoms.pbc.all():
        for ask in (atoms.get_stress, atoms.get_stresses):
            with pytest.raises(PropertyNotImplementedError, match="no periodicity"):
                ask()
        return
    stress = atoms.get_stress()
    scale = np.abs(stress).max()
    numerical = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(stress, numerical, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), stress, atol=1e-10 * scale)
    assert atoms.get_stresses().shape == (N, 6)


def test_forces(atoms):
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 5])
    forces = atoms.get_forces()
    np.testing.assert_allclose(forces[[0, 5]], numerical, atol=1e-6 * np.abs(forces).max())


def test_hessian_makes_vibrations(saved, atoms, structure):
    coords, cell, types = structure
    box = cell.reshape(1, 9) if atoms.pbc.all() else None
    hessian = atoms.calc.get_hessian(atoms)
    np.testing.assert_array_equal(hessian, hessian.T)
    with DeepPot(saved) as pot:
        expected = pot.eval_hessian(coords[None], box, types)[0]
    np.testing.assert_allclose(hessian, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    vibrations = VibrationsData.from_2d(atoms, hessian)
    np.testing.assert_array_equal(vibrations.get_hessian_2d(), hessian)
    squares = np.sort((vibrations.get_energies() ** 2).real)
    masses = np.repeat(atoms.get_masses(), 3)
    eigenvalues = np.linalg.eigvalsh(hessian / np.sqrt(np.outer(masses, masses)))
    # (ħ ω)² in eV² for ω² in eV / (Å² u)
    unit = (6.582119569e-16 / 1.0180505710774743e-14) ** 2
    np.testing.assert_allclose(squares, unit * eigenvalues, rtol=0, atol=1e-7 * np.ptp(squares))
    block = atoms.calc.get_hessian(atoms, indices=[4, 2])
    assert block.shape == (6, 6)
    assert len(VibrationsData.from_2d(atoms, block, [4, 2]).get_energies()) == 6


def test_relaxation(atoms):
    before = atoms.get_potential_energy()
    what = FrechetCellFilter(atoms) if atoms.pbc.all() else atoms
    BFGS(what, logfile=None, maxstep=0.02).run(fmax=1e-9, steps=4)
    assert atoms.get_potential_energy() < before


def test_results_follow_the_atoms(atoms, structure):
    """One calculator serves other atoms, other numbers of them, and other cells."""
    first = atoms.get_potential_energy()
    other = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]], calculator=atoms.calc)
    assert other.get_potential_energy() != first
    assert atoms.get_potential_energy() == first
    atoms.positions[3] += 0.05
    assert atoms.get_potential_energy() != first


def test_what_comes_for_free_is_kept(atoms, monkeypatch):
    atoms.positions[0] += 0.01
    calls = []
    run = atoms.calc.dp.eval
    monkeypatch.setattr(atoms.calc.dp, "eval", lambda *a, **k: calls.append(k) or run(*a, **k))
    atoms.get_potential_energy()
    atoms.get_forces()
    if atoms.pbc.all():
        atoms.get_stress()
    assert [call["atomic"] for call in calls] == [False]


def test_parameters(tmp_path, structure):
    prefix, _ = save_checkpoint(
        tmp_path, small_input(fitting_net={"numb_fparam": 1, "numb_aparam": 1})
    )
    coords, cell, types = structure
    atoms = Atoms(["OH"[i] for i in types], coords, cell=cell, pbc=True)
    with DP(prefix) as atoms.calc, DeepPot(prefix) as pot:
        with pytest.raises(InputError, match="fparam is missing"):
            atoms.get_potential_energy()
        atoms.info["aparam"] = np.linspace(0, 1, N)
        for value in (0.5, 1.5):
            atoms.info["fparam"] = value
            given = {"fparam": [value], "aparam": atoms.info["aparam"]}
            expected = pot.eval(coords[None], cell.reshape(1, 9), types, **given)[0][0, 0]
            assert atoms.get_potential_energy() == expected
            found = atoms.calc.get_hessian(atoms)
            hessian = pot.eval_hessian(coords[None], cell.reshape(1, 9), types, **given)[0]
            np.testing.assert_allclose(found, hessian, atol=1e-9 * np.abs(hessian).max())
        atoms.info["aparam"][:] = 0.25
        assert atoms.get_potential_energy() != expected


def test_types_of_elements(saved, crystal):
    atoms = crystal
    expected = atoms.get_potential_energy()
    renamed = atoms.copy()
    renamed.symbols = ["S" if symbol == "O" else "H" for symbol in atoms.get_chemical_symbols()]
    with DP(saved, type_dict={"S": 0, "H": 1}) as renamed.calc:
        assert renamed.get_potential_energy() == expected
    renamed.calc = atoms.calc
    with pytest.raises(InputError, match=r"is S, which the model does not know.*O, H"):
        renamed.get_potential_energy()


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, False)])
@pytest.mark.parametrize("given", [0.0, 0.5, 30.0])
def test_periodic_in_some_directions(crystal, pbc, given):
    """The numbers of explicit vacuum, whatever the cell has in open directions; a strain of the
    periodic directions for the stress."""
    atoms, pbc = crystal, np.array(pbc)
    vacuum = atoms.copy()
    vacuum.pbc, vacuum.calc = True, atoms.calc
    vacuum.cell = np.diag(np.where(pbc, 4.9, 30.0))
    rigid = vacuum.positions @ (rotation := Rotation.from_euler("xyz", [0.3, 0.5, 0.2]).as_matrix())
    atoms.set_cell(vacuum.cell.array * np.where(pbc, 1.0, given / 30)[:, None] @ rotation)
    atoms.pbc, atoms.positions = pbc, rigid
    energy = vacuum.get_potential_energy()
    np.testing.assert_allclose(atoms.get_potential_energy(), energy, rtol=1e-12)
    forces = vacuum.get_forces() @ rotation
    np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-11)
    virial = rotation.T @ atoms.calc.get_virial(vacuum) @ rotation
    np.testing.assert_allclose(atoms.calc.get_virial(atoms), virial, rtol=0, atol=1e-11)
    hessian = [atoms.calc.get_hessian(one, indices=[0]) for one in (vacuum, atoms)]
    np.testing.assert_allclose(hessian[1], rotation.T @ hessian[0] @ rotation, rtol=0, atol=1e-9)
    if not given:
        with pytest.raises(PropertyNotImplementedError, match="no volume"):
            atoms.get_stress()
        return
    stress = vacuum.get_stress(voigt=False) * np.outer(pbc, pbc) * vacuum.get_volume()
    expected = rotation.T @ stress @ rotation / atoms.get_volume()
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected, rtol=0, atol=1e-12)
    total = full_3x3_to_voigt_6_stress(expected)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), total, rtol=0, atol=1e-12)


def test_meaning_of_the_stress_of_a_surface_is_said_once(saved, structure, caplog):
    with DP(saved) as calculator:
        for pbc in (True, [True, True, False], [True, False, False]):
            atoms = make_atoms(structure, calculator)
            atoms.pbc = pbc
            atoms.get_stress()
    said = [m for m in caplog.messages if "stress is that of the periodic directions" in m]
    assert len(said) == 1 and said[0].startswith("pbc is [True, True, False]: ")


def test_relaxation_of_a_surface_keeps_the_open_vector(crystal):
    atoms = crystal
    atoms.set_cell(np.diag([5.0, 5.0, 12.0]))
    atoms.pbc = [True, True, False]
    with BFGS(FrechetCellFilter(atoms), logfile=None) as driver:
        driver.run(fmax=1e-4, steps=3)
    np.testing.assert_allclose(atoms.cell.array[2], [0, 0, 12], atol=1e-12)
    assert np.abs(atoms.cell.array[:2, :2] - 5 * np.eye(2)).max() > 1e-6


def test_hessian_needs_a_structure(saved, crystal):
    atoms = crystal
    with DP(saved) as calculator, pytest.raises(InputError, match="give the atoms"):
        calculator.get_hessian()
    atoms.get_potential_energy()
    assert atoms.calc.get_hessian().shape == (3 * N, 3 * N)


def test_without_ase(tmp_path):
    (tmp_path / "ase.py").write_text("raise ImportError('no such module')")
    program = f"""
import sys
import deepmd_tf.infer
assert "ase" not in sys.modules
sys.path.insert(0, {str(tmp_path)!r})
from deepmd_tf.errors import InstallError
try:
    import deepmd_tf.interfaces.ase
except InstallError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install ase" in done.stdout, done.stderr


def test_dipole(saved, structure, tmp_path):
    """Of a second model, with the types in another order."""
    coords, cell, types = structure
    script = small_input(fitting_net={"type": "dipole", "sel_type": [1]})
    script["model"]["type_map"] = ["H", "O"]
    path = save_checkpoint(tmp_path, script)[0]
    atoms = Atoms(["OH"[i] for i in types], coords, cell=cell, pbc=True)
    with DP(saved, dipole=path) as calculator, DeepDipole(path) as model:
        atoms.calc = calculator
        found = atoms.get_dipole_moment()
        expected = model.eval(coords[None], cell.reshape(1, 9), 1 - types, atomic=False)[0]
    np.testing.assert_array_equal(found, expected)
    assert found.any()
    with DP(saved) as calculator, pytest.raises(PropertyNotImplementedError):
        calculator.get_property("dipole", atoms)
