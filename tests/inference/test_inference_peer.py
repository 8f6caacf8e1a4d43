# SPDX-License-Identifier: BSD-3-Clause
"""Models that the stock wheel trained, and its dp test, line by line."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pytest
import stock_wheel
from saved_models import small_input, water_like

from deepmd_tf.data import write_system
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference.testing import run_test

pytestmark = stock_wheel.needs_stock

LABELS = {
    "bulk": ("energy", "force", "virial", "atom_ener", "atom_pref"),
    "molecule": ("energy", "force", "atom_ener"),
    "no_virial": ("energy", "force", "atom_ener"),
    "no_force": ("energy", "virial", "atom_ener"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data with random labels, and a model that the stock wheel trained on them for some steps."""
    root = tmp_path_factory.mktemp("stock")
    rng = np.random.default_rng(5)
    for name, items in LABELS.items():
        coords, cells, types = water_like(rng, n_frames=4)
        labels = {
            "energy": -180.0 + rng.normal(size=4),
            "force": rng.normal(size=coords.shape),
            "virial": rng.normal(size=(4, 9)),
            "atom_ener": rng.normal(size=(4, 24)) - 7.5,
            "atom_pref": rng.uniform(0, 2, (4, 24)),
        }
        write_system(
            root / "data" / name,
            types=1 - types,
            type_map=["H", "O"],
            coord=coords,
            box=None if name == "molecule" else cells,
            frames_per_set=3,
            **{item: labels[item] for item in items},
        )
    script = small_input(descriptor={"sel": [24, 40]})
    script["training"] |= {
        "training_data": {"systems": ["data/bulk"], "batch_size": 1},
        "numb_steps": 20,
        "seed": 1,
        "disp_freq": 10,
        "save_freq": 10,
    }
    (root / "input.json").write_text(json.dumps(script))
    stock_wheel.dp(["train", "input.json"], root)
    stock_wheel.dp(["freeze", "-o", "stock.pb"], root)
    freeze(root / "model.ckpt", root / "ours.pb")
    return root


def test_stock_checkpoint_and_stock_file_hold_one_model(folder):
    checkpoint, frozen = (read_model(folder / name) for name in ("model.ckpt", "stock.pb"))
    assert checkpoint.script == frozen.script
    assert checkpoint.min_nbor_dist == frozen.min_nbor_dist
    assert set(checkpoint.weights) == set(frozen.weights)
    for name, array in frozen.weights.items():
        np.testing.assert_array_equal(checkpoint.weights[name], array)


@pytest.mark.parametrize("model", ["stock.pb", "ours.pb"])
def test_stock_model_in_our_deep_pot(folder, tmp_path, rng, model):
    coords, cells, types = water_like(rng)
    cases = [(coords, cells, types), (coords, None, types)]
    results = stock_wheel.evaluate(folder / model, tmp_path, cases)
    with DeepPot(folder / "stock.pb") as pot:
        for frames, stock in zip(cases, results, strict=True):
            ours = pot.eval(*frames, atomic=True)
            for key, value in zip(stock_wheel.KEYS, ours, strict=True):
                assert value.shape == stock[key].shape and value.dtype == stock[key].dtype
                scale = np.abs(stock[key]).max()
                np.testing.assert_allclose(value, stock[key], rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("periodic", [True, False])
def test_hessian_of_a_stock_model(folder, tmp_path, rng, periodic):
    """Against differences of the forces that stock computes with its own file."""
    coords, cells, types = water_like(rng, n_atoms=12)
    step, size = 1e-4, coords[0].size
    moved = coords[0].ravel() + step * np.concatenate([np.eye(size), -np.eye(size)])
    moved = moved.reshape(-1, *coords.shape[1:])
    boxes = np.tile(cells[:1], (2 * size, 1)) if periodic else None
    (stock,) = stock_wheel.evaluate(folder / "stock.pb", tmp_path, [(moved, boxes, types)])
    up, down = stock["force"].reshape(2, size, size)
    expected = (down - up) / (2 * step)
    with DeepPot(folder / "stock.pb") as pot:
        hessian = pot.eval_hessian(coords[:1], cells[:1] if periodic else None, types)[0]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(hessian.reshape(size, size), expected, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("options", [[], ["-n", "2"], ["-a"]])
def test_log_and_detail_files_of_dp_test(folder, tmp_path, caplog, options):
    """The same lines and files, up to rounding of the last printed digit."""
    caplog.set_level(logging.INFO, "deepmd_tf")
    systems = [f"data/{name}" for name in LABELS]
    (folder / "systems.txt").write_text("".join(f"{s}\n" for s in systems))
    detail = ["-d", str(tmp_path / "stock")]
    expected = stock_wheel.dp(
        ["test", "-m", "stock.pb", "-f", "systems.txt", *detail, *options], folder
    )
    expected = expected[expected.index("# ---------------output of dp test--------------- ") :]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_test(
            "stock.pb",
            systems,
            n_frames=2 if "-n" in options else 0,
            atomic="-a" in options,
            detail_prefix=tmp_path / "ours",
        )
    got = [r.getMessage() for r in caplog.records if r.name == "deepmd_tf.inference.testing"]
    # the last line is ours alone: which labels are missing, here of the virial
    assert got.pop().startswith("# compared only where there are labels: virial.npy")
    assert len(got) == len(expected)
    for ours, stock in zip(got, expected, strict=True):
        assert_same_line(ours, stock)
    files = sorted(path.name.removeprefix("stock") for path in tmp_path.glob("stock.*"))
    assert files == sorted(path.name.removeprefix("ours") for path in tmp_path.glob("ours.*"))
    for suffix in files:
        ours, stock = ((tmp_path / f"{name}{suffix}") for name in ("ours", "stock"))
        assert ours.read_text().splitlines()[0] == stock.read_text().splitlines()[0]
        assert layout(ours) == layout(stock)
        ours, stock = np.loadtxt(ours), np.loadtxt(stock)
        np.testing.assert_allclose(ours, stock, rtol=0, atol=1e-10 * np.abs(stock).max())


def layout(path):
    """A file with every digit and sign of its numbers as 0: the bytes but for rounding."""
    return [re.sub(r"[-+]?\d", "0", line) for line in path.read_text().split("\n")[1:]]


def assert_same_line(ours, stock):
    """Equal but for one unit in the last of the printed digits."""
    if ours == stock:
        return
    (head, value, unit), (stock_head, stock_value, stock_unit) = map(split, (ours, stock))
    assert (head, unit) == (stock_head, stock_unit)
    assert value == pytest.approx(stock_value, rel=2e-6)


def split(line):
    head, rest = line.split(": ", 1)
    value, unit = rest.split(" ", 1)
    return head, float(value), unit
