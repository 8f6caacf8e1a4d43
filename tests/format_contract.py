# SPDX-License-Identifier: BSD-3-Clause
"""What every format of data promises: it gives the batches of the directory it was written from.

A module of tests inherits all of it by a class that says how a directory is stored::

    class TestContract(FormatContract):
        def store(self, directory, folder):
            return pack(directory, folder / "a.h5")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystem, expand_systems
from deepmd_tf.errors import DataError

LABELS = (fields.ENERGY, fields.FORCE, fields.VIRIAL)
Make = Callable[..., Path]


def frames_of(system: DataSystem) -> dict[str, np.ndarray]:
    """All frames, by item."""
    found = [batch.arrays for batch in system.batches()]
    return {key: np.concatenate([np.atleast_1d(one[key]) for one in found]) for key in found[0]}


class FormatContract:
    """Tests of a format, for a test class to inherit."""

    def store(self, directory: Path, folder: Path) -> str:
        """Store the system of the directory somewhere in the folder; its path."""
        raise NotImplementedError

    def shorten_force(self, directory: Path, folder: Path) -> str:
        """As :meth:`store`, but an atom of frame 1 has no z component of its force.

        Where arrays are stored whole, all frames are short.
        """
        force = np.load(directory / "set.000/force.npy")
        np.save(directory / "set.000/force.npy", force[:, :-1])
        return self.store(directory, folder)

    def open(self, path: str, **options) -> DataSystem:
        """The one system that is there."""
        (name,) = expand_systems(path)
        return DataSystem(name, fields=LABELS, **options)

    @pytest.mark.parametrize("sort_atoms", [True, False])
    @pytest.mark.parametrize("type_map", [["O", "H"], ["H", "C", "O"]])
    @pytest.mark.parametrize("periodic", [True, False])
    def test_same_batches(self, make: Make, tmp_path, rng, periodic, type_map, sort_atoms) -> None:
        """To the last bit: unsorted atoms, other numbers of types, with and without a cell."""
        size = (5, 15)
        directory = make(
            nframes=5,
            frames_per_set=3,
            coord=rng.normal(size=size) * 10.0 ** rng.integers(-20, 3, size),
            energy=rng.normal(size=5) * 1e5,
            force=rng.normal(size=size),
            **({"virial": rng.normal(size=(5, 9))} if periodic else {"box": None}),
        )
        options = {"type_map": type_map, "sort_atoms": sort_atoms}
        expected = DataSystem(directory, fields=LABELS, **options)
        found = self.open(self.store(directory, tmp_path), **options)
        assert found.pbc == expected.pbc == periodic
        np.testing.assert_array_equal(found.types, expected.types)
        wanted, values = frames_of(expected), frames_of(found)
        for key in wanted.keys() - {f"find_{one.name}" for one in LABELS}:
            assert values[key].dtype == wanted[key].dtype
            np.testing.assert_array_equal(values[key], wanted[key], err_msg=key)
        first = next(found.batches())
        assert first.mesh.shape == ((6,) if periodic else (0,))

    @pytest.mark.parametrize("name", ["energy", "force"])
    def test_missing_labels(self, make: Make, tmp_path, name: str) -> None:
        """They are zeros with a flag."""
        system = self.open(self.store(make(**{name: None}), tmp_path), type_map=["O", "H"])
        arrays = next(system.batches()).arrays
        assert not arrays[name].any() and arrays[f"find_{name}"] == 0
        assert {one.name for one in LABELS if any(system.has(one.name))} == {"energy", "force"} - {
            name
        }

    def test_number_sign_in_the_path(self, make: Make, tmp_path) -> None:
        """A name with ``#`` is not taken for a file and something in it."""
        (tmp_path / "run#1").mkdir()
        path = self.store(make(), tmp_path / "run#1")
        assert self.open(path, type_map=["O", "H"]).nframes == 4

    def test_unknown_element(self, make: Make, tmp_path) -> None:
        path = self.store(make(), tmp_path)
        with pytest.raises(DataError, match=r"\['H'\] .*\['O', 'C'\]"):
            self.open(path, type_map=["O", "C"])

    def test_not_finite(self, make: Make, tmp_path) -> None:
        """Refused with file, frame and atom."""
        directory = make()
        force = np.load(directory / "set.000/force.npy").reshape(4, 5, 3)
        force[2, 3, 1] = np.nan
        np.save(directory / "set.000/force.npy", force.reshape(4, 15))
        with pytest.raises(DataError, match=r"frame 2.*atom 3.*nan") as error:
            self.open(self.store(directory, tmp_path)).check()
        assert str(tmp_path) in str(error.value)

    def test_wrong_shape(self, make: Make, tmp_path) -> None:
        with pytest.raises(DataError, match=r"14 .*15|frame 1 .*6 words, expected 7") as error:
            self.open(self.shorten_force(make(), tmp_path)).check()
        assert str(tmp_path) in str(error.value)

    def test_no_frames(self, make: Make, tmp_path) -> None:
        directory = make()
        for file in directory.glob("set.000/*.npy"):
            np.save(file, np.load(file)[:0])
        with pytest.raises(DataError, match=r"no frame") as error:
            self.open(self.store(directory, tmp_path)).check()
        assert str(tmp_path) in str(error.value)
