# SPDX-License-Identifier: BSD-3-Clause
"""Weights of many nets are slices of one variable: the numbers are those of variables of their
own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from small_training import add_hessians, write_all_data

from deepmd_tf.config import OptimizerAdam
from deepmd_tf.names import in_model
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.first_values import Normal, Value
from deepmd_tf.nn.parameters import ModelParameters
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.training.entrypoint import train
from deepmd_tf.training.gradient_step import NotFinite, Optimizer
from deepmd_tf.training.optimizer import NOT_FINITE

from . import test_resting
from .checkpoints import assert_same_bits, variables
from .test_resting import FILES

FEWEST = "deepmd_tf.nn.variables.FEWEST_IN_STACK"
ALL = 10**9
"""So many are never together."""


def write(folder: Path, descriptor=None, *args, **options) -> Path:
    """As that of nets at rest; ``axis_neuron`` only where the descriptor has one."""
    path = test_resting.write(folder, descriptor, *args, **options)
    script = json.loads(path.read_text())
    if script["model"]["descriptor"].get("type", "se_e2_a") in ("se_e2_r", "se_e3"):
        del script["model"]["descriptor"]["axis_neuron"]
    path.write_text(json.dumps(script))
    return path


@pytest.fixture
def ways(tmp_path, monkeypatch):
    """Two folders with data; in the first weights are slices."""

    def folders():
        for way, fewest in (("stacked", 2), ("single", ALL)):
            folder = tmp_path / way
            folder.mkdir()
            monkeypatch.chdir(folder)
            monkeypatch.setattr(FEWEST, fewest)
            write_all_data(folder)
            yield folder

    def same(*names):
        for name in names:
            found = [(tmp_path / way / name).read_bytes() for way in ("stacked", "single")]
            assert found[0] == found[1], name

    return folders, same


CASES = {
    "two-sided": (True, {"descriptor": {"resnet_dt": True}}),
    "one-sided": (True, {"descriptor": {"sel": "auto", "type_one_side": True}}),
    "at pairs": (False, {"descriptor": {"exclude_types": [[1, 2]]}}),
    "float32": (True, {"descriptor": {"precision": "float32"}}),
    "fixed layer": (
        True,
        {
            "descriptor": {"resnet_dt": True},
            "fitting_net": {"atom_ener": [0.5, 1.0, None, 2.0], "trainable": [True, False, True]},
        },
    ),
    "shared layers": (True, {"fitting_net": {"layer_name": ["a", None, "b"]}}),
    "gelu": (True, {"descriptor": {"activation_function": "gelu"}}),
    "se_e3": (True, {"descriptor": {"type": "se_e3"}}),
    "hessians": (True, {"loss": {"start_pref_h": 1, "limit_pref_h": 1}}),
}
"""Whether nets are on a table, and keys of the input script."""
QUICK = ("fixed layer",)


@pytest.mark.parametrize(
    "case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_numbers_are_those_of_single_variables(case, ways, monkeypatch):
    """Checkpoints and learning curves, to the byte."""
    on_table, sections = CASES[case]
    monkeypatch.setattr("deepmd_tf.model.atomic.USUAL_NODES", 1 if on_table else 10**6)
    folders, same = ways
    for folder in folders():
        if case == "hessians":
            add_hessians(folder)
        assert train(write(folder, steps=3, **sections)) == 0
    same(*(name.replace("6", "3") for name in FILES))


@pytest.mark.parametrize("kind", ["se_e2_a", pytest.param("se_e2_r", marks=pytest.mark.slow)])
def test_nets_at_once(kind, tmp_path, monkeypatch):
    """At pairs by one operation: the same numbers, but for rounding."""
    monkeypatch.setattr("deepmd_tf.model.atomic.USUAL_NODES", 10**6)
    found = []
    for way, many in (("together", 1), ("one by one", ALL)):
        folder = tmp_path / way
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setattr("deepmd_tf.nn.embedding.MANY", many)
        write_all_data(folder)
        descriptor = {"type": kind, "exclude_types": [[1, 2]]}
        assert train(write(folder, descriptor, steps=3)) == 0
        found.append(variables("model.ckpt-3"))
    assert set(found[0]) == set(found[1])
    different = 0
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-6, atol=1e-9, err_msg=name)
        different += value.tobytes() != found[1][name].tobytes()
    assert different


@pytest.mark.slow
def test_restart_from_the_other_way(ways, monkeypatch):
    """A checkpoint does not know whether its weights were slices."""
    folders, same = ways
    for _ in folders():
        folder = Path()
        assert train(write(folder, steps=3)) == 0
        # the other way from here on
        monkeypatch.setattr(FEWEST, ALL if folder.resolve().name == "stacked" else 2)
        assert train(write(folder), restart="model.ckpt-3") == 0
    same(*FILES)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_first_values(dtype, monkeypatch):
    """Slices begin with the numbers of variables."""
    monkeypatch.setattr(FEWEST, 2)

    def ask(source):
        for k in range(3):
            source.get(f"a{k}", (4, 3), dtype, Normal(0.5, 0.1, 7 + k))
            source.get(f"b{k}", (4, 3), dtype, Value(np.arange(3.0) + k), trainable=False)
        source.get("alone", (2,), dtype, Normal(0.0, 1.0, 9))

    found = []
    for stacked in (True, False):
        with tf.Graph().as_default(), tf.Session() as session:
            parameters = VariableParameters(stacked=stacked)
            parameters.together(ask)
            ask(parameters)
            session.run(tf.global_variables_initializer())
            found.append(session.run(parameters.variables))
            assert len(parameters.stacks) == (2 if stacked else 0)
            assert set(parameters.trainable_names) == {"a0", "a1", "a2", "alone"}
    assert set(found[0]) == set(found[1])
    assert_same_bits(*found)


def test_one_of_several_models(monkeypatch):
    """Its weights are together too, under the names of all models."""
    monkeypatch.setattr(FEWEST, 2)

    def ask(source):
        return [source.get(f"a{k}", (2,), tf.float64, Normal(0.0, 1.0, k)) for k in range(3)]

    with tf.Graph().as_default():
        parameters = VariableParameters(stacked=True)
        model = ModelParameters(parameters, "_1")
        model.together(ask)
        (stack,) = parameters.stacks
        assert all(one is other for one, other in zip(ask(model), stack.slices, strict=True))
        assert stack.names == tuple(in_model(f"a{k}", "_1") for k in range(3))


def test_refused_step_names_the_weights(monkeypatch):
    """By the names of the slices."""
    monkeypatch.setattr(FEWEST, 2)

    def ask(source):
        for k in range(3):
            source.get(f"a{k}", (4, 3), tf.float64, Normal(0.5, 0.1, 7 + k))

    with tf.Graph().as_default():
        parameters = VariableParameters(stacked=True)
        parameters.together(ask)
        optimizer = Optimizer.build(OptimizerAdam(), parameters)
        gradients = [np.zeros(1), np.array([np.inf]), np.zeros(1)]
        with pytest.raises(NotFinite) as refused, optimizer.finite(lambda: (1.0, gradients)):
            raise tf.errors.InvalidArgumentError(None, None, NOT_FINITE)
    assert refused.value.weights == ("a1",)


def test_the_graph_does_not_grow_with_the_nets(monkeypatch):
    """Tables of 4 and of 25 nets, and their gradients, are as many nodes."""
    monkeypatch.setattr(FEWEST, 2)

    def nodes(ntypes):
        with tf.Graph().as_default() as graph:
            nets = EmbeddingNets(
                neuron=(4, 8),
                activation=get_activation("tanh"),
                resnet_dt=True,
                dtype=tf.float64,
                one_sided=False,
                ntypes=ntypes,
                seed=1,
            )
            parameters = VariableParameters(stacked=True)
            nets.build(parameters)
            (jets,) = nets.jets(tf.zeros([ntypes**2, 3], tf.float64))
            tf.gradients(jets, parameters.trainable)
            return len(graph.get_operations())

    assert nodes(2) == nodes(5)
