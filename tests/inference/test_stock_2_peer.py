# SPDX-License-Identifier: BSD-3-Clause
"""Files of DeePMD-kit 2.2: rebuilt from their weights, or run as they are, the numbers it gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
import stock_wheel
from saved_models import small_input, water_like

from deepmd_tf.data import write_system
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import open_model, read_model
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.infer import DeepPot

pytestmark = stock_wheel.needs_stock_2

MODELS = {
    # a timestep in every kind of layer, and layers that share their weights
    "two-sided": {
        "descriptor": {"sel": [24, 40], "neuron": [4, 8, 8], "resnet_dt": True},
        "fitting_net": {"neuron": [10, 10, 10], "layer_name": ["a", "b", "b", "c"]},
    },
    "one-sided": {
        "descriptor": {"sel": "auto", "type_one_side": True, "exclude_types": [[0, 1]]},
        "fitting_net": {"resnet_dt": False, "atom_ener": [-3.0, None]},
    },
    "type embedding": {"descriptor": {"sel": [24, 40]}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with one frozen file for each of the models."""
    root = tmp_path_factory.mktemp("stock")
    rng = np.random.default_rng(5)
    coords, cells, types = water_like(rng, n_frames=2)
    for name, type_map in (("named", ["O", "H"]), ("nameless", None)):
        write_system(
            root / name,
            types=types,
            type_map=type_map,
            coord=coords,
            box=cells,
            frames_per_set=2,
            energy=-180.0 + rng.normal(size=2),
            force=rng.normal(size=coords.shape),
        )
    for name, options in MODELS.items():
        script = small_input(**options)
        script["training"] |= {
            "training_data": {"systems": ["named"], "batch_size": 1},
            "numb_steps": 2,
            "disp_freq": 2,
            "save_freq": 2,
            "save_ckpt": name.replace(" ", "-"),
        }
        if name == "one-sided":
            del script["model"]["type_map"]
            script["training"]["training_data"]["systems"] = ["nameless"]
        if name == "type embedding":
            script["model"]["type_embedding"] = {"neuron": [2, 4]}
        (root / "input.json").write_text(json.dumps(script))
        dp(["train", "input.json"], root)
        dp(["freeze", "-o", f"{name}.pb"], root)
    return root


def dp(arguments, cwd):
    stock_wheel.run(["-m", "deepmd", *arguments], cwd, stock_wheel.PYTHON_2)


def assert_same_numbers(path, folder, rng, others=()):
    coords, cells, types = water_like(rng)
    cases = [(coords, cells, types), (coords, None, types)]
    results = stock_wheel.evaluate(path, folder, cases, python=stock_wheel.PYTHON_2)
    for file in (path, *others):
        with DeepPot(file) as pot:
            for frames, stock in zip(cases, results, strict=True):
                ours = pot.eval(*frames, atomic=True)
                for key, value in zip(stock_wheel.KEYS, ours, strict=True):
                    want = stock[key].reshape(value.shape)
                    error = np.abs(value - want).max() / np.abs(want).max()
                    assert error < 1e-10, f"{file}, {key}: relative difference {error:.1e}"


@pytest.mark.parametrize("name", ["two-sided", "one-sided"])
def test_rebuilt_from_the_weights(folder, tmp_path, rng, name):
    """The frozen file, the checkpoint, and what is written again from the file."""
    path = folder / f"{name}.pb"
    again = freeze(path, tmp_path / "again.pb").path
    assert_same_numbers(path, tmp_path, rng, (folder / name, again))
    assert read_model(path).type_map == (() if name == "one-sided" else ("O", "H"))


def test_compressed(folder, tmp_path, rng):
    path = tmp_path / "compressed.pb"
    dp(["compress", "-i", str(folder / "one-sided.pb"), "-o", str(path)], tmp_path)
    assert isinstance(open_model(path), ImportedModel)
    assert_same_numbers(path, tmp_path, rng)


def test_type_embedding(folder, tmp_path, rng):
    """Its layers have biases, of which the script says nothing: there was no key for them."""
    path = folder / "type embedding.pb"
    again = freeze(path, tmp_path / "again.pb").path
    assert_same_numbers(path, tmp_path, rng, (folder / "type-embedding", again))
    assert read_model(path).model.type_embedding.use_tebd_bias
