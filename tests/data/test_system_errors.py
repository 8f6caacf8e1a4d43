# SPDX-License-Identifier: BSD-3-Clause
"""Systems that are refused, with the file, what was found, and what was expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystem
from deepmd_tf.errors import DataError

LABELS = (fields.ENERGY, fields.FORCE, fields.VIRIAL)


def save(path: Path, name: str, array) -> None:
    np.save(path / f"set.000/{name}.npy", array)


class TestErrors:
    """Each mistake gives a message with the file, what was found, and what was expected."""

    def check_refused(self, path: Path, message: str, **kwargs) -> None:
        with pytest.raises(DataError, match=message):
            DataSystem(path, fields=LABELS, **kwargs).check()

    def test_no_directory(self, tmp_path: Path) -> None:
        self.check_refused(tmp_path / "none", "none: no such directory")

    @pytest.mark.parametrize("name", ["a.hdf5", "a.h5#/water"])
    def test_hdf5(self, tmp_path: Path, name: str) -> None:
        self.check_refused(tmp_path / name, r"cannot be read \(No such file or directory\)")

    def test_no_set(self, make) -> None:
        path = make()
        (path / "set.000").rename(path / "frames")
        self.check_refused(path, r"no frames; .*set\.\*")

    @pytest.mark.parametrize("name", ["type.raw", "set.000/coord.npy", "set.000/box.npy"])
    def test_missing_file(self, make, name: str) -> None:
        path = make()
        (path / name).unlink()
        self.check_refused(path, f"{name}: (not found|cannot be read)")

    def test_missing_box_says_how_to_declare_a_free_system(self, make) -> None:
        path = make()
        (path / "set.000/box.npy").unlink()
        self.check_refused(path, "box.npy: .*nopbc")

    def test_missing_required_item(self, make) -> None:
        with pytest.raises(DataError, match=r"virial\.npy:"):
            DataSystem(make(), fields=[fields.VIRIAL.require()])

    def test_wrong_number_of_atoms(self, make) -> None:
        path = make()
        save(path, "coord", np.zeros((4, 12)))
        self.check_refused(path, r"coord\.npy: 12 .* 15 = 3")

    def test_rank_one_of_wrong_length(self, make) -> None:
        path = make()
        save(path, "coord", np.zeros(30))
        self.check_refused(path, r"coord\.npy: 30 numbers per frame .* expected 15 = 3 x 5 atoms")

    def test_frame_counts_differ(self, make) -> None:
        path = make()
        save(path, "energy", np.zeros(3))
        self.check_refused(
            path, r"energy\.npy: 3 frames \(shape \(3,\)\), expected 4 as in coord\.npy"
        )

    def test_transposed(self, make) -> None:
        path = make()
        save(path, "force", np.zeros((15, 4)))
        self.check_refused(
            path,
            r"force\.npy: the shape \(15, 4\) .* not frame after frame .* \(4, 15\) or \(4, 5, 3\)",
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, make, value: float) -> None:
        path = make()
        force = np.zeros((4, 5, 3))
        force[2, 3, 1] = value
        save(path, "force", force)
        self.check_refused(path, rf"force\.npy: frame 2, atom 3, component 1 .* is {value}")

    def test_atom_is_that_of_the_file_also_with_components_left_out(self, make) -> None:
        path = make(atom_ener=np.where(np.arange(20).reshape(4, 5) == 7, np.nan, 0.0))
        with pytest.raises(DataError, match=r"atom_ener\.npy: frame 1, atom 2"):
            DataSystem(path, fields=[fields.ATOM_ENER]).check()

    def test_energy_not_finite(self, make) -> None:
        self.check_refused(
            make(energy=np.array([0, np.nan, 1, 2])), r"energy\.npy: frame 1 \(counted"
        )

    def test_beyond_single_precision(self, make) -> None:
        path = make()
        save(path, "force", np.full((4, 15), 1e300))
        self.check_refused(
            path, r"frame 0, atom 0, .* is 1e\+300, expected a finite float32", dtype="f4"
        )

    def test_pickled_array(self, make) -> None:
        path = make()
        save(path, "force", np.array([None]))
        self.check_refused(path, r"force\.npy: holds elements of type object")

    @pytest.mark.parametrize("box", [np.zeros((3, 3)), np.diag([9.0, 9, 0]), np.ones((3, 3))])
    def test_cell_without_volume(self, make, box) -> None:
        boxes = np.tile(9 * np.eye(3), (4, 1, 1))
        boxes[3] = box
        self.check_refused(make(box=boxes), r"box\.npy: the cell of frame 3 .* has no volume")

    def test_counts_whose_sum_has_more_bits(self, make) -> None:
        system = DataSystem(make(numb_copy=np.full(4, 6e4, np.float16)))
        system.check()
        assert system.nframes == 4

    @pytest.mark.parametrize("copies", [[1, -1, 1, 1], [1, 0.5, 1, 1]])
    def test_copies_that_are_no_counts(self, make, copies) -> None:
        self.check_refused(make(numb_copy=np.array(copies)), r"numb_copy\.npy: frame 1 .* times")

    @pytest.mark.parametrize(
        "copies",
        [
            np.zeros(4),
            np.full(4, 1e15),
            # the sum of these is 4 in 64 bits
            np.array([2**63, 2**63, 1, 3], np.uint64),
        ],
    )
    def test_copies_without_bounds(self, make, copies) -> None:
        self.check_refused(make(numb_copy=copies), r"numb_copy\.npy: the counts sum to")

    @pytest.mark.parametrize("word", ["O", "-1", "0.5", "nan", "1e99"])
    def test_type_is_no_number(self, make, word: str) -> None:
        path = make()
        (path / "type.raw").write_text(f"1 0 {word} 0 0")
        self.check_refused(path, rf"type\.raw: atom 2 .* has the type '{word}'")

    def test_no_types(self, make) -> None:
        path = make()
        (path / "type.raw").write_text("\n")
        self.check_refused(path, r"type\.raw: is empty")

    def test_type_without_name(self, make) -> None:
        self.check_refused(
            make(type_map=["O"]), r"atom 0 .* has the type 1, but type_map\.raw \['O'\]"
        )

    def test_number_beyond_the_model(self, make) -> None:
        path = make(type_map=None)
        self.check_refused(
            path, r"type\.raw: atom 0 .* type 1, but the type map \['O'\]", type_map=["O"]
        )

    def test_more_types_than_the_model(self, make) -> None:
        self.check_refused(make(), "atoms of type 1, .* 1 types", ntypes=1)

    def test_binary_type_file(self, make) -> None:
        path = make()
        (path / "type.raw").write_bytes(b"\xff\xfe0")
        self.check_refused(path, r"type\.raw: is not a text file")


@pytest.mark.parametrize(
    "word", ["1_0", "１", "1e300", "0x1", "\x000", "1.5", "nan", "-1", "1e999"]
)
def test_types_that_are_no_small_numbers(make, word) -> None:
    path = make()
    (path / "type.raw").write_text(f"1 0 {word} 0 0", encoding="utf-8")
    with pytest.raises(DataError, match=r"type\.raw: atom 2 .*type"):
        DataSystem(path)
