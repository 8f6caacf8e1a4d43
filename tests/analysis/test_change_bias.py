# SPDX-License-Identifier: BSD-3-Clause
"""Models with another energy bias: what changes, and that nothing else does."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from saved_models import constants_graph, save_checkpoint, small_input, water_like
from stock_wheel import log_lines

from deepmd_tf import names
from deepmd_tf.analysis.change_bias import change_bias
from deepmd_tf.cli.main import main
from deepmd_tf.data import DataSystem
from deepmd_tf.export.freeze import freeze
from deepmd_tf.fields import ENERGY
from deepmd_tf.graph.frozen import read_graph, read_model, read_variables, write_graph
from deepmd_tf.infer import DeepPot
from deepmd_tf.pair_table.zbl import zbl_table


@pytest.fixture
def work(folder, tmp_path, monkeypatch):
    """A copy of models and data, the working directory."""
    shutil.copytree(folder, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def bias_of(path) -> np.ndarray:
    return read_model(path).weights[names.BIAS_ATOM_E]


def errors(path, system="data/train/cell") -> np.ndarray:
    """Label minus energy of the model."""
    data = DataSystem(system, ["O", "H"], fields=[ENERGY], sort_atoms=False)
    with DeepPot(path) as pot:
        return np.concatenate(
            [
                b.arrays["energy"]
                - pot.eval(b.arrays["coord"], b.arrays["box"] if data.pbc else None, data.types)[0][
                    :, 0
                ]
                for b in data.batches()
            ]
        )


def test_frozen_file(work, capsys):
    before = errors("1.pb")
    assert main(["change-bias", "1.pb", "-s", "data/train"]) == 0
    lines = log_lines(capsys.readouterr().err)
    assert lines[:2] == [
        "Changing bias for model with type_map: ['O', 'H']",
        "Using bias adjustment mode: change-by-statistic",
    ]
    assert lines[-1] == "Bias changing complete. Model saved to 1_updated.pb"
    old, new = bias_of("1.pb"), bias_of("1_updated.pb")
    assert any(f"energy bias of O: {new[0]:.6f} eV, was {old[0]:.6f} eV" in x for x in lines)
    # O₂H₄: one composition, so the shift is along it
    assert (new - old)[1] == pytest.approx(2 * (new - old)[0])
    after = errors("1_updated.pb")
    np.testing.assert_allclose(after, before - (2, 4) @ (new - old), atol=1e-10)
    total = np.concatenate([errors("1_updated.pb", f"data/train/{s}") for s in ("cell", "free")])
    assert abs(total.mean()) < 1e-10 < abs(before.mean())


@pytest.mark.parametrize("native", [False, True])
def test_only_one_node_of_a_frozen_file_differs(work, native):
    freeze("1", "frozen.pb", dialect="native" if native else "stock")
    change_bias("frozen.pb", bias=[1.5, -2.5], output="given.pb")
    old, new = read_graph("frozen.pb"), read_graph("given.pb")
    different = [a.name for a, b in zip(old.node, new.node, strict=True) if a != b]
    assert different == [names.BIAS_ATOM_E]
    np.testing.assert_array_equal(bias_of("given.pb"), [1.5, -2.5])
    # the graph itself, not only what is read from it, has the new bias
    users = [n for n in new.node if any(i.startswith(names.BIAS_ATOM_E) for i in n.input)]
    assert users


def test_checkpoint(work):
    before = {name: array for name, array in read_model("1").weights.items()}
    (work / "1" / "input.json").write_text("{}")
    arguments = ["1/model.ckpt-100", "-s", "data/train", "-m", "set", "-n", "3"]
    assert main(["change-bias", *arguments]) == 0
    updated = "1/model.ckpt-100_updated"
    after = read_model(updated).weights
    assert {n for n in before if not np.array_equal(before[n], after[n])} == {names.BIAS_ATOM_E}
    energies = [
        batch.arrays["energy"]
        for system in ("cell", "free")
        for batch in DataSystem(f"data/train/{system}", fields=[ENERGY]).batches(limit=3)
    ]
    mean = np.concatenate(energies).mean()
    np.testing.assert_allclose(after[names.BIAS_ATOM_E], mean / 20 * np.array([2, 4]))
    np.testing.assert_array_equal(bias_of("1/model.pb"), after[names.BIAS_ATOM_E])
    one, other = (
        read_variables(work / folder / "model.ckpt-100", lambda name: True)
        for folder in ("1", updated)
    )
    assert set(one) == set(other) and "global_step" in one
    assert (work / updated / "input.json").read_text() == "{}"


def test_checkpoint_of_a_model_without_a_form_for_deepmd_kit(tmp_path):
    """The frozen file is native."""
    script = small_input({"type": "se_atten_v2", "sel": 40, "attn_layer": 0})
    script["model"] |= {"use_srtab": "t", "smin_alpha": 0.1, "sw_rmin": 0.5, "sw_rmax": 1.0}
    table = zbl_table(["O", "H"], rmin=0.05, rmax=4.0, step=0.05, rswitch=1.0).coefficients()
    prefix, _ = save_checkpoint(tmp_path, script, pair_table=table)
    written = change_bias(prefix, bias=[-1.0, -2.0], output=tmp_path / "new.pb")
    model = read_model(written)
    assert model.dialect == "native"
    np.testing.assert_array_equal(model.weights[names.BIAS_ATOM_E], [-1.0, -2.0])


def test_folder_stands_for_its_newest_checkpoint(work, monkeypatch):
    change_bias("1", bias=[0.0, 1.0])
    assert (work / "1.pb").is_file()
    assert sorted(p.name for p in (work / "1" / "1_updated").iterdir()) == [
        "1.data-00000-of-00001",
        "1.index",
        "1.manifest.json",
        "1.meta",
        "checkpoint",
    ]
    np.testing.assert_array_equal(bias_of("1/1_updated"), [0.0, 1.0])
    monkeypatch.chdir(work / "2")
    change_bias(".", bias=[2.0, 3.0])
    np.testing.assert_array_equal(bias_of("2_updated/2"), [2.0, 3.0])
    np.testing.assert_array_equal(bias_of("2.pb"), [2.0, 3.0])


def test_shift_that_stock_files_hold_elsewhere(work, rng):
    """The bias is what is added to an atom, wherever the file has it."""
    _, weights = save_checkpoint(work)
    weights[names.OUT_BIAS] = np.array([[[0.5], [0.25]]])
    weights[names.OUT_STD] = np.array([[[2.0], [3.0]]])
    write_graph(constants_graph(weights), work / "shifted.pb")
    change_bias("shifted.pb", bias=[7.0, 8.0], output="new")
    np.testing.assert_allclose(bias_of("new.pb"), [7.0, 8.0])
    coords, cells, types = water_like(rng)
    old = bias_of("shifted.pb")
    with DeepPot("shifted.pb") as one, DeepPot("new.pb") as other:
        energies = [pot.eval(coords, cells, types)[0] for pot in (one, other)]
    shift = np.bincount(types) @ (np.array([7.0, 8.0]) - old)
    np.testing.assert_allclose(energies[1] - energies[0], shift, rtol=1e-10)


def test_graph_that_is_run_as_it_is(work, rng, capsys):
    """Without its input script a file cannot be rebuilt; its bias can be changed all the same."""
    freeze("1", "frozen.pb")
    graph = read_graph("frozen.pb")
    for node in list(graph.node):
        if node.name == names.TRAINING_SCRIPT:
            graph.node.remove(node)
    write_graph(graph, work / "bare.pb")
    coords, cells, types = water_like(rng)
    change_bias("bare.pb", bias=[1.0, 2.0])
    with DeepPot("bare.pb") as one, DeepPot("bare_updated.pb") as other:
        before, after = (pot.eval(coords, cells, types) for pot in (one, other))
    shift = np.bincount(types) @ (np.array([1.0, 2.0]) - bias_of("1.pb"))
    np.testing.assert_allclose(after[0] - before[0], shift, rtol=1e-10)
    np.testing.assert_array_equal(after[1], before[1])
    assert main(["show", "bare.pb", "type-map"]) == 0
    assert main(["show", "bare.pb", "type-map", "size"]) == 1
    assert "bare.pb: the input script" in capsys.readouterr().err


def test_single_precision_stays_single(work):
    _, weights = save_checkpoint(work)
    single = {name: np.float32(array) for name, array in weights.items()}
    write_graph(constants_graph(single), work / "single.pb")
    change_bias("single.pb", bias=[1.1, 2.2])
    assert bias_of("single_updated.pb").dtype == np.float32
