# SPDX-License-Identifier: BSD-3-Clause
"""With the same seed, the batches are those of the stock wheel, frame by frame and bit by bit."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystems, make_random
from deepmd_tf.metrics import ENERGY_QUANTITIES, Errors, Evaluated

STOCK = os.environ.get("DEEPMD_STOCK_PYTHON")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not STOCK, reason="DEEPMD_STOCK_PYTHON is not set"),
]

SEED, STAT_BATCHES, STEPS = 2**32 + 11, 3, 80
LABELS = (
    fields.ENERGY,
    fields.FORCE,
    fields.VIRIAL,
    fields.ATOM_ENER,
    fields.ATOM_PREF,
    fields.ATOM_ENER_COEFF,
    fields.HESSIAN,
)

STOCK_SCRIPT = """
import json, logging, sys
import numpy as np
import deepmd.utils.random as dp_random
from deepmd.dpmodel.utils.training_utils import compute_total_numb_batch
from deepmd.utils.data import DataRequirementItem
from deepmd.utils.data_system import DeepmdDataSystem
from deepmd.utils.model_stat import collect_batches

job = json.load(open(sys.argv[1]))
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logger = logging.getLogger("deepmd.utils.data_system")
logger.setLevel("INFO"); logger.addHandler(handler)

def load(which):
    options = dict(job[which]); paths = options.pop("paths"); size = options.pop("batch_size")
    data = DeepmdDataSystem(paths, size, 1, type_map=["O", "H"], **options)
    data.add_data_requirements([
        DataRequirementItem("energy", 1, high_prec=True),
        DataRequirementItem("force", 3, atomic=True),
        DataRequirementItem("virial", 9),
        DataRequirementItem("atom_ener", 1, atomic=True),
        DataRequirementItem("atom_pref", 1, atomic=True, repeat=3),
        DataRequirementItem("atom_ener_coeff", 1, atomic=True, default=1.0),
        DataRequirementItem("hessian", 1, special_shape="hessian"),
    ])
    return data

dp_random.seed([0, job["seed"] % 2**32])
train, valid = load("training"), load("validation")
train.print_summary("training")
out = {"summary": "\\n".join(lines), "n_batches": np.array(train.nbatches),
       "probabilities": np.array(train.sys_probs),
       "total": compute_total_numb_batch(train.nbatches, train.sys_probs)}
batches = []
collect = train.get_batch
def record(*args, **kwargs):
    batch = collect(*args, **kwargs)
    batches.append(dict(batch))
    return batch
train.get_batch = record
collect_batches(train, job["stat_batches"])
for step in range(job["steps"]):
    train.get_batch()
    if step % 7 == 0:
        batches.append(valid.get_batch())
for number, batch in enumerate(batches):
    for key, value in batch.items():
        out[f"{number}/{key}"] = value
