# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystem, expand_systems, make_random, write_system
from deepmd_tf.data.memory import Memory
from deepmd_tf.errors import DataError

SORTED = [1, 3, 4, 0, 2]
LABELS = (fields.ENERGY, fields.FORCE, fields.VIRIAL)


def only_batch(system: DataSystem):
    (batch,) = system.batches()
    return batch


def test_atoms_are_sorted_by_type(make) -> None:
    system = DataSystem(make(), fields=LABELS)
    batch = only_batch(system)
    frame, atom, axis = np.ogrid[:4, :5, :3]
    expected = 100.0 * frame + 10.0 * np.array(SORTED)[None, :, None] + axis + 0 * atom
    np.testing.assert_array_equal(batch.arrays["coord"], expected.reshape(4, 15))
    np.testing.assert_array_equal(batch.arrays["force"], -expected.reshape(4, 15))
    np.testing.assert_array_equal(batch.arrays["type"], [[0, 0, 0, 1, 1]] * 4)
    np.testing.assert_array_equal(batch.natoms, [5, 5, 3, 2])
    assert batch.natoms.dtype == batch.arrays["type"].dtype == np.int32


def test_every_atomic_item_moves_with_its_atom(make, hessians, rng) -> None:
    path = make(
        atom_ener=np.tile(np.arange(5.0), (4, 1)),
        atom_pref=np.tile(np.arange(5.0), (4, 1)),
        aparam=rng.normal(size=(4, 5, 2)),
        drdq=rng.normal(size=(4, 5, 3, 2)),
        hessian=hessians(4, 5).reshape(4, 5, 3, 5, 3),
    )
    wanted = (
        fields.ATOM_ENER,
        fields.ATOM_PREF,
        fields.APARAM.with_dof(2),
        fields.DRDQ.with_dof(6),
        fields.HESSIAN,
    )
    arrays = only_batch(DataSystem(path, fields=wanted)).arrays
    np.testing.assert_array_equal(arrays["atom_ener"][0], SORTED)
    np.testing.assert_array_equal(arrays["atom_pref"][0], np.repeat(SORTED, 3))
    stored = {key: np.load(path / f"set.000/{key}.npy") for key in ("aparam", "drdq", "hessian")}
    for key in ("aparam", "drdq"):
        expected = stored[key].reshape(4, 5, -1)[:, SORTED].reshape(4, -1)
        np.testing.assert_array_equal(arrays[key], expected)
    hessian = stored["hessian"].reshape(4, 5, 3, 5, 3)[:, SORTED][:, :, :, SORTED]
    np.testing.assert_array_equal(arrays["hessian"], hessian.reshape(4, -1))


def test_numbers_are_used_where_the_system_has_no_names(make) -> None:
    system = DataSystem(make(type_map=None), type_map=["H", "C", "O"])
    np.testing.assert_array_equal(system.types, [0, 0, 0, 1, 1])
    assert system.type_map is None


def test_names_that_no_atom_has_need_not_be_in_the_model(make) -> None:
    system = DataSystem(make(type_map=["O", "H", "Xx"]), type_map=["H", "O"])
    np.testing.assert_array_equal(system.types, [0, 0, 1, 1, 1])


@pytest.mark.parametrize("text", ["1 0 1 0 0", "1\n0\n1\n0\n0\n", "1.0e+00 0.0 1 # O\n 0\t0"])
def test_type_raw_layouts(make, text: str) -> None:
    path = make()
    (path / "type.raw").write_text(text)
    np.testing.assert_array_equal(DataSystem(path, sort_atoms=False).types, [1, 0, 1, 0, 0])


@pytest.mark.parametrize("name", ["type.raw", "type_map.raw"])
def test_byte_order_mark(make, name) -> None:
    """As editors of Windows write it."""
    path = make()
    (path / name).write_bytes(b"\xef\xbb\xbf" + (path / name).read_bytes())
    system = DataSystem(path, type_map=["O", "H"], sort_atoms=False)
    np.testing.assert_array_equal(system.types, [1, 0, 1, 0, 0])


