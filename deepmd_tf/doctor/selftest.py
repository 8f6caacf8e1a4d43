# SPDX-License-Identifier: BSD-3-Clause
"""Do the compiled operations give the right numbers here?

A small model with random weights is evaluated on a few atoms and compared with the same model in
plain TensorFlow, and with finite differences.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import ModelConfig
from deepmd_tf.data.batch import PERIODIC_MESH
from deepmd_tf.graph.session import session_config
from deepmd_tf.model import EnergyModel, ModelInputs, ModelOutputs
from deepmd_tf.model.energy import Statistics
from deepmd_tf.nn.parameters import ConstantParameters, Parameters
from deepmd_tf.nn.precision import use_interface
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.ops.threads import open_session


def _se_e2_a(fitting: list[int], **descriptor: Any) -> ModelConfig:
    return ModelConfig.from_dict(
        {
            "type_map": ["A", "B"],
            "descriptor": {"type": "se_e2_a", "seed": 1, **descriptor},
            "fitting_net": {"neuron": fitting, "seed": 2},
        }
    )


SMALL = _se_e2_a([20, 20], sel=[20, 36], rcut=5.0, rcut_smth=1.0, neuron=[6, 12], axis_neuron=4)
USUAL = _se_e2_a([240] * 3, sel=[60, 100], rcut=6.0, neuron=[25, 50, 100], axis_neuron=16)
"""The model that is timed: widths of a usual one, 192 atoms at the density of water."""
REPEATS = 9
STEP = 1e-4
"""Å, of central differences."""
ANALYTIC = 1e-8
"""Relative error of what is computed in two ways; 1e-11 and less is usual."""
DIFFERENCES = 1e-5
"""The same against central differences; 1e-7 and less is usual."""

STATISTICS = Statistics(
    avg=np.tile([0.05, 0.0, 0.0, 0.0], (2, 1)),
    std=np.tile([0.12, 0.1, 0.1, 0.1], (2, 1)),
    bias=np.array([-1.0, 0.5]),
)


class Deviation(NamedTuple):
    """A relative error, and the largest that is accepted."""

    name: str
    error: float
    limit: float


class Atoms(NamedTuple):
    """Coordinates [n, 3] and edges of a periodic cell [3, 3] in Å, and types [n], ascending."""

    coord: np.ndarray
    cell: np.ndarray
    types: np.ndarray


class TrialModel:
    """A model in one dialect, with given weights, in a session of its own."""

    def __init__(self, config: ModelConfig, weights: dict[str, np.ndarray], dialect: str) -> None:
        with tf.Graph().as_default() as graph, use_interface(tf.float64):
            self.inputs = ModelInputs.make_placeholders(2, tf.float64)
            self.outputs = _build(config, self.inputs, ConstantParameters(weights), dialect)
            self.direction = tf.placeholder(tf.float64, [None])
            if dialect == "native":
                along = tf.reduce_sum(self.outputs.force * self.direction)
                coord = self.inputs.placeholders[names.T_COORD]
                self.force_change = tf.gradients(along, coord)[0]
            self.session = open_session(graph=graph, config=session_config())

    def __call__(self, atoms: Atoms, fetches: Any, direction: np.ndarray | None = None) -> Any:
        """Values of tensors, nested as ``fetches``."""
        n = len(atoms.types)
        values = {
            names.T_COORD: atoms.coord.ravel(),
            names.T_TYPE: atoms.types,
            names.T_NATOMS: [n, n, *np.bincount(atoms.types, minlength=2)],
            names.T_BOX: atoms.cell.ravel(),
            names.T_MESH: PERIODIC_MESH,
        }
        feed = {self.inputs.placeholders[name]: value for name, value in values.items()}
        if direction is not None:
            feed[self.direction] = direction.ravel()
        return self.session.run(fetches, feed)


def _build(
    config: ModelConfig,
    inputs: ModelInputs,
    parameters: Parameters,
    dialect: str,
    first: Statistics | None = None,
) -> ModelOutputs:
    return EnergyModel(config, min_nbor_dist=1.2).build(inputs, parameters, dialect, first)


def random_weights(config: ModelConfig) -> dict[str, np.ndarray]:
    """Weights by name, always the same ones."""
    with tf.Graph().as_default(), use_interface(tf.float64), open_session() as session:
        inputs = ModelInputs.make_placeholders(2, tf.float64)
        parameters = VariableParameters()
        _build(config, inputs, parameters, "reference", STATISTICS)
        session.run(tf.global_variables_initializer())
        return session.run(parameters.variables)


def make_atoms(per_edge: int, count: int, spacing: float) -> Atoms:
    """``count`` atoms, a third of them of type 0, near the points of a cubic lattice."""
    rng = np.random.default_rng(5)
    axis = spacing * np.arange(per_edge)
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    coord = lattice[rng.permutation(len(lattice))[:count]]
    coord = coord + rng.uniform(-0.2, 0.2, coord.shape) * spacing
    types = (np.arange(count) >= count // 3).astype(np.int32)
    return Atoms(coord, per_edge * spacing * np.eye(3), types)


def measures() -> Iterator[Deviation]:
    """Compare; no error is to be larger than its limit."""
    weights, atoms = random_weights(SMALL), make_atoms(3, 24, 2.2)
    native, stock, plain = (TrialModel(SMALL, weights, d) for d in ("native", "stock", "reference"))
    quantities = ("energy", "force", "virial")
    values = native(atoms, [getattr(native.outputs, name) for name in quantities])
    _, force, virial = values
    for other, title in ((plain, "plain TensorFlow"), (stock, "stock operations")):
        others = other(atoms, [getattr(other.outputs, name) for name in quantities])
        for name, ours, theirs in zip(quantities, values, others, strict=True):
            yield Deviation(f"{name} against {title}", _error(ours, theirs), ANALYTIC)

    def slope(change: Callable[[float], Atoms], fetch: Any) -> np.ndarray:
        return (native(change(STEP), fetch) - native(change(-STEP), fetch)) / (2 * STEP)

    direction = np.random.default_rng(6).normal(size=atoms.coord.shape)

    def moved(step: float) -> Atoms:
        return atoms._replace(coord=atoms.coord + step * direction)

    strain = np.random.default_rng(7).uniform(-1, 1, (3, 3))

    def strained(step: float) -> Atoms:
        change = np.eye(3) + step * strain.T
        return atoms._replace(coord=atoms.coord @ change, cell=atoms.cell @ change)

    out = native.outputs
    for name, ours, theirs in (
        (
            "force against changes of the energy",
            -np.dot(force.ravel(), direction.ravel()),
            slope(moved, out.energy),
        ),
        (
            "virial against strained cells",
            -np.sum(virial.reshape(3, 3) * strain),
            slope(strained, out.energy),
        ),
        (
            "second derivatives against changes of the force",
            native(atoms, native.force_change, direction),
            slope(moved, out.force).ravel(),
        ),
    ):
        yield Deviation(name, _error(ours, theirs), DIFFERENCES)
    tables = out.atoms.tables
    report = None if tables is None else tables.report
    if report is None:
        raise ValueError("the native graph has no embedding table")
    yield Deviation("embedding table", report.error, report.tolerance)


def milliseconds() -> float:
    """Median time of an evaluation of energy and force, 192 atoms, model :data:`USUAL`."""
    model, atoms = TrialModel(USUAL, random_weights(USUAL), "native"), make_atoms(6, 192, 2.07)
    fetches = [model.outputs.energy, model.outputs.force]
    times = []
    for _ in range(REPEATS + 2):
        start = time.perf_counter()
        model(atoms, fetches)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[2:])


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
