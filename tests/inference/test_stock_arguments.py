# SPDX-License-Identifier: BSD-3-Clause
"""Arguments that scripts for DeePMD-kit use are taken, and told where they have no effect."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from saved_models import water_like

from deepmd_tf import names
from deepmd_tf.errors import InputError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_graph, write_graph
from deepmd_tf.infer import DeepEval, DeepPot, calc_model_devi
from deepmd_tf.interfaces.ase import DP


@pytest.mark.parametrize(
    ("keyword", "told"),
    [
        ({"load_prefix": "load", "default_tf_graph": False, "input_map": None}, False),
        ({"head": None, "neighbor_list": None}, False),
        ({"load_prefix": "other"}, True),
        ({"default_tf_graph": True}, True),
        ({"input_map": {"t_box:0": None}}, True),
        ({"head": "water"}, True),
    ],
)
def test_keywords(saved, keyword, told, caplog):
    with DeepEval(saved, **keyword) as pot:
        assert pot.get_ntypes() == 2
    assert ("without effect" in caplog.text) == told
    assert not told or next(iter(keyword)) in caplog.text


def test_unknown_keyword(saved):
    with pytest.raises(InputError, match="load_prefx: not a keyword"):
        DeepPot(saved, load_prefx="load")


@pytest.mark.parametrize("size", ["x", 0, 2.5, None])
def test_batch_size_that_is_no_number(saved, size):
    with pytest.raises(InputError, match="auto_batch_size is"):
        DeepPot(saved, auto_batch_size=size)


def test_batch_size_in_an_object(saved):
    with DeepPot(saved, auto_batch_size=types.SimpleNamespace(current_batch_size=48)) as pot:
        assert pot._batch.atoms == 48


def test_types_as_one_row(saved, rng):
    coords, cells, atom_types = water_like(rng, n_frames=3)
    with DeepPot(saved) as pot:
        expected = pot.eval(coords, cells, atom_types)
        for got, wanted in zip(pot.eval(coords, cells, atom_types[None]), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_deviation_of_one_model(saved, rng, caplog):
    coords, cells, atom_types = water_like(rng)
    with DeepPot(saved) as pot:
        assert not calc_model_devi(coords, cells, atom_types, [pot])[:, 1:].any()
    assert "does not deviate from itself" in caplog.text
    with pytest.raises(InputError, match="no model given"):
        calc_model_devi(coords, cells, atom_types, [])


def test_calculator(saved):
    with DP(saved, "DP", None, None, None) as calculator:
        assert calculator.type_dict == {"O": 0, "H": 1}


def test_descriptors_of_a_graph_that_does_not_say_their_size(saved, tmp_path, rng):
    """As that of DeePMD-kit 1.x: neither shapes nor an input script."""
    frames = water_like(rng)
    path = freeze(saved, tmp_path / "whole.pb").path
    with DeepPot(path) as pot:
        expected = pot.eval_descriptor(*frames)
    graph = read_graph(path)
    for node in list(graph.node):
        if node.name == names.TRAINING_SCRIPT:
            graph.node.remove(node)
        if node.name == names.O_DESCRIPTOR:
            node.name, source = "o_known", node
    shape = graph.node.add(name="size", op="Shape", input=["o_known"])
    shape.attr["T"].CopyFrom(source.attr["T"])
    hidden = graph.node.add(name="hidden", op="Abs", input=["size"])
    hidden.attr["T"].type = tf.int32.as_datatype_enum
    unknown = graph.node.add(name=names.O_DESCRIPTOR, op="Reshape", input=["o_known", "hidden"])
    unknown.attr["T"].CopyFrom(source.attr["T"])
    write_graph(graph, tmp_path / "graph.pb")
    with DeepPot(tmp_path / "graph.pb") as pot:
        shape = pot._runner.evaluator._outputs.descriptor.shape
        assert shape.rank is None or shape[-1] is None
        np.testing.assert_allclose(pot.eval_descriptor(*frames), expected, atol=1e-12)
