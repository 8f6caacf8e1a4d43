# SPDX-License-Identifier: BSD-3-Clause
"""Extended XYZ: the numbers that ASE reads, the batches of directories, and clear refusals."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from containers import as_extxyz
from format_contract import FormatContract

from deepmd_tf import fields
from deepmd_tf.data import DataSystem, DataSystems, expand_systems, make_random
from deepmd_tf.errors import DataError

LABELS = (fields.ENERGY, fields.FORCE, fields.VIRIAL)


def batches(path: str, **options) -> dict[str, np.ndarray]:
    """All frames, by item."""
    system = DataSystem(path, fields=LABELS, **options)
    found = [batch.arrays for batch in system.batches()]
    return {key: np.concatenate([np.atleast_1d(one[key]) for one in found]) for key in found[0]}


class TestContract(FormatContract):
    def store(self, directory, folder):
        as_extxyz(directory, folder / "a.xyz")
        return f"{folder}/a.xyz"

    def shorten_force(self, directory, folder):
        path = self.store(directory, folder)
        lines = Path(path).read_text().splitlines(keepends=True)
        lines[10] = lines[10].rpartition(" ")[0] + "\n"
        Path(path).write_text("".join(lines))
        return path


class TestSameAsDirectories:
    @pytest.fixture
    def path(self, make, rng) -> Path:
        return make(
            coord=rng.normal(size=(4, 15)) * 10.0 ** rng.integers(-20, 3, (4, 15)),
            energy=rng.normal(size=4) * 1e5,
            virial=rng.normal(size=(4, 9)),
            force=rng.normal(size=(4, 15)),
        )

    def test_order_of_batches(self, path, tmp_path) -> None:
        as_extxyz(path, tmp_path / "a.xyz")
        ours, theirs = (
            DataSystems([name], 2, make_random(4), type_map=["O", "H"], fields=LABELS)
            for name in (path, f"{tmp_path}/a.xyz")
        )
        for _ in range(10):
            one, other = ours.get_batch(), theirs.get_batch()
            np.testing.assert_array_equal(one.arrays["force"], other.arrays["force"])

    def test_stress(self, path, tmp_path) -> None:
        np.save(path / "set.000/virial.npy", symmetric := np.arange(36.0).reshape(4, 9))
        symmetric[:] = (symmetric + symmetric.reshape(4, 3, 3).swapaxes(1, 2).reshape(4, 9)) / 2
        np.save(path / "set.000/virial.npy", symmetric)
        as_extxyz(path, tmp_path / "a.xyz", stress="stress")
        found = batches(f"{tmp_path}/a.xyz")
        np.testing.assert_allclose(found["virial"], symmetric, rtol=1e-14)


def test_numbers_that_ase_writes(tmp_path, rng) -> None:
    """Molecules and crystals, with atoms in different orders, in one file."""
    ase = pytest.importorskip("ase")
    io = pytest.importorskip("ase.io")
    from ase.calculators.singlepoint import SinglePointCalculator

    written = []
    for number in range(12):
        symbols = ["H", "O", "H"] if number % 2 else ["O", "H", "H"]
        atoms = ase.Atoms(symbols, rng.normal(size=(3, 3)), velocities=rng.normal(size=(3, 3)))
        results = {"energy": rng.normal(), "forces": rng.normal(size=(3, 3))}
        if number % 3:
            atoms.set_cell(5 * np.eye(3) + rng.normal(size=(3, 3)))
            atoms.pbc = True
            results["stress"] = rng.normal(size=6)
        atoms.info["remark"] = 'quoted "words", = and {braces}'
        atoms.calc = SinglePointCalculator(atoms, **results)
        written.append(atoms)
    io.write(tmp_path / "a.extxyz", written)
    names = expand_systems(f"{tmp_path}/a.extxyz")
    assert [name.rpartition("#")[2] for name in names] == ["H2O1", "H2O1-free"]
    read = io.read(tmp_path / "a.extxyz", ":")
    for name in names:
        periodic = not name.endswith("-free")
        system = DataSystem(name, type_map=["O", "H"], fields=LABELS)
        arrays = batches(name, type_map=["O", "H"])
        frames = [atoms for atoms in read if atoms.pbc.all() == periodic]
        assert len(frames) == system.nframes
        for number, atoms in enumerate(frames):
            order = np.argsort(atoms.numbers == 1, kind="stable")
            for key, values in (
                ("coord", atoms.positions[order]),
                ("force", atoms.get_forces()[order]),
                ("energy", atoms.get_potential_energy()),
            ):
                np.testing.assert_array_equal(arrays[key][number], np.ravel(values), err_msg=key)
            if periodic:
                virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
                np.testing.assert_allclose(
                    arrays["virial"][number], virial.ravel(), rtol=1e-12, atol=1e-12
                )
                np.testing.assert_array_equal(arrays["box"][number], atoms.cell.array.ravel())


HEAD = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3'


def frame(head: str = f"{HEAD} energy=1", rows: tuple[str, ...] = ("O 0 0 0", "H 1 0 0")) -> str:
    return "\n".join([str(len(rows)), head, *rows, ""])


class TestLabels:
    @pytest.fixture
    def write(self, tmp_path):
        def write(*texts: str) -> str:
            (tmp_path / "a.xyz").write_text("".join(texts))
            return f"{tmp_path}/a.xyz"

        return write

    @pytest.mark.parametrize(
        "name", ["energy", "Energy", "REF_energy", "dft_energy", "free_energy", "DFT_total_energy"]
    )
    def test_names_of_the_energy(self, write, name, caplog) -> None:
        caplog.set_level(logging.INFO, "deepmd_tf")
        path = write(frame(f"{HEAD} {name}=-3.5 config_energy=7"))
        assert batches(path)["energy"] == [-3.5]
        assert f"a.xyz: 1 frames, energy = {name} (eV); force = none; virial = none" in caplog.text

    @pytest.mark.parametrize("name", ["forces", "force", "REF_forces", "dft_force"])
    def test_names_of_the_force(self, write, name) -> None:
        head = f"{HEAD}:tags:I:1:{name}:R:3"
        path = write(frame(head, ("O 0 0 0 7 1 2 3", "H 1 0 0 7 4 5 6")))
        assert batches(path, sort_atoms=False)["force"].tolist() == [[1, 2, 3, 4, 5, 6]]

    @pytest.mark.parametrize(
        ("value", "first_row"),
        [
            ('"1 2 3 4 5 6 7 8 9"', [1, 4, 7]),
            ("[[1, 2, 3], [4, 5, 6], [7, 8, 9]]", [1, 2, 3]),
            ("{1 2 3 4 5 6 7 8 9}", [1, 4, 7]),
            ("'1 2 3 4 5 6'", [1, 6, 5]),
        ],
    )
    @pytest.mark.parametrize("name", ["virial", "dft_virial", "stress", "REF_stress"])
    def test_matrices(self, write, name, value, first_row, caplog) -> None:
        caplog.set_level(logging.INFO, "deepmd_tf")
        factor = -(9**3) if "stress" in name else 1
        found = batches(write(frame(f"{HEAD} {name}={value}")))["virial"]
        np.testing.assert_allclose(found[0, :3], factor * np.array(first_row))
        sign = f"virial = −{name}·V (stress in eV/Å³, positive under tension)"
        assert (sign if factor < 0 else f"virial = {name} (eV)") in caplog.text

    def test_choice(self, write) -> None:
        head = f"{HEAD}:forces:R:3:f2:R:3 energy=1 e2=2 virial='1 1 1 0 0 0' fparam='4 5'"
        rows = ("O 0 0 0 1 1 1 2 2 2", "H 1 0 0 1 1 1 2 2 2")
        path = write(frame(head, rows))
        arrays = batches(f"{path}#energy=e2,forces=f2,virial=")
        assert (arrays["energy"][0], arrays["force"][0, 0]) == (2.0, 2.0)
        assert arrays["find_virial"][0] == 0
        chosen = expand_systems(f"{path}#H1O1,energy=e2")
        assert chosen == [f"{path}#H1O1,energy=e2"]
        assert batches(chosen[0])["force"][0, 0] == 1.0
        items = DataSystem(path, fields=[fields.FPARAM.with_dof(2)])
        assert next(items.batches()).arrays["fparam"].tolist() == [[4.0, 5.0]]

    def test_equal_energies_are_one(self, write) -> None:
        path = write(frame(f"{HEAD} free_energy=-3.5 energy=-3.5"))
        assert batches(path)["energy"] == [-3.5]

    def test_virial_and_stress_that_agree(self, write) -> None:
        path = write(frame(f"{HEAD} virial='729 0 0 0 0 0 0 0 0' stress='-1 0 0 0 0 0'"))
        assert batches(path)["virial"][0, 0] == 729.0

    def test_frames_with_other_labels_are_other_sets(self, write) -> None:
        path = write(frame(), frame(HEAD), frame())
        system = DataSystem(path, fields=LABELS)
        assert system.set_sizes == [2, 1]
        assert system.has("energy") == [True, False]

    @pytest.mark.parametrize(
        ("texts", "words", "message"),
        [
            (
                (f"{HEAD} energy=1 free_energy=2",),
                "",
                r"frame 0 .*line 2: energy may be any of energy, free_energy \(here 1, 2\); choose",
            ),
            ((f"{HEAD} energy=1", f"{HEAD} E=3 REF_energy=2"), "", "'REF_energy' here, but 'ene"),
            ((f"{HEAD} virial='1 1 1 0 0 0' stress='1 1 1 0 0 0'",), "", "is not −stress V"),
            ((f"{HEAD} virial='1 1 1 0 0 0' REF_virial='1 1 1 0 0 0'",), "", "virial may be any"),
            ((f"{HEAD} energy=1",), "#energy=e", "no frame has 'e'; there are Lattice, Prop"),
            ((f"{HEAD} energy=1",), "#enregy=e", "'enregy=e' does not choose a label"),
            ((f"{HEAD} energy=1",), "#energy=e,energy=b", "energy is chosen twice"),
            ((f"{HEAD} energy=1",), "#virial=a,stress=b", "either virial or stress"),
            ((f"{HEAD} energy=1",), "#He4", "no system 'He4' in the file; it has H1O1"),
            ((f"{HEAD} energy=1",), "#He4,He5", "more than one system"),
            ((f"{HEAD} energy=a",), "", "line 2: energy: 'a' is not a number"),
            ((f"{HEAD} energy=nan",), "", "'nan' is not a number"),
            ((f"{HEAD} energy='1 2'",), "", "energy: 2 numbers, expected one energy"),
            ((f"{HEAD} energy=1e999",), "", "'1e999' is too large"),
            ((f"{HEAD} energy=１",), "", "'１' is not a number"),
            ((f"{HEAD} energy=1 energy=1",), "", "'energy' is given twice"),
            ((f'{HEAD} energy="1',), "", "a quote that is not closed"),
            ((f"{HEAD} stress='1 2'",), "", "stress: 2 numbers, expected 9, or 6"),
            ((f'{HEAD} pbc="T T"',), "", 'pbc="T T" is not understood'),
            (('Properties=species:S:1:pos:R:3 pbc="T T T"',), "", "but has no Lattice"),
            (('Lattice="1 2 3" Properties=species:S:1:pos:R:3',), "", "3 numbers, expected 9"),
            (("Properties=species:S:1:pos:R:2:a:R:1",), "", "has no pos:R:3"),
            (("Properties=species:S:1:pos:R",), "", "is not understood"),
            (("Properties=species:S:1:pos:R:3:pos:R:3",), "", "is not understood"),
            (("Properties=species:S:1:pos:R:3:force:R:3:forces:R:3",), "", "force may be any of"),
            (("Properties=species:S:1:pos:R:3:forces:S:3",), "", "column forces cannot be force"),
        ],
    )
    def test_refused(self, write, texts, words, message) -> None:
        path = write(*map(frame, texts))
        with pytest.raises(DataError, match=message) as error:
            expand_systems(f"{path}{words}")
        assert str(error.value).startswith(path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "holds no frame"),
            ("\n\n", "holds no frame"),
            ("two\n", "line 1: expected the number of atoms of a frame, found 'two'"),
            ("0\n\n", "expected the number of atoms"),
            ("99999999999\n\nH 0 0 0\n", "99999999999 atoms are announced, but only 9 bytes"),
            (frame() + "3\nx\nO 1 2 3\nH 4 5 6\n", "frame 1 .*line 5: 3 atoms are announced"),
            ("2\nx\nO 111 222 333\n", "line 4: atom 1: the file ends, expected 4 columns"),
            (frame(rows=("O 0 0 0", "H 1 0")), "frame 0 .*line 4: atom 1: 3 words, expected 4"),
            (frame(rows=("O 0 0 0", "H 1 0 x")), "line 4: atom 1, coord: 'x' is not a number"),
            (frame(rows=("O 0 0 0", "H 1 0 1_0")), "'1_0' is not a number"),
            (frame(rows=("O 0 0 0", "H 1 0 1-2")), "'1-2' is not a number"),
            (frame(rows=("O 0 0 0", "H 1 0 inf")), "'inf' is not a number"),
            (frame(rows=("O 0 0 0", "8 1 0 1")), "atom 1: '8' is not a symbol"),
            (frame() + "\n" + frame(), "expected nothing after an empty line, found '2'"),
            (frame() + "junk", "frame 1 .*found 'junk'"),
            ("2\n" + "x" * (1 << 23), "has more than 4194304 characters"),
        ],
    )
    def test_damaged(self, write, text, message) -> None:
        with pytest.raises(DataError, match=message):
            expand_systems(write(text))

    @pytest.mark.parametrize("word", ["[1", "1,2", "{0}", "1]"])
    def test_numbers_of_atoms_are_no_lists(self, write, word) -> None:
        with pytest.raises(DataError, match=r"atom 0,.*'.*'"):
            expand_systems(write(frame(rows=(f"O {word} 0 0", "H 1 0 0"))))

    def test_several_systems_must_be_named(self, write) -> None:
        path = write(frame(), frame(rows=("O 0 0 0",)))
        with pytest.raises(DataError, match="holds 2"):
            DataSystem(path)
        assert expand_systems(path, rglob_patterns=["H*"]) == [f"{path}#H1O1"]

    def test_a_file_that_changes_is_read_again(self, write) -> None:
        path = write(frame())
        assert DataSystem(path).nframes == 1
        write(frame(), frame())
        assert DataSystem(path).nframes == 2

    def test_what_is_no_file(self, tmp_path) -> None:
        os.mkfifo(tmp_path / "a.xyz")
        with pytest.raises(DataError, match="is a pipe,"):
            expand_systems(f"{tmp_path}/a.xyz")

    def test_place_of_frames_and_atoms(self, write) -> None:
        """As in the file, though frames were grouped and atoms brought into one order."""
        path = write(
            frame(),
            frame(rows=("Na 0 0 0",)),
            frame(rows=("H 1 0 0", "O 0 0 0")),
        )
        system = DataSystem(f"{path}#H1O1", type_map=["H", "O", "Na"])
        batch = next(system.batches())
        assert system.origin(batch, 0) == (0, [1, 0])
        assert system.origin(batch, 1) == (2, [0, 1])
        np.testing.assert_array_equal(batch.arrays["coord"], [[1, 0, 0, 0, 0, 0]] * 2)

    def test_place_of_wrong_numbers(self, write) -> None:
        flat = 'Lattice="9 0 0 9 0 0 0 0 9" Properties=species:S:1:pos:R:3'
        path = write(frame(rows=("Na 0 0 0",)), frame(), frame(flat))
        with pytest.raises(DataError, match=r"H1O1/set.001/box:.*frame 2"):
            DataSystem(f"{path}#H1O1").check()

    def test_plain_xyz(self, write) -> None:
        path = write("2\nwater, roughly = 'x\nO 0 0 0\nH 1 0 0\n")
        system = DataSystem(path)
        assert not system.pbc
        assert system.natoms == 2

    @pytest.mark.parametrize(
        "cell",
        [
            'lattice="9 0 0 1 8 0 0 0 7"',
            'LATTICE="9 0 0 1 8 0 0 0 7" PBC="T T T"',
            'cell="9 0 0 1 8 0 0 0 7"',
            "Cell=[[9,0,0],[1,8,0],[0,0,7]]",
            'Lattice="9 0 0 1 8 0 0 0 7" cell="1 2 3"',
        ],
    )
    def test_spellings_of_the_cell(self, write, cell) -> None:
        """Also of ``Properties`` and its columns."""
        rows = ("O 0 0 0 1 2 3", "H 1 0 0 4 5 6")
        path = write(frame(f"{cell} properties=Species:S:1:Pos:R:3:Force:R:3 Energy=1", rows))
        arrays = batches(path)
        assert DataSystem(path).pbc
        assert arrays["box"].tolist() == [[9, 0, 0, 1, 8, 0, 0, 0, 7]]
        assert arrays["find_force"][0] == arrays["find_energy"][0] == 1

    @pytest.mark.parametrize(
        ("head", "message"),
        [
            ('unit_cell="9 9 9 90 90 90"', "has no Lattice, but 'unit_cell', which may be a cell"),
            ("Box=9", "line 2: has no Lattice, but 'Box'"),
            ('cell="9 9 9"', "cell has 3 numbers, expected 9"),
            ('cell="9 9 x"', "cell: 'x' is not a number"),
            ('Lattice="" pbc="T T T"', "Lattice has 0 numbers, expected 9"),
            ('lattice="1 0 0 0 1 0 0 0 1" Lattice="1"', "'Lattice' is given twice, in different"),
            ('lattice="1 0 0', "a quote that is not closed"),
        ],
    )
    def test_cells_that_are_not_understood(self, write, head, message) -> None:
        with pytest.raises(DataError, match=message):
            expand_systems(write(frame(head)))

    @pytest.mark.parametrize("head", ['pbc="F F F" cell="9 9 9"', "water box", "cell=cubic"])
    def test_cells_that_are_not_meant(self, write, head) -> None:
        assert not DataSystem(write(frame(head))).pbc

    @pytest.mark.parametrize(
        ("pbc", "box"),
        [("T T F", [9, 0, 0, 1, 8, 0, 0, 0, 53]), ("[0, 1, 0]", [52, 0, 0, 0, 8, 0, 0, 0, 53])],
    )
    def test_periodic_along_some_directions(self, write, pbc, box, caplog) -> None:
        """Like explicit vacuum; a stress is not used, in the same system and file."""
        caplog.set_level("INFO", "deepmd_tf")
        given = "9 0 0 1 8 0 0 0 0" if box[0] == 9 else "7 0 3 0 8 0 9 9 9"
        words = f'Lattice="{given}" stress="1 2 3 4 5 6" Properties=species:S:1:pos:R:3'
        rows = ("O 0 0 -1", "H 1 0 1")
        path = write(
            frame(f'{words} pbc="{pbc}"', rows), frame(words.replace(given, "9 0 0 0 8 0 0 0 7"))
        )
        system = DataSystem(path, fields=LABELS)
        assert system.pbc and system.nframes == 2
        first, second = system.batches()
        np.testing.assert_allclose(first.arrays["box"], [box], atol=1e-14)
        assert (first.arrays["find_virial"], second.arrays["find_virial"]) == (0, 1)
        assert "1 frames are periodic along some directions only" in caplog.text
        assert "frames that are not periodic along all directions is not used" in caplog.text

    def test_byte_order_mark(self, write) -> None:
        assert DataSystem(write("\ufeff" + frame())).nframes == 1

    def test_names_that_are_not_elements(self, write) -> None:
        path = write(frame(rows=("Type_1 0 0 0", "Type_12 1 0 0")))
        assert expand_systems(path) == [f"{path}#Type_1:1-Type_12:1"]

    def test_sets_are_not_too_large(self, write) -> None:
        system = DataSystem(write(frame() * 5003), fields=LABELS)
        assert system.set_sizes == [5000, 3]
