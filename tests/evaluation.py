# SPDX-License-Identifier: BSD-3-Clause
"""Evaluate a model in any dialect, with given weights, on arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from plain_session import Kept, content, plain_session

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.model import ModelInputs, ModelOutputs
from deepmd_tf.model.energy import Statistics
from deepmd_tf.model.kinds import kind_of, make_model
from deepmd_tf.nn.parameters import ConstantParameters, Parameters
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.ops import library

DIALECTS = ("native", "stock", "reference")
QUANTITIES = ("energy", "force", "virial", "atom_energy", "atom_virial")
_kept = Kept()


@dataclass
class Frames:
    """Frames with the same atoms; sorted by type, as graphs want them.

    ``coord`` [nf, nat, 3], ``box`` [nf, 9] or None without periodicity, ``types`` [nat], and for
    models with parameters ``fparam`` [nf, dim], ``aparam`` [nf, nat, dim].
    """

    coord: np.ndarray
    box: np.ndarray | None
    types: np.ndarray
    ntypes: int = 2
    fparam: np.ndarray | None = None
    aparam: np.ndarray | None = None

    def __post_init__(self) -> None:
        order = np.argsort(self.types, kind="stable")
        self.types = np.asarray(self.types, np.int32)[order]
        self.coord = np.asarray(self.coord, float).reshape(-1, len(order), 3)[:, order]
        if self.aparam is not None:
            self.aparam = self.aparam[:, order]

    @property
    def natoms(self) -> np.ndarray:
        """natoms vector; virtual atoms count with type 0."""
        counts = np.bincount(np.maximum(self.types, 0), minlength=self.ntypes)
        return np.array([len(self.types), len(self.types), *counts], np.int32)

    def feed(self, inputs: ModelInputs) -> dict[tf.Tensor, Any]:
        """What to feed."""
        return {inputs.placeholders[name]: value for name, value in self.values().items()}

    def values(self) -> dict[str, np.ndarray]:
        """What to feed, by the name of the node."""
        nf = len(self.coord)
        values = {
            names.T_COORD: self.coord.ravel(),
            names.T_TYPE: np.tile(self.types, nf),
            names.T_NATOMS: self.natoms,
            names.T_BOX: np.tile(np.eye(3).ravel(), nf) if self.box is None else self.box.ravel(),
            names.T_MESH: np.zeros(0 if self.box is None else 6, np.int32),
        }
        parameters = {names.T_FPARAM: self.fparam, names.T_APARAM: self.aparam}
        values |= {name: array.ravel() for name, array in parameters.items() if array is not None}
        return values


def random_statistics(rng: np.random.Generator, ntypes: int = 2) -> Statistics:
    """Averages, deviations and biases of a plausible size; the average of s is not zero."""
    avg = np.zeros((ntypes, 4))
    avg[:, 0] = rng.uniform(0.02, 0.08, ntypes)
    radial, angular = rng.uniform(0.08, 0.2, (2, ntypes))
    std = np.stack([radial, angular, angular, angular], axis=1)
    return Statistics(avg, std, rng.normal(size=ntypes))


def random_weights(
    script: dict[str, Any],
    statistics: Statistics,
    dtype: tf.DType = tf.float64,
    **kwargs: Any,
) -> dict[str, np.ndarray]:
    """Freshly initialised weights of the model of an input script, by name."""
    model = make_model(Config.from_dict(script).model, **kwargs)
    with tf.Graph().as_default(), plain_session() as session:
        inputs = model.make_inputs(dtype)
        parameters = VariableParameters()
        model.build_atoms(inputs, parameters, "reference", statistics)
        session.run(tf.global_variables_initializer())
        return session.run(parameters.variables)


def build(
    script: dict[str, Any],
    parameters: Parameters,
    dialect: str,
    dtype: tf.DType = tf.float64,
    **kwargs: Any,
) -> tuple[ModelInputs, ModelOutputs]:
    """Build a model in the present graph."""
    model = make_model(Config.from_dict(script).model, **kwargs)
    inputs = model.make_inputs(dtype)
    return inputs, model.build(inputs, parameters, dialect)


def _known(value: Any) -> Hashable:
    """An option of a model as part of a key; tables of pair potentials by all their numbers."""
    if isinstance(value, dict):
        return tuple((name, _known(one)) for name, one in value.items())
    if isinstance(value, tuple):
        return tuple(np.asarray(one).tobytes() for one in value)
    return repr(value)


def evaluate(
    script: dict[str, Any],
    weights: dict[str, np.ndarray],
    frames: Frames,
    dialect: str = "native",
    dtype: tf.DType = tf.float64,
    *,
    fetch: Callable[[ModelOutputs, Parameters], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """All outputs of the kind of model and the diagnostics of the dialect, or what ``fetch`` makes
    of outputs and parameters.

    Graphs are kept, so that other frames, and other tests, cost a run only.
    """

    def open_model() -> tuple[tf.Session, ModelInputs, dict[str, tf.Tensor]]:
        with tf.Graph().as_default() as graph:
            parameters = ConstantParameters(weights)
            inputs, outputs = build(script, parameters, dialect, dtype, **kwargs)
            if fetch is not None:
                return plain_session(graph), inputs, fetch(outputs, parameters)
            wanted = kind_of(Config.from_dict(script).model).outputs
            fetches = {one.name: getattr(outputs, one.name) for one in wanted}
        return plain_session(graph), inputs, fetches | outputs.diagnostics

    key = (json.dumps(script), content(weights), dialect, dtype, fetch, _known(kwargs))
    session, inputs, fetches = _kept.get(key, open_model)
    return session.run(fetches, frames.feed(inputs))


def evaluate_graph(path: Path, frames: Frames) -> dict[str, np.ndarray]:
    """All :data:`QUANTITIES` of a stock graph, by the operations as they stand in the file."""
    library.stock()
    graph = tf.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default(), plain_session() as session:
        tf.import_graph_def(graph, name="")
        feed = {f"{name}:0": value for name, value in frames.values().items()}
        return session.run({key: f"o_{key}:0" for key in QUANTITIES}, feed)