@pytest.mark.parametrize("interface", [np.float64, np.float32])
def test_precision(make, interface) -> None:
    path = make(dtype=np.float32, energy=np.full(4, 1 / 3))
    arrays = only_batch(DataSystem(path, fields=LABELS, dtype=interface)).arrays
    assert arrays["coord"].dtype == arrays["box"].dtype == arrays["force"].dtype == interface
    assert arrays["virial"].dtype == interface
    assert arrays["energy"].dtype == np.float64
    assert arrays["energy"][0] == 1 / 3


def test_missing_label_has_flag_zero_and_default(make) -> None:
    path = make(energy=None)
    wanted = (fields.ENERGY, fields.FORCE, fields.ATOM_ENER_COEFF)
    system = DataSystem(path, fields=wanted)
    arrays = only_batch(system).arrays
    assert (arrays["find_energy"], arrays["find_force"]) == (0.0, 1.0)
    np.testing.assert_array_equal(arrays["energy"], np.zeros(4))
    np.testing.assert_array_equal(arrays["atom_ener_coeff"], np.ones((4, 5)))
    assert system.has("force") == [True]
    assert system.has("energy") == [False]


def test_flags_are_per_set(make) -> None:
    path = make(frames_per_set=2)
    (path / "set.001/force.npy").unlink()
    system = DataSystem(path, fields=LABELS)
    assert [float(b.arrays["find_force"]) for b in system.batches()] == [1.0, 0.0]
    assert system.has("force") == [True, False]


def test_other_file_name_of_an_atomic_item(make) -> None:
    path = make(atomic_ener=np.ones((4, 5)))
    arrays = only_batch(DataSystem(path, fields=[fields.ATOM_ENER.require()])).arrays
    assert arrays["find_atom_ener"] == 1.0


def test_arrays_of_rank_one_are_one_frame(make) -> None:
    path = make(nframes=1)
    for name in ("coord", "box", "force", "energy"):
        file = path / f"set.000/{name}.npy"
        np.save(file, np.squeeze(np.load(file)))
    arrays = only_batch(DataSystem(path, fields=LABELS)).arrays
    assert arrays["coord"].shape == arrays["force"].shape == (1, 15)
    assert arrays["box"].shape == (1, 9)
    assert arrays["energy"].shape == (1,)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (1, 4)])
def test_shapes_of_one_number_per_frame(make, shape) -> None:
    path = make()
    np.save(path / "set.000/energy.npy", np.arange(4.0).reshape(shape))
    arrays = only_batch(DataSystem(path, fields=LABELS)).arrays
    np.testing.assert_array_equal(arrays["energy"], np.arange(4.0))


def test_fortran_order(make) -> None:
    path = make()
    file = path / "set.000/coord.npy"
    expected = only_batch(DataSystem(path)).arrays["coord"]
    np.save(file, np.asfortranarray(np.load(file)))
    np.testing.assert_array_equal(only_batch(DataSystem(path)).arrays["coord"], expected)


def test_batches_in_order_bounded_and_limited(make) -> None:
    system = DataSystem(make(nframes=7, frames_per_set=3), fields=LABELS)
    batches = list(system.batches(max_atoms=10))
    assert [b.nframes for b in batches] == [2, 1, 2, 1, 1]
    assert [b.set_name for b in batches] == ["set.000"] * 2 + ["set.001"] * 2 + ["set.002"]
    energies = np.concatenate([b.arrays["energy"] for b in batches])
    np.testing.assert_array_equal(energies, np.arange(7.0))
    limited = np.concatenate([b.arrays["energy"] for b in system.batches(limit=4)])
    np.testing.assert_array_equal(limited, np.arange(4.0))


def test_shuffled_pass_takes_a_random_part(make) -> None:
    system = DataSystem(make(nframes=7, frames_per_set=3), fields=LABELS)

    def draw(seed: int) -> list[float]:
        batches = system.batches(limit=4, rng=np.random.RandomState(seed))
        return np.concatenate([b.arrays["energy"] for b in batches]).tolist()

    expected = np.arange(7)
    np.random.RandomState(3).shuffle(expected)
    assert sorted(draw(3)) == sorted(expected[:4])
    assert draw(3) != draw(4)


