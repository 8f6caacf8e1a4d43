# SPDX-License-Identifier: BSD-3-Clause
"""A small model of water, trained on the data of the example, for runs in other programs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deepmd_tf.export.freeze import freeze
from deepmd_tf.ops.library import LIBRARY_FOLDER

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "water"
VALID = EXAMPLE / "data" / "data_3"
STEPS = 2000
PLUGIN = {"DP_PLUGIN_PATH": str(LIBRARY_FOLDER / "libdeepmd_tf_ops.so")}


@dataclass(frozen=True)
class Water:
    """Files of a model that 2,000 steps have made good enough for molecular dynamics."""

    folder: Path

    def checkpoint(self, step: int = STEPS) -> Path:
        """Prefix of a checkpoint; that of step 1000 is another model of the same water."""
        return self.folder / f"model.ckpt-{step}"

    @property
    def ours(self) -> Path:
        """Frozen in the stock dialect."""
        return self.folder / "ours.pb"

    @property
    def native(self) -> Path:
        """Frozen in the native dialect."""
        return self.folder / "native.pb"


def train_water(folder: Path) -> None:
    """Train and freeze the model; the folder is then one of :class:`Water`."""
    script = json.loads((EXAMPLE / "se_e2_a" / "input_quick.json").read_text())
    script["model"]["descriptor"] |= {
        "rcut": 4.5,
        "sel": [24, 46],
        "neuron": [8, 16, 32],
        "axis_neuron": 8,
    }
    script["model"]["fitting_net"]["neuron"] = [48, 48, 48]
    training = script["training"]
    training["training_data"]["systems"] = [str(EXAMPLE / "data" / f"data_{i}") for i in range(3)]
    training["validation_data"]["systems"] = [str(VALID)]
    training |= {"numb_steps": STEPS, "disp_freq": 500, "save_freq": 1000}
    (folder / "input.json").write_text(json.dumps(script))
    command = [sys.executable, "-m", "deepmd_tf", "--tf", "train", "input.json"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    water = Water(folder)
    freeze(water.checkpoint(), water.ours)
    freeze(water.checkpoint(), water.native, dialect="native")
