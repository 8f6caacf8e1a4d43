# SPDX-License-Identifier: BSD-3-Clause
"""val.log beside the one that the stock wheel writes for the same errors."""

from __future__ import annotations

import json
import math

import pytest
import stock_wheel

from deepmd_tf.config import Validating
from deepmd_tf.data import DataSystems, make_random, write_system
from deepmd_tf.fields import ENERGY, FORCE, VIRIAL
from deepmd_tf.metrics import ENERGY_QUANTITIES, Errors, ErrorSum
from deepmd_tf.model.kinds import MODEL_KINDS
from deepmd_tf.training.validation import FullValidation

pytestmark = stock_wheel.needs_stock

STOCK = """
import json, sys
from deepmd.dpmodel.train.validation import FullValidatorBase
job = json.load(open("job.json"))
class Validator(FullValidatorBase):
    def evaluate_all_systems(self):
        return job["errors"].pop(0)
validator = Validator(
    validating_params=job["section"], state_store={}, num_steps=job["num_steps"], rank=0,
    restart_training=False, best_checkpoint_suffix="",
)
for step in range(1, job["num_steps"] + 1):
    if job["errors"]:
        validator.run(step_id=step, display_step=step, lr=0.1, save_checkpoint=lambda *a, **k: None)
"""

SERIES = [(0.0123456, 3.2, 0.5), (0.0023, 0.1, 12.0), (0.004, 2e-7, 1e3), (0.0022, 0.9, 1e-3)]
"""Errors of energy per atom, force, and stress or virial per atom."""


@pytest.mark.parametrize("metric", ["E:MAE", "v:rmse"])
def test_same_file(tmp_path, rng, monkeypatch, metric):
    monkeypatch.chdir(tmp_path)
    section = {
        "full_validation": True,
        "validation_freq": 5,
        "full_val_start": 0.25,
        "validation_metric": metric,
        "max_best_ckpt": 2,
    }
    names = ("e_per_atom", "f", "v_per_atom" if metric[0] == "v" else "s")
    errors = [
        {f"mae_{n}": v for n, v in zip(names, values, strict=True)}
        | {f"rmse_{n}": 1.25 * v for n, v in zip(names, values, strict=True)}
        for values in SERIES
    ]
    job = {"section": section, "errors": errors, "num_steps": 40}
    (tmp_path / "job.json").write_text(json.dumps(job))
    stock_wheel.run(["-c", STOCK], tmp_path)
    stock = (tmp_path / "val.log").read_text().splitlines()

    write_system(
        tmp_path / "data",
        types=[0, 0],
        coord=rng.normal(size=(1, 2, 3)),
        box=9 * rng.normal(size=(1, 9)),
        **{"energy": [0.0], "force": rng.normal(size=(1, 6)), "virial": rng.normal(size=(1, 9))},
    )
    data = DataSystems(
        [tmp_path / "data"], 1, make_random(1), fields=(ENERGY, FORCE, VIRIAL), ntypes=1
    )
    config = Validating.from_dict(section)
    full = FullValidation(
        config, MODEL_KINDS["ener"], config.start_step(40), 40, data, "model.ckpt"
    )
    given = iter(SERIES)

    def measured(predict):
        e, f, second = (ErrorSum(1.0, v, math.pow(1.25 * v, 2)) for v in next(given))
        values = {"energy_per_atom": e, "force": f, "stress": second, "virial_per_atom": second}
        errors = Errors(ENERGY_QUANTITIES)
        errors.update((q, values[q.name]) for q in errors if q.name in values)
        return errors

    monkeypatch.setattr(full, "errors", measured)
    full.open(None)
    for step in range(1, 41):
        if full.due(step) and step < 30 and full.run(step, dict)[0]:
            full.saved(full.prefix.with_name(f"best.ckpt-{step}"), step)
    full.table.close()
    ours = (tmp_path / "val.log").read_text().splitlines()
    assert ours[0] == stock[0]
    table = [line for line in stock if line[0] != "#"]
    assert [line for line in ours if line[0] != "#"] == table and len(table) == 4
    # which checkpoints are kept; the names have ranks there
    kept = [line.split()[4].split(".t-")[0] for line in stock[2:] if line[0] == "#"]
    assert [line.split()[4] for line in ours[2:] if line[0] == "#"] == kept
