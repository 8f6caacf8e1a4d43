# SPDX-License-Identifier: BSD-3-Clause
"""Models of tensors and of densities of states: symmetries, derivatives, dialects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation import Frames, evaluate, random_statistics, random_weights
from saved_models import small_input, water_like

STEP = 1e-4
TENSORS: dict[str, dict[str, Any]] = {
    "dipole": {"fitting_net": {"type": "dipole", "sel_type": [0]}},
    "polar": {"fitting_net": {"type": "polar", "fit_diag": False, "scale": [2.0, 0.5]}},
    "hybrid": {
        "fitting_net": {"type": "polar", "sel_type": [1]},
        "descriptor": {
            "type": "hybrid",
            "list": [
                {"type": "se_e2_a", "sel": [14, 26], "rcut": 4.0, "neuron": [4, 8]},
                {"type": "se_e2_r", "sel": [14, 26], "rcut": 4.0, "neuron": [4, 8]},
                {
                    "type": "se_atten",
                    "sel": 40,
                    "rcut": 4.0,
                    "neuron": [4, 6],
                    "attn_layer": 1,
                    "smooth_type_embedding": True,
                },
            ],
        },
    },
}


def script_of(case: str) -> dict[str, Any]:
    keys = TENSORS[case]
    script = small_input(fitting_net={"neuron": [5, 5], **keys["fitting_net"]})
    if "descriptor" in keys:
        script["model"]["descriptor"] = keys["descriptor"]
        for k, member in enumerate(keys["descriptor"]["list"]):
            member.setdefault("seed", k + 1)
        script["model"]["type_embedding"] = {"neuron": [3], "seed": 3}
    return script | {"loss": {"type": "tensor", "pref": 1.0, "pref_atomic": 1.0}}


class Model:
    """A model with random weights and one frame."""

    def __init__(self, script: dict[str, Any], rng: np.random.Generator) -> None:
        statistics = random_statistics(rng)
        if script["model"]["descriptor"]["type"] == "hybrid":
            avg, std = statistics.avg, statistics.std
            by_scope = [{f"_{k}": a[:, : 1 if k == 1 else 4] for k in range(3)} for a in (avg, std)]
            statistics = type(statistics)(*by_scope, statistics.bias)
        self.script = script
        self.weights = random_weights(script, statistics)
        coord, box, types = water_like(rng, n_atoms=12, n_frames=1, length=5.5)
        self.frames = Frames(coord, box, types)

    def run(self, coord: Any = None, box: Any = None, dialect: str = "native") -> dict[str, Any]:
        frames = Frames(
            self.frames.coord if coord is None else coord,
            self.frames.box if box is None else box,
            self.frames.types,
        )
        return evaluate(self.script, self.weights, frames, dialect)


@pytest.fixture(scope="module", params=TENSORS)
def model(request) -> Model:
    return Model(script_of(request.param), np.random.default_rng(1))


def test_rotation(model: Model, rng) -> None:
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    frames = model.frames
    one = model.run()
    two = model.run(frames.coord @ turn.T, (frames.box.reshape(3, 3) @ turn.T).reshape(1, 9))
    total = one["total"]
    if total.shape[1] == 3:
        expected, force = total @ turn.T, one["force"].reshape(3, -1, 3)
        force = np.einsum("ca,anb,db->cnd", turn, force, turn)
    else:
        expected = (turn @ total.reshape(3, 3) @ turn.T).reshape(1, 9)
        force = one["force"].reshape(3, 3, -1, 3)
        force = np.einsum("ca,eb,abnx,dx->cend", turn, turn, force, turn)
    np.testing.assert_allclose(two["total"], expected, atol=1e-10 * np.abs(total).max())
    scale = np.abs(force).max()
    assert scale > 0
    np.testing.assert_allclose(two["force"].ravel(), force.ravel(), atol=1e-9 * scale)


def test_sum_and_selection(model: Model) -> None:
    found, types = model.run(), model.frames.types
    fitting = model.script["model"]["fitting_net"]
    there = np.isin(types, fitting.get("sel_type", [0, 1]))
    assert found["atomic"][:, there].any() and not found["atomic"][:, ~there].any()
    np.testing.assert_allclose(found["total"], found["atomic"].sum(axis=1), rtol=1e-12)
    for name, width in (("virial", 9), ("force", 3)):
        size = found["total"].shape[1]
        assert found[name].size == size * width * (1 if name == "virial" else len(types))
    shares = found["atom_virial"].reshape(size, len(types), 9).sum(axis=1)
    bound = 1e-12 * np.abs(shares).max()
    np.testing.assert_allclose(shares.ravel(), found["virial"].ravel(), rtol=0, atol=bound)


def test_order_of_atoms(model: Model, rng) -> None:
    frames, order = model.frames, np.arange(len(model.frames.types))
    for t in (0, 1):
        order[frames.types == t] = rng.permutation(order[frames.types == t])
    one, two = model.run(), model.run(frames.coord[:, order])
    scale = np.abs(one["atomic"]).max()
    np.testing.assert_allclose(two["atomic"], one["atomic"][:, order], atol=1e-11 * scale)


def test_additivity(model: Model) -> None:
    """Two copies of the cell beside each other have twice the tensor."""
    frames = model.frames
    box = frames.box.reshape(3, 3) * [[2.0], [1.0], [1.0]]
    coord = np.concatenate([frames.coord, frames.coord + frames.box.reshape(3, 3)[0]], axis=1)
    both = Frames(coord, box.reshape(1, 9), np.tile(frames.types, 2))
    found = evaluate(model.script, model.weights, both)["total"]
    np.testing.assert_allclose(found, 2 * model.run()["total"], rtol=1e-10, atol=1e-10)


def test_force_and_virial_are_the_slopes(model: Model, rng) -> None:
    frames, found = model.frames, model.run()
    along, strain = rng.normal(size=frames.coord.shape), rng.normal(size=(3, 3))
    cell, size = frames.box.reshape(3, 3), found["total"].shape[1]
    moved, strained = [], []
    for step in (STEP, -STEP):
        moved.append(model.run(frames.coord + step * along)["total"][0])
        map_ = np.eye(3) + step * strain
        box = (cell @ map_.T).reshape(1, 9)
        strained.append(model.run(frames.coord @ map_.T, box)["total"][0])
    slope = (moved[0] - moved[1]) / (2 * STEP)
    force = found["force"].reshape(size, -1)
    np.testing.assert_allclose(-force @ along.ravel(), slope, atol=1e-6 * np.abs(slope).max())
    slope = (strained[0] - strained[1]) / (2 * STEP)
    virial = found["virial"].reshape(size, 9)
    np.testing.assert_allclose(-virial @ strain.ravel(), slope, atol=1e-6 * np.abs(slope).max())


@pytest.mark.parametrize("dialect", ["stock", "reference"])
def test_dialects(model: Model, dialect: str) -> None:
    if dialect == "reference" and model.script["model"]["fitting_net"]["type"] == "polar":
        pytest.skip("plain TensorFlow takes long for nine components")
    native, other = model.run(), model.run(dialect=dialect)
    for name in ("total", "atomic", "force", "virial", "atom_virial"):
        bound = 1e-8 * np.abs(native[name]).max()
        np.testing.assert_allclose(other[name], native[name], rtol=0, atol=bound, err_msg=name)
