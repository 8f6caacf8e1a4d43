# SPDX-License-Identifier: BSD-3-Clause
"""Native files of every format are read; those of formats to come are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import ModelFileError
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.inference import DeepPot
from deepmd_tf.ops import library

FILES = Path(__file__).resolve().parents[1] / "native_files"
CURRENT = names.SUPPORTED_NATIVE_FORMAT


def graph_of(version: int) -> tf.GraphDef:
    return tf.GraphDef.FromString(gzip.decompress((FILES / f"format_{version}.pb.gz").read_bytes()))


def recorded(version: int) -> dict[str, np.ndarray]:
    with np.load(FILES / f"format_{version}.npz") as file:
        return dict(file)


def written_format(graph: tf.GraphDef) -> int | None:
    for node in graph.node:
        if node.name == names.NATIVE_FORMAT:
            return int(tf.make_ndarray(node.attr["value"].tensor))
    return None


@pytest.mark.parametrize("version", range(CURRENT + 1))
def test_a_file_of_each_format_is_read(tmp_path: Path, version: int) -> None:
    graph = graph_of(version)
    assert written_format(graph) == (version or None)
    path = tmp_path / "native.pb"
    path.write_bytes(graph.SerializeToString())
    values = recorded(version)
    with DeepPot(path) as model:
        energy, force, virial = model.eval(values["coords"], values["cells"], values["types"])
    for got, name in ((energy, "energy"), (force, "force"), (virial, "virial")):
        expected = values[name]
        # the descriptor is float32
        np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("version", range(1, CURRENT + 1))
def test_the_graphs_of_these_formats_run(version: int) -> None:
    """Later formats only have more attributes, so the operations run files of format 1 as well."""
    values = recorded(version)
    types, n_frames = values["types"], len(values["coords"])
    library.native()
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.import_graph_def(graph_of(version), name="")
        energy = session.run(
            f"{names.O_ENERGY}:0",
            {
                f"{names.T_COORD}:0": values["coords"].ravel(),
                f"{names.T_TYPE}:0": np.tile(types, n_frames),
                f"{names.T_NATOMS}:0": [len(types), len(types), *np.bincount(types)],
                f"{names.T_BOX}:0": values["cells"].ravel(),
                f"{names.T_MESH}:0": np.zeros(6, np.int32),
            },
        )
    np.testing.assert_allclose(energy, values["energy"], rtol=1e-6)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    graph = graph_of(CURRENT)
    for node in graph.node:
        if node.name == names.NATIVE_FORMAT:
            later = tf.make_tensor_proto(np.int32(CURRENT + 1))
            node.attr["value"].tensor.CopyFrom(later)
    path = tmp_path / "later.pb"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match=f"native format {CURRENT + 1} is newer"):
        read_model(path)
