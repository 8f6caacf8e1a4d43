# SPDX-License-Identifier: BSD-3-Clause
"""``dp convert-data``: the same numbers in every format, and what other libraries read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from containers import as_extxyz, pack

from deepmd_tf import fields
from deepmd_tf.cli.main import main
from deepmd_tf.data import DataSystem, expand_systems, write_system
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.interfaces import foreign
from deepmd_tf.interfaces.conversion import convert_data

ITEMS = (fields.ENERGY, fields.FORCE, fields.VIRIAL, fields.ATOM_PREF, fields.HESSIAN)


@pytest.fixture
def data(tmp_path, rng) -> Path:
    """Two systems: one periodic with all items in two sets, one free."""
    n, natoms = 5, 3
    hessian = rng.normal(size=(n, 9, 9))
    write_system(
        tmp_path / "data/one",
        types=[1, 0, 1],
        type_map=["O", "H"],
        coord=rng.normal(size=(n, natoms, 3)),
        box=4 * np.eye(3) + rng.normal(size=(n, 3, 3)) * 0.1,
        energy=rng.normal(size=n) * 1e4,
        force=rng.normal(size=(n, natoms, 3)),
        virial=rng.normal(size=(n, 9)),
        atom_pref=rng.uniform(size=(n, natoms)),
        fparam=rng.normal(size=(n, 2)),
        aparam=rng.normal(size=(n, natoms * 2)),
        numb_copy=np.arange(1, n + 1),
        hessian=hessian + hessian.swapaxes(1, 2),
        frames_per_set=3,
    )
    write_system(
        tmp_path / "data/two",
        types=[0, 0],
        type_map=["H"],
        coord=rng.normal(size=(2, 2, 3)),
        energy=rng.normal(size=2),
    )
    return tmp_path / "data"


def contents(path: str, with_hessian: bool = True) -> dict[str, np.ndarray]:
    """All numbers of the periodic system of `data`."""
    wanted = [*ITEMS[: None if with_hessian else -1]]
    wanted += [fields.FPARAM.with_dof(2), fields.APARAM.with_dof(2)]
    system = DataSystem(path, ["O", "H"], fields=wanted)
    found = [batch.arrays for batch in system.batches()]
    names = ["coord", "box", "type", *(field.name for field in wanted)]
    return {name: np.concatenate([one[name] for one in found]) for name in names}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


@pytest.mark.parametrize("output", ["out", "out.h5", "out.extxyz"])
def test_round_trip_to_the_last_bit(data, tmp_path, output) -> None:
    written = convert_data([str(data)], tmp_path / output)
    assert {name: one.nframes for name, one in written.items()} == {"H2O1": 5, "H2-free": 2}
    names = expand_systems(f"{tmp_path}/{output}")
    assert [name.endswith("-free") for name in names] == [True, False]
    assert not DataSystem(names[0]).pbc
    whole = output != "out.extxyz"
    assert_equal(contents(names[1], whole), contents(str(data / "one"), whole))
    convert_data([str(tmp_path / output)], tmp_path / "back")
    assert_equal(contents(f"{tmp_path}/back/H2O1", whole), contents(str(data / "one"), whole))
    copies = np.load(tmp_path / "back/H2O1/set.000/numb_copy.npy")
    np.testing.assert_array_equal(copies[:3], [1, 2, 3])


def test_reads_what_other_code_wrote(data, tmp_path) -> None:
    (data / "one/set.001/force.npy").unlink()
    as_extxyz(data / "one", tmp_path / "a.xyz")
    pack(data / "one", tmp_path / "b.h5", "/x/y")
    convert_data([f"{tmp_path}/a.xyz", f"{tmp_path}/b.h5"], tmp_path / "both.h5")
    system = DataSystem(f"{tmp_path}/both.h5#/H2O1", fields=ITEMS[:2])
    assert system.nframes == 10
    energies = np.concatenate([batch.arrays["energy"] for batch in system.batches()])
    expected = contents(str(data / "one"))["energy"]
    np.testing.assert_array_equal(energies, [*expected, *expected])
    assert system.has("force") == [True, False, True, False]


def test_atoms_in_another_order_join_one_system(tmp_path) -> None:
    for name, types in (("a", [0, 1, 1]), ("b", [1, 1, 0])):
        coord = np.arange(9.0).reshape(1, 9)
        write_system(tmp_path / name, types=types, type_map=["O", "H"], coord=coord, force=coord)
    convert_data([f"{tmp_path}/a", f"{tmp_path}/b"], tmp_path / "out")
    system = DataSystem(tmp_path / "out/H2O1-free", fields=[fields.FORCE], sort_atoms=False)
    frames = np.concatenate([batch.arrays["force"] for batch in system.batches()])
    np.testing.assert_array_equal(frames, [range(9), [6, 7, 8, 0, 1, 2, 3, 4, 5]])


@pytest.mark.parametrize("name", ["force", "atomic_dipole"])
def test_items_of_the_atoms_of_some_types(tmp_path, name) -> None:
    """Tensors may be there of one type of atoms only; forces are wrong then, and not zero."""
    coord = np.arange(9.0).reshape(1, 9)
    write_system(tmp_path / "a", types=[0, 1, 1], type_map=["O", "H"], coord=coord)
    np.save(tmp_path / f"a/set.000/{name}.npy", np.ones((1, 3)))
    if name == "force":
        with pytest.raises(DataError, match=r"force\.npy.*3.*expected 9 = 3 x 3 atoms"):
            convert_data([f"{tmp_path}/a"], tmp_path / "out")
        return
    convert_data([f"{tmp_path}/a"], tmp_path / "out")
    found = np.load(tmp_path / f"out/H2O1-free/set.000/{name}.npy")
    np.testing.assert_array_equal(found, [[1, 1, 1, 0, 0, 0, 0, 0, 0]])


class TestASE:
    @pytest.fixture
    def trajectory(self, tmp_path, rng) -> Path:
        ase = pytest.importorskip("ase")
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.io import write

        frames = []
        for _ in range(3):
            atoms = ase.Atoms("HOH", rng.normal(size=(3, 3)), cell=np.diag([4, 5, 6]), pbc=True)
            results = {"energy": rng.normal(), "forces": rng.normal(size=(3, 3))}
            atoms.calc = SinglePointCalculator(atoms, **results, stress=rng.normal(size=6))
            frames.append(atoms)
        write(tmp_path / "run.traj", frames)
        return tmp_path / "run.traj"

    @pytest.mark.parametrize("form", [None, "traj", "ase:traj"])
    def test_numbers(self, trajectory, tmp_path, form) -> None:
        from ase.io import read

        convert_data([str(trajectory)], tmp_path / "out", source_format=form)
        system = DataSystem(tmp_path / "out/H2O1", fields=ITEMS[:3], sort_atoms=False)
        arrays = next(system.batches()).arrays
        for number, atoms in enumerate(read(trajectory, ":")):
            virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
            for key, values in (
                ("coord", atoms.positions),
                ("energy", atoms.get_potential_energy()),
                ("force", atoms.get_forces()),
                ("virial", virial),
            ):
                np.testing.assert_allclose(arrays[key][number], np.ravel(values), rtol=1e-12)

    def test_two_energies(self, trajectory, tmp_path) -> None:
        from ase.io import read, write

        atoms = read(trajectory)
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 1
        write(trajectory, atoms)
        with pytest.raises(InputError, match=r"frame 0 .* choose with --energy"):
            convert_data([str(trajectory)], tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == ["run.traj"]
        convert_data([str(trajectory)], tmp_path / "out", energy="free_energy")
        found = np.load(tmp_path / "out/H2O1/set.000/energy.npy")
        assert found == atoms.calc.results["free_energy"]

    def test_periodic_along_some_directions(self, trajectory, tmp_path, caplog) -> None:
        from ase.io import read, write

        caplog.set_level("INFO", "deepmd_tf")
        atoms = read(trajectory)
        atoms.pbc = [True, True, False]
        write(trajectory, atoms)
        convert_data([str(trajectory)], tmp_path / "out")
        assert "1 frames are periodic along some directions only" in caplog.text
        folder = tmp_path / "out/H2O1"
        extent = np.ptp(atoms.positions[:, 2])
        expected = np.diag([4.0, 5.0, extent + 51])
        np.testing.assert_allclose(np.load(folder / "set.000/box.npy"), expected.reshape(1, 9))
        assert not (folder / "set.000/virial.npy").exists()
        assert not (folder / "nopbc").exists()

    def test_cell_that_ase_does_not_read(self, tmp_path) -> None:
        (tmp_path / "a.txt").write_text(
            '1\nProperties=species:S:1:pos:R:3 lattice="9 0 0 0 9 0 0 0 9"\nO 0 0 0\n'
        )
        with pytest.raises(DataError, match=r"frame 0 .*has no Lattice, but 'lattice'"):
            convert_data([f"{tmp_path}/a.txt"], tmp_path / "out", source_format="ase:extxyz")


class TestDpdata:
    def test_labels(self, data, tmp_path) -> None:
        pytest.importorskip("dpdata")
        convert_data([str(data / "one")], tmp_path / "out", source_format="deepmd/npy")
        found = DataSystem(tmp_path / "out/H2O1", ["O", "H"], fields=ITEMS[:3])
        arrays = next(found.batches()).arrays
        expected = contents(str(data / "one"))
        for name in ("coord", "box", "energy", "force", "virial"):
            np.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)

    def test_several_systems_in_one_file(self, tmp_path) -> None:
        pytest.importorskip("dpdata")
        head = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:force:R:3 energy=1'
        text = f"1\n{head}\nO 0 0 0 1 2 3\n2\n{head}\nO 0 0 0 1 2 3\nH 1 1 1 4 5 6\n"
        (tmp_path / "a.xyz").write_text(text)
        found = convert_data([f"{tmp_path}/a.xyz"], tmp_path / "out", source_format="quip/gap/xyz")
        assert sorted(found) == ["H1O1", "O1"]
        assert np.load(tmp_path / "out/H1O1/set.000/force.npy").tolist() == [[1, 2, 3, 4, 5, 6]]

    def test_unreadable(self, tmp_path) -> None:
        pytest.importorskip("dpdata")
        (tmp_path / "OUTCAR").write_text("nothing\n")
        with pytest.raises(DataError, match="vasp/outcar"):
            convert_data([f"{tmp_path}/OUTCAR"], tmp_path / "out", source_format="vasp/outcar")


class TestOutput:
    def test_nothing_is_replaced_unasked(self, data, tmp_path) -> None:
        convert_data([str(data)], tmp_path / "out")
        with pytest.raises(InputError, match="--overwrite"):
            convert_data([str(data / "two")], tmp_path / "out")
        convert_data([str(data / "two")], tmp_path / "out", overwrite=True)
        assert os.listdir(tmp_path / "out") == ["H2-free"]

    def test_only_systems_are_replaced(self, data, tmp_path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis/all.tex").touch()
        with pytest.raises(InputError, match=r"all\.tex"):
            convert_data([str(data)], tmp_path / "thesis", overwrite=True)
        with pytest.raises(InputError, match="is not replaced"):
            convert_data([str(data)], tmp_path / "thesis", target_format="hdf5", overwrite=True)

    @pytest.mark.parametrize("output", ["out", "out.h5", "out.xyz"])
    def test_whole_or_absent(self, data, tmp_path, output) -> None:
        bad = np.load(data / "two/set.000/coord.npy")
        bad[1, 3] = np.nan
        np.save(data / "two/set.000/coord.npy", bad)
        with pytest.raises(DataError, match="frame 1, atom 1, component 0"):
            convert_data([str(data)], tmp_path / output)
        assert os.listdir(tmp_path) == ["data"]

    def test_what_is_not_known_is_told(self, data, tmp_path, caplog) -> None:
        np.save(data / "two/set.000/quadrupole.npy", np.zeros((2, 3)))
        convert_data([str(data)], tmp_path / "out.xyz")
        assert "not converted, since not known here: quadrupole" in caplog.text
        assert "no place for Hessians" in caplog.text

    def test_type_map(self, data, tmp_path) -> None:
        convert_data([str(data)], tmp_path / "out", type_map=["O", "H", "C"])
        assert (tmp_path / "out/H2O1/type_map.raw").read_text().split() == ["O", "H", "C"]
        with pytest.raises(InputError, match=r"\['O'\],.*--type-map"):
            convert_data([str(data)], tmp_path / "b", type_map=["H"])
        (data / "one/type_map.raw").unlink()
        with pytest.raises(DataError, match="--type-map"):
            convert_data([str(data)], tmp_path / "b")
        convert_data([str(data)], tmp_path / "b", type_map=["O", "H"])
        assert (tmp_path / "b/H2O1/type.raw").read_text().split() == ["1", "0", "1"]


class TestInput:
    def test_without_optional_packages(self, data, tmp_path, monkeypatch, capsys) -> None:
        for name in ("ase", "ase.io", "ase.io.formats", "dpdata", "dpdata.format"):
            monkeypatch.setitem(__import__("sys").modules, name, None)
        assert foreign.ase_formats() == foreign.dpdata_formats() == set()
        command = ["convert-data", str(data), "-o", str(tmp_path / "out"), "--from", "vasp/outcar"]
        assert main(command) == 1
        assert "pip install dpdata ase" in capsys.readouterr().err
        (tmp_path / "text").write_text("nothing to see\n")
        assert main(["convert-data", str(tmp_path / "text"), "-o", str(tmp_path / "out")]) == 1
        assert "pip install ase" in capsys.readouterr().err


def test_files_without_an_end_and_energies_that_are_text(tmp_path) -> None:
    os.mkfifo(tmp_path / "POSCAR")
    with pytest.raises(DataError, match="POSCAR: is a pipe"):
        convert_data([str(tmp_path / "POSCAR")], tmp_path / "out", source_format="vasp/poscar")
    (tmp_path / "a.xyz").write_text("1\nProperties=species:S:1:pos:R:3 energy=-3.@5\nH 0 0 0\n")
    with pytest.raises(DataError, match=r"frame 0.*'-3.@5'"):
        convert_data([str(tmp_path / "a.xyz")], tmp_path / "out", source_format="ase:extxyz")


def test_frames_without_atoms(tmp_path) -> None:
    (tmp_path / "a.xyz").write_text("0\nProperties=species:S:1:pos:R:3\n")
    with pytest.raises(DataError, match=r"a\.xyz: frame 0"):
        convert_data([str(tmp_path / "a.xyz")], tmp_path / "out", source_format="ase:extxyz")


def test_more_atoms_than_bytes(tmp_path) -> None:
    (tmp_path / "a.xyz").write_text("999999999999\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")
    with pytest.raises(DataError, match=r"a\.xyz: a frame announces 999999999999 atoms"):
        convert_data([str(tmp_path / "a.xyz")], tmp_path / "out", source_format="ase:extxyz")


def test_a_folder_with_the_name_of_a_file(tmp_path) -> None:
    (tmp_path / "a.xyz").mkdir()
    with pytest.raises(DataError, match=r"a\.xyz:"):
        convert_data([str(tmp_path / "a.xyz")], tmp_path / "out", source_format="ase:extxyz")
