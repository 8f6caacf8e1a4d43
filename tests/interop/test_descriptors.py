# SPDX-License-Identifier: BSD-3-Clause
"""Every descriptor is that of DeePMD-kit: first weights, training, files in both directions,
compression, LAMMPS."""

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
from small_training import write_all_data
from water_model import PLUGIN

from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

TOLERANCE = 1e-10
"""Of the largest number of a quantity, or of :data:`SMALLEST`."""
SMALLEST = 0.1
"""eV, or eV/Å."""
COMMON = {"sel": [12, 20], "rcut": 4.0, "rcut_smth": 0.5, "neuron": [4, 8], "seed": 1}
ATTENTION = COMMON | {"type": "se_atten", "sel": 30, "axis_neuron": 3, "attn": 4}
CASES: dict[str, dict[str, Any]] = {
    "se_e2_r": COMMON | {"type": "se_e2_r"},
    "se_e2_r one-sided": COMMON
    | {"type": "se_e2_r", "type_one_side": True, "exclude_types": [[0, 1]], "resnet_dt": True},
    "hybrid": {
        "type": "hybrid",
        "list": [
            COMMON | {"type": "se_e2_a", "axis_neuron": 2},
            COMMON
            | {"type": "se_e2_r", "sel": "auto", "rcut": 3.0, "seed": 3, "type_one_side": True},
        ],
    },
    "se_e3": COMMON
    | {"type": "se_e3", "sel": [8, 14], "rcut": 3.0, "neuron": [2, 4], "resnet_dt": True},
    "se_e2_r type embedding": COMMON | {"type": "se_e2_r"},
    "se_e2_a type embedding": COMMON | {"type": "se_e2_a", "axis_neuron": 3},
    "se_e2_a type embedding one-sided": COMMON
    | {
        "type": "se_e2_a",
        "axis_neuron": 3,
        # the skip connection of the first layer carries the vector of the type
        "neuron": [4, 8],
        "type_one_side": True,
        "exclude_types": [[0, 1]],
        "resnet_dt": True,
    },
    "se_atten": ATTENTION | {"attn_layer": 2, "exclude_types": [[0, 0]], "type_one_side": True},
    "se_atten smooth": ATTENTION
    | {
        "attn_layer": 1,
        "smooth_type_embedding": True,
        "set_davg_zero": False,
        "exclude_types": [[0, 1]],
    },
    "se_atten strip": ATTENTION
    | {"attn_layer": 0, "tebd_input_mode": "strip", "exclude_types": [[0, 0]]},
    "se_atten_v2": ATTENTION | {"type": "se_atten_v2", "attn_layer": 0, "rcut_smth": 2.0},
    "hybrid type embedding": {
        "type": "hybrid",
        "list": [
            COMMON | {"type": "se_e2_a", "axis_neuron": 2},
            ATTENTION | {"type": "se_atten_v2", "attn_layer": 0, "rcut": 3.0, "seed": 3},
        ],
    },
}
TYPES = {"neuron": [3], "seed": 5}
CASES |= {
    "se_a_ebd_v2": COMMON | {"type": "se_a_ebd_v2", "axis_neuron": 3},
    "se_a_ebd_v2 one-sided": CASES["se_e2_a type embedding one-sided"] | {"type": "se_a_ebd_v2"},
}
KEYS: dict[str, dict[str, Any]] = {
    "se_a_ebd_v2": {"type_embedding": TYPES},
    "se_a_ebd_v2 one-sided": {"type_embedding": TYPES | {"use_tebd_bias": True}},
    "se_e2_r type embedding": {"type_embedding": TYPES},
    "se_e2_a type embedding": {
        "type_embedding": TYPES | {"use_econf_tebd": True, "activation_function": "gelu"},
        "fitting_net": {"neuron": [6, 6], "seed": 1, "atom_ener": [-3.0, None]},
    },
    "se_e2_a type embedding one-sided": {
        "type_embedding": TYPES | {"neuron": [3, 3], "resnet_dt": True, "use_tebd_bias": True}
    },
    "hybrid type embedding": {"type_embedding": TYPES},
    **{name: {"type_embedding": TYPES} for name in CASES if name.startswith("se_atten")},
}
"""Other keys of the section ``model``."""
NOT_COMPRESSIBLE = ("se_atten", "se_atten smooth")
COMPRESSIBLE = ("se_e2_r", "hybrid", "se_a_ebd_v2", "se_atten strip", "se_atten_v2")
"""Those that DeePMD-kit compresses as well."""


