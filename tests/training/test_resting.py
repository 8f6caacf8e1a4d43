# SPDX-License-Identifier: BSD-3-Clause
"""Types without atoms in the data: their nets are in checkpoints, not in the graph."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import numpy as np
import pytest
import small
import tensorflow.compat.v1 as tf
from small_training import add_hessians, add_parameters, write_all_data, write_script

from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.checkpoint import read_state
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.inference import DeepPot
from deepmd_tf.nn.first_values import Draws, Normal
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.training.entrypoint import train

from .checkpoints import assert_same_bits, variables

NAMES = ["He", "O", "Ne", "H"]
FILES = ("lcurve.out", "model.ckpt-6.index", "model.ckpt-6.data-00000-of-00001")


def write(folder: Path, descriptor=None, fitting_net=None, steps=6, **sections) -> Path:
    """An input script with two types more than the data have."""
    descriptor = {"sel": [3, 12, 5, 20], **(descriptor or {})}
    script = small.script(descriptor, fitting_net, **sections)
    script["model"]["type_map"] = NAMES
    script["training"] |= {"numb_steps": steps, "save_freq": 3}
    return write_script(folder, script)


@pytest.fixture
def ways(tmp_path, monkeypatch):
    """Two folders; in the second all nets are in the graph."""

    def folders():
        for way in ("resting", "all"):
            folder = tmp_path / way
            folder.mkdir(exist_ok=True)
            monkeypatch.chdir(folder)
            with monkeypatch.context() as patch:
                if way == "all":
                    patch.setattr(VariableParameters, "of_net", lambda self, *_: self)
                yield folder

    def same(*names):
        return [(tmp_path / "resting" / n).read_bytes() for n in names] == [
            (tmp_path / "all" / n).read_bytes() for n in names
        ]

    return folders, same


MIXED = {"systems": "data/train", "batch_size": "mixed:3"}
CASES = {
    "empty slots": (False, {}),
    "table": (True, {}),
    "no slots": (False, {"descriptor": {"sel": "auto"}}),
    "one-sided": (True, {"descriptor": {"sel": "auto", "type_one_side": True}}),
    "excluded": (True, {"descriptor": {"exclude_types": [[1, 2], [1, 1]]}}),
    "forces": (False, {"loss": {"start_pref_e": 0, "limit_pref_e": 0}}),
    "float32": (True, {"descriptor": {"precision": "float32", "resnet_dt": True}}),
    "fixed layer": (
        False,
        {"fitting_net": {"atom_ener": [0.5, 1.0, None, 2.0], "trainable": [True, False, True]}},
    ),
    "hessians": (True, {"loss": {"start_pref_h": 1, "limit_pref_h": 1}}),
    "parameters": (True, {"fitting_net": {"numb_fparam": 1, "numb_aparam": 2}}),
    "mixed": (True, {"training": {"training_data": MIXED}}),
}
"""Whether nets are on a table, and keys of the input script."""


QUICK = ("table", "no slots", "fixed layer")
"""Cases of the default run."""


@pytest.mark.parametrize(
    "case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_numbers_are_those_of_all_nets(case, ways, monkeypatch):
    """Checkpoints and learning curves, to the byte."""
    on_table, sections = CASES[case]
    monkeypatch.setattr("deepmd_tf.model.atomic.USUAL_NODES", 1 if on_table else 10**6)
    folders, same = ways
    for folder in folders():
        write_all_data(folder)
        if case == "hessians":
            add_hessians(folder)
        if case == "parameters":
            add_parameters(folder)
        assert train(write(folder, steps=3, **sections)) == 0
        table = read_state("model.ckpt-3")["graph"]
        assert any(name.startswith("embedding_table") for name in table) == on_table
    assert same(*(name.replace("6", "3") for name in FILES))


@pytest.mark.slow
def test_data_of_other_types_later(ways):
    """Types come in whose nets rested, and the optimizer goes on to move those of types that have
    gone."""
    folders, same = ways
    for folder in folders():
        write_all_data(folder)
        assert train(write(folder, steps=3)) == 0
        for path in folder.glob("data/*/*/type_map.raw"):
            path.write_text("O\nNe\n")
        first = variables("model.ckpt-3")
        assert train(write(folder), restart="model.ckpt-3") == 0
        last = variables("model.ckpt-6")
        moved = {name for name in first if name in last and (first[name] != last[name]).any()}
        assert {f"final_layer_type_{t}/matrix" for t in (1, 2, 3)} < moved
        assert "final_layer_type_0/matrix" not in moved
    assert same(*FILES)


def test_a_checkpoint_of_all_nets_goes_on(ways):
    folders, _ = ways
    for folder in folders():
        if folder.name == "all":
            write_all_data(folder)
            assert train(write(folder)) == 0
    whole = variables("model.ckpt-6")
    for path in Path().glob("model.ckpt-6*"):
        path.unlink()
    assert train("input.json", restart="model.ckpt-3") == 0
    assert_same_bits(variables("model.ckpt-6"), whole)


@pytest.mark.slow
def test_frozen_files_have_all_nets(tmp_path, monkeypatch, caplog):
    """They evaluate atoms of every type, in each dialect alike."""
    monkeypatch.chdir(tmp_path)
    write_all_data(tmp_path)
    caplog.set_level(logging.INFO)
    assert train(write(tmp_path)) == 0
    assert "2 of 4 types have no atoms in the data: their nets are not trained" in caplog.text
    energies = []
    coord = np.random.default_rng(0).uniform(0, 5, (1, 8 * 3))
    for dialect in ("stock", "native"):
        freeze(output=f"{dialect}.pb", dialect=dialect)
        energies.append(DeepPot(f"{dialect}.pb").eval(coord, None, [0, 1, 2, 3] * 2)[0])
    np.testing.assert_allclose(*energies, rtol=1e-9)
    # and training from a file keeps what is at rest
    assert train("input.json", init_frz_model="native.pb") == 0
    name = "filter_type_0/matrix_1_2"
    np.testing.assert_array_equal(
        variables("model.ckpt-6")[name], read_model("native.pb").weights[name]
    )


@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
def test_draws_are_those_of_a_graph(dtype):
    cases = [
        (Normal(0.3, 0.7, seed), s) for seed in (0, 1, 2**31 + 5) for s in ((25,), (1, 4), (1,))
    ]
    with tf.Graph().as_default(), tf.Session() as session:
        nodes = [init(shape, dtype) for init, shape in cases]
        expected = session.run(nodes)
    with Draws() as draws:
        for (init, shape), array in zip(cases, expected, strict=True):
            np.testing.assert_array_equal(draws.normal(init, shape, dtype), array)
        again = functools.partial(draws.normal, Normal(0.0, 1.0, None), (3,), dtype)
        assert (again() != again()).all()
