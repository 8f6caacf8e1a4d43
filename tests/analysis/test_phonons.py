# SPDX-License-Identifier: BSD-3-Clause
"""Force constants of a crystal against finite displacements of phonopy and the supercell itself."""

from __future__ import annotations

import json

import numpy as np
import phonopy
import pytest
import yaml
from ase import Atoms
from phonopy.file_IO import parse_FORCE_CONSTANTS
from saved_models import save_checkpoint

from deepmd_tf.analysis import phonons
from deepmd_tf.analysis.vibration_study import Study
from deepmd_tf.analysis.vibrations import NormalModes, normal_modes
from deepmd_tf.errors import InputError
from deepmd_tf.interfaces.ase import DP


@pytest.fixture(scope="module")
def calculator(tmp_path_factory):
    prefix, _ = save_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    with DP(prefix) as calculator:
        yield calculator


@pytest.fixture
def crystal(calculator):
    """Caesium chloride structure of O and H, where symmetry makes all forces zero."""
    atoms = Atoms("OH", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=3.1 * np.eye(3), pbc=True)
    atoms.calc = calculator
    return atoms


@pytest.fixture
def doubled(crystal):
    """The same in a cell of two, in which the primitive cell has to be found."""
    atoms = crystal.repeat((1, 1, 2))
    atoms.calc = crystal.calc
    return atoms


def test_finite_displacements_of_phonopy(crystal):
    found = phonons.force_constants(crystal, crystal.calc, (2, 2, 2))
    phonon = found.phonon
    ours = phonon.force_constants.copy()
    phonon.generate_displacements(distance=1e-3)
    forces = []
    for cell in phonon.supercells_with_displacements:
        displaced = Atoms(cell.symbols, cell.positions, cell=cell.cell, pbc=True)
        displaced.calc = crystal.calc
        forces.append(displaced.get_forces())
    phonon.forces = forces
    phonon.produce_force_constants()
    scale = np.abs(ours).max()
    # central differences: third derivatives drop out, fifth ones are there
    theirs = phonon.force_constants
    assert theirs.shape == (16, 16, 3, 3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * scale)
    assert found.sum_rule < 1e-10 * scale and found.asymmetry < 1e-10 * scale
    assert found.largest == scale and found.width == pytest.approx(6.2)


@pytest.mark.parametrize("primitive", ["auto", "P"])
def test_hessian_of_the_supercell(doubled, primitive):
    """All force constants are its blocks, and its modes are the phonons that fit into it."""
    found = phonons.force_constants(doubled, doubled.calc, (2, 2, 1), primitive=primitive)
    phonon = found.phonon
    assert len(phonon.primitive) == (2 if primitive == "auto" else 4)
    whole = phonon.supercell
    large = Atoms(whole.symbols, whole.positions, cell=whole.cell, pbc=True)
    hessian = doubled.calc.get_hessian(large)
    blocks = hessian.reshape(16, 3, 16, 3).transpose(0, 2, 1, 3)
    scale = np.abs(hessian).max()
    np.testing.assert_allclose(phonon.force_constants, blocks, rtol=0, atol=1e-9 * scale)
    modes = normal_modes(hessian, large.positions, large.get_masses(), "none").frequencies
    grid = np.stack(np.meshgrid(*[[0, 0.5]] * 3, indexing="ij"), -1).reshape(-1, 3)
    if primitive == "P":
        grid = grid[grid[:, 2] == 0]
    frequencies = phonon.run_qpoints(grid).frequencies * phonons.WAVENUMBER_PER_THZ
    squares = np.sort((np.sign(frequencies) * frequencies**2).reshape(-1))
    # phonopy has constants of another year
    np.testing.assert_allclose(
        squares, np.sign(modes) * modes**2, rtol=0, atol=1e-6 * np.abs(modes).max() ** 2
    )


