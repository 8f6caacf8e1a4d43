# SPDX-License-Identifier: BSD-3-Clause
"""Systems whose frames name their own atoms, and batches of frames of several systems."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystem, DataSystems, make_random
from deepmd_tf.data.batch import merge, resize
from deepmd_tf.errors import DataError

LABELS = (fields.ENERGY, fields.FORCE, fields.ATOM_PREF, fields.DRDQ.with_dof(6), fields.HESSIAN)
SIZES = (5, 3, 5, 1)


@pytest.fixture
def frames(rng) -> list[dict[str, np.ndarray]]:
    """Frames of different atoms: types in the order of H, C, O, and arrays by item."""
    found = []
    for n in SIZES:
        matrix = rng.normal(size=(3 * n, 3 * n))
        found.append(
            {
                "types": rng.integers(0, 3, n),
                "coord": rng.normal(size=(n, 3)),
                "energy": rng.normal(size=1),
                "force": rng.normal(size=(n, 3)),
                "atom_pref": rng.random((n, 1)),
                "drdq": rng.normal(size=(n, 6)),
                "hessian": (matrix + matrix.T).reshape(n, 3, n, 3),
            }
        )
    return found


def write(path: Path, frames, places, rubbish: float = 0.0, names=("H", "C", "O")) -> Path:
    """A mixed system: atom k of frame f is at ``places[f][k]``, elsewhere there is ``rubbish``."""
    width = 1 + max(max(p) for p in places)
    directory = path / "set.000"
    directory.mkdir(parents=True)
    (path / "type.raw").write_text("0\n" * width)
    (path / "type_map.raw").write_text("\n".join(names))
    arrays = {"real_atom_types": np.full((len(frames), width), -1)}
    for f, (frame, place) in enumerate(zip(frames, places, strict=True)):
        arrays["real_atom_types"][f, place] = frame["types"]
        for name in ("coord", "force", "atom_pref", "drdq"):
            shape = (len(frames), width, frame[name].shape[1])
            arrays.setdefault(name, np.full(shape, rubbish))[f, place] = frame[name]
        hessians = arrays.setdefault("hessian", np.full((len(frames), *(width, 3) * 2), rubbish))
        at = np.asarray(place)
        hessians[f, at[:, None], :, at[None, :], :] = frame["hessian"].transpose(0, 2, 1, 3)
    arrays["energy"] = np.concatenate([frame["energy"] for frame in frames])
    arrays["box"] = np.tile(20.0 * np.eye(3), (len(frames), 1, 1))
    for name, values in arrays.items():
        np.save(directory / f"{name}.npy", values.reshape(len(frames), -1))
    return path


def assert_frame(batch, row: int, frame, sort: bool) -> None:
    """Row of a batch: the atoms of the frame in order, and nothing behind them."""
    order = np.argsort(frame["types"], kind="stable") if sort else np.arange(len(frame["types"]))
    n, width = len(order), int(batch.natoms[0])
    types = batch.arrays["type"][row]
    np.testing.assert_array_equal(types[:n], frame["types"][order])
    np.testing.assert_array_equal(types[n:], -1)
    for name, repeat in (("coord", 1), ("force", 1), ("drdq", 1), ("atom_pref", 3)):
        atoms = batch.arrays[name][row].reshape(width, -1)
        np.testing.assert_array_equal(atoms[:n], np.repeat(frame[name][order], repeat, axis=1))
        np.testing.assert_array_equal(atoms[n:], 0.0)
    hessian = batch.arrays["hessian"][row].reshape(width, 3, width, 3)
    np.testing.assert_array_equal(hessian[:n, :, :n], frame["hessian"][order][:, :, order])
    assert np.count_nonzero(hessian) == np.count_nonzero(frame["hessian"])
    assert batch.arrays["energy"][row] == frame["energy"][0]


def in_front(frames):
    return [np.arange(len(frame["types"])) for frame in frames]


@pytest.mark.parametrize("sort", [True, False])
def test_each_frame_has_its_atoms(tmp_path: Path, frames, sort: bool) -> None:
    path = write(tmp_path / "s", frames, in_front(frames))
    system = DataSystem(path, ["H", "C", "O"], fields=LABELS, sort_atoms=sort)
    assert system.mixed
    (batch,) = system.batches()
    for row, frame in enumerate(frames):
        assert_frame(batch, row, frame, sort)
    np.testing.assert_array_equal(batch.sizes, SIZES)
    expected = [np.bincount(frame["types"], minlength=3) for frame in frames]
    np.testing.assert_array_equal(batch.counts, expected)
    assert batch.natoms.tolist() == [5, 5, 0, 0, 0]
    # the largest frame of a batch is its size
    small = system.pick("set.000", [1, 3])
    assert small.natoms[0] == 3
    assert_frame(small, 1, frames[3], sort)
    alone = system.pick("set.000", [1])
    assert alone.natoms.tolist() == [3, 3, *expected[1]]


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize("rubbish", [0.0, 7.0, np.nan])
def test_virtual_atoms_change_nothing_wherever_they_are(
    tmp_path: Path, frames, rng, sort: bool, rubbish: float
) -> None:
    """Also where the files have numbers for them, or no numbers."""
    places = [np.sort(rng.choice(9, len(frame["types"]), replace=False)) for frame in frames]
    plain = DataSystem(write(tmp_path / "p", frames, in_front(frames)), fields=LABELS)
    path = write(tmp_path / "s", frames, [*places[:-1], [8]], rubbish)
    system = DataSystem(path, fields=LABELS, sort_atoms=sort)
    for row, frame in enumerate(frames):
        assert_frame(next(system.batches()), row, frame, sort)
    if sort:
        for mine, other in zip(system.batches(), plain.batches(), strict=True):
            for name, values in other.arrays.items():
                np.testing.assert_array_equal(mine.arrays[name], values, err_msg=name)
    # where the atoms are in the files
    order = system.file_atoms("set.000", 1)
    types = np.load(path / "set.000/real_atom_types.npy")[1]
    np.testing.assert_array_equal(types[order][:3], system.pick("set.000", [1]).arrays["type"][0])


def test_names_are_translated(tmp_path: Path, frames) -> None:
    path = write(tmp_path / "s", frames, in_front(frames))
    system = DataSystem(path, ["X", "O", "C", "H"], fields=LABELS, sort_atoms=False)
    (batch,) = system.batches()
    for row, frame in enumerate(frames):
        n = len(frame["types"])
        np.testing.assert_array_equal(batch.arrays["type"][row, :n], 3 - frame["types"])
        np.testing.assert_array_equal(batch.arrays["type"][row, n:], -1)


def test_uniform_runs_have_no_virtual_atoms(tmp_path: Path, frames) -> None:
    order = [0, 0, 1, 1, 2, 3]
    path = write(tmp_path / "s", [frames[i] for i in order], in_front([frames[i] for i in order]))
    (batch,) = DataSystem(path, fields=LABELS).batches()
    results = {
        "energy": np.arange(6.0)[:, None],
        "force": batch.arrays["force"].reshape(6, 5, 3) * 2.0,
        "hessian": batch.arrays["hessian"].reshape(6, 15, 15),
    }
    runs = list(batch.uniform(results))
    assert [part.frames.tolist() for part, _ in runs] == [[0, 1], [2, 3], [4], [5]]
    for part, cut in runs:
        frame = frames[order[part.frames[0]]]
        n = len(frame["types"])
        assert_frame(part, 0, frame, sort=True)
        assert part.natoms[0] == n
        assert part.natoms[2:].sum() == n
        assert cut["energy"].tolist() == [[float(f)] for f in part.frames]
        np.testing.assert_array_equal(
            cut["force"].reshape(part.nframes, -1), 2.0 * part.arrays["force"]
        )
        np.testing.assert_array_equal(
            cut["hessian"].reshape(part.nframes, -1), part.arrays["hessian"]
        )
        assert cut["hessian"].shape == (part.nframes, 3 * n, 3 * n)


def test_ordinary_batches_are_uniform(make) -> None:
    (batch,) = DataSystem(make()).batches()
    ((part, results),) = batch.uniform({"energy": np.zeros(4)})
    assert part is batch
    assert list(results) == ["energy"]


def test_resized_and_back(rng) -> None:
    for name, width in (("force", 3), ("drdq", 6), ("type", 1), ("hessian", 9 * 4), ("box", 9)):
        atoms = 1 if name == "box" else 4
        values = rng.integers(0, 3, (2, width * atoms))
        larger = resize(name, values, 4, 6)
        np.testing.assert_array_equal(resize(name, larger, 6, 4), values)
        fill = -1 if name == "type" else 0
        if name != "box":
            assert np.count_nonzero(larger != fill) == np.count_nonzero(values != fill)


class TestBatchesOfSeveralSystems:
    """``mixed:N``."""

    def open(self, paths, n: int = 6, seed: int = 3, **options) -> DataSystems:
        items = (fields.ENERGY, fields.FORCE, fields.VIRIAL)
        return DataSystems(paths, f"mixed:{n}", make_random(seed), fields=items, **options)

    def test_frames_are_those_of_the_parts(self, make) -> None:
        paths = [make("a"), make("b", types=[0, 1], offset=0.5), make("c", types=[1, 1, 1])]
        data = self.open(paths)
        assert data.mixes
        assert data.mixed
        seen = set()
        for _ in range(20):
            batch = data.get_batch()
            assert batch.nframes == 6
            assert batch.system == -1
            assert batch.natoms[0] == batch.sizes.max()
            for frame in range(6):
                part, index = batch.locate(frame)
                n = int(part.natoms[0])
                seen.add(n)
                for name in ("coord", "force"):
                    row = batch.arrays[name][frame]
                    np.testing.assert_array_equal(row[: 3 * n], part.arrays[name][index])
                    np.testing.assert_array_equal(row[3 * n :], 0.0)
                np.testing.assert_array_equal(batch.arrays["type"][frame, n:], -1)
                assert batch.arrays["energy"][frame] == part.arrays["energy"][index]
        assert seen == {5, 2, 3}

    def test_probabilities_of_frames(self, make) -> None:
        """Also where periodic and free systems may not share a batch."""
        paths = [make("a"), make("b", box=None), make("c"), make("d", box=None)]
        wanted = [0.4, 0.3, 0.1, 0.2]
        data = self.open(paths, 5, sys_probs=wanted)
        drawn = []
        for _ in range(800):
            batch = data.get_batch()
            kinds = {part.periodic for part in batch.parts}
            assert len(kinds) == 1
            drawn += [part.system for part in batch.parts]
        found = np.bincount(drawn, minlength=4) / len(drawn)
        np.testing.assert_allclose(found, wanted, atol=0.04)

    def test_labels_that_only_some_have(self, make) -> None:
        data = self.open([make("a"), make("b", virial=np.ones((4, 9)), force=None)], 8)
        batch = data.get_batch()
        has_virial = [part.system == 1 for part in batch.parts]
        assert 0 < sum(has_virial) < 8
        np.testing.assert_array_equal(batch.found("virial"), has_virial)
        np.testing.assert_array_equal(batch.found("force"), np.logical_not(has_virial))
        assert batch.found("energy").all()
        assert batch.arrays["find_virial"] == 1.0

    def test_picked_again(self, make) -> None:
        data = self.open([make("a"), make("b", types=[0, 1])])
        batch = data.get_batch()
        again = data.pick(**json.loads(json.dumps(batch.origin())))
        assert again.arrays.keys() == batch.arrays.keys()
        for name, values in batch.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], values)
        one = batch.parts[0]
        np.testing.assert_array_equal(
            data.pick(**one.origin()).arrays["coord"], one.arrays["coord"]
        )

    def test_state_continues_exactly(self, make) -> None:
        paths = [make("a"), make("b", types=[0, 1]), make("c", box=None)]
        data, other = self.open(paths), self.open(paths, seed=99)
        for _ in range(7):
            data.get_batch()
        other.set_state(json.loads(json.dumps(data.get_state())))
        for _ in range(9):
            one, two = data.get_batch(), other.get_batch()
            assert one.origin() == two.origin()
            np.testing.assert_array_equal(one.arrays["coord"], two.arrays["coord"])

    def test_statistics_are_of_each_system(self, make) -> None:
        data = self.open([make("a"), make("b", types=[0, 1])], 2)
        systems = [[b.system for b in batches] for batches in data.stat_batches(2)]
        assert systems == [[0, 0], [1, 1]]
        assert data.total_batches == 4

    def test_one_frame_is_an_ordinary_batch(self, make) -> None:
        batch = self.open([make("a")], 1).get_batch()
        assert batch.parts == (batch,)
        assert batch.system == 0
        assert merge([batch]) is batch


def assert_refused(path: Path, message: str, type_map=("H", "C", "O"), **options) -> None:
    with pytest.raises(DataError, match=message):
        DataSystem(path, type_map, **options).check()


def change(path: Path, values) -> Path:
    np.save(path / "set.000/real_atom_types.npy", values)
    return path


@pytest.mark.parametrize(
    ("frame", "atom", "value", "message"),
    [
        (2, 1, 3, r"atom 1 of frame 2 .* has the type 3, expected 0 H, 1 C, 2 O, or -1"),
        (0, 4, -2, r"atom 4 of frame 0 .* has the type -2"),
        (1, 0, 0.5, r"atom 0 of frame 1 .* has the type 0.5"),
        (1, 2, np.nan, r"atom 2 of frame 1 .* has the type nan"),
        (3, slice(None), -1, r"frame 3 .* has virtual atoms \(-1\) only"),
    ],
)
def test_wrong_types(tmp_path: Path, frames, frame, atom, value, message) -> None:
    path = write(tmp_path / "s", frames, in_front(frames))
    types = np.load(path / "set.000/real_atom_types.npy").astype(float)
    types[frame, atom] = value
    assert_refused(change(path, types), rf"real_atom_types\.npy: {message}")


def test_element_that_the_model_does_not_have(tmp_path: Path, frames) -> None:
    frames[2]["types"][3] = 1
    for frame in (frames[0], frames[1]):
        frame["types"][:] = 2
    frames[2]["types"][:3] = 0
    path = write(tmp_path / "s", frames, in_front(frames))
    assert_refused(path, r"atom 3 of frame 2 .* is C,", ["O", "H"])


def test_more_types_than_the_model(tmp_path: Path, frames) -> None:
    frames[0]["types"][0] = 2
    path = write(tmp_path / "s", frames, in_front(frames))
    assert_refused(path, "atoms of type 2, .* 2 types", ntypes=2)


def test_shape(tmp_path: Path, frames) -> None:
    path = write(tmp_path / "s", frames, in_front(frames))
    assert_refused(change(path, np.zeros((4, 4))), r"shape \(4, 4\), expected \(4, 5\)")


def test_types_without_names(tmp_path: Path, frames) -> None:
    path = write(tmp_path / "s", frames, in_front(frames))
    (path / "type_map.raw").unlink()
    assert_refused(path, r"type_map\.raw: not found, .* need names", None)
    assert DataSystem(path, ["H", "C", "O"]).mixed


@pytest.mark.parametrize("first", [True, False])
def test_sets_must_agree(tmp_path: Path, frames, first: bool) -> None:
    path = write(tmp_path / "s", frames, in_front(frames))
    write(tmp_path / "t", frames, in_front(frames))
    (tmp_path / "t/set.000").rename(path / "set.001")
    (path / f"set.00{int(first)}/real_atom_types.npy").unlink()
    assert_refused(path, r"set\.001/real_atom_types\.npy: (not )?found, but set\.000 has")


def test_number_that_is_not_finite_is_named_as_in_the_file(tmp_path: Path, frames) -> None:
    places = in_front(frames)
    places[1] = np.array([1, 3, 4])
    path = write(tmp_path / "s", frames, places)
    force = np.load(path / "set.000/force.npy").reshape(4, 5, 3)
    force[1, 3, 2] = np.inf
    np.save(path / "set.000/force.npy", force)
    message = r"force\.npy: frame 1, atom 3, component 2 \(counted from 0\) is inf"
    assert_refused(path, message, fields=LABELS)


def test_whoever_needs_one_composition_is_told(tmp_path: Path, frames) -> None:
    system = DataSystem(write(tmp_path / "s", frames, in_front(frames)))
    with pytest.raises(DataError, match="split it into"):
        _ = system.types
