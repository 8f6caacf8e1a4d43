# SPDX-License-Identifier: BSD-3-Clause
"""Models of tensors and of densities of states are those of DeePMD-kit: first weights, training,
files in both directions, ``dp test``, compression, LAMMPS."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stock_lammps
import stock_wheel
from saved_models import water_like
from small_training import add_tensors, tensor_sections, write_all_data

from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepDOS, DeepPotential
from deepmd_tf.inference.testing import run_test
from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

TOLERANCE = 1e-10
"""Of the largest number of a quantity."""
COMMON = {"sel": [12, 20], "rcut": 4.0, "rcut_smth": 0.5, "neuron": [4, 8], "seed": 1}
SE_E2_A = COMMON | {"type": "se_e2_a", "axis_neuron": 3}
TYPES = {"neuron": [3], "seed": 5}
CASES: dict[str, dict[str, Any]] = {
    "dipole": {"descriptor": SE_E2_A, **tensor_sections("dipole")},
    "dipole se_atten": {
        "descriptor": COMMON | {"type": "se_atten", "sel": 30, "attn": 4, "attn_layer": 1},
        "type_embedding": TYPES,
        **tensor_sections("dipole"),
    },
    "polar": {"descriptor": SE_E2_A, **tensor_sections("polar", scale=[2.0, 3.0])},
    "polar type embedding": {
        "descriptor": SE_E2_A,
        "type_embedding": TYPES,
        **tensor_sections("polar", fit_diag=False, sel_type=None, scale=[2.0, 3.0]),
    },
    "dos": {"descriptor": SE_E2_A, **tensor_sections("dos")},
}
COMPRESSIBLE = ("dipole", "polar", "dos")
EVAL = """
import json, sys
import numpy as np
from deepmd.infer.deep_dipole import DeepDipole
from deepmd.infer.deep_dos import DeepDOS
from deepmd.infer.deep_polar import DeepPolar

classes = {"dipole": DeepDipole, "polar": DeepPolar, "dos": DeepDOS}
given, result = np.load("given.npz"), {}
for number, file in enumerate(json.loads(sys.argv[2])):
    model = classes[sys.argv[1]](file)
    call = model.eval if sys.argv[1] == "dos" else model.eval_full
    found = call(given["coords"], given["cells"], given["types"], atomic=True)
    result |= {f"{number}_{k}": array for k, array in enumerate(found)}
