# SPDX-License-Identifier: BSD-3-Clause
"""Systems of the mixed type, in whatever evaluates models on data: the same as the same frames
without virtual atoms, each as a system of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from saved_models import save_checkpoint
from small_training import EDGE, make_mixed_frames, write_each, write_mixed

from deepmd_tf import names
from deepmd_tf.analysis.change_bias import change_bias
from deepmd_tf.analysis.descriptors import eval_desc
from deepmd_tf.analysis.extxyz import ExtendedXYZ
from deepmd_tf.analysis.model_devi import make_model_devi
from deepmd_tf.analysis.neighbors import neighbor_stat
from deepmd_tf.errors import DataError
from deepmd_tf.export.comparison import some_frames
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.inference.testing import run_test

FRAMES = 7


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """``mixed``, ``each/000`` and so on, and two models."""
    folder = tmp_path_factory.mktemp("data")
    frames = make_mixed_frames(3, FRAMES, EDGE)
    write_mixed(folder / "mixed", frames, EDGE)
    write_each(folder / "each", frames, EDGE)
    for path in folder.glob("**/set.*"):
        natoms = np.load(path / "coord.npy").shape[1] // 3
        nframes = len(np.load(path / "box.npy"))
        np.save(path / "hessian.npy", np.zeros((nframes, 9 * natoms**2)))
        # energies of atoms: the same number for all
        np.save(path / "atom_ener.npy", np.full((nframes, natoms), -7.5))
    for name in ("a", "b"):
        (folder / name).mkdir()
        freeze(save_checkpoint(folder / name)[0], folder / f"{name}.pb", dialect="native")
    return folder


@pytest.fixture
def work(data, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return data


def each(data: Path) -> list[str]:
    return sorted(map(str, (data / "each").iterdir()))


def both(work: Path, function) -> tuple:
    """``function(systems, name)`` for the mixed system and for those of the frames."""
    return function([str(work / "mixed")], "mixed"), function(each(work), "each")


def test_errors_and_files(work):
    def test(systems, name):
        frames = ExtendedXYZ(f"{name}.xyz")
        options = {"detail_prefix": name, "atomic": True, "hessian": True, "consumers": [frames]}
        return run_test(work / "a.pb", systems, **options)

    one, other = both(work, test)
    for name in (
        "energy",
        "energy_per_atom",
        "force",
        "virial",
        "stress",
        "atom_energy",
        "hessian",
    ):
        error, expected = one.by_name[name], other.by_name[name]
        assert error.weight == expected.weight > 0
        assert error.mae == pytest.approx(expected.mae, rel=1e-9), name
        assert error.rmse == pytest.approx(expected.rmse, rel=1e-9), name
    # frames and atoms in the order of the files, that of the atoms of "each" is another
    for suffix in ("e", "e_peratom", "v", "v_peratom", "s"):
        rows, expected = (np.loadtxt(f"{name}.{suffix}.out") for name in ("mixed", "each"))
        np.testing.assert_allclose(rows, expected, rtol=1e-9, atol=1e-9, err_msg=suffix)
    types = np.concatenate(
        [np.load(path) for path in sorted((work / "mixed").glob("set.*/real_atom_types.npy"))]
    )
    labels = np.concatenate([np.load(p) for p in sorted((work / "mixed").glob("set.*/force.npy"))])
    real = labels.reshape(FRAMES, -1, 3)[types >= 0]
    np.testing.assert_allclose(np.loadtxt("mixed.f.out")[:, :3], real, atol=1e-12)
    assert len(np.loadtxt("mixed.h.out")) == len(np.loadtxt("each.h.out"))
    counts, species = zip(*map(read_counts, ("mixed.xyz", "each.xyz")), strict=True)
    assert counts[0] == counts[1] == [int(n) for n in np.sum(types >= 0, axis=1)]
    assert sorted(species[0]) == sorted(species[1])


def read_counts(path: str) -> tuple[list[int], list[str]]:
    lines, counts, species = Path(path).read_text().splitlines(), [], []
    while lines:
        n = int(lines[0])
        counts.append(n)
        species += [line.split()[0] for line in lines[2 : 2 + n]]
        del lines[: 2 + n]
    return counts, species


def test_first_frames(work):
    errors = run_test(work / "a.pb", [str(work / "mixed")], n_frames=3)
    expected = run_test(work / "a.pb", each(work)[:3])
    assert errors.by_name["energy"].weight == 3
    assert errors.by_name["force"].rmse == pytest.approx(expected.by_name["force"].rmse, rel=1e-9)


def test_bias(work):
    def change(systems, name):
        return change_bias(work / "a.pb", systems=systems, output=f"{name}.pb")

    one, other = (read_model(path).weights[names.BIAS_ATOM_E] for path in both(work, change))
    np.testing.assert_allclose(one, other, rtol=1e-9)
    assert np.abs(one - read_model(work / "a.pb").weights[names.BIAS_ATOM_E]).min() > 1e-3


def test_deviation_of_models(work):
    models = [work / "a.pb", work / "b.pb"]
    (mixed,) = make_model_devi(models, system=str(work / "mixed"), output="one.out")
    others = make_model_devi(models, system=str(work / "each"), output="two.out")
    np.testing.assert_allclose(mixed[:, 1:], np.concatenate(others)[:, 1:], rtol=1e-6, atol=1e-12)
    assert mixed[:, 0].tolist() == list(range(FRAMES))
    with pytest.raises(DataError, match="--atomic"):
        make_model_devi(models, system=str(work / "mixed"), output="one.out", atomic=True)


def test_descriptors_are_at_the_places_of_the_atoms(work):
    (path,) = eval_desc(work / "a.pb", [str(work / "mixed")], output="desc")
    found = np.load(path)
    types = np.concatenate(
        [np.load(path) for path in sorted((work / "mixed").glob("set.*/real_atom_types.npy"))]
    )
    assert found.shape[:2] == types.shape
    assert not found[types < 0].any()
    for row, kinds, other in zip(
        found, types, eval_desc(work / "a.pb", each(work), output="desc"), strict=True
    ):
        (expected,) = np.load(other)
        # one column is enough to compare sets of atoms
        np.testing.assert_allclose(np.sort(row[kinds >= 0, 0]), np.sort(expected[:, 0]), rtol=1e-9)


@pytest.mark.parametrize("one_type", [False, True])
def test_neighbours(work, one_type):
    one, other = (
        neighbor_stat(str(work / name), rcut=3.4, type_map=["O", "H"], one_type=one_type)
        for name in ("mixed", "each")
    )
    assert one.min_distance == pytest.approx(other.min_distance, rel=1e-12)
    np.testing.assert_array_equal(one.max_neighbors, other.max_neighbors)


def test_frames_that_files_are_compared_on(work):
    frames = some_frames(read_model(work / "a.pb"), [str(work / "mixed")])
    assert frames
    for batch in frames:
        assert batch.natoms[0] == batch.natoms[2:].sum() == batch.sizes[0]