def test_files_for_phonopy(crystal, tmp_path):
    crystal.set_masses([15.0, 2.0])
    summary = Study(crystal, tmp_path / "out").crystal((2, 2, 2))
    folder = tmp_path / "out"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "FORCE_CONSTANTS",
        "band.yaml",
        "bands.png",
        "phonopy.yaml",
        "structure.xyz",
        "summary.json",
    }
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert parse_FORCE_CONSTANTS(folder / "FORCE_CONSTANTS").shape == (16, 16, 3, 3)
    loaded = phonopy.load(
        folder / "phonopy.yaml",
        force_constants_filename=folder / "FORCE_CONSTANTS",
        symmetrize_fc=False,
        is_compact_fc=False,
    )
    np.testing.assert_allclose(loaded.primitive.masses, [15.0, 2.0])
    band = yaml.safe_load((folder / "band.yaml").read_text())
    assert summary["path"] == "GXMGRX,MR"
    chosen = band["phonon"][7], band["phonon"][-1]
    expected = [[one["frequency"] for one in point["band"]] for point in chosen]
    found = loaded.run_qpoints([point["q-position"] for point in chosen]).frequencies
    np.testing.assert_allclose(found, expected, atol=1e-6)
    highest = max(one["frequency"] for point in band["phonon"] for one in point["band"])
    assert summary["highest_per_cm"] == pytest.approx(
        highest * phonons.WAVENUMBER_PER_THZ, rel=1e-6
    )
    at_centre = [one["frequency"] for one in band["phonon"][0]["band"]]
    acoustic = np.sort(np.abs(at_centre))[:3]
    np.testing.assert_allclose(acoustic, 0, atol=1e-4)


def test_bands(crystal):
    found = phonons.force_constants(crystal, crystal.calc, (2, 2, 2), symmetrize=True)
    phonon = found.phonon
    bands = phonons.bands(phonon, "XG,MR")
    assert [name for _, name in bands.ticks] == ["X", "Γ|M", "R"]
    frequencies = phonon.band_structure.frequencies
    assert [f.shape for f in frequencies] == [(51, 6), (51, 6)]
    np.testing.assert_allclose(np.sort(np.abs(frequencies[0][-1]))[:3], 0, atol=3e-5)
    lowest = phonons.WAVENUMBER_PER_THZ * min(f.min() for f in frequencies)
    assert bands.lowest[0] <= lowest and bands.highest > 0


def test_thermal_quantities(crystal):
    """Those of phonopy are those of ASE for the modes of the mesh."""
    phonon = phonons.force_constants(crystal, crystal.calc, (2, 2, 2)).phonon
    phonons.bands(phonon)
    zero_point, (found,) = phonons.thermal(phonon, [300.0])
    weights = phonon.mesh.weights / phonon.mesh.weights.sum()
    per_q = []
    for frequencies in phonons.WAVENUMBER_PER_THZ * phonon.mesh.frequencies:
        modes = NormalModes(frequencies, np.zeros((6, 1, 3)), np.ones(1), np.zeros(0))
        per_q.append([modes.zero_point_energy, *modes.thermal([300.0])[0].values()])
    expected = weights @ np.array(per_q)
    np.testing.assert_allclose([zero_point, *found.values()], expected, rtol=1e-5)


def test_messages(crystal, monkeypatch):
    make = phonons.force_constants
    free = crystal.copy()
    free.pbc = False
    with pytest.raises(InputError, match="not periodic"):
        make(free, crystal.calc, (2, 2, 2))
    for wrong in ((2, 2), (0, 1, 1), (2, 2, -2), tuple(range(8))):
        with pytest.raises(InputError, match="3 numbers of cells"):
            make(crystal, crystal.calc, wrong)
    with pytest.raises(InputError, match="phonopy cannot make"):
        make(crystal, crystal.calc, (1, 1, 1), primitive="R")
    mixed = crystal.repeat(2)
    masses = mixed.get_masses()
    masses[0] = 18.0
    mixed.set_masses(masses)
    with pytest.raises(InputError, match="one mass"):
        make(mixed, crystal.calc, (1, 1, 1))
    found = make(crystal, crystal.calc, (1, 1, 1))
    for wrong in ("GZ", "G", "GX,M"):
        with pytest.raises(InputError, match=r"special points.*GXMGRX,MR"):
            phonons.bands(found.phonon, wrong)


def test_surface(crystal):
    """A layer without vacuum: as with explicit vacuum, once along the open direction."""
    layer = crystal.copy()
    layer.pbc = [True, True, False]
    thick = crystal.copy()
    thick.cell[2, 2] = 40.0
    expected, found = (
        phonons.force_constants(one, crystal.calc, (2, 2, 1)).phonon for one in (thick, layer)
    )
    scale = np.abs(expected.force_constants).max()
    np.testing.assert_allclose(
        found.force_constants, expected.force_constants, rtol=0, atol=1e-10 * scale
    )
    assert found.supercell.cell[2, 2] == pytest.approx(1.55 + 51)
    with pytest.raises(InputError, match="expected 1 along the others"):
        phonons.force_constants(layer, crystal.calc, (2, 2, 2))