np.savez("result.npz", **result)
"""


def script(case: str) -> dict[str, Any]:
    model = {key: value for key, value in CASES[case].items() if key != "loss"}
    return {
        "model": {"type_map": ["O", "H"], **model},
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 10},
        "loss": CASES[case]["loss"],
        "training": {
            "training_data": {"systems": ["data/train"], "batch_size": 1},
            "numb_steps": 5,
            "disp_freq": 1,
            "seed": 10,
        },
    }


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, once: Callable[..., Path]) -> tuple[str, Path]:
    """Name of the case, and folder with what both programs made of it."""
    name = request.param

    def make(folder: Path) -> None:
        for part in ("ours", "stock"):
            (folder / part).mkdir()
            write_all_data(folder / part)
            add_tensors(folder / part)
            text = script(name)
            if name == "polar type embedding":  # all atoms have one, which the data do not
                text["loss"] |= {"pref_atomic": 0.0}
                for path in (folder / part).glob("data/*/*/set.*/atomic_pol*"):
                    path.unlink()
            (folder / part / "input.json").write_text(json.dumps(text))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder / "ours")
            assert train("input.json") == 0
            freeze("model.ckpt-5", "model.pb")
            freeze("model.ckpt-5", "native.pb", dialect="native")
            if name in COMPRESSIBLE:
                compress("model.pb", "compressed.pb")
        commands = [["train", "input.json"], ["freeze", "-o", "model.pb"]]
        commands.append(["freeze", "-c", "../ours", "-o", "checkpoint.pb"])
        if name in COMPRESSIBLE:
            commands.append(["compress", "-i", "../ours/model.pb", "-o", "compressed.pb"])
        stock_wheel.dp_each(commands, folder / "stock")

    return name, once(f"tensor_{name.replace(' ', '_')}", make)


@pytest.fixture(scope="module")
def frames() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return water_like(np.random.default_rng(5), n_frames=2)


def ours(path: Path, frames: tuple) -> tuple[np.ndarray, ...]:
    with DeepPotential(path) as model:
        call = model.eval if isinstance(model, DeepDOS) else model.eval_full
        return call(*frames, atomic=True)


@pytest.fixture(scope="module")
def theirs(trained, frames, tmp_path_factory) -> dict[str, list[np.ndarray]]:
    """What DeePMD-kit makes of each file, by its name in the folder."""
    name, folder = trained
    exchange = tmp_path_factory.mktemp("theirs")
    np.savez(exchange / "given.npz", **dict(zip(("coords", "cells", "types"), frames, strict=True)))
    files = [*folder.glob("*/model.pb"), *folder.glob("*/compressed.pb")]
    stock_wheel.run(["-c", EVAL, name.split()[0], json.dumps([*map(str, files)])], exchange)
    with np.load(exchange / "result.npz") as found:
        numbers = range(len(found.files) // len(files))
        return {
            str(file.relative_to(folder)): [found[f"{k}_{i}"] for i in numbers]
            for k, file in enumerate(files)
        }


def assert_same(found: Any, expected: Any, file: str) -> None:
    assert len(found) == len(expected)
    for number, (got, want) in enumerate(zip(found, expected, strict=True)):
        assert got.shape == want.shape
        error = np.abs(got - want).max() / np.abs(want).max()
        assert error <= TOLERANCE, (file, number, error)


def test_learning_curve(trained):
    """First weights, statistics and steps; the last printed digit may be rounded otherwise."""
    paths = [trained[1] / part / "lcurve.out" for part in ("ours", "stock")]
    curves = [np.loadtxt(path) for path in paths]
    assert paths[0].read_text().splitlines()[0] == paths[1].read_text().splitlines()[0]
    assert curves[0].shape == curves[1].shape == (6, curves[0].shape[1])
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.011)


def test_files_of_both(trained, theirs, frames):
    for file, expected in theirs.items():
        assert_same(ours(trained[1] / file, frames), expected, file)


def test_checkpoints_of_both(trained, theirs, frames):
    folder = trained[1]
    for file, part in (("model.ckpt-5", "stock"), ("checkpoint.pb", "ours")):
        found = ours(folder / "stock" / file, frames)
        assert_same(found, theirs[f"{part}/model.pb"], file)


def test_dp_test(trained, monkeypatch, caplog, tmp_path):
    """The same lines, and the same detail files."""
    name, folder = trained
    if name not in COMPRESSIBLE:
        pytest.skip("another one of its kind is tested")
    monkeypatch.chdir(tmp_path)
    model, data = folder / "stock/model.pb", folder / "stock/data/valid/cell"
    for atomic in (False, True):
        caplog.clear()
        caplog.set_level("INFO")
        run_test(model, [str(data)], detail_prefix="ours", atomic=atomic)
        arguments = ["test", "-m", str(model), "-s", str(data), "-d", "theirs", *["-a"] * atomic]
        lines = [line for line in stock_wheel.dp(arguments, tmp_path) if " : " in line]
        said = [line.getMessage() for line in caplog.records]
        assert lines and [line for line in lines if line not in said] == []
        for path in sorted(tmp_path.glob("theirs*")):
            mine = path.with_name(path.name.replace("theirs", "ours"))
            np.testing.assert_allclose(np.loadtxt(mine), np.loadtxt(path), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("ranks", [1, 2])
def test_dynamics(trained, frames, tmp_path, ranks: int):
    """``compute deeptensor/atom`` of our file, whose ghosts come from other ranks."""
    name, folder = trained
    if name not in ("dipole", "polar", "dipole se_atten"):
        pytest.skip("another one of its kind is run")
    coords, _, types = frames
    cell = 7.0 * np.eye(3)
    coords = coords[0] - coords[0].min(axis=0)
    model = folder / "ours" / "model.pb"
    case = stock_lammps.Case(model, coords, cell, types)
    case.write_data(tmp_path / "one.data")
    text = f"""
units metal
atom_style atomic
boundary p p p
read_data one.data
pair_style zero 4.0
pair_coeff * *
compute tensor all deeptensor/atom {model}
dump atoms all custom 1 one.dump id c_tensor[*]
dump_modify atoms sort id format float %.17g
run 0
"""
    stock_lammps.run(text, tmp_path, ranks)
    found = np.loadtxt(tmp_path / "one.dump", skiprows=9)[:, 1:]
    with DeepPotential(model) as pot:
        expected = pot.eval(coords[None], cell[None], types)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