def script(descriptor: dict[str, Any], keys: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "model": {
            "type_map": ["O", "H"],
            "descriptor": descriptor,
            "fitting_net": {"neuron": [6, 6], "seed": 1},
            **(keys or {}),
        },
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 10},
        "loss": {
            "type": "ener",
            **{f"{when}_pref_{what}": 1.0 for when in ("start", "limit") for what in "efv"},
        },
        "training": {
            "training_data": {"systems": ["data/train"], "batch_size": 1},
            "numb_steps": 5,
            "disp_freq": 1,
            "seed": 10,
        },
    }


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, once: Callable[..., Path]) -> tuple[str, Path]:
    """The same training here and there: folders ``ours`` and ``stock`` with model.pb each."""
    name = request.param

    def make(folder: Path) -> None:
        for part in ("ours", "stock"):
            (folder / part).mkdir()
            write_all_data(folder / part)
            text = json.dumps(script(CASES[name], KEYS.get(name)))
            (folder / part / "input.json").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder / "ours")
            assert train("input.json") == 0
            freeze("model.ckpt-5", "model.pb")
            freeze("model.ckpt-5", "native.pb", dialect="native")
        stock_wheel.dp(["train", "input.json"], folder / "stock")
        stock_wheel.dp(["freeze", "-o", "model.pb"], folder / "stock")

    return name, once(f"descriptor_{name.replace(' ', '_')}", make)


@pytest.fixture
def frames() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    coords, cells, types = water_like(np.random.default_rng(5), n_frames=2)
    return coords, cells.reshape(-1, 3, 3), types


def ours(path: Path, frames: tuple) -> dict[str, np.ndarray]:
    with DeepPot(path) as pot:
        return dict(zip(stock_wheel.KEYS, pot.eval(*frames, atomic=True), strict=True))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for key in stock_wheel.KEYS:
        want = np.ravel(expected[key])
        # attention between rows of small variance makes forces that are far below the energies
        error = np.abs(np.ravel(found[key]) - want).max() / max(np.abs(want).max(), SMALLEST)
        assert error <= TOLERANCE, (key, error)


def test_learning_curve(trained):
    """First weights, statistics and steps; the last printed digit may be rounded otherwise."""
    curves = [np.loadtxt(trained[1] / part / "lcurve.out") for part in ("ours", "stock")]
    assert curves[0].shape == curves[1].shape == (6, curves[0].shape[1])
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.011)


@pytest.mark.parametrize("file", ["ours", "stock"])
def test_files_of_both(trained, frames, tmp_path, file):
    path = trained[1] / file / "model.pb"
    (theirs,) = stock_wheel.evaluate(path, tmp_path, [frames])
    assert_same(ours(path, frames), theirs)
    (cpp,) = stock_wheel.evaluate(path, tmp_path, [frames], cpp=True)
    assert_same(cpp, theirs)


def test_compressed(trained, frames, tmp_path):
    name, folder = trained
    if name in NOT_COMPRESSIBLE:
        pytest.skip("not here, nor in DeePMD-kit")
    path = tmp_path / "ours.pb"
    compress(folder / "ours" / "model.pb", path)
    files = [path]
    if name in COMPRESSIBLE:
        stock_wheel.dp(
            ["compress", "-i", str(folder / "ours" / "model.pb"), "-o", "stock.pb"], tmp_path
        )
        files.append(tmp_path / "stock.pb")
    for path in files:
        (theirs,) = stock_wheel.evaluate(path, tmp_path, [frames])
        assert_same(ours(path, frames), theirs)


@pytest.mark.parametrize("ranks", [1, 2])
def test_dynamics(trained, frames, tmp_path, ranks):
    """Both dialects in LAMMPS."""
    coords, cells, types = frames
    cell = 7.0 * np.eye(3)
    coords = coords[0] @ np.linalg.inv(cells[0]) @ cell
    expected = ours(trained[1] / "ours" / "model.pb", (coords[None], cell[None], types))
    # what LAMMPS keeps, of a virial that is not symmetric where a model depends on the axes
    lower = np.tril(np.reshape(expected["virial"], (3, 3)))
    expected["virial"] = lower + np.tril(lower, -1).T
    for file, variables in (("model.pb", {}), ("native.pb", PLUGIN)):
        case = stock_lammps.Case(trained[1] / "ours" / file, coords, cell, types)
        found = stock_lammps.evaluate({"case": case}, tmp_path, ranks, **variables)["case"]
        for key in ("energy", "force", "virial"):
            want = np.ravel(expected[key])
            error = np.abs(np.ravel(found[key]) - want).max() / max(np.abs(want).max(), SMALLEST)
            assert error <= TOLERANCE, (file, key, error)


def test_vectors_of_types(trained):
    name, folder = trained
    path = folder / "stock" / "model.pb"
    with DeepPot(path) as pot:
        if "type_embedding" not in KEYS.get(name, {}):
            with pytest.raises(KeyError, match="no type embedding"):
                pot.eval_typeebd()
            return
        found = pot.eval_typeebd()
    code = (
        "import sys, numpy as np; from deepmd.infer import DeepPot; "
        "np.save(sys.argv[2], DeepPot(sys.argv[1]).eval_typeebd())"
    )
    stock_wheel.run(["-c", code, str(path), "types.npy"], folder)
    np.testing.assert_allclose(found, np.load(folder / "types.npy"), rtol=1e-13)
