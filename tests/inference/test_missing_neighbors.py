# SPDX-License-Identifier: BSD-3-Clause
"""Neighbours beyond sel: never left out without a word, in whatever way a model is evaluated."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf.cli.main import main
from deepmd_tf.data import write_system
from deepmd_tf.environment import NeighborLimit
from deepmd_tf.errors import InputError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference.missing import VARIABLE, MissingNeighbors, missing_rule

N = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Sees three oxygen atoms of each atom, which is enough for lone molecules only."""
    folder = tmp_path_factory.mktemp("model")
    return save_checkpoint(folder, small_input(descriptor={"sel": [3, 26]}))[0]


@pytest.fixture(scope="module")
def frames():
    """The atoms of the first frame have few neighbours, those of the second too many."""
    coords, _, types = water_like(np.random.default_rng(3), n_frames=2)
    coords[0] = coords[0] + 100.0 * np.arange(N)[:, None]
    return coords, types


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("compressed", [False, True])
def test_error_names_the_frame(model, frames, tmp_path, compressed):
    coords, types = frames
    path = compress(model, tmp_path / "compressed.pb").path if compressed else model
    with DeepPot(path, on_missing_neighbors="error") as pot:
        assert pot.eval(coords[:1], None, types)[0].shape == (1, 1)
        with pytest.raises(InputError) as error:
            pot.eval(coords, None, types)
    assert str(error.value).startswith("frame 1 has an atom with more neighbours")
    assert "O: " in str(error.value) and "sel is 3" in str(error.value)
    assert "H: " not in str(error.value)


def test_error_of_a_hessian(model, frames):
    coords, types = frames
    with (
        DeepPot(model, on_missing_neighbors="error") as pot,
        pytest.raises(InputError, match="frame 1"),
    ):
        pot.eval_hessian(coords, None, types, atoms=[0])


def test_ignored(model, frames, caplog, capfd):
    coords, types = frames
    with DeepPot(model, on_missing_neighbors="ignore") as pot:
        pot.eval(coords, None, types)
        assert "sel is 3" in pot.missing_neighbors
    assert not warnings(caplog)
    assert "neighbours" not in capfd.readouterr().err


def test_warning_comes_again_when_it_gets_worse(model, rng, caplog):
    coords, _, _ = water_like(rng, n_frames=1)
    near = np.linalg.norm(coords[0] - coords[0, 0], axis=1).argsort()[:7]
    oxygen = np.zeros(7, int)
    with DeepPot(model) as pot:
        assert pot.missing_neighbors == ""
        for count in (4, 5, 5, 6):
            pot.eval(coords[:, near[:count]], None, oxygen[:count])
    # with all atoms within the cutoff, the first number of neighbours beyond sel is that of 5 atoms
    assert [w.partition("(")[2].partition(")")[0] for w in warnings(caplog)] == [
        "O: 4, sel is 3",
        "O: 5, sel is 3",
    ]


def test_environment_variable(model, frames, monkeypatch):
    coords, types = frames
    monkeypatch.setenv(VARIABLE, "error")
    with DeepPot(model) as pot, pytest.raises(InputError, match="frame 1"):
        pot.eval(coords, None, types)
    # what is said in the program comes first
    with DeepPot(model, on_missing_neighbors="ignore") as pot:
        pot.eval(coords, None, types)
    monkeypatch.setenv(VARIABLE, "")
    assert missing_rule() == "warn"
    monkeypatch.setenv(VARIABLE, "stop")
    with pytest.raises(InputError, match=f'variable {VARIABLE} is "stop"; expected one of warn'):
        DeepPot(model)
    with pytest.raises(InputError, match=r'on_missing_neighbors.*"Error"'):
        DeepPot(model, on_missing_neighbors="Error")


def test_counts_without_names_of_types():
    found = MissingNeighbors([NeighborLimit("sel[0]", 0, 3), NeighborLimit("sel[1]", 1, 4)], [])
    assert not found.found(np.array([0, 0]), np.array([3, 4])) and found.describe() == ""
    assert found.found(np.array([0, 2]), np.array([3, 6])) and found.describe() == "1: 6, sel is 4"
    assert not found.found(np.array([0, 1]), np.array([3, 5]))


@pytest.fixture(scope="module")
def data(frames, tmp_path_factory):
    coords, types = frames
    folder = tmp_path_factory.mktemp("data") / "system"
    labels = {"energy": np.zeros(2), "force": np.zeros((2, 3 * N))}
    write_system(folder, types=types, type_map=["O", "H"], coord=coords, box=None, **labels)
    return folder


def test_dp_test_warns_and_sums_up(model, data, capsys):
    assert main(["test", "-m", str(model), "-s", str(data)]) == 0
    told = capsys.readouterr().err
    assert "the farthest are left out" in told
    assert "the errors include atoms with more neighbours than the model sees" in told
    assert main(["test", "-m", str(model), "-s", str(data), "--on-missing-neighbors=ignore"]) == 0
    assert "neighbours" not in capsys.readouterr().err


def test_dp_test_stops(model, data, capsys):
    command = ["test", "-m", str(model), "-s", str(data), "--on-missing-neighbors", "error"]
    assert main(command) == 1
    (line,) = (li for li in capsys.readouterr().err.splitlines() if li.startswith("dp: error"))
    assert f"{data}/set.000/coord.npy: frame 1 has an atom with more neighbours" in line
    assert line.endswith('train with a larger sel, or choose "warn" for missing neighbours')


COMMANDS = {
    "eval-desc": ["-o", "new"],
    "model-devi": ["-o", "new.out"],
    "change-bias": [],
}
"""Other commands that evaluate models, and what else they want to be told."""


@pytest.mark.parametrize("command", COMMANDS)
def test_other_commands(command, model, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model_file = freeze(model, tmp_path / "model.pb").path
    models = [str(model_file)] * (2 if command == "model-devi" else 1)
    options = models if command == "change-bias" else ["-m", *models]
    words = [command, *options, "-s", str(data), *COMMANDS[command]]
    before = [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.setenv(VARIABLE, "error")
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "has an atom with more neighbours within the cutoff" in told and "sel is 3" in told
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == before
    monkeypatch.delenv(VARIABLE)
    assert main(words) == 0
    assert "have more neighbours within the cutoff than the model" in capsys.readouterr().err


def test_calculator(model, frames, caplog):
    ase = pytest.importorskip("ase")
    from deepmd_tf.interfaces.ase import DP

    coords, types = frames
    atoms = ase.Atoms(np.array(["O", "H"])[types], coords[1])
    with DP(model, on_missing_neighbors="error") as calculator:
        atoms.calc = calculator
        with pytest.raises(InputError, match="more neighbours"):
            atoms.get_potential_energy()
    with DP(model) as calculator:
        atoms.calc = calculator
        atoms.get_potential_energy()
    assert "the farthest are left out" in caplog.text
