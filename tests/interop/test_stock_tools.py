# SPDX-License-Identifier: BSD-3-Clause
"""Tools of stock DeePMD-kit take our checkpoints and frozen files for their own."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest
import stock_wheel
from ase import Atoms
from saved_models import save_checkpoint, water_like
from small_training import write_all_data, write_script
from stock_wheel import KEYS
from water_model import VALID, Water

from deepmd_tf import names
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference.testing import run_test
from deepmd_tf.interfaces.ase import DP
from deepmd_tf.training.entrypoint import train

pytestmark = [*stock_wheel.needs_stock, pytest.mark.timeout(900)]

TOLERANCE = 1e-10

# The calculator of stock, as a user calls it.
ASE = """
import sys
import numpy as np
from ase import Atoms
from deepmd.calculator import DP
given = np.load(sys.argv[2])
result = {}
for name in ("cell", "free"):
    cell = given["cell"] if name == "cell" else None
    symbols = ["OH"[i] for i in given["types"]]
    atoms = Atoms(symbols, given["coords"], cell=cell, pbc=cell is not None)
    atoms.calc = DP(model=sys.argv[1])
    result[name + "_energy"] = atoms.get_potential_energy()
    result[name + "_forces"] = atoms.get_forces()
    if cell is not None:
        result["stress"] = atoms.get_stress(voigt=False)
np.savez("ase.npz", **result)
"""

# A converted model runs without TensorFlow, in NumPy.
NUMPY = """
import sys
import numpy as np
from deepmd.infer import DeepPot
given = np.load(sys.argv[2])
values = DeepPot(sys.argv[1]).eval(given["coords"], given["cells"], given["types"], atomic=True)
np.savez("numpy.npz", **dict(zip(sys.argv[3:], values)))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small training of ours, and its frozen file ``ours.pb``."""
    folder = tmp_path_factory.mktemp("trained")
    write_all_data(folder)
    write_script(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train("input.json") == 0
        freeze(".", "ours.pb")
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(trained, tmp_path / "copy", symlinks=True)


def assert_close(got, expected, label=""):
    for key in expected:
        want = np.reshape(expected[key], np.shape(got[key]))
        error = np.abs(got[key] - want).max() / np.abs(want).max()
        assert error < TOLERANCE, f"{label} {key}: relative difference {error:.1e}"


def evaluate(model, frames):
    with DeepPot(model) as pot:
        return dict(zip(KEYS, pot.eval(*frames, atomic=True), strict=True))


def rows(curve):
    return {line.split()[0]: line for line in curve.read_text().splitlines() if line[0] != "#"}


@pytest.mark.parametrize("option", ["--init-model", "--init-frz-model"])
def test_training_begins_with_our_weights(copied, monkeypatch, option):
    """First row of the learning curve: errors of our weights on the first batch, to all digits."""
    write_script(copied, training={"numb_steps": 4, "disp_freq": 4})
    monkeypatch.chdir(copied)
    model = "ours.pb" if "frz" in option else "model.ckpt"
    stock_wheel.dp(["train", "input.json", option, model], copied)
    theirs = rows(copied / "lcurve.out")
    assert train("input.json", init_model="model.ckpt-20") == 0
    assert rows(copied / "lcurve.out")["0"] == theirs["0"]


def test_training_goes_on(copied):
    """Stock restarts from our checkpoint, with the optimizer's moments, and freezes the result."""
    before = (copied / "lcurve.out").read_text()
    write_script(copied, training={"numb_steps": 24, "disp_freq": 2})
    stock_wheel.dp(["train", "input.json", "--restart", "model.ckpt"], copied)
    stock_wheel.dp(["freeze", "-o", "continued.pb"], copied)
    curve = (copied / "lcurve.out").read_text()
    assert curve.startswith(before)
    added = [line.split() for line in curve[len(before) :].splitlines() if line[0] != "#"]
    assert [int(row[0]) for row in added][-2:] == [22, 24]
    last = [float(line.split()[1]) for line in before.splitlines()[-3:]]
    assert max(float(row[1]) for row in added) < 2 * max(last)
    assert read_model(copied / "continued.pb").script["training"]["numb_steps"] == 24


def test_freeze(trained, rng, tmp_path):
    stock_wheel.dp(["freeze", "-c", str(trained), "-o", "stock.pb"], tmp_path)
    ours, theirs = (read_model(path) for path in (trained / "ours.pb", tmp_path / "stock.pb"))
    assert theirs.model == ours.model and theirs.script == ours.script
    for name, array in theirs.weights.items():
        np.testing.assert_array_equal(array, ours.weights[name], err_msg=name)
    frames = water_like(rng)
    assert_close(evaluate(tmp_path / "stock.pb", frames), evaluate(trained / "ours.pb", frames))


