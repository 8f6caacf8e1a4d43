# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json
import logging
import subprocess
import sys
import timeit

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystems, make_random
from deepmd_tf.errors import DataError, InputError

LABELS = (fields.ENERGY, fields.FORCE)


def open_systems(paths, batch_size=1, seed=1, **kwargs) -> DataSystems:
    return DataSystems(paths, batch_size, make_random(seed), fields=LABELS, **kwargs)


@pytest.fixture
def three(make) -> list:
    """Systems of 5, 2 and 9 atoms with 4, 6 and 8 frames."""
    return [
        make("a", nframes=4),
        make("b", nframes=6, types=[0, 1]),
        make("c", nframes=8, types=[0] * 9),
    ]


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [
        (3, [3, 3, 3]),
        ([1, 2, 3], [1, 2, 3]),
        ("auto", [7, 16, 4]),
        ("auto:10", [2, 5, 2]),
        ("max:10", [2, 5, 1]),
        ("max:4", [1, 2, 1]),
    ],
)
def test_batch_sizes(three, batch_size, sizes) -> None:
    data = open_systems(three, batch_size)
    assert data.batch_sizes == sizes
    counts = [max(1, n // size) for n, size in zip([4, 6, 8], sizes, strict=True)]
    assert data.n_batches == counts
    for index, size in enumerate(sizes):
        batch = data.get_batch(index)
        assert batch.nframes == min(size, data.systems[index].nframes)
        assert batch.system == index


def test_frames_can_be_picked(make) -> None:
    """With labels that were not asked for when the batch was drawn."""
    path = make("a", nframes=6, frames_per_set=3)
    batch = DataSystems([path], 2, make_random(1)).get_batch()
    again = open_systems([path]).pick(batch.system, batch.set_name, batch.frames)
    np.testing.assert_array_equal(again.arrays["coord"], batch.arrays["coord"])
    np.testing.assert_array_equal(again.arrays["force"], -batch.arrays["coord"])
    with pytest.raises(DataError, match=r"has no set\.007"):
        open_systems([path]).pick(0, "set.007", [0])


def test_filter_leaves_out_large_systems(three, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        data = open_systems(three, "filter:5")
    assert [system.natoms for system in data.systems] == [5, 2]
    assert data.batch_sizes == [1, 2]
    assert "leaves out 1 of 3 systems" in caplog.text


@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        ("filter:1", 'batch_size: "filter:1" .* 2 atoms'),
        ([1, 2], "batch_size: .* 2 entries, .* 3 systems"),
        ("mixed:0", 'batch_size: "mixed" needs a number of frames'),
        (0, "batch_size: expected"),
        ("whatever", "batch_size: expected"),
    ],
)
def test_wrong_batch_sizes(three, batch_size, message) -> None:
    with pytest.raises(InputError, match=message):
        open_systems(three, batch_size)


def test_batch_larger_than_a_set_is_a_warning(three, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        open_systems(three, [5, 5, 5])
    (record,) = caplog.records
    assert "a: batch_size is 5, but set.000 has only 4 frames" in record.getMessage()
    caplog.clear()
    open_systems(three, "auto:1000")
    assert not caplog.records


def test_no_systems() -> None:
    with pytest.raises(DataError, match="the list is empty"):
        open_systems([])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"auto_prob": "prob_uniform"}, [1 / 3, 1 / 3, 1 / 3]),
        ({}, [4 / 18, 6 / 18, 8 / 18]),
        ({"auto_prob": "prob_sys_size;0:2:3;2:3:1"}, [0.3, 0.45, 0.25]),
        ({"auto_prob": "prob_sys_size;1:3:1"}, [0, 6 / 14, 8 / 14]),
        ({"sys_probs": [0.5, 0.25, 0.25]}, [0.5, 0.25, 0.25]),
        ({"sys_probs": [0.3, -1, -1]}, [0.3, 0.3, 0.4]),
        ({"sys_probs": [0.0, -1, 0.4]}, [0.0, 0.6, 0.4]),
    ],
)
def test_probabilities(three, choice, expected) -> None:
    data = open_systems(three, **choice)
    np.testing.assert_allclose(data.probabilities, expected, rtol=1e-14)
    drawn = np.bincount([data.get_batch().system for _ in range(2000)], minlength=3) / 2000
    np.testing.assert_allclose(drawn, expected, atol=0.05)
    used = data.probabilities > 0
    exact = np.max(np.array([4, 6, 8])[used] / np.array(expected)[used])
    assert exact - 1e-9 <= data.total_batches < exact + 1 + 1e-9


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"sys_probs": [0.5, 0.5]}, "sys_probs: has 2 entries, .* 3"),
        ({"sys_probs": [0.5, 0.5, 0.5]}, r"sys_probs: .* 1\.5, more than 1"),
        ({"sys_probs": [0.5, 0.2, 0.2]}, r"sys_probs: .* 0\.9, not 1"),
        ({"sys_probs": [0.5, 0.5, -1]}, "sys_probs: .* nothing is left"),
        ({"auto_prob": "prob_sys_size;0:4:1"}, "auto_prob: the block 0:4 ends beyond .* 3 systems"),
        ({"auto_prob": "prob_sys_size;0:2:1;1:3:1"}, "auto_prob: .* overlap"),
        ({"auto_prob": "prob_sys_size;0:2:0"}, "auto_prob: at least one weight"),
        ({"auto_prob": "prob"}, "auto_prob: expected"),
    ],
)
def test_wrong_probabilities(three, choice, message) -> None:
    with pytest.raises(InputError, match=message):
        open_systems(three, **choice)


