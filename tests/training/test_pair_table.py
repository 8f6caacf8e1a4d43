# SPDX-License-Identifier: BSD-3-Clause
"""Trainings with a table of pair potentials: restarts, files, messages, dynamics."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import small
from small_training import write_all_data, write_script

from deepmd_tf import names
from deepmd_tf.cli.main import main
from deepmd_tf.config import ModelConfig
from deepmd_tf.errors import CheckpointError, InputError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.pair_table.zbl import write_zbl_table
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.pair_table import find_pair_tables

from .checkpoints import assert_same_bits, evaluate, frame, variables

KEYS = {"use_srtab": "zbl.tab", "smin_alpha": 0.1, "sw_rmin": 1.0, "sw_rmax": 2.0}
SCRIPT = small.script(
    model=KEYS,
    learning_rate={"decay_steps": 2},
    training={"numb_steps": 4, "disp_freq": 1, "save_freq": 2},
)


def write_table(folder: Path, scale: float = 1.0) -> None:
    write_zbl_table(folder / "zbl.tab", ["O", "H"], rmin=0.01, rmax=3.0, step=0.01, rswitch=1.5)
    if scale != 1.0:
        table = np.loadtxt(folder / "zbl.tab")
        table[:, 1:] *= scale
        np.savetxt(folder / "zbl.tab", table)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    write_all_data(folder)
    write_table(folder)
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert train(write_script(folder, SCRIPT)) == 0
        freeze(".", "stock.pb")
    finally:
        os.chdir(before)
    return folder


def test_all_files_of_a_model_agree(finished, tmp_path):
    expected = evaluate(finished / "model.ckpt-4")
    freeze(finished / "model.ckpt-4", tmp_path / "native.pb", dialect="native")
    for path in (finished / "stock.pb", tmp_path / "native.pb"):
        for one, other in zip(evaluate(path), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())
    info = read_model(finished / "stock.pb").weights[names.TAB_INFO]
    # up to rcut, 3.4 Å
    np.testing.assert_allclose(info, [0.01, 0.01, 339, 2])


@pytest.mark.parametrize("there", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_restart_is_exact_with_and_without_the_file(finished, tmp_path, monkeypatch, caplog, there):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    if not there:
        (folder / "zbl.tab").unlink()
    for path in folder.glob("model.ckpt-4.*"):
        path.unlink()
    with caplog.at_level(logging.INFO):
        assert train("input.json", restart="model.ckpt-2") == 0
    assert (folder / "lcurve.out").read_bytes() == (finished / "lcurve.out").read_bytes()
    assert_same_bits(variables("model.ckpt"), variables(finished / "model.ckpt-4"))
    assert ("the table of pair potentials is that of" in caplog.text) is not there


def test_weights_that_were_trained_with_another_table_are_refused(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    write_table(tmp_path / "copy", 1.1)
    with pytest.raises(CheckpointError, match=r"another table of pair potentials than zbl\.tab"):
        train("input.json", init_model="model.ckpt-4")
    write_table(tmp_path / "copy")
    other = small.script(model=KEYS | {"sw_rmax": 1.9, "srtab_add_bias": False})
    with pytest.raises(CheckpointError) as caught:
        train(write_script(tmp_path / "copy", other), init_model="model.ckpt-4")
    assert "sw_rmax is 1.9 in the input script, 2.0 in the checkpoint" in str(caught.value)
    assert "srtab_add_bias is false in the input script" in str(caught.value)
    with pytest.raises(CheckpointError, match=r'use_srtab is null .*"zbl\.tab" in the checkpoint'):
        train(write_script(tmp_path / "copy", small.script()), init_model="model.ckpt-4")


@pytest.mark.slow
def test_start_from_a_frozen_model(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    script = small.script(model=KEYS, training={"numb_steps": 0})
    assert train(write_script(tmp_path / "copy", script), init_frz_model="stock.pb") == 0
    for one, other in zip(evaluate("model.ckpt-0"), evaluate("stock.pb"), strict=True):
        np.testing.assert_array_equal(one, other)
    os.unlink("zbl.tab")
    script["model"].pop("use_srtab")
    for key in ("smin_alpha", "sw_rmin", "sw_rmax"):
        script["model"].pop(key)
    assert train(write_script(tmp_path / "copy", script), finetune="stock.pb") == 0
    before, after = (read_model(path) for path in ("stock.pb", "model.ckpt-0"))
    assert after.model.use_srtab == "zbl.tab"
    np.testing.assert_array_equal(before.weights[names.TAB_DATA], after.weights[names.TAB_DATA])
    assert (before.weights[names.BIAS_ATOM_E] != after.weights[names.BIAS_ATOM_E]).any()


def test_what_is_said_of_the_table(finished, tmp_path, monkeypatch, caplog, capsys):
    shutil.copytree(finished / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path)
    lines = (tmp_path / "zbl.tab").read_text().splitlines()
    words = lines[100].split()
    lines[100] = " ".join([words[0], words[1], "-" + words[2], words[3]])
    (tmp_path / "zbl.tab").write_text("\n".join(lines))
    path = write_script(tmp_path, SCRIPT, model=KEYS | {"sw_rmin": 0.005})
    script = json.loads(path.read_text())
    script["model"] = SCRIPT["model"] | {"sw_rmin": 0.005}
    path.write_text(json.dumps(script))
    assert main(["--tf", "train", "input.json", "--dry-run"]) == 0
    said = caplog.text + capsys.readouterr().err
    assert "zbl.tab: 0.01 to 3 Å in steps of 0.01 Å, columns O-O, O-H, H-H in this order" in said
    assert "zbl.tab, line 101, column 3: the energy -" in said
    assert "begins at 0.01 Å, above model.sw_rmin (0.005 Å)" in said


@pytest.mark.parametrize(
    ("unit", "keys", "said"),
    [
        (1e-10, {}, r"are 1e-12 Å apart, and up to rcut .* more than 1000000; distances are in Å"),
        (0.1, {}, r"ends at 0\.3 Å, below model\.sw_rmin \(1 Å\), .* distances are in Å"),
        (20.0, {"sw_rmin": 0.1, "sw_rmax": 0.2}, r"begins at 0\.2 Å, but .*sw_rmax, 0\.2 Å"),
    ],
)
def test_tables_in_other_units_are_refused(tmp_path, monkeypatch, unit, keys, said):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path)
    table = np.loadtxt("zbl.tab")
    table[:, 0] *= unit
    np.savetxt("zbl.tab", table)
    model = ModelConfig.from_dict(small.script(model=KEYS | keys)["model"])
    with pytest.raises(InputError, match=said):
        find_pair_tables(model, ["O", "H"], 2, None)


def test_a_table_that_ends_in_the_switch(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path)
    model = ModelConfig.from_dict(small.script(model=KEYS | {"sw_rmax": 3.2})["model"])
    assert find_pair_tables(model, ["O", "H"], 2, None) is not None
    assert "ends at 3 Å, below model.sw_rmax (3.2 Å)" in caplog.text


def test_close_atoms_in_a_frame(finished, caplog):
    """Below the table a message; above it the repulsion of the table, and no warning."""
    coord, cell, types = frame()
    with DeepPot(finished / "stock.pb") as pot:
        coord[0, 2] = coord[0, 5] + [0.0, 0.3, 0.0]
        _, force, _, per_atom, _ = pot.eval(coord, cell, types, atomic=True)
        table = np.loadtxt(finished / "zbl.tab")
        bias = read_model(finished / "stock.pb").weights[names.BIAS_ATOM_E]
        pair = table[29, 3]  # of H-H at 0.3 Å
        for atom in (2, 5):
            assert per_atom[0, atom, 0] == pytest.approx(
                0.5 * pair + bias[1], abs=0.6
            )  # and others
        assert force[0, 2, 1] > 50 and force[0, 5, 1] < -50
        assert "much closer" not in caplog.text
        coord[0, 2] = coord[0, 5] + [0.0, 0.005, 0.0]
        with pytest.raises(InputError) as caught:
            pot.eval(coord, cell, types)
    assert str(caught.value).startswith(
        "frame 0 has atoms 2 and 5 0.005 Å apart, but the table of the pair potential begins at"
    )


def test_products_with_hessians_are_differences_of_forces(finished):
    coord, cell, types = frame()
    direction = np.random.default_rng(3).normal(size=(1, 1, len(types), 3))
    with DeepPot(finished / "stock.pb") as pot:
        found = pot.eval_hessian_vector(coord, cell, types, direction)
        whole = pot.eval_hessian(coord, cell, types)
        h = 2e-5
        up, down = (pot.eval(coord + s * direction[:, 0], cell, types)[1] for s in (h, -h))
    expected = -(up - down) / (2 * h)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.ravel(found), np.ravel(expected), rtol=0, atol=1e-6 * scale)
    product = whole.reshape(len(types) * 3, -1) @ direction.ravel()
    np.testing.assert_allclose(product, np.ravel(found), rtol=0, atol=1e-9 * scale)


ACCELERATION = 9648.5332
"""Å/ps² for 1 eV/Å on 1 u."""


def constant_energy(model: Path, step: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Molecular dynamics from rest by velocity Verlet, ``step`` in ps: total energy in eV and
    smallest distance in Å of each step."""
    coord, cell, types = frame()
    mass = np.array([15.999, 1.008])[types][:, None]
    velocity, edge = np.zeros_like(coord), cell[0, 0, 0]
    totals, nearest = [], []
    with DeepPot(model) as pot:
        energy, force, _ = pot.eval(coord, cell, types)
        for _ in range(steps):
            velocity += 0.5 * step * ACCELERATION * force / mass
            coord = coord + step * velocity
            energy, force, _ = pot.eval(coord, cell, types)
            velocity += 0.5 * step * ACCELERATION * force / mass
            kinetic = 0.5 * (mass * velocity[0] ** 2).sum() / ACCELERATION
            totals.append(float(energy[0, 0] + kinetic))
            x = coord[0, :, None] - coord[0]
            r = np.linalg.norm(x - edge * np.round(x / edge), axis=-1)
            nearest.append((r + 100 * np.eye(len(types))).min(axis=1))
    return np.array(totals), np.array(nearest)


@pytest.mark.parametrize("steps", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_dynamics_through_the_switch_conserve_the_energy(finished, steps):
    """The error of the integrator, which falls as the square of the step, and no other."""
    fine, nearest = constant_energy(finished / "stock.pb", 1e-4, 2 * steps)
    coarse, _ = constant_energy(finished / "stock.pb", 2e-4, steps)
    visited = (nearest > KEYS["sw_rmin"]) & (nearest < KEYS["sw_rmax"])
    assert visited.any(axis=1).sum() > steps / 2 and (nearest > KEYS["sw_rmax"]).any()
    ripple = np.ptp(coarse), np.ptp(fine)
    assert ripple[0] < 1e-2 and ripple[0] / ripple[1] > 3.0, ripple
