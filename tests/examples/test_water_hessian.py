# SPDX-License-Identifier: BSD-3-Clause
"""The example with Hessians: its data obey what a potential obeys, and its inputs fit them."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf.analysis.vibrations import normal_modes
from deepmd_tf.config import load_input
from deepmd_tf.export.freeze import freeze
from deepmd_tf.inference.testing import run_test
from deepmd_tf.training.entrypoint import train

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "water" / "hessian"
DATA = EXAMPLE / "data"
ATOMS = {"monomer": 3, "dimer": 6, "trimer": 9, "ethanol": 9, "tetramer": 12}
SYSTEMS = sorted(path.relative_to(DATA).as_posix() for path in DATA.glob("*/*"))
INPUTS = sorted(path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.glob("*/input_*.json"))
MASSES = np.array([15.999, 1.008, 12.011])
"""u, of O, H and C."""


def load(system: str) -> dict[str, np.ndarray]:
    """Labels of a system in float64, frame by frame; types."""
    arrays = {
        path.stem: np.load(path).astype(np.float64)
        for path in (DATA / system / "set.000").glob("*.npy")
    }
    n = ATOMS[system.split("/")[1]]
    frames = len(arrays["energy"])
    return {
        "energy": arrays["energy"],
        "coord": arrays["coord"].reshape(frames, n, 3),
        "force": arrays["force"].reshape(frames, n, 3),
        "hessian": arrays["hessian"].reshape(frames, 3 * n, 3 * n),
        "types": np.loadtxt(DATA / system / "type.raw", dtype=int),
    }


def test_folders() -> None:
    trained = {"monomer", "dimer", "trimer", "ethanol"}
    expected = [f"{kind}/{name}" for kind in ("minimum", "test") for name in ATOMS]
    assert sorted([*expected, *(f"train/{name}" for name in trained)]) == SYSTEMS
    files = [path for path in DATA.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6
    assert sum(len(load(system)["energy"]) for system in SYSTEMS) >= 200


@pytest.mark.parametrize("system", SYSTEMS)
def test_labels_obey_symmetry(system: str) -> None:
    have = load(system)
    coord, force, hessian = have["coord"], have["force"], have["hessian"]
    assert all(np.isfinite(values).all() for values in have.values())
    np.testing.assert_array_equal(hessian, hessian.swapaxes(1, 2))
    # Translation: no net force, and moving all atoms together changes none.
    np.testing.assert_allclose(force.sum(axis=1), 0.0, atol=1e-5)
    blocks = hessian.reshape(*hessian.shape[:2], -1, 3)
    np.testing.assert_allclose(blocks.sum(axis=2), 0.0, atol=3e-4)
    # Rotation: forces turn with the molecule, so that -H (w x r) = w x F for each axis w.
    for axis in np.eye(3):
        turned = np.cross(axis, coord).reshape(len(coord), -1)
        change = -np.einsum("fij,fj->fi", hessian, turned)
        expected = np.cross(axis, force).reshape(len(coord), -1)
        np.testing.assert_allclose(change, expected, atol=2e-3)


@pytest.mark.parametrize("name", ATOMS)
def test_minima(name: str) -> None:
    """No forces, and the frequencies that the run wrote down."""
    have = load(f"minimum/{name}")
    assert np.abs(have["force"]).max() < 2e-4
    positions, masses = have["coord"][0], MASSES[have["types"]]
    frequencies = normal_modes(have["hessian"][0], positions, masses).frequencies
    systems = json.loads((DATA / "provenance.json").read_text())["systems"]
    np.testing.assert_allclose(frequencies, systems[name]["frequencies_per_cm"], atol=0.5)
    assert frequencies.min() > 20


@pytest.mark.parametrize("name", [name for name in ATOMS if name != "tetramer"])
def test_held_out_frames_are_others(name: str) -> None:
    """Compared by their distances, since molecules turn: some distance differs by more than this,
    between frames of one trajectory, too."""
    descriptors = []
    for kind in ("train", "test", "minimum"):
        x = load(f"{kind}/{name}")["coord"]
        i, j = np.triu_indices(ATOMS[name], 1)
        descriptors.append(np.linalg.norm(x[:, i] - x[:, j], axis=2))
    every = np.concatenate(descriptors)
    difference = np.abs(every[:, None] - every[None]).max(axis=2)
    np.fill_diagonal(difference, np.inf)
    assert difference.min() > 0.002


def test_page_shows_the_results() -> None:
    assert (EXAMPLE / "results.md").read_text() in (EXAMPLE / "README.md").read_text()


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_differ_only_in_hessians(name: str) -> None:
    """And some in the number of steps; all are understood."""
    load_input(EXAMPLE / name)
    script = json.loads((EXAMPLE / name).read_text())
    other = json.loads((EXAMPLE / name).with_name("input_energy.json").read_text())
    keys = {"start_pref_h", "limit_pref_h", "hessian_mode"}
    assert {k: v for k, v in script["loss"].items() if k not in keys} == other["loss"]
    assert (script["loss"].get("start_pref_h", 0) > 0) == ("_energy" not in name)
    lengths = {"numb_steps", "save_freq", "disp_freq"} if "longer" in name else {}
    for each in (script, other):
        each.pop("loss")
        each["training"] = {k: v for k, v in each["training"].items() if k not in lengths}
    assert script == other
    for section, kind in (("training_data", "train"), ("validation_data", "test")):
        for path in script["training"][section]["systems"]:
            folder = (EXAMPLE / name).parent / path
            assert folder.is_dir() and folder.resolve().parent.name == kind
    assert len(INPUTS) == 10


def write_input(name: str, folder: Path, steps: int) -> None:
    """An input of the example in a folder of its own, with fewer steps."""
    (folder / "data").symlink_to(DATA)
    script = json.loads((EXAMPLE / name).read_text())
    script["training"] |= {"numb_steps": steps, "disp_freq": steps, "save_freq": steps}
    for section in ("training_data", "validation_data"):
        systems = script["training"][section]["systems"]
        script["training"][section]["systems"] = [path[len("../") :] for path in systems]
    (folder / "input.json").write_text(json.dumps(script))


def run(name: str, folder: Path, steps: int) -> Path:
    """Train with an input of the example in a folder of its own; the frozen model."""
    write_input(name, folder, steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train("input.json") == 0
    return freeze(folder / "model.ckpt", folder / "model.pb").path


def test_dry_run(tmp_path: Path, monkeypatch, capsys) -> None:
    write_input("ethanol/input_probe.json", tmp_path, 10_000)
    monkeypatch.chdir(tmp_path)
    assert train("input.json", dry_run=True) == 0
    (errors,) = re.findall(r"first errors +(.*)", capsys.readouterr().out)
    assert re.search(r"\bh \d", errors)


def test_inputs_train(tmp_path: Path) -> None:
    path = run("clusters/input_full.json", tmp_path, 3)
    errors = run_test(path, [str(DATA / "test" / "tetramer")], hessian=True)
    assert 0 < errors.by_name["hessian"].rmse < 100


def test_missing_tblite_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tblite", None)
    with pytest.raises(SystemExit, match=r"tblite\S* is not installed.* pip install tblite ase"):
        runpy.run_path(str(EXAMPLE / "make_data.py"))


@pytest.mark.slow
def test_hessians_are_learned(tmp_path: Path) -> None:
    """What the table of the example says, after a part of its steps."""
    errors = {}
    for way in ("energy", "full", "probe"):
        folder = tmp_path / way
        folder.mkdir()
        path = run(f"ethanol/input_{way}.json", folder, 1000)
        errors[way] = (
            run_test(path, [str(DATA / "test" / "ethanol")], hessian=True).by_name["hessian"].rmse
        )
    assert max(errors["full"], errors["probe"]) < 0.8 * errors["energy"], errors