def test_types_of_all_systems(three) -> None:
    data = open_systems(three)
    assert data.type_map == ["O", "H"]
    assert data.ntypes == 2
    np.testing.assert_array_equal(data.get_batch(2).natoms, [9, 9, 9, 0])
    wide = open_systems(three, type_map=["H", "O", "C"])
    np.testing.assert_array_equal(wide.get_batch(1).natoms, [2, 2, 1, 1, 0])
    assert open_systems(three, ntypes=4).get_batch(1).natoms.shape == (6,)


def test_type_maps_that_contradict(make) -> None:
    paths = [make("a", type_map=["O", "H"]), make("b", type_map=["H", "O"])]
    with pytest.raises(DataError, match=r"type_map.raw"):
        open_systems(paths)
    assert open_systems(paths, type_map=["O", "H"]).ntypes == 2


def test_longest_type_map_is_that_of_the_data(make) -> None:
    data = open_systems([make("a"), make("b", type_map=["O", "H", "C"]), make("c", type_map=None)])
    assert data.type_map == ["O", "H", "C"]
    assert data.ntypes == 3


def test_labels_of_any_system(make) -> None:
    data = open_systems([make("a", energy=None, force=None), make("b", energy=None)])
    assert data.has("force")
    assert not data.has("energy")


def test_statistics_take_batches_of_each_system_in_turn(three) -> None:
    batches = open_systems(three, 2).stat_batches(3)
    assert [[b.system for b in of_system] for of_system in batches] == [[0] * 3, [1] * 3, [2] * 3]
    energies = np.concatenate([b.arrays["energy"] for b in batches[1]])
    assert sorted(energies) == list(range(6))


def test_all_systems_that_cannot_be_opened_are_named(three, make) -> None:
    (three[0] / "type.raw").unlink()
    (three[2] / "set.000/box.npy").unlink()
    with pytest.raises(
        DataError, match=r"2 mistakes:\n  .*a/type\.raw: .*\n  .*c/set\.000/box\.npy"
    ):
        open_systems(three)


def identity(batch) -> tuple:
    return (batch.system, batch.set_name, *batch.frames)


def test_same_seed_same_batches(three) -> None:
    a, b, c = (open_systems(three, 2, seed=seed) for seed in (7, 7 + 2**32, 8))
    first, second, third = ([identity(x.get_batch()) for _ in range(30)] for x in (a, b, c))
    assert first == second
    assert first != third


def test_restored_state_gives_the_same_batches_for_data_that_share_a_generator(make) -> None:
    paths = [make("a", nframes=7, frames_per_set=3), make("b", nframes=5)]
    held_out = [make("v", nframes=6)]

    def open_both() -> tuple[DataSystems, DataSystems]:
        rng = make_random(3)
        return DataSystems(paths, 2, rng), DataSystems(held_out, 4, rng)

    def draw(train: DataSystems, valid: DataSystems) -> list[tuple]:
        return [identity((valid if step % 5 == 0 else train).get_batch()) for step in range(60)] + [
            identity(b) for of_system in train.stat_batches(2) for b in of_system
        ]

    train, valid = open_both()
    draw(train, valid)
    saved = json.loads(json.dumps([train.get_state(), valid.get_state()]))
    expected = draw(train, valid)
    train, valid = open_both()
    train.set_state(saved[0])
    valid.set_state(saved[1])
    assert draw(train, valid) == expected
    valid.set_state(saved[1])
    train.set_state(saved[0])
    assert draw(train, valid) == expected


@pytest.mark.parametrize(
    "state", [{}, None, {"random": {}, "systems": [1, 2, 3]}, {"random": {}, "systems": []}]
)
def test_state_that_is_none(three, state) -> None:
    with pytest.raises(DataError):
        open_systems(three).set_state(state)


def test_summary_table(make) -> None:
    data = open_systems([make("a"), make("b" * 50, box=None)], "auto")
    lines = data.summary("training").splitlines()
    assert lines[0].startswith("---Summary of DataSystem: Training     ----")
    assert lines[1] == "Found 2 System(s):"
    assert lines[2].split() == ["system", "natoms", "bch_sz", "n_bch", "prob", "pbc"]
    for line, pbc in zip(lines[3:5], "TF", strict=True):
        assert line.split()[-5:] == ["5", "7", "1", "5.000e-01", pbc]
        assert line[42:].startswith("       5       7       1  5.000e-01")
    assert lines[4].startswith("-- ")
    assert lines[4][3:42] == data.systems[1].path[-39:]
    assert len(lines) == 6


def test_batches_are_cheap(make) -> None:
    """A batch of 192 atoms takes far less time than a training step of a few milliseconds."""
    path = make(types=[0, 1, 1] * 64, nframes=20)
    data = open_systems([path])
    data.get_batch()
    assert min(timeit.repeat(data.get_batch, number=200, repeat=5)) / 200 < 2e-4


def test_data_do_not_need_tensorflow() -> None:
    code = "import sys, deepmd_tf.data, deepmd_tf.metrics; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