def test_change_bias(copied, rng):
    stock_wheel.dp(["change-bias", "model.ckpt-20", "-b", "-7", "-2.5", "-o", "new.pb"], copied)
    frames = water_like(rng)
    new, old = (evaluate(copied / name, frames) for name in ("new.pb", "ours.pb"))
    bias = read_model(copied / "ours.pb").weights[names.BIAS_ATOM_E]
    shift = (np.array([-7, -2.5]) - bias)[frames[2]]
    old["atom_energy"] = old["atom_energy"] + shift[:, None]
    old["energy"] = old["energy"] + shift.sum()
    assert_close(new, old)


def test_convert_backend(rng, tmp_path):
    """To a file of plain numbers, evaluated in NumPy, and back to a frozen file.

    The cutoff is a number of float32: others are rounded to one with TensorFlow and not in NumPy.
    """
    prefix, _ = save_checkpoint(tmp_path)
    source = str(freeze(prefix, tmp_path / "ours.pb").path)
    stock_wheel.dp(["convert-backend", source, "model.dp"], tmp_path)
    stock_wheel.dp(["convert-backend", "model.dp", "back.pb"], tmp_path)
    coords, cells, types = water_like(rng)
    np.savez(tmp_path / "given.npz", coords=coords, cells=cells, types=types)
    stock_wheel.run(["-c", NUMPY, "model.dp", "given.npz", *KEYS], tmp_path)
    ours = evaluate(source, (coords, cells, types))
    with np.load(tmp_path / "numpy.npz") as result:
        # no derivatives there
        assert_close(result, {key: ours[key] for key in ("energy", "atom_energy")}, "NumPy")
    assert_close(evaluate(tmp_path / "back.pb", (coords, cells, types)), ours, "back")


def test_ase_calculator(water: Water, frames, tmp_path):
    coords, cell, types = frames["coords"][1], frames["cells"][1], frames["types"]
    np.savez(tmp_path / "given.npz", coords=coords, cell=cell, types=types)
    stock_wheel.run(["-c", ASE, str(water.ours), "given.npz"], tmp_path)
    with DeepPot(water.checkpoint()) as pot:
        periodic = pot.eval(coords[None], cell.reshape(1, 9), types)
        free = pot.eval(coords[None], None, types)
    stress = -0.5 * (periodic[2].reshape(3, 3) + periodic[2].reshape(3, 3).T)
    expected = {
        "cell_energy": periodic[0][0, 0],
        "cell_forces": periodic[1][0],
        "free_energy": free[0][0, 0],
        "free_forces": free[1][0],
        "stress": stress / np.linalg.det(cell),
    }
    with np.load(tmp_path / "ase.npz") as result:
        assert_close(result, expected)
        for name in ("cell", "free"):
            box = cell if name == "cell" else None
            symbols = ["OH"[i] for i in types]
            atoms = Atoms(symbols, coords, cell=box, pbc=box is not None)
            with DP(water.ours) as atoms.calc:
                ours = {
                    f"{name}_energy": atoms.get_potential_energy(),
                    f"{name}_forces": atoms.get_forces(),
                }
                if box is not None:
                    ours["stress"] = atoms.get_stress(voigt=False)
            assert_close(result, ours, "our calculator")


def test_dp_test(water: Water, tmp_path, caplog):
    """The trained model on labelled water: printed errors and detail files of both programs."""
    caplog.set_level(logging.INFO, "deepmd_tf")
    system = str(VALID)
    arguments = ["test", "-m", str(water.ours), "-s", system, "-n", "5", "-d", "stock"]
    printed = stock_wheel.dp(arguments, tmp_path)
    run_test(water.ours, [system], n_frames=5, detail_prefix=tmp_path / "ours")
    mine = [r.getMessage() for r in caplog.records if r.name == "deepmd_tf.inference.testing"]
    stock, ours = (
        {line.split(":")[0]: line.split()[-2] for line in lines if "MAE" in line or "RMSE" in line}
        for lines in (printed, mine)
    )
    assert len(ours) == len(stock) >= 12
    for key, value in ours.items():
        assert float(value) == pytest.approx(float(stock[key]), rel=2e-6), key
    files = sorted(path.suffixes[0] for path in tmp_path.glob("stock.*.out"))
    assert ".f" in files and ".v_peratom" in files
    for suffix in files:
        a, b = (np.loadtxt(tmp_path / f"{name}{suffix}.out") for name in ("ours", "stock"))
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())


def test_stored_script_is_one_for_stock(trained):
    """What is stored in the file is an input script that stock reads: compress builds from it."""
    stock_wheel.dp(["compress", "-i", "ours.pb", "-o", "compressed.pb", "-s", "0.1"], trained)
    script = json.loads((trained / "compress.json").read_text())
    assert script["model"]["descriptor"]["sel"] == [12, 20]
