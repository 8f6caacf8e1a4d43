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
"""Of the largest number of a quantity."""
AT_CUTOFF = 1e-9
"""The same with attention: the rounding of w(r) near the cutoff, relative to w, is in the
directions of neighbours whose rows are shorter than 1e-6."""
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
IN_LAMMPS = (
    "se_e2_r",
    "hybrid",
    "se_e3",
    "se_e2_a type embedding",
    "se_a_ebd_v2",
    "se_atten",
    "se_atten_v2",
    "table",
    "sum",
)
"""One of each kind; the C++ runtime of DeePMD-kit evaluates all."""


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


def train_both(folder: Path, text: dict[str, Any], compressed: bool, *commands: list[str]) -> None:
    """The same training here and there: folders ``ours`` and ``stock`` with model.pb each.

    Then compressed.pb in ``ours``, and in ``stock`` checkpoint.pb, of our checkpoint, and what the
    further commands of DeePMD-kit write.
    """
    for part in ("ours", "stock"):
        (folder / part).mkdir()
        write_all_data(folder / part)
        (folder / part / "input.json").write_text(json.dumps(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "ours")
        assert train("input.json") == 0
        freeze("model.ckpt-5", "model.pb")
        freeze("model.ckpt-5", "native.pb", dialect="native")
        if compressed:
            compress("model.pb", "compressed.pb")
    first = [["train", "input.json"], ["freeze", "-o", "model.pb"]]
    first.append(["freeze", "-c", "../ours", "-o", "checkpoint.pb"])
    stock_wheel.dp_each([*first, *commands], folder / "stock")


FILES = ("model.pb", "compressed.pb")
COMPRESS = ["compress", "-i", "../ours/model.pb", "-o", "compressed.pb"]


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, once: Callable[..., Path]) -> tuple[str, Path]:
    """Name of the case, and folder that :func:`train_both` filled."""
    name = request.param

    def make(folder: Path) -> None:
        commands = [COMPRESS] if name in COMPRESSIBLE else []
        text = script(CASES[name], KEYS.get(name))
        train_both(folder, text, name not in NOT_COMPRESSIBLE, *commands)

    return name, once(f"descriptor_{name.replace(' ', '_')}", make)


@pytest.fixture(scope="module")
def frames() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    coords, cells, types = water_like(np.random.default_rng(5), n_frames=2)
    return coords, cells.reshape(-1, 3, 3), types


@pytest.fixture(scope="module")
def theirs(trained, frames, tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """What DeePMD-kit makes of each file, by the name of the file in the folder."""
    files = [path for name in FILES for path in sorted(trained[1].glob(f"*/{name}"))]
    results = stock_wheel.evaluate_files(files, tmp_path_factory.mktemp("theirs"), [frames])
    names = [str(path.relative_to(trained[1])) for path in files]
    return {name: result for name, (result,) in zip(names, results, strict=True)}


def ours(path: Path, frames: tuple) -> dict[str, np.ndarray]:
    with DeepPot(path) as pot:
        return dict(zip(stock_wheel.KEYS, pot.eval(*frames, atomic=True), strict=True))


def assert_same(
    name: str,
    found: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    file: str,
    keys: tuple[str, ...] = stock_wheel.KEYS,
) -> None:
    tolerance = AT_CUTOFF if CASES.get(name, {}).get("attn_layer") else TOLERANCE
    for key in keys:
        want = np.ravel(expected[key])
        error = np.abs(np.ravel(found[key]) - want).max() / np.abs(want).max()
        assert error <= tolerance, (file, key, error)


def test_learning_curve(trained):
    """First weights, statistics and steps; the last printed digit may be rounded otherwise."""
    curves = [np.loadtxt(trained[1] / part / "lcurve.out") for part in ("ours", "stock")]
    assert curves[0].shape == curves[1].shape == (6, curves[0].shape[1])
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.011)


def test_files_of_both(trained, theirs, frames):
    """Frozen and compressed files."""
    name, folder = trained
    for file, expected in theirs.items():
        assert_same(name, ours(folder / file, frames), expected, file)


def test_checkpoints_of_both(trained, theirs, frames):
    """That of DeePMD-kit, and what DeePMD-kit freezes of ours."""
    name, folder = trained
    for file, part in (("model.ckpt-5", "stock"), ("checkpoint.pb", "ours")):
        found = ours(folder / "stock" / file, frames)
        assert_same(name, found, theirs[f"{part}/model.pb"], file)


def test_runtime_of_dynamics(trained, theirs, frames, tmp_path):
    """Both files in the C++ runtime of DeePMD-kit, without the operations of this package."""
    name, folder = trained
    files = ["ours/model.pb", "stock/model.pb"]
    paths = [folder / file for file in files]
    results = stock_wheel.evaluate_files(paths, tmp_path, [frames], cpp=True)
    for file, (found,) in zip(files, results, strict=True):
        assert_same(name, found, theirs[file], file)


def test_dynamics(trained, frames, tmp_path):
    """Both dialects in LAMMPS, on two ranks."""
    name, folder = trained
    if name not in IN_LAMMPS:
        pytest.skip("another one of its kind is run")
    coords, cells, types = frames
    cell = 7.0 * np.eye(3)
    coords = coords[0] @ np.linalg.inv(cells[0]) @ cell
    expected = ours(folder / "ours" / "model.pb", (coords[None], cell[None], types))
    # what LAMMPS keeps, of a virial that is not symmetric where a model depends on the axes
    lower = np.tril(np.reshape(expected["virial"], (3, 3)))
    expected["virial"] = lower + np.tril(lower, -1).T
    cases = {
        dialect: stock_lammps.Case(folder / "ours" / f"{dialect}.pb", coords, cell, types)
        for dialect in ("model", "native")
    }
    for dialect, found in stock_lammps.evaluate(cases, tmp_path, 2, **PLUGIN).items():
        assert_same(name, found, expected, dialect, ("energy", "force", "virial"))


def test_vectors_of_types(trained, theirs):
    name, folder = trained
    with DeepPot(folder / "stock" / "model.pb") as pot:
        if "type_embedding" not in KEYS.get(name, {}):
            with pytest.raises(KeyError, match="no type embedding"):
                pot.eval_typeebd()
            assert "types" not in theirs["stock/model.pb"]
            return
        found = pot.eval_typeebd()
    np.testing.assert_allclose(found, theirs["stock/model.pb"]["types"], rtol=1e-13)