np.savez(sys.argv[2], **out)
"""


def run_stock(script: str, job: dict, folder: Path) -> dict[str, np.ndarray]:
    (folder / "script.py").write_text(script)
    (folder / "job.json").write_text(json.dumps(job))
    result = subprocess.run(
        [STOCK, "script.py", "job.json", "out.npz"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert result.returncode == 0, result.stderr
    with np.load(folder / "out.npz") as out:
        return dict(out)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 2},
        {"batch_size": "auto:12", "auto_prob": "prob_uniform"},
        {"batch_size": "max:12", "auto_prob": "prob_sys_size;0:1:0.3;1:3:0.7"},
        {"batch_size": "filter:6", "sys_probs": [0.25, -1]},
        {"batch_size": [1, 2, 5], "sys_probs": [-1, 0.2, -1]},
    ],
    ids=lambda options: str(options["batch_size"]),
)
def test_batches(make, hessians, rng, tmp_path, options) -> None:
    labels = {
        "virial": rng.normal(size=(9, 9)),
        "atom_ener": rng.normal(size=(9, 5)),
        "atom_pref": rng.random((9, 5)),
        "hessian": hessians(9, 5).reshape(9, -1),
    }
    copies = np.array([1, 2, 1, 1, 3, 1, 0, 1, 1])
    paths = [
        make("a", nframes=9, frames_per_set=4, numb_copy=copies, offset=rng.normal(), **labels),
        make("b", nframes=7, types=[1, 0, 1], offset=rng.normal(), energy=None),
        make("c", nframes=6, types=[1, 0] * 4, type_map=["H", "O"], box=None),
    ]
    held_out = [make("v", nframes=5, offset=0.5, dtype=np.float32)]
    # A set that lacks a label which its neighbours have.
    (paths[0] / "set.001/force.npy").unlink()

    # Stock takes the number of types from the data, ours from the model; they agree here.
    style = {"auto_prob_style": options["auto_prob"]} if "auto_prob" in options else {}
    stock_options = {k: v for k, v in options.items() if k != "auto_prob"} | style
    job = {
        "seed": SEED,
        "stat_batches": STAT_BATCHES,
        "steps": STEPS,
        "training": {"paths": [str(p) for p in paths], **stock_options},
        "validation": {"paths": [str(p) for p in held_out], "batch_size": 2},
    }
    stock = run_stock(STOCK_SCRIPT, job, tmp_path)

    random = make_random(SEED)
    common = {"type_map": ["O", "H"], "fields": LABELS}
    train = DataSystems([str(p) for p in paths], rng=random, **options, **common)
    valid = DataSystems([str(p) for p in held_out], 2, random, **common)
    assert train.summary("training") == str(stock["summary"])
    np.testing.assert_array_equal(train.n_batches, stock["n_batches"])
    np.testing.assert_array_equal(train.probabilities, stock["probabilities"])
    assert train.total_batches == stock["total"]

    batches = [batch for system in train.stat_batches(STAT_BATCHES) for batch in system]
    for step in range(STEPS):
        batches.append(train.get_batch())
        if step % 7 == 0:
            batches.append(valid.get_batch())
    keys = [*(f.name for f in LABELS), *(f.find_key for f in LABELS), "coord", "box", "type"]
    for number, batch in enumerate(batches):
        for key in keys:
            expected = stock[f"{number}/{key}"]
            found = batch.arrays[key]
            assert found.dtype == expected.dtype, (number, key)
            np.testing.assert_array_equal(
                found.reshape(expected.shape), expected, f"{number} {key}"
            )
        np.testing.assert_array_equal(batch.natoms, stock[f"{number}/natoms_vec"])
        np.testing.assert_array_equal(batch.mesh, stock[f"{number}/default_mesh"])
    assert f"{len(batches)}/coord" not in stock


METRICS_SCRIPT = """
import json, sys
import numpy as np
from deepmd.utils.eval_metrics import compute_energy_type_metrics, compute_weighted_error_stat
from deepmd.utils.weight_avg import weighted_average

job = json.load(open(sys.argv[1]))
systems = []
for part in job["systems"]:
    prediction = {k: np.array(v) for k, v in part["prediction"].items()}
    labels = {k: np.array(v) for k, v in part["labels"].items()}
    found = compute_energy_type_metrics(prediction, labels, part["natoms"], True)
    errors = {}
    for name in ("energy", "energy_per_atom", "force", "virial", "virial_per_atom", "stress"):
        keys = "mae_" + name, "rmse_" + name
        errors.update(getattr(found, name).as_weighted_average_errors(*keys))
    errors.update(compute_weighted_error_stat(
        prediction["force"], labels["force"], labels["atom_pref"]
    ).as_weighted_average_errors("mae_weighted_force", "rmse_weighted_force"))
    systems.append(errors)
np.savez(sys.argv[2], **weighted_average(systems))
"""


def test_average_errors(rng, tmp_path) -> None:
    total = Errors(ENERGY_QUANTITIES)
    job: dict = {"systems": []}
    for nf, nat in ((3, 4), (6, 2)):
        shapes = {"energy": (nf, 1), "force": (nf, 3 * nat), "virial": (nf, 9)}
        prediction = {key: rng.normal(size=shape) for key, shape in shapes.items()}
        labels = {key: rng.normal(size=shape) for key, shape in shapes.items()}
        labels |= {f"find_{key}": np.float32(1) for key in (*shapes, "atom_pref")}
        labels |= {"atom_pref": rng.random((nf, 3 * nat)), "box": rng.normal(size=(nf, 9))}
        total.add(Evaluated(prediction, labels, natoms=nat, periodic=True))
        as_lists = [{k: np.asarray(v).tolist() for k, v in d.items()} for d in (prediction, labels)]
        job["systems"].append({"prediction": as_lists[0], "labels": as_lists[1], "natoms": nat})
    stock = run_stock(METRICS_SCRIPT, job, tmp_path)
    assert len(stock) == 14
    for key, expected in stock.items():
        kind, _, name = key.partition("_")
        assert getattr(total.by_name[name], kind) == pytest.approx(float(expected), rel=1e-12), key
