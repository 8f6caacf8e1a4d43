# SPDX-License-Identifier: BSD-3-Clause
"""Systems in HDF5 files: the batches are those of directories, and nothing else can be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from containers import pack
from format_contract import FormatContract

from deepmd_tf import fields
from deepmd_tf.data import DataSystem, DataSystems, expand_systems, make_random
from deepmd_tf.errors import DataError

LABELS = (fields.ENERGY, fields.FORCE, fields.VIRIAL)


@pytest.fixture
def packed(make, tmp_path) -> Path:
    """File with the system ``make()`` as its root."""
    pack(make(), tmp_path / "data.hdf5")
    return tmp_path / "data.hdf5"


def assert_same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key].dtype == values.dtype
        np.testing.assert_array_equal(found[key], values, err_msg=key)


class TestContract(FormatContract):
    def store(self, directory, folder):
        pack(directory, folder / "a.h5", "/some")
        return f"{folder}/a.h5"


@pytest.mark.parametrize("stored", [True, False])
def test_copies_of_sets(make, tmp_path, caplog, stored) -> None:
    """Are left out, which is told; in directories, too."""
    path = make()
    shutil.copytree(path / "set.000", path / "set.000.bak")
    system = DataSystem(pack(path, tmp_path / "a.h5") if stored else path)
    assert system.set_names == ["set.000"]
    assert "set.000.bak is left out" in caplog.text


@pytest.mark.parametrize("box", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"chunks": True}, {"compression": "gzip", "shuffle": True, "fletcher32": True}]
)
def test_batches_are_those_of_directories(make, tmp_path, box, options) -> None:
    paths = [
        make(str(k), nframes=3 + k, offset=k, frames_per_set=2, **({} if box else {"box": None}))
        for k in range(3)
    ]
    for path in paths:
        pack(path, tmp_path / "all.h5", f"/some/{path.name}", **options)
    entries = expand_systems(str(tmp_path / "all.h5"))
    assert entries == [f"{tmp_path}/all.h5#/some/{k}" for k in range(3)]
    found, expected = (
        DataSystems(names, 2, make_random(3), type_map=["H", "O"], fields=LABELS)
        for names in (entries, paths)
    )
    assert found.systems[0].pbc == box
    for _ in range(20):
        one, other = found.get_batch(), expected.get_batch()
        assert (one.system, one.set_name) == (other.system, other.set_name)
        assert_same(one.arrays, other.arrays)


def test_names(make, tmp_path) -> None:
    pack(make("one"), tmp_path / "a.hdf5", "/deep/one")
    pack(make("two"), tmp_path / "a.hdf5", "/deep/two")
    pack(make("three"), tmp_path / "b.h5")
    file, other = tmp_path / "a.hdf5", tmp_path / "b.h5"
    assert expand_systems(f"{file}#/deep") == [f"{file}#/deep/one", f"{file}#/deep/two"]
    assert expand_systems(["a.hdf5#deep//two/", "b.h5"], base=tmp_path) == [
        f"{file}#/deep/two",
        f"{other}#/",
    ]
    assert expand_systems(str(file), rglob_patterns=["t*"]) == [f"{file}#/deep/two"]
    assert DataSystem(f"{other}").natoms == 5
    # whatever a file is called, its content tells
    os.rename(other, tmp_path / "data")
    assert expand_systems(str(tmp_path / "data")) == [f"{tmp_path}/data#/"]


def test_strings_of_any_kind_are_names(make, packed) -> None:
    with h5py.File(packed, "a") as file:
        del file["type_map.raw"]
        file["type_map.raw"] = ["O", "H"]  # of variable length
    assert DataSystem(str(packed)).type_map == ["O", "H"]


@pytest.mark.parametrize("dtype", [">f8", "<f4", "<f2", ">i4", "u1"])
@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"chunks": (1, 2)}])
def test_numbers_of_any_type(make, tmp_path, dtype, options) -> None:
    path = make()
    np.save(path / "set.000/virial.npy", np.arange(36).reshape(4, 9).astype(dtype))
    file = tmp_path / "a.h5"
    with h5py.File(file, "w", userblock_size=1024):
        pass  # room for something else before the data
    pack(path, file)
    with h5py.File(file, "a") as opened:
        del opened["set.000/virial.npy"]
        values = np.load(path / "set.000/virial.npy")
        opened.create_dataset("set.000/virial.npy", data=values, **options)
    found = next(DataSystem(str(file), fields=LABELS).batches()).arrays
    assert_same(found, next(DataSystem(path, fields=LABELS).batches()).arrays)


def test_no_file_stays_open(make, tmp_path) -> None:
    for k in range(20):
        pack(make(str(k), frames_per_set=1), tmp_path / f"{k}.h5")
    before = len(os.listdir("/proc/self/fd"))
    data = DataSystems(
        expand_systems([str(p) for p in tmp_path.glob("*.h5")]), 1, make_random(1), fields=LABELS
    )
    for system in data.systems:
        system.check()
    assert len(data) == 20
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_another_process_has_open(packed) -> None:
    script = (
        "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); "
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, packed],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"open\n"
        system = DataSystem(str(packed))
        system.check()
        other.stdin.close()
    assert system.nframes == 4


def replace(dataset: str, **options):
    def change(file: h5py.File) -> None:
        del file[dataset]
        file.create_dataset(dataset, **options)

    return change


def link(dataset: str, target):
    def change(file: h5py.File) -> None:
        if dataset in file:
            del file[dataset]
        file[dataset] = target

    return change


def virtual(file: h5py.File) -> None:
    del file["set.000/energy.npy"]
    layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "energy", shape=(4,))
    file.create_virtual_dataset("set.000/energy.npy", layout)


def external(file: h5py.File) -> None:
    del file["set.000/energy.npy"]
    secret = os.path.join(os.path.dirname(file.filename), "secret")
    Path(secret).write_bytes(bytes(32))
    file.create_dataset("set.000/energy.npy", (4,), "f8", external=[(secret, 0, 32)])


ENERGY = "set.000/energy.npy"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link(ENERGY, h5py.ExternalLink("other.h5", "/x")), r"link to the file 'other.h5'"),
        (link(ENERGY, h5py.SoftLink("/set.000/box.npy")), "is a link, which is not followed"),
        (link(ENERGY, h5py.SoftLink("/set.000/energy.npy")), "is a link, which is not followed"),
        (link("set.001", h5py.SoftLink("/set.000")), "'set.001' is a link"),
        (link("set.001", h5py.ExternalLink("other.h5", "/")), "'set.001' is a link to the file"),
        (virtual, "its numbers are in other files"),
        (external, "its numbers are in other files"),
        (replace(ENERGY, data=np.array([b"a", b"b", b"c", b"d"])), r"elements of type \|S1"),
        (replace(ENERGY, data=["1", "2", "3", "4"]), "elements of type object"),
        (replace(ENERGY, data=np.zeros(4, complex)), "elements of type complex128"),
        (replace(ENERGY, data=np.zeros(4, [("a", "f8"), ("b", "i4")])), "expected real numbers"),
        (replace(ENERGY, data=np.ones(4, bool)), "elements of type bool"),
        (replace(ENERGY, data=h5py.Empty("f8")), "energy.npy: is empty"),
        (replace(ENERGY, shape=(4,), dtype="f8"), "not all of its numbers were written"),
        (replace(ENERGY, shape=(4,), dtype="f8", chunks=(1,)), "not all of its numbers"),
        (replace(ENERGY, shape=(4,), dtype="f8", chunks=(1,), fillvalue=3.0), "not all of its"),
        (
            replace(ENERGY, shape=(1 << 40,), dtype="f8", chunks=(1 << 20,)),
            "shape .* would be 8796093022208 bytes from a file of",
        ),
        (
            replace(ENERGY, shape=(4,), dtype="f8", maxshape=(None,), chunks=(1 << 27,)),
            "its chunks .* would be 1073741824 bytes",
        ),
        (replace(ENERGY, data=np.zeros(4), scaleoffset=3), "compressed with the filter 6"),
        (replace(ENERGY, data=np.zeros((2, 2))), r"the shape \(2, 2\)"),
        (link(ENERGY, h5py.Group), None),
        (replace("type.raw", data=["0", "1"]), "type.raw: holds elements of type object"),
        (replace("type.raw", data=np.zeros((0,), int)), "is empty"),
        (replace("type.raw", data=np.full(5, np.nan)), "has the type 'nan'"),
        (replace("type.raw", shape=(1 << 40,), dtype="i1", chunks=(9,)), "more than can be meant"),
        (replace("type_map.raw", data=[1, 2]), "type_map.raw: holds .* expected strings"),
        (replace("type_map.raw", data=np.array([b"\xff", b"H"])), "is not text"),
        (replace("type_map.raw", data=np.array([b"x" * 5000, b"H"])), "strings of 5000 bytes"),
        (lambda file: file.pop("type.raw"), "type.raw: there is no such dataset"),
        (lambda file: file.pop("set.000"), "no frames; expected at least one group named set"),
        (lambda file: file.pop("set.000/box.npy"), "box.npy: not found, but it is needed"),
    ],
)
def test_refused(packed, change, message) -> None:
    with h5py.File(packed, "a") as file:
        if message is None:
            del file[ENERGY]
            file.create_group(ENERGY)
            message = "energy.npy: is not a dataset"
        else:
            change(file)
    with pytest.raises(DataError, match=message) as error:
        DataSystem(str(packed), fields=LABELS).check()
    assert str(error.value).startswith(str(packed))
    assert "\n" not in str(error.value)


def test_what_is_not_asked_for_may_be_anything(packed) -> None:
    with h5py.File(packed, "a") as file:
        file["set.000/virial.npy"] = h5py.SoftLink("/nowhere")
        file["notes"] = h5py.ExternalLink("other.h5", "/")
    system = DataSystem(str(packed), fields=[fields.ENERGY])
    system.check()
    assert all(system.has("energy"))


def test_well_compressed_small_data(make, tmp_path) -> None:
    path = make(nframes=4000, coord=np.zeros((4000, 15)), force=None)
    pack(path, tmp_path / "zeros.h5", compression="gzip")
    size = os.path.getsize(tmp_path / "zeros.h5")
    assert 20 * size < 4000 * 24 * 8
    assert DataSystem(str(tmp_path / "zeros.h5")).nframes == 4000


class TestSearch:
    def test_links_within_the_file_count_once(self, packed) -> None:
        with h5py.File(packed, "a") as file:
            inner = file.create_group("inner")
            inner["type.raw"] = [0]
            inner["loop"] = file["/"]
            file["again"] = inner
            file["soft"] = h5py.SoftLink("/inner")
        names = expand_systems(str(packed))
        assert len(names) == 2
        assert names[0] == f"{packed}#/"

    def test_link_to_another_file(self, packed) -> None:
        with h5py.File(packed, "a") as file:
            file["more"] = h5py.ExternalLink("other.h5", "/")
        with pytest.raises(DataError, match=r"'more'.*'other\.h5'"):
            expand_systems(str(packed))

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("data.hdf5#/nothing", "no such group"),
            ("data.hdf5#/type.raw", "no such group"),
            ("data.hdf5#/set.000", "no group in or below it has a type.raw"),
            ("text.h5", "text.h5: cannot be read"),
            ("text", "is not a system; expected a directory"),
            ("pipe.h5", "pipe.h5: is a pipe, expected an HDF5 file"),
            ("none.h5", "none.h5: cannot be read .No such file"),
        ],
    )
    def test_nothing_there(self, packed, path, message) -> None:
        os.mkfifo(packed.parent / "pipe.h5")
        for name in ("text", "text.h5"):
            (packed.parent / name).write_text("nothing\n" * 1000)
        with pytest.raises(DataError, match=message):
            expand_systems(path, base=packed.parent)

    def test_damaged(self, packed) -> None:
        data = packed.read_bytes()
        packed.write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match=r"data\.hdf5: cannot be read"):
            DataSystem(str(packed))

    @pytest.mark.parametrize("names", [["O", "H"], ["Oxygen_of_water", "H", ""]])
    def test_strings_without_end(self, packed, names) -> None:
        """Sizes of strings that let the library walk for ever are not given to it."""
        with h5py.File(packed, "a") as file:
            del file["type_map.raw"]
            file["type_map.raw"] = names
        system = DataSystem(str(packed))
        assert system.type_map == [name for name in names if name]
        data = bytearray(packed.read_bytes())
        heap = data.index(b"GCOL")
        last = heap + 16
        while data[last]:
            last += 16 + -(-int.from_bytes(data[last + 8 : last + 16], "little") // 8) * 8
        for size in (0, 2**64 - 8, 2**40):
            data[last + 8 : last + 16] = size.to_bytes(8, "little")
            packed.write_bytes(data)
            with pytest.raises(DataError, match=r"type_map\.raw:"):
                DataSystem(str(packed))
