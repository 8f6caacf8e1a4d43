# SPDX-License-Identifier: BSD-3-Clause
"""dp test and model-devi on several ranks give what one process gives; threads stand for them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from saved_models import save_checkpoint, small_input, water_like
from thread_ranks import on_ranks

from deepmd_tf.analysis.model_devi import named_model_devi
from deepmd_tf.data import write_system
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.inference.tested import Consumer
from deepmd_tf.inference.testing import run_test

SYSTEMS = {"long": (7, 12), "short": (1, 9), "more": (4, 24)}
"""Frames and atoms."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two models, of which the first has a small selection, and labelled data."""
    folder, rng = tmp_path_factory.mktemp("ranks"), np.random.default_rng(11)
    for name, sel in (("few", [3, 26]), ("many", [30, 50])):
        (folder / name).mkdir()
        save_checkpoint(folder / name, small_input({"sel": sel}))
    for name, (n_frames, n_atoms) in SYSTEMS.items():
        coords, cells, types = water_like(rng, n_atoms, n_frames)
        write_system(
            folder / "data" / name,
            types=types,
            type_map=["O", "H"],
            coord=coords,
            box=cells,
            energy=rng.normal(size=n_frames),
            force=rng.normal(size=(n_frames, 3 * n_atoms)),
            virial=rng.normal(size=(n_frames, 9)),
            frames_per_set=4,
        )
    return folder


def checkpoint(folder: Path, name: str) -> str:
    return str(folder / name / "model.ckpt-100")


class Seen(Consumer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, int]] = []
        self.found = []

    def add(self, tested):
        self.frames += [(tested.system, len(tested.labels["energy"]))]

    def finish(self, systems):
        self.found = [(one.system, one.frames, one.natoms) for one in systems]


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_errors_and_details_are_those_of_one_process(folder, tmp_path, size):
    systems = [str(folder / "data" / name) for name in SYSTEMS]
    seen: list[Seen] = []

    def test(ranks=None):
        seen.append(one := Seen())
        given = {} if ranks is None else {"ranks": ranks}
        name = "one" if ranks is None else f"rank{ranks.rank}"
        return one, run_test(
            checkpoint(folder, "many"),
            systems,
            detail_prefix=tmp_path / name,
            consumers=[one],
            **given,
        )

    alone, expected = test()
    found = on_ranks(size, test)
    for _, errors in found:
        for name, error in expected.by_name.items():
            other = errors.by_name[name]
            assert other.weight == error.weight
            assert other.absolute == pytest.approx(error.absolute, rel=1e-12)
            assert other.square == pytest.approx(error.square, rel=1e-12)
    assert (
        found[0][0].found
        == alone.found
        == [
            *((path, *SYSTEMS[Path(path).name]) for path in systems),
            ("all", 12, None),
        ]
    )
    assert [path for path, _ in found[0][0].frames] == sorted(
        (path for path, _ in found[0][0].frames), key=systems.index
    )
    assert not any(one.frames or one.found for one, _ in found[1:])
    files = {path.name.removeprefix("one") for path in tmp_path.glob("one*")}
    assert {".e.out", ".f.out", ".v.out"} <= files
    assert not list(tmp_path.glob("rank[!0]*"))
    for name in files:
        one, other = (np.loadtxt(tmp_path / f"{prefix}{name}") for prefix in ("one", "rank0"))
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


def test_frames_are_drawn_once(folder, tmp_path):
    def energies(path):
        return np.loadtxt(tmp_path / f"{path}.e.out", ndmin=2)[:, 0]

    def test(name, **options):
        systems = [str(folder / "data/long")]
        prefix = tmp_path / name
        run_test(checkpoint(folder, "many"), systems, shuffle=True, detail_prefix=prefix, **options)

    test("one", seed=3, n_frames=5)
    on_ranks(2, lambda ranks: test("seed", seed=3, n_frames=5, ranks=ranks))
    np.testing.assert_array_equal(energies("seed"), energies("one"))
    # without a seed each would draw another order, and frames would be lost and others doubled
    on_ranks(3, lambda ranks: test("any", ranks=ranks))
    assert len(set(energies("any"))) == SYSTEMS["long"][0]


def test_missing_neighbours_of_any_rank_are_told(folder, tmp_path, caplog):
    coords, _, types = water_like(np.random.default_rng(3), n_frames=2)
    coords[0] = coords[0] + 100.0 * np.arange(24)[:, None]
    labels = {"energy": np.zeros(2), "force": np.zeros((2, 72))}
    write_system(tmp_path, types=types, type_map=["O", "H"], coord=coords, box=None, **labels)
    given = checkpoint(folder, "few"), [str(tmp_path)]
    caplog.set_level(logging.WARNING)
    # rank 1 has the frame of which it is true
    on_ranks(2, lambda ranks: run_test(*given, ranks=ranks))
    said = [r.getMessage() for r in caplog.records]
    assert [line for line in said if "in all systems up to O: " in line]
    assert sum("the farthest are left out" in line for line in said) == 2  # there, and on rank 0
    with pytest.raises(DataError, match="frame 1 has an atom with more neighbours"):
        on_ranks(2, lambda ranks: run_test(*given, on_missing_neighbors="error", ranks=ranks))


def test_other_data_are_refused(folder, tmp_path):
    names = ["long", "short"]

    def test(ranks):
        systems = [str(folder / "data" / names[ranks.rank])]
        return run_test(checkpoint(folder, "many"), systems, ranks=ranks)

    with pytest.raises(InputError, match="systems: that of rank 1 differs from that of rank 0"):
        on_ranks(2, test)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"real_error": True, "atomic": True, "relative": 0.5},
    ],
)
def test_deviations_are_those_of_one_process(folder, tmp_path, options):
    systems = [str(folder / "data" / name) for name in SYSTEMS]
    models = [checkpoint(folder, name) for name in ("few", "many")]
    expected = named_model_devi(models, systems, tmp_path / "one", **options)
    first, second = on_ranks(
        2, lambda ranks: named_model_devi(models, systems, tmp_path / "two", ranks=ranks, **options)
    )
    assert not second
    for (name, devi), (path, other) in zip(expected, first, strict=True):
        assert name == path
        np.testing.assert_allclose(other, devi, rtol=1e-12, atol=1e-12)
    one, two = ((tmp_path / name).read_text().splitlines() for name in ("one", "two"))
    assert [line for line in one if line[0] == "#"] == [line for line in two if line[0] == "#"]
