# SPDX-License-Identifier: BSD-3-Clause
"""A native file computes what the nets give at every distance, without anybody's help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session
from saved_models import MIN_NBOR_DIST, save_checkpoint, small_input

from deepmd_tf import names
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.ops import library

DISTANCES = np.array([10, 2, 0.8, 0.41, 0.39, 0.3, 0.2, 0.1, 0.03, 0.01, 1e-3, 1e-4, 2e-5])
TYPES = np.array([0, 0, 1, 1, 1], np.int32)
OUTPUTS = (names.O_ENERGY, names.O_FORCE, names.O_VIRIAL)


def approach() -> np.ndarray:
    """Two atoms that come together among three others: [n_distances, 5, 3], Å."""
    others = np.array([[0, 0, 0], [0, 0, 0], [1.7, 0.3, 0.2], [-0.4, 1.6, 0.5], [0.2, -0.6, 1.9]])
    coords = np.tile(others, (len(DISTANCES), 1, 1))
    coords[:, 1] = DISTANCES[:, None] * [0.6, -0.48, 0.64]
    return coords


def run_file(path: Path, outputs: tuple[str, ...], coords: np.ndarray) -> list[np.ndarray]:
    """As a program that knows nothing of this package but its operations."""
    library.native()
    graph = tf.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default(), plain_session() as session:
        tf.import_graph_def(graph, name="")
        feed = {
            names.T_COORD: coords.ravel(),
            names.T_TYPE: np.tile(TYPES, len(coords)),
            names.T_NATOMS: np.array([5, 5, *np.bincount(TYPES)], np.int32),
            names.T_BOX: np.tile(np.eye(3).ravel(), len(coords)),
            names.T_MESH: np.zeros(0, np.int32),
        }
        feed = {f"{name}:0": value for name, value in feed.items()}
        return session.run([f"{name}:0" for name in outputs], feed)


@pytest.mark.parametrize(
    ("descriptor", "tolerance"),
    [
        ({}, 1e-10),
        ({"neuron": [25, 50], "activation_function": "gelu"}, 1e-10),
        ({"neuron": [1, 2, 4], "type_one_side": True, "resnet_dt": True}, 1e-10),
        ({"exclude_types": [[0, 1]], "type_one_side": True}, 1e-10),
        ({"precision": "float32"}, 1e-4),
    ],
)
def test_native_file_is_the_nets(tmp_path, capfd, descriptor, tolerance) -> None:
    """Energies, forces and virials of each frame, relative to the largest there."""
    prefix, _ = save_checkpoint(tmp_path, small_input(descriptor))
    native = freeze(prefix, tmp_path / "native.pb", dialect="native").path
    reference = freeze(prefix, tmp_path / "reference.pb", dialect="reference").path
    coords = approach()
    found = run_file(native, OUTPUTS, coords)
    assert "are 2e-05 Angstrom apart" in capfd.readouterr().err
    for got, expected in zip(found, run_file(reference, OUTPUTS, coords), strict=True):
        difference = np.abs(got - expected).reshape(len(coords), -1).max(axis=1)
        largest = np.abs(expected).reshape(len(coords), -1).max(axis=1)
        assert (difference / largest).max() < tolerance


def test_graph_has_tables(tmp_path) -> None:
    """It is not the nets that are evaluated, and the octaves are part of the one table."""
    prefix, _ = save_checkpoint(tmp_path, small_input({"neuron": [2, 4]}))
    path = freeze(prefix, tmp_path / "native.pb", dialect="native").path
    graph = tf.GraphDef.FromString(path.read_bytes())
    (moment,) = (node for node in graph.node if node.op == "DpMomentOfRows")
    octaves, per_octave = (moment.attr[key].i for key in ("octaves", "per_octave"))
    assert octaves > 5 and per_octave >= 16
    (pairs,) = (node for node in graph.node if node.op == "DpNeighborList")
    assert pairs.attr["close"].f == np.float32(MIN_NBOR_DIST / 2)


def test_unknown_training_data(tmp_path, capfd) -> None:
    """A model that does not know its smallest distance cannot tell of smaller ones."""
    prefix, _ = save_checkpoint(tmp_path, small_input({"neuron": [2, 4]}), min_nbor_dist=None)
    path = freeze(prefix, tmp_path / "native.pb", dialect="native").path
    run_file(path, OUTPUTS, approach())
    assert "two atoms" not in capfd.readouterr().err


def test_hessian_of_close_atoms(tmp_path) -> None:
    """Second derivatives through the octaves are those of the nets."""
    prefix, _ = save_checkpoint(tmp_path, small_input())
    path = freeze(prefix, tmp_path / "native.pb", dialect="native", hessian=True).path
    coords = approach()[[5, 7, 9]]
    (matrices,) = run_file(path, (names.X_HESSIAN,), coords)
    with DeepPot(prefix) as model:
        expected = model.eval_hessian(coords, None, TYPES)
    for got, matrix in zip(matrices, expected, strict=True):
        assert np.abs(got - matrix).max() < 1e-8 * np.abs(matrix).max()


def test_nodes_of_a_tool_tell_of_close_pairs(tmp_path) -> None:
    """``x_outside`` counts pairs closer than half of the smallest distance in the training data."""
    prefix, _ = save_checkpoint(tmp_path, small_input())
    path = freeze(prefix, tmp_path / "native.pb", dialect="native").path
    counts = [
        run_file(path, (names.DIAGNOSTICS["outside"],), coords[None])[0] for coords in approach()
    ]
    assert [int(count) for count in counts] == [0, 0, 0, 0] + [2] * (len(counts) - 4)
