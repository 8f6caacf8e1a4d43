# SPDX-License-Identifier: BSD-3-Clause
"""Training on frames with different atoms: systems of the mixed type, and ``mixed:N``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_training import (
    EDGE,
    INPUT,
    add_hessians,
    add_parameters,
    make_mixed_frames,
    write_all_data,
    write_each,
    write_mixed,
    write_script,
)

from deepmd_tf.data import DataSystems, make_random
from deepmd_tf.environment import Cutoff, EnvironmentSpec, Selection
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.fields import APARAM, ENERGY
from deepmd_tf.inference.testing import run_test
from deepmd_tf.model.statistics import (
    as_one_type,
    energy_bias,
    environment_sums,
    neighbor_statistics,
    parameter_sums,
)
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.validation import FullValidation

from .checkpoints import variables

pytestmark = pytest.mark.usefixtures("without_rewriting")

MIXED = {"systems": "data/train", "batch_size": "mixed:3"}
SPEC = EnvironmentSpec(Cutoff(3.4, 0.5), Selection((12, 20)), 2)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_mixed(path: Path) -> None:
    """Give a system of one composition the mixed type, with two virtual atoms in front."""
    types = np.loadtxt(path / "type.raw", dtype=int)
    np.savetxt(path / "type.raw", np.zeros(len(types) + 2), fmt="%d")
    for one in path.glob("set.*"):
        nframes = len(np.load(one / "energy.npy"))
        for name in ("coord", "force"):
            atoms = np.load(one / f"{name}.npy").reshape(nframes, -1, 3)
            atoms = np.concatenate([np.ones((nframes, 2, 3)), atoms], axis=1)
            np.save(one / f"{name}.npy", atoms.reshape(nframes, -1))
        np.save(one / "real_atom_types.npy", np.tile([-1, -1, *types], (nframes, 1)))


def test_one_composition_trains_as_ordinary_data(folder, monkeypatch):
    """Weights after some steps, and all displayed errors."""
    weights, curves = [], []
    for name in ("ordinary", "mixed"):
        work = folder / name
        work.mkdir()
        write_all_data(work)
        if name == "mixed":
            for path in work.glob("data/*/*"):
                as_mixed(path)
        monkeypatch.chdir(work)
        training = {"training_data": {"systems": "data/train", "batch_size": 2}, "numb_steps": 12}
        assert train(write_script(work, training=training)) == 0
        weights.append(variables("model.ckpt-12"))
        curves.append(np.genfromtxt("lcurve.out"))
    for name, values in weights[0].items():
        np.testing.assert_allclose(weights[1][name], values, rtol=1e-9, atol=1e-11, err_msg=name)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-2)


def write_both(folder: Path) -> None:
    """Systems of the mixed type and an ordinary one."""
    write_mixed(folder / "data/train/mixed", make_mixed_frames(1, 9, EDGE), EDGE)
    write_mixed(folder / "data/train/free", make_mixed_frames(2, 6, None), None)
    write_all_data(folder / "ordinary")
    shutil.move(folder / "ordinary/data/train/cell", folder / "data/train/cell")
    write_mixed(folder / "data/valid/mixed", make_mixed_frames(3, 7, EDGE), EDGE)


@pytest.mark.parametrize("batch_size", ["mixed:3", pytest.param(2, marks=pytest.mark.slow)])
def test_restart_is_exact(folder, monkeypatch, batch_size):
    write_both(folder)
    data = {"systems": "data/train", "batch_size": batch_size}
    training = {"training_data": data, "numb_steps": 10, "disp_freq": 2}
    write_script(folder, training=training)
    assert train("input.json") == 0
    curve = Path("lcurve.out").read_text()
    shutil.copytree(folder, folder / "again", symlinks=True)
    monkeypatch.chdir(folder / "again")
    assert train("input.json", restart="model.ckpt-5") == 0
    assert Path("lcurve.out").read_text() == curve
    one, other = variables("model.ckpt-10"), variables(folder / "model.ckpt-10")
    assert [name for name in one if one[name].tobytes() != other[name].tobytes()] == []
    table = np.genfromtxt("lcurve.out")
    assert table[-1, 1] < table[0, 1]


@pytest.mark.parametrize("systems", ["data/valid", pytest.param("each", marks=pytest.mark.slow)])
def test_ways_to_the_same_numbers(folder, monkeypatch, systems):
    """Full validation and dp test, on frames of the mixed type and on the same frames as systems of
    their own."""
    write_both(folder)
    write_each(folder / "each", make_mixed_frames(3, 7, EDGE), EDGE)
    found = []
    errors = FullValidation.errors

    def keep(validation, predict):
        found.append(errors(validation, predict))
        return found[-1]

    monkeypatch.setattr(FullValidation, "errors", keep)
    validating = {"full_validation": True, "validation_freq": 4, "full_val_start": 0}
    validation = {"systems": systems, "batch_size": 1, "numb_btch": 1}
    training = {"training_data": MIXED, "validation_data": validation, "numb_steps": 4}
    write_script(folder, training=training, validating=validating)
    assert train("input.json") == 0
    assert len(found) == 1
    frozen = freeze("model.ckpt", "frozen.pb").path
    found.append(run_test(frozen, ["data/valid/mixed"]))
    found.append(run_test(frozen, [str(path) for path in sorted(Path("each").iterdir())]))
    for name in ("energy", "energy_per_atom", "force", "virial", "virial_per_atom", "stress"):
        values = [one.by_name[name] for one in found]
        assert len({one.weight for one in values}) == 1
        assert values[0].weight > 0
        for one in values[1:]:
            assert one.mae == pytest.approx(values[0].mae, rel=1e-9), name
            assert one.rmse == pytest.approx(values[0].rmse, rel=1e-9), name


def test_statistics_do_not_count_virtual_atoms(folder):
    frames = make_mixed_frames(1, 9, EDGE)
    write_mixed(folder / "mixed", frames, EDGE)
    write_each(folder / "each", frames, EDGE)
    found = []
    for paths in (["mixed"], sorted(map(str, Path("each").iterdir()))):
        data = DataSystems(paths, 1, make_random(0), fields=(ENERGY,))
        batches = [b for index, s in enumerate(data.systems) for b in s.batches(system=index)]
        neighbors = neighbor_statistics(batches, ntypes=2, rcut=3.4)
        together = neighbor_statistics(map(as_one_type, batches), ntypes=1, rcut=3.4)
        assert neighbors.min_distance == together.min_distance
        found.append(
            [
                neighbors.min_distance,
                *neighbors.max_neighbors,
                *together.max_neighbors,
                *environment_sums(batches, SPEC).ravel(),
                *energy_bias(batches, ntypes=2)[0],
            ]
        )
    np.testing.assert_allclose(found[0], found[1], rtol=1e-11)


def test_frame_and_atom_of_a_refused_frame(folder):
    write_both(folder)
    path = folder / "data/train/mixed/set.001"
    types, coord = np.load(path / "real_atom_types.npy"), np.load(path / "coord.npy")
    first, second = np.flatnonzero(types[2] >= 0)[:2]
    coord[2].reshape(-1, 3)[second] = 1e13
    np.save(path / "coord.npy", coord)
    write_script(folder, training={"training_data": MIXED})
    place = rf"mixed/set\.001/coord\.npy: frame 2 has atom {second} more than 1e9"
    with pytest.raises(DataError, match=place):
        train("input.json")
    with pytest.raises(DataError, match=place):
        train("input.json", skip_neighbor_stat=True)
    assert first < second


def test_parameters(folder):
    """Frame and atomic parameters go with their frames and atoms."""
    write_all_data(folder)
    add_parameters(folder)
    for path in folder.glob("data/train/*"):
        as_mixed(path)
        for one in path.glob("set.*"):
            atoms = np.load(one / "aparam.npy").reshape(-1, 6, 2)
            atoms = np.concatenate([np.full((len(atoms), 2, 2), 1e3), atoms], axis=1)
            np.save(one / "aparam.npy", atoms.reshape(len(atoms), -1))
    items = (ENERGY, APARAM.with_dof(2))
    data = DataSystems(
        sorted(map(str, folder.glob("data/train/*"))), 4, make_random(0), fields=items
    )
    batches = [batch for system in data.systems for batch in system.batches()]
    assert parameter_sums(batches, "aparam", 2)[0, 0] == 16 * 6
    fitting = {"neuron": [10, 10], "seed": 1, "numb_fparam": 1, "numb_aparam": 2}
    model = {**INPUT["model"], "fitting_net": fitting}
    write_script(folder, model=model, training={"training_data": MIXED, "numb_steps": 8})
    assert train("input.json") == 0
    table = np.genfromtxt("lcurve.out")
    assert table[-1, 2] < table[0, 2]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"start_pref_de": 1.0, "limit_pref_de": 1.0}, "energies of the frames of a batch"),
        ({"start_pref_h": 1.0, "limit_pref_h": 1.0}, "Hessians of a batch"),
    ],
)
@pytest.mark.parametrize("batch_size", ["mixed:3", 2])
def test_what_needs_equal_atoms_is_refused(folder, loss, message, batch_size):
    write_all_data(folder)
    add_hessians(folder)
    if batch_size == 2:
        as_mixed(folder / "data/valid/cell")
        for one in (folder / "data/valid/cell").glob("set.*"):
            (one / "hessian.npy").unlink()
    data = {"systems": "data/train", "batch_size": batch_size}
    write_script(folder, loss=loss, training={"training_data": data})
    with pytest.raises(InputError, match=f"{message} cannot be compared when their atoms differ"):
        train("input.json")