def test_sets_beyond_the_cache_are_read_again(make) -> None:
    system = DataSystem(make(nframes=6, frames_per_set=2), fields=LABELS, memory=Memory(0))
    for _ in range(2):
        energies = np.concatenate([b.arrays["energy"] for b in system.batches()])
        np.testing.assert_array_equal(energies, np.arange(6.0))


def test_data_changed_on_disk_after_loading_do_not_matter(make) -> None:
    path = make()
    system = DataSystem(path, fields=LABELS)
    only_batch(system)
    (path / "set.000/coord.npy").write_bytes(b"")
    assert only_batch(system).arrays["coord"].shape == (4, 15)


class TestTrainingOrder:
    def test_every_frame_once_per_pass(self, make) -> None:
        system = DataSystem(make(nframes=6, frames_per_set=3), fields=LABELS)
        rng = make_random(1)
        for _ in range(3):
            energies = [system.get_batch(1, rng).arrays["energy"][0] for _ in range(6)]
            assert sorted(energies[:3]) == [0, 1, 2]
            assert sorted(energies[3:]) == [3, 4, 5]

    def test_incomplete_tail_is_skipped_and_small_set_gives_what_it_has(self, make) -> None:
        system = DataSystem(make(nframes=7, frames_per_set=5))
        rng = make_random(1)
        sizes = [(b.set_name, b.nframes) for b in (system.get_batch(3, rng) for _ in range(4))]
        assert sizes == [("set.000", 3), ("set.001", 2)] * 2
        assert system.n_batches(3) == 2
        assert system.n_batches(2) == 3

    @pytest.mark.parametrize("frames_per_set", [None, 2])
    def test_copies_do_not_multiply(self, make, frames_per_set) -> None:
        copies = np.array([1, 3, 0, 2])
        path = make(numb_copy=copies, frames_per_set=frames_per_set)
        system = DataSystem(path, fields=LABELS)
        rng = make_random(1)
        for _ in range(4):
            energies = [system.get_batch(1, rng).arrays["energy"][0] for _ in range(copies.sum())]
            assert sorted(energies) == [0, 1, 1, 1, 3, 3]

    def test_state_continues_exactly(self, make) -> None:
        path = make(nframes=9, frames_per_set=4, numb_copy=np.arange(9) % 3 + 1)
        rng = make_random(5)
        system = DataSystem(path)
        for _ in range(5):
            system.get_batch(2, rng)
        saved = json.loads(json.dumps(system.get_state()))
        generator = rng.get_state()
        expected = [(b.set_name, *b.frames) for b in (system.get_batch(2, rng) for _ in range(20))]
        other = DataSystem(path)
        other.set_state(saved)
        rng.set_state(generator)
        found = [(b.set_name, *b.frames) for b in (other.get_batch(2, rng) for _ in range(20))]
        assert found == expected

    def test_state_of_other_data_is_refused(self, make) -> None:
        state = DataSystem(make(nframes=4)).get_state()
        with pytest.raises(DataError, match=r"other: the sets have \[5\] frames, but \[4\]"):
            DataSystem(make("other", nframes=5)).set_state(state)

    @pytest.mark.parametrize(
        "change",
        [{"frames": [9]}, {"frames": "x"}, {"set": 3}, {"position": -1}, {"turn": None}],
    )
    def test_damaged_state_is_refused(self, make, change) -> None:
        system = DataSystem(make())
        state = system.get_state()
        state["order"] |= change
        with pytest.raises(DataError, match="saved order of"):
            system.set_state(state)


def test_writer_round_trip(tmp_path: Path, rng) -> None:
    coord, energy = rng.normal(size=(5, 2, 3)), rng.normal(size=5)
    path = write_system(
        tmp_path / "s",
        types=[0, 1],
        coord=coord,
        type_map=["A", "B"],
        frames_per_set=2,
        dtype=np.float32,
        energy=energy,
        numb_copy=np.arange(5),
    )
    system = DataSystem(path, fields=[fields.ENERGY])
    assert system.set_sizes == [2, 2, 1]
    assert not system.pbc
    batches = list(system.batches())
    np.testing.assert_array_equal(np.concatenate([b.arrays["energy"] for b in batches]), energy)
    found = np.concatenate([b.arrays["coord"] for b in batches])
    np.testing.assert_array_equal(found, coord.astype(np.float32).reshape(5, 6))
    assert np.load(path / "set.001/coord.npy").dtype == np.float32
    np.testing.assert_array_equal(np.load(path / "set.001/numb_copy.npy").ravel(), [2, 3])


