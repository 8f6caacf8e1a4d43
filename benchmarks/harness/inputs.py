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
    example: str = "se_e2_a",
    **training: object,
) -> None:
    """Write ``folder/input.json``: an example's with a schedule for so many steps.

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
    example
        Folder of examples/water.
    training
        Further keys of this section.
    """
    script = json.loads((WATER / example / "input.json").read_text())
    model = script["model"]
    descriptor = model["descriptor"]
    nets = [*descriptor.get("list", [descriptor]), model["fitting_net"]]
    if "type_embedding" in model:
        nets.append(model["type_embedding"])
    for net in nets:
        net.update(seed=seed, precision=precision)
    if "use_srtab" in model:
        model["use_srtab"] = str((WATER / example / model["use_srtab"]).resolve())
    script["learning_rate"]["decay_steps"] = max(1, steps // 50)
    section = script["training"]
    section.update(seed=seed, numb_steps=steps, disp_freq=max(1, steps // 5), save_freq=steps)
    if not validates:
        del section["validation_data"]
    for key in {"training_data", "validation_data"} & section.keys():
        systems = section[key]["systems"]
        section[key]["systems"] = [str((WATER / example / s).resolve()) for s in systems]
    section["training_data"]["batch_size"] = frames
    section.update(training)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.json").write_text(json.dumps(script, indent=2))
