# SPDX-License-Identifier: BSD-3-Clause
"""Frozen models, read as data and imported; judged by what the protocol buffer holds."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf import text_format
from saved_models import constants_graph, save_checkpoint

from deepmd_tf import names
from deepmd_tf.export.convert import convert
from deepmd_tf.export.freeze import build_graph
from deepmd_tf.graph.frozen import open_model, read_model
from fuzzing.damage import damaged
from fuzzing.run import Loader

_SHAPES = ((), (0,), (1,), (2, 4), (-1,), (2**31, 2**31), (2**62,), (3, 3), (2, 160))


def graph_variant(rng: random.Random, content: bytes) -> bytes:
    """The same graph with nodes that say something else."""
    graph = tf.GraphDef()
    graph.ParseFromString(content)
    known = [n for n in graph.node if n.op == "Const" and n.name in names.ATTRIBUTES]
    for _ in range(rng.choice((1, 1, 2))):
        node = rng.choice(known) if rng.random() < 0.5 and known else rng.choice(graph.node)
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        kind = rng.randrange(9)
        if kind == 0:
            node.name = rng.choice(graph.node).name
        elif kind == 1:
            node.op = rng.choice(("ReadFile", "PyFunc", "NoOp", "Const", "Placeholder", "x"))
        elif kind == 2 and node.attr:
            del node.attr[rng.choice(list(node.attr))]
        elif kind == 3 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(("", "^x", "a:99", node.name))
        elif tensor is None:
            node.device = "/gpu:7"
        elif kind == 4:
            del tensor.tensor_shape.dim[:]
            for size in rng.choice(_SHAPES):
                tensor.tensor_shape.dim.add(size=size)
        elif kind == 5:
            tensor.dtype = rng.choice((1, 2, 3, 7, 8, 14, 19, 20, 21, 101))
            if rng.random() < 0.5:
                node.attr["dtype"].type = tensor.dtype
        elif kind == 6 and tensor.tensor_content:
            tensor.tensor_content = damaged(rng, [tensor.tensor_content])
        elif kind == 7 and tensor.string_val:
            # the input script among others
            tensor.string_val[0] = damaged(rng, [tensor.string_val[0]])
        else:
            value = rng.choice((np.float64(np.nan), np.int32(-1), np.float32(6.0), b"ener", [1, 2]))
            tensor.CopyFrom(tf.make_tensor_proto(value))
    return graph.SerializeToString()


def constants_of(graph: tf.GraphDef) -> dict[str, np.ndarray]:
    """Constants by name; of two nodes with one name the last."""
    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph.node
        if node.op == "Const" and (names.is_parameter(node.name) or node.name in names.ATTRIBUTES)
    }


class Frozen(Loader):
    """A frozen model with weights."""

    def __init__(self, folder: Path) -> None:
        (folder / "saved").mkdir()
        _, variables = save_checkpoint(folder / "saved")
        self.files = {"model.pb": [constants_graph(variables).SerializeToString()]}
        self._path = folder / "model.pb"

    def variant(self, rng: random.Random, file: str) -> bytes:
        return graph_variant(rng, rng.choice(self.files[file]))

    def load(self, file: str) -> bool:
        model = open_model(self._path)
        graph = tf.GraphDef()
        graph.ParseFromString(self._path.read_bytes())
        constants = constants_of(graph)
        assert model.ntypes == int(constants[names.NTYPES]) and np.isfinite(model.rcut)
        if constants[names.TYPE_MAP].size == 1:
            assert " ".join(model.type_map).split() == _text(constants[names.TYPE_MAP]).split()
        for name, values in getattr(model, "weights", {}).items():
            if name in constants:
                assert values.dtype.kind in "fiu"
                np.testing.assert_array_equal(values, constants[name], name)
        if names.TRAINING_SCRIPT in constants and model.script is not None:
            script = json.loads(_text(constants[names.TRAINING_SCRIPT]))
            assert script["model"]["descriptor"]["rcut"] == model.model_script["descriptor"]["rcut"]
        return True


def _text(value: np.ndarray) -> str:
    return value.item().decode("utf-8", errors="replace")


class Imported(Frozen):
    """A graph that is run as it is, from whether it may be to a graph of TensorFlow."""

    def __init__(self, folder: Path) -> None:
        (folder / "saved").mkdir()
        prefix, _ = save_checkpoint(folder / "saved")
        graph, _ = build_graph(read_model(prefix), "stock")
        kept = [node for node in graph.node if node.name != names.TRAINING_SCRIPT]
        graph = tf.GraphDef(node=kept, versions=graph.versions)
        self.files = {"model.pb": [graph.SerializeToString()]}
        self._path = folder / "model.pb"


class AsText(Loader):
    """A graph as text, converted to bytes."""

    def __init__(self, folder: Path) -> None:
        frozen = Frozen(folder)
        graph = tf.GraphDef.FromString(frozen.files["model.pb"][0])
        self.files = {"model.pbtxt": [text_format.MessageToString(graph).encode()]}
        self._path = folder / "model.pbtxt"

    def load(self, file: str) -> bool:
        convert("pbtxt", self._path, self._path.with_suffix(".pb"))
        graph = tf.GraphDef.FromString(self._path.with_suffix(".pb").read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert graph == text_format.Parse(self._path.read_text(), tf.GraphDef())
        return True


LOADERS: dict[str, Callable[[Path], Loader]] = {
    "frozen": Frozen,
    "imported": Imported,
    "pbtxt": AsText,
}