def test_writer_refuses_items_of_other_length(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="energy: shape"):
        write_system(tmp_path, types=[0], coord=np.zeros((2, 3)), energy=np.zeros(3))


def test_hessians_that_are_not(make, hessians) -> None:
    good = hessians(4, 5)
    noisy = good * (1 + 1e-5 * np.triu(np.ones((15, 15)), 1))
    DataSystem(make("noisy", hessian=noisy), fields=[fields.HESSIAN]).check()

    bad = good.copy()
    bad[2, 3, 7] += 1.0
    upper, lower = np.triu(good), np.tril(good)
    packed = np.stack([matrix[np.triu_indices(15)] for matrix in good])
    infinite = good.copy()
    infinite[1, 0, 4] = np.inf
    cases = {
        r"hessian\.npy: frame 2 .* not symmetric: H\[3, 7\] = .* at most .*0\.001": bad,
        r"hessian\.npy: frame 0 .* only the upper triangle .* H \+ H\.T - diag": upper,
        r"only the lower triangle": lower,
        r"120 numbers per frame .* one triangle .*225 = \(3 x 5 atoms\) squared": packed,
        r"frame 1, element 4 .*finite": infinite,
        r"45 numbers per frame .*expected 225": good[:, :3],
    }
    for number, (message, matrices) in enumerate(cases.items()):
        path = make(f"case{number}")
        np.save(path / "set.000" / "hessian.npy", matrices.reshape(4, -1))
        with pytest.raises(DataError, match=message):
            DataSystem(path, fields=[fields.HESSIAN]).check()


def test_missing_hessians_take_no_memory(make) -> None:
    values = only_batch(DataSystem(make(), fields=[fields.HESSIAN])).arrays["hessian"]
    assert values.shape == (4, 225) and values.strides == (0, 0) and not values.any()


class TestWhatIsNoFile:
    """Opening a pipe or a device may take for ever; links to files are files."""

    @pytest.mark.parametrize("name", ["type.raw", "type_map.raw", "nopbc", "set.000/energy.npy"])
    @pytest.mark.parametrize(
        ("put", "kind"),
        [
            (os.mkfifo, "is a pipe, expected a file"),
            (os.mkdir, "is a directory, expected a file"),
            (lambda path: os.symlink("/dev/zero", path), "is a device, expected a file"),
            (lambda path: os.symlink("nowhere", path), "cannot be read .No such file"),
            (lambda path: os.symlink(path, path), "cannot be read .Too many levels"),
        ],
    )
    def test_refused(self, make, name, put, kind) -> None:
        path = make()
        (path / name).unlink(missing_ok=True)
        put(path / name)
        with pytest.raises(DataError, match=rf"{name}: {kind}"):
            DataSystem(path, fields=LABELS).check()

    def test_socket(self, make, monkeypatch) -> None:
        path = make()
        monkeypatch.chdir(path)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("set.000/virial.npy")
            with pytest.raises(DataError, match=r"virial\.npy:"):
                DataSystem(path, fields=LABELS)

    def test_links_to_files_and_sets_elsewhere(self, make, tmp_path) -> None:
        expected = only_batch(DataSystem(make("one"), fields=LABELS)).arrays
        (tmp_path / "one/set.000").rename(tmp_path / "frames")
        os.symlink("../frames", tmp_path / "one/set.000")
        (tmp_path / "frames/force.npy").rename(tmp_path / "force.npy")
        os.symlink(tmp_path / "force.npy", tmp_path / "frames/force.npy")
        found = only_batch(DataSystem(tmp_path / "one", fields=LABELS)).arrays
        np.testing.assert_array_equal(found["force"], expected["force"])

    def test_folders_that_cannot_be_read(self, make, tmp_path, monkeypatch) -> None:
        path = make()

        def refuse(*_):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "listdir", refuse)
        with pytest.raises(DataError, match=r"sys: .*Permission denied"):
            DataSystem(path)
        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"sys: .*Permission denied"):
            expand_systems(str(tmp_path))
