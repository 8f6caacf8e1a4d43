# SPDX-License-Identifier: BSD-3-Clause
"""Input scripts of trainings on examples/water, and what a training prints of its speed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.programs import ROOT

WATER = ROOT / "examples" / "water"
HELD_OUT = WATER / "data" / "data_3"
"""The validation system."""
ATOMS = 192
"""Of each frame."""
STEP_TIME = re.compile(r"average training time: ([0-9.]+) s/batch")
FIRST_STEP = re.compile(r"batch\s+1:", re.IGNORECASE)


def write_input(
    folder: Path,
    steps: int,
    precision: str = "float64",
    frames: int = 1,
    *,
    seed: int = 1,
    validates: bool = False,
    **training: object,
) -> None:
    """Write ``folder/input.json``: the example's with a schedule for so many steps.

    Parameters
    ----------
    folder
        Made where it does not exist.
    steps
        Of the training. The programs count their time from the fifth part of them on.
    precision
        Of both nets.
    frames
        Of each batch.
    seed
        Of weights and batches.
    validates
        Whether errors on the validation system are shown as well.
    training
        Further keys of this section.
    """
    script = json.loads((WATER / "se_e2_a" / "input.json").read_text())
    for part in ("descriptor", "fitting_net"):
        script["model"][part].update(seed=seed, precision=precision)
    script["learning_rate"]["decay_steps"] = max(1, steps // 50)
    section = script["training"]
    section.update(seed=seed, numb_steps=steps, disp_freq=max(1, steps // 5), save_freq=steps)
    if not validates:
        del section["validation_data"]
    for key in {"training_data", "validation_data"} & section.keys():
        systems = section[key]["systems"]
        section[key]["systems"] = [str((WATER / "se_e2_a" / s).resolve()) for s in systems]
    section["training_data"]["batch_size"] = frames
    section.update(training)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.json").write_text(json.dumps(script, indent=2))
