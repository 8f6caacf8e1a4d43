# SPDX-License-Identifier: BSD-3-Clause
"""What nets in float32 cost: the same training in both precisions, on frames of water held out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from water_model import EXAMPLE, VALID

from deepmd_tf.data import DataSystem
from deepmd_tf.fields import ENERGY, FORCE
from deepmd_tf.infer import DeepPot
from deepmd_tf.nn.first_values import Normal
from deepmd_tf.training.entrypoint import train

FRAMES = 20
"""Of the validation system."""


@dataclass(frozen=True)
class Case:
    """A training on water: which script of the example, for how many steps, with what changed."""

    script: str
    steps: int
    descriptor: dict[str, Any]
    fitting_net: dict[str, Any]
    learning_rate: dict[str, float]

    def write_input(self, folder: Path, precision: str, steps: int) -> Path:
        """The input script, with fewer steps if wanted."""
        script = json.loads((EXAMPLE / "se_e2_a" / self.script).read_text())
        script["model"]["descriptor"] |= self.descriptor | {"precision": precision}
        script["model"]["fitting_net"] |= self.fitting_net | {"precision": precision}
        script["learning_rate"] = self.learning_rate
        training = script["training"]
        training["training_data"]["systems"] = [str(EXAMPLE / "data" / f"data_{i}") for i in "012"]
        training |= {"numb_steps": steps, "disp_freq": steps, "save_freq": steps}
        del training["validation_data"]
        path = folder / "input.json"
        path.write_text(json.dumps(script))
        return path


SMALL = Case(
    "input_quick.json",
    200,
    {"rcut": 4.0, "sel": [20, 36], "neuron": [6, 12], "axis_neuron": 4},
    {"neuron": [24, 24]},
    {"start_lr": 0.005, "stop_lr": 1e-4, "decay_steps": 1},
)
REAL = Case("input.json", 1000, {}, {}, {"start_lr": 0.001, "stop_lr": 1e-5, "decay_steps": 10})


def errors(checkpoint: Path) -> dict[str, float]:
    """RMSE on the validation system: energy in eV/atom, force in eV/Å."""
    data = DataSystem(str(VALID), ["O", "H"], sort_atoms=False, fields=(ENERGY, FORCE))
    label = next(iter(data.batches(limit=FRAMES))).arrays
    with DeepPot(checkpoint) as pot:
        energy, force, _ = pot.eval(label["coord"], label["box"], data.types)
    n_frames, n_atoms = len(label["coord"]), len(data.types)
    of = {
        "energy": (energy.ravel() - label["energy"].ravel()) / n_atoms,
        "force": force.reshape(n_frames, -1) - label["force"],
    }
    return {key: float(np.sqrt(np.mean(np.square(value)))) for key, value in of.items()}


def draw_double(normal: Normal, shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    """First weights of float64, also for float32, which would get other random numbers."""
    initializer = tf.random_normal_initializer(normal.mean, normal.stddev, seed=normal.seed)
    return tf.cast(initializer(list(shape), dtype=tf.float64), dtype)


@pytest.fixture(scope="module", params=[SMALL, REAL], ids=["small", "real"])
def found(request, tmp_path_factory) -> dict[str, dict[str, float]]:
    """By precision; and by ``first``, of the weights after one step."""
    case, found = request.param, {}
    runs = (("first", "float64", 1), ("float64", "float64", None), ("float32", "float32", None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Normal, "__call__", draw_double)
        for name, precision, steps in runs:
            folder = tmp_path_factory.mktemp(name)
            patch.chdir(folder)
            script = case.write_input(folder, precision, steps or case.steps)
            train(script, skip_neighbor_stat=True)
            found[name] = errors(folder / "model.ckpt")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("key", "unit"), [("energy", "eV/atom"), ("force", "eV/Å")])
def test_float32_costs_little(found, key, unit):
    first, double, single = (found[name][key] for name in ("first", "float64", "float32"))
    print(f"RMSE of {key}: float64 {double:.3e}, float32 {single:.3e} {unit}")
    # both have learnt, and by different arithmetic, or nothing would be compared
    assert double < 0.8 * first
    assert single != double
    assert single == pytest.approx(double, rel=0.02)
