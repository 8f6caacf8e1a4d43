# SPDX-License-Identifier: BSD-3-Clause
"""Cached statistics are used for the same data and settings, and for no others."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from small_training import INPUT, write_all_data, write_script

from deepmd_tf.config import load_input
from deepmd_tf.data import DataSystem
from deepmd_tf.losses import EnergyLoss
from deepmd_tf.model.stat_file import RECORDS
from deepmd_tf.training import data_statistics, neighbor_counts, statistics_cache
from deepmd_tf.training.open_data import open_data

pytestmark = pytest.mark.usefixtures("without_rewriting")

STEPS = {
    "check": (statistics_cache, "examine"),
    "neighbors": (neighbor_counts, "count_neighbors_within"),
    "environment": (data_statistics, "environment_sums"),
    "bias": (data_statistics, "energy_bias"),
}


@pytest.fixture(params=["stat.h5", "stat"])
def folder(tmp_path, monkeypatch, request):
    write_all_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    script(tmp_path, request.param)
    return tmp_path


def script(folder, name=None, descriptor=None, **training):
    if name is None:
        name = "stat" if (folder / "stat").exists() else "stat.h5"
    model = {"descriptor": INPUT["model"]["descriptor"] | (descriptor or {})}
    keys = {"numb_steps": 1, "disp_freq": 1, "stat_file": name} | training
    write_script(folder, training=keys, model=model)


@pytest.fixture
def run(folder, monkeypatch):
    """Do what comes before training; returns what was measured, and the statistics."""
    done = []

    def watch(module, function, name):
        original = getattr(module, function)

        def watched(*args, **kwargs):
            done.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, function, watched)

    for name, place in STEPS.items():
        watch(*place, name)

    def run(**options):
        done.clear()
        config = load_input("input.json")
        data, _, known = open_data(config, EnergyLoss(config.loss), **options)
        config = config.with_sel(neighbor_counts.measure_neighbors(config, data, known).sel)
        found = data_statistics.measure_statistics(config, data, config.model.type_map, known)
        return list(done), [found.avg, found.std, found.bias]

    return run


def change(path, factor=1 + 2**-50):
    """The last bits of the first number, or everything by another factor."""
    array = np.load(path)
    if factor > 1.001:
        array *= factor
    else:
        array.flat[0] *= factor
    np.save(path, array)


def test_same_data(folder, run, caplog):
    measured, first = run()
    assert measured == list(STEPS)
    caplog.set_level("INFO")
    measured, second = run()
    assert measured == []
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert "the data are byte for byte those that were checked before (stat" in caplog.text
    assert "the neighbor statistics of these data are those of stat" in caplog.text
    assert "statistics of these data (energy bias) are taken from stat" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_nothing_is_written_without_leave(folder, run):
    assert run(writes=False)[0] == list(STEPS)
    assert not [p for p in folder.glob("stat*")]


def test_data_that_have_moved(folder, run):
    """Statistics are theirs; they are checked again, since messages have other paths."""
    run()
    shutil.copytree("data/train", "elsewhere")
    script(folder, training_data={"systems": "elsewhere", "batch_size": [2, 1]})
    assert run()[0] == ["check"]


@pytest.mark.parametrize(
    ("file", "measured"),
    [
        ("train/cell/set.000/coord", list(STEPS)),
        ("train/cell/set.001/box", list(STEPS)),
        ("train/cell/set.000/energy", ["check", "bias"]),
        ("train/free/set.000/force", ["check"]),
        ("valid/cell/set.000/coord", ["check"]),
    ],
)
def test_a_bit_of_the_data_has_changed(folder, run, caplog, file, measured):
    first = run()[1]
    change(folder / "data" / f"{file}.npy", 1.01 if file.endswith("coord") else 1 + 2**-50)
    found, second = run()
    assert found == measured
    differs = any((a != b).any() for a, b in zip(first, second, strict=True))
    assert differs == (file == "train/cell/set.000/coord")
    assert ("of other data or settings and are measured again" in caplog.text) == (
        "bias" in measured
    )
    assert run()[0] == []


def test_times_and_names_of_files_do_not_matter(folder, run):
    run()
    path = folder / "data/train/cell/set.000/coord.npy"
    array = np.load(path)
    path.unlink()
    np.save(path, array)
    assert run()[0] == []


@pytest.mark.parametrize(
    ("descriptor", "training", "measured"),
    [
        ({"exclude_types": [[0, 1]]}, {}, ["environment"]),
        ({"rcut": 3.401}, {}, ["neighbors", "environment"]),
        ({"sel": [13, 19]}, {}, ["environment"]),
        ({}, {"training_data": {"systems": "data/train/cell"}}, list(STEPS)),
        ({}, {"training_data": {"systems": "data/train", "batch_size": 3}}, list(STEPS)[2:]),
        ({}, {"save_freq": 7, "seed": 3}, []),
    ],
)
def test_other_settings(folder, run, descriptor, training, measured):
    """The name of the group in the file knows rcut to two digits only, and no excluded types."""
    run()
    script(folder, descriptor=descriptor, **training)
    assert run()[0] == measured


def test_nothing_is_measured_again_when_nothing_may_be_written(folder, run, caplog):
    first = run()[1]
    change(folder / "data/train/cell/set.001/coord.npy", 1.01)
    script(folder, stat_file_mode="read")
    measured, second = run()
    assert measured == ["check", "neighbors"]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert "used because stat_file_mode is read" in caplog.text


def test_members_with_other_excluded_types(folder, run):
    """Each has its own averages, also when nothing is measured."""
    member = INPUT["model"]["descriptor"]
    members = [member | {"exclude_types": pairs} for pairs in ([], [[0, 1]], [[1, 1]])]
    hybrid = {"type": "hybrid", "list": members}
    for mode in ("update", "read"):
        keys = {"numb_steps": 1, "stat_file": "stat.h5", "stat_file_mode": mode}
        write_script(folder, training=keys, model={"descriptor": hybrid})
        measured, (avg, std, _) = run()
        if mode == "update":
            expected = avg, std
    assert measured == []
    for found, first in zip((avg, std), expected, strict=True):
        assert len({found[scope].tobytes() for scope in found}) == 3
        for scope in first:
            np.testing.assert_array_equal(found[scope], first[scope])


def test_data_with_a_mask_are_checked_otherwise(folder, run, monkeypatch):
    """The same atomic parameter may be one, or say which atoms are there."""
    run()
    again = []
    monkeypatch.setattr(DataSystem, "masked", True)
    monkeypatch.setattr(statistics_cache, "examine", lambda *_: again.append("check"))
    run()
    assert again == ["check"]


def test_file_of_another_program(folder, run, caplog):
    """It does not say what it depends on."""
    run()
    if (folder / "stat").exists():
        shutil.rmtree(folder / "stat/O H" / RECORDS)
    else:
        with h5py.File("stat.h5", "a") as file:
            del file[f"O H/{RECORDS}"]
    change(folder / "data/train/cell/set.001/coord.npy", 1.01)
    assert run()[0] == ["check", "neighbors"]
    assert caplog.text.count("does not say of which data and settings") == 2


def test_numbers_that_others_have_changed(folder, run):
    """A record goes with the numbers it was written for."""
    run()
    if (folder / "stat").exists():
        path = folder / "stat/O H/bias_atom_energy"
        np.save(path.with_suffix(".npy"), np.load(path) + 1)
        path.with_suffix(".npy").rename(path)
    else:
        with h5py.File("stat.h5", "a") as file:
            file["O H/bias_atom_energy"][()] += 1
    assert run()[0] == ["bias"]


def test_doubts_are_repeated(folder, run, caplog):
    for path in (folder / "data/train/cell").glob("set.*/box.npy"):
        np.save(path, np.load(path).reshape(-1, 3, 3)[:, [1, 0, 2]].reshape(-1, 9))
    for _ in range(2):
        caplog.clear()
        measured, _ = run()
        doubts = [r.getMessage() for r in caplog.records if "left-handed" in r.getMessage()]
        assert len(doubts) == 2  # one for each file
    assert measured == []
