# SPDX-License-Identifier: BSD-3-Clause
"""What ``dp show`` says of frozen models and checkpoints."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest
from saved_models import INPUT, constants_graph, save_checkpoint
from stock_wheel import log_lines

from deepmd_tf.cli.main import main
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model, write_graph
from deepmd_tf.graph.summary import observed_types


def show(capsys, *words: str) -> list[str]:
    """Messages of ``dp show``."""
    assert main(["show", *map(str, words)]) == 0
    return log_lines(capsys.readouterr().err)


@pytest.mark.parametrize("model", ["1.pb", "1", "1/model.ckpt-100", "1/model.ckpt-100.index"])
def test_everything(folder, capsys, model):
    lines = show(
        capsys, folder / model, "type-map", "descriptor", "fitting-net", "size", "observed-type"
    )
    assert lines[:2] == ["This is a singletask model", "The type_map is ['O', 'H']"]
    for line, section in zip(lines[2:4], ("descriptor", "fitting_net"), strict=True):
        assert line.startswith(f"The {section} parameter is {{")
        shown = ast.literal_eval(line.partition(" is ")[2])
        given = INPUT["model"][section] | {"seed": 1}
        assert {key: shown[key] for key in given} == given
    # four embedding nets 1-4-8; two fitting nets 24-10-10-1, one of whose layers has a step
    embedding, fitting = 4 * (4 + 4 + 32 + 8), 2 * (240 + 10 + 100 + 10 + 10 + 10 + 1)
    assert lines[4:8] == [
        "Parameter counts:",
        f"Parameters in descriptor: {embedding:,}",
        f"Parameters in fitting-net: {fitting:,}",
        f"Parameters in total: {embedding + fitting:,}",
    ]
    assert lines[8:] == [
        "The observed types for this model: ",
        "Number of observed types: 2 ",
        "Observed types: ['O', 'H'] ",
    ]


def test_results_on_standard_output(folder, capsys):
    """Whatever the log does."""
    assert main(["show", str(folder / "1.pb"), "type-map", "size", "descriptor", "-v", "0"]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    rows = dict(line.split("  ", 1) for line in found.out.splitlines())
    assert rows["type-map"].strip() == "O H"
    assert json.loads(rows["descriptor"])["rcut"] == INPUT["model"]["descriptor"]["rcut"]
    assert "weights, total" in rows


@pytest.mark.parametrize(
    ("model", "kind"), [("1.pb", "stock"), ("1", "checkpoint"), ("native.pb", "native")]
)
def test_summary(folder, tmp_path, capsys, model, kind):
    path = folder / model
    if kind == "native":
        freeze(folder / "1", path := tmp_path / model, dialect="native")
    assert main(["show", str(path)]) == 0
    out = capsys.readouterr().out
    for text in (kind, "an energy model", "O H", "se_e2_a, cutoff 4 Å", "neuron [10, 10]", "954"):
        assert text in out


def test_summary_of_a_compressed_model(folder, tmp_path, capsys):
    compress(folder / "1.pb", tmp_path / "small.pb", step=0.1)
    assert main(["show", str(tmp_path / "small.pb")]) == 0
    out = capsys.readouterr().out
    assert "frozen, compressed" in out and "cutoff 4 Å" in out and "weights" not in out


def test_type_without_atoms_in_the_training_data(tmp_path):
    _, weights = save_checkpoint(tmp_path)
    weights["descrpt_attr/t_std"][0] = 1.0 / INPUT["model"]["descriptor"]["rcut"]
    write_graph(constants_graph(weights), tmp_path / "model.pb")
    assert observed_types(read_model(tmp_path / "model.pb")) == ["H"]
    single = {name: np.float32(array) for name, array in weights.items()}
    write_graph(constants_graph(single), tmp_path / "single.pb")
    assert observed_types(read_model(tmp_path / "single.pb")) == ["H"]
