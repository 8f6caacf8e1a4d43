# SPDX-License-Identifier: BSD-3-Clause
"""What users do, on a GPU and on the processor: the same numbers.

Everything runs twice in one process; ``DEEPMD_TF_DEVICE=cpu`` keeps a session off the GPU.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import paper_gpu
import pytest
import small
from small_training import INPUT, add_hessians, add_tensors, tensor_sections, write_all_data

from deepmd_tf.environment_variables import DEVICE
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

pytestmark = pytest.mark.gpu("the GPU is compared with the processor")

MODEL = INPUT["model"]
RADIAL = {"type": "se_e2_r", "sel": [12, 20], "rcut": 3.4, "neuron": [4, 8], "seed": 1}
ANGLES = {"type": "se_e3", "sel": [12, 20], "rcut": 3.0, "neuron": [2, 4], "seed": 1}
ATTENTION = {
    "type": "se_atten",
    "sel": 20,
    "rcut": 3.4,
    "rcut_smth": 0.5,
    "neuron": [4, 8],
    "axis_neuron": 3,
    "attn": 6,
    "attn_layer": 1,
    "seed": 1,
}
MODELS: dict[str, dict[str, Any]] = {
    "se_e2_a": {},
    "one_side": {"descriptor": MODEL["descriptor"] | {"type_one_side": True, "resnet_dt": True}},
    "se_e2_r": {"descriptor": RADIAL},
    "se_e3": {"descriptor": ANGLES},
    "hybrid": {"descriptor": {"type": "hybrid", "list": [MODEL["descriptor"], RADIAL]}},
    "type_embedding": {"type_embedding": {"neuron": [4], "seed": 1}},
    "se_atten": {"descriptor": ATTENTION, "type_embedding": {"neuron": [4], "seed": 1}},
}


def script(**sections: Any) -> dict[str, Any]:
    """The small training with other sections of the model."""
    found = copy.deepcopy(small.script(training={"numb_steps": 10, "save_freq": 10}))
    found["model"] |= sections
    return found


def train_there(device: str, folder: Path, text: dict[str, Any], monkeypatch) -> Path:
    """Train in a folder of its own that has the data of ``folder``; its folder."""
    monkeypatch.setenv(DEVICE, device)
    there = folder / device
    there.mkdir()
    (there / "data").symlink_to(folder / "data")
    monkeypatch.chdir(there)
    Path("input.json").write_text(json.dumps(text))
    assert train("input.json") == 0
    return there


def assert_trained_alike(folder: Path, text: dict[str, Any], monkeypatch) -> dict[str, Path]:
    """The folders of two trainings by device, whose learning curves are the same to the digits."""
    before = sum(paper_gpu.counts().values())
    there = {device: train_there(device, folder, text, monkeypatch) for device in ("cpu", "gpu")}
    assert sum(paper_gpu.counts().values()) > before
    curves = [(path / "lcurve.out").read_text() for path in there.values()]
    assert curves[0] == curves[1]
    return there


def evaluate(model: Path, device: str, monkeypatch) -> dict[str, np.ndarray]:
    """What a model says of two frames."""
    monkeypatch.setenv(DEVICE, device)
    coord = np.load(Path("data/valid/cell/set.000/coord.npy"))[:2]
    box = np.load(Path("data/valid/cell/set.000/box.npy"))[:2]
    with DeepPot(str(model)) as potential:
        found = potential.eval(coord, box, [0, 1, 1, 0, 1, 1], atomic=True)
        names = ("energy", "force", "virial", "atom_energy", "atom_virial")
        values = dict(zip(names, found, strict=True))
        values["hessian"] = potential.eval_hessian(coord, box, [0, 1, 1, 0, 1, 1])
    return values


QUICK = ("se_e2_a", "se_atten")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)
def test_training(name, tmp_path, monkeypatch):
    """Learning curve, files, energies, forces and virials."""
    write_all_data(tmp_path)
    there = assert_trained_alike(tmp_path, script(**MODELS[name]), monkeypatch)
    files = {}
    for device in ("cpu", "gpu"):
        monkeypatch.setenv(DEVICE, device)
        files[device] = tmp_path / f"{device}.pb"
        freeze(str(there["gpu"]), output=str(files[device]))
    assert files["cpu"].read_bytes() == files["gpu"].read_bytes()
    found = [evaluate(files["cpu"], device, monkeypatch) for device in ("cpu", "gpu")]
    for key, value in found[0].items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[1][key], value, rtol=0, atol=1e-10 * scale, err_msg=key)


def test_hessians(tmp_path, monkeypatch):
    """A loss of second derivatives."""
    write_all_data(tmp_path)
    add_hessians(tmp_path)
    text = script()
    text["loss"] |= {"start_pref_h": 1.0, "limit_pref_h": 1.0}
    assert_trained_alike(tmp_path, text, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dipole", "polar", "dos"])
def test_tensors(kind, tmp_path, monkeypatch):
    """Models of something else than energies."""
    write_all_data(tmp_path)
    add_tensors(tmp_path)
    sections = tensor_sections(kind)
    text = script(fitting_net=sections["fitting_net"])
    text["loss"] = sections["loss"]
    assert_trained_alike(tmp_path, text, monkeypatch)
