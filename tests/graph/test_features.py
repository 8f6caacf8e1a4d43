# SPDX-License-Identifier: BSD-3-Clause
"""Models of DeePMD-kit with what this package does not have are refused by the name of it."""

from __future__ import annotations

import json

import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import ModelFileError
from deepmd_tf.export.freeze import build_graph
from deepmd_tf.graph.features import NODES, OPERATIONS
from deepmd_tf.graph.frozen import open_model, read_model

END = "which this package does not have; evaluate it with DeePMD-kit"


@pytest.fixture
def graph(saved):
    return build_graph(read_model(saved), "stock")[0]


def refused(folder, graph):
    path = folder / "m.pb"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError) as error:
        open_model(path)
    text = str(error.value)
    assert text.startswith(str(path)) and "remove" not in text
    return text.removeprefix(f"{path}: ")


def without_script(graph):
    kept = [node for node in graph.node if node.name != names.TRAINING_SCRIPT]
    return tf.GraphDef(node=kept, versions=graph.versions)


@pytest.mark.parametrize("op", OPERATIONS)
def test_operations(tmp_path, graph, op):
    graph = without_script(graph)
    next(node for node in graph.node if node.op == "ProdEnvMatA").op = op
    assert refused(tmp_path, graph) == f"the model has {OPERATIONS[op]}, {END}"


@pytest.mark.parametrize("name", NODES)
def test_nodes(tmp_path, graph, name):
    graph.node.add(name=name, op="Const")
    assert refused(tmp_path, graph) == f"the model has {NODES[name]}, {END}"


def test_several_models(tmp_path, graph):
    average = next(node for node in graph.node if node.name == names.T_AVG)
    graph.node.add().CopyFrom(average)
    graph.node[-1].name = names.suffixed(names.T_AVG, "_other0")
    assert "several models" in refused(tmp_path, graph)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"modifier": {}}, "is not available yet in this version; evaluate"),
        ({"bridging_method": "ZBL", "modifier": {}}, "2 things that this package does not read"),
    ],
)
def test_input_scripts(tmp_path, graph, change, found):
    node = next(node for node in graph.node if node.name == names.TRAINING_SCRIPT)
    text = node.attr["value"].tensor.string_val
    script = json.loads(text[0])
    script["model"] |= change
    if "type" in change:
        del script["model"]["descriptor"]
    text[0] = json.dumps(script).encode()
    message = refused(tmp_path, graph)
    assert found in message and "DeePMD-kit" in message
