# SPDX-License-Identifier: BSD-3-Clause
"""What a kind of model has without code of its own: a model of forces that predicts nothing else is
opened, tested and frozen by its record in the table of kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from saved_models import save_checkpoint, water_like

from deepmd_tf import names
from deepmd_tf.config import Validating
from deepmd_tf.data import write_system
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.export.freeze import build_graph, freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference import DeepEval, opening
from deepmd_tf.inference.testing import run_test
from deepmd_tf.metrics import energy
from deepmd_tf.model.kinds import MODEL_KINDS
from deepmd_tf.training.validation import FullValidation

KIND = replace(
    MODEL_KINDS["ener"],
    words="a force model",
    outputs=MODEL_KINDS["ener"].outputs[1:2],
    quantities=(energy.FORCE,),
    evaluator="DeepForce",
)


class DeepForce(DeepEval):
    kind = KIND


@pytest.fixture
def model(tmp_path, monkeypatch):
    path = freeze(save_checkpoint(tmp_path)[0], tmp_path / "model.pb").path
    monkeypatch.setitem(MODEL_KINDS, "ener", KIND)
    monkeypatch.setattr(opening, "EVALUATORS", (DeepPot, DeepForce))
    return path


def test_dp_test(model, tmp_path, rng):
    coord, box, types = water_like(rng)
    with opening.open_evaluator(model) as evaluator:
        force = evaluator.evaluate(evaluator.frames(coord, box, types), KIND.outputs)["force"]
    labels = {"energy": np.zeros(len(coord)), "force": force + 0.25}
    write_system(
        tmp_path / "data", types=types, coord=coord, box=box, type_map=["O", "H"], **labels
    )
    errors = run_test(model, [str(tmp_path / "data")], atomic=True).by_name
    assert errors.keys() == {"force"} and errors["force"].mae == pytest.approx(0.25)
    with pytest.raises(InputError, match="Hessians are not what a force model gives"):
        run_test(model, [str(tmp_path / "data")], hessian=True)
    with pytest.raises(ModelFileError, match="open it with DeepForce"):
        DeepPot(model)


def test_nodes_of_files(model):
    kept = build_graph(read_model(model))[1]
    assert {*kept} & {*names.OUTPUTS} == {names.O_FORCE}


def test_full_validation():
    config = Validating(full_validation=True, validation_metric="E:MAE")
    with pytest.raises(InputError, match="a force model has no error that is called E"):
        FullValidation(config, KIND, 0, 10, None, "model.ckpt")
