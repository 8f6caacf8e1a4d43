# SPDX-License-Identifier: BSD-3-Clause
"""Two graphs of one model, compared on frames at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.data import Batch, DataSystem, expand_systems, make_random
from deepmd_tf.data.batch import PERIODIC_MESH
from deepmd_tf.elements import names_of_types
from deepmd_tf.errors import DataError
from deepmd_tf.graph.frozen import SavedModel
from deepmd_tf.graph.session import plain_message, session_config
from deepmd_tf.ops import library
from deepmd_tf.ops.threads import open_session

MAX_SYSTEMS = 8
MAX_FRAMES = 4
"""Of each system."""
MAX_ATOMS = 20_000
"""Of all frames; the graph of DeePMD-kit takes about 0.3 ms for one."""
RANDOM_ATOMS = 96
RANDOM_FRAMES = 4
FILLED_SLOTS = 0.6
"""Part of the slots of ``sel`` that an atom of a random frame has neighbours for."""


@dataclass(frozen=True)
class Differences:
    """Largest differences between two graphs.

    Attributes
    ----------
    frames
        Number of frames.
    energy
        Of the energy per atom, eV.
    force
        Of a component of a force, eV/Å.
    virial
        Of an element of the virial per atom, eV.
    """

    frames: int
    energy: float
    force: float
    virial: float


@dataclass(frozen=True)
class RelativeDifferences:
    """Largest differences between two graphs of a model of another kind.

    Attributes
    ----------
    frames
        Number of frames.
    by_output
        By the name of the node: of any number, as part of the largest number there is.
    """

    frames: int
    by_output: Mapping[str, float]


def compare(graphs: Sequence[tf.GraphDef], batches: Iterable[Batch]) -> Differences:
    """Largest differences between the results of two stock graphs of an energy model.

    Raises
    ------
    DataError
        When a frame cannot be evaluated.
    """
    frames, largest = 0, np.zeros(3)
    nodes = (names.O_ENERGY, names.O_FORCE, names.O_VIRIAL)
    for batch, results in _results(graphs, batches, nodes):
        energy, force, virial = (np.abs(a - b).max() for a, b in zip(*results, strict=True))
        n = batch.natoms[0]
        largest = np.maximum(largest, (energy / n, force, virial / n))
        frames += batch.nframes
    return Differences(frames, *(float(x) for x in largest))


def compare_outputs(
    graphs: Sequence[tf.GraphDef], batches: Iterable[Batch], nodes: Sequence[str]
) -> RelativeDifferences:
    """The same of these nodes of any model."""
    frames, largest, size = 0, np.zeros(len(nodes)), np.zeros(len(nodes))
    for batch, (one, two) in _results(graphs, batches, nodes):
        found = [np.abs(a - b).max(initial=0.0) for a, b in zip(one, two, strict=True)]
        largest = np.maximum(largest, found)
        size = np.maximum(size, [np.abs(a).max(initial=0.0) for a in one])
        frames += batch.nframes
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(largest == 0.0, 0.0, largest / size)
    return RelativeDifferences(frames, dict(zip(nodes, relative.tolist(), strict=True)))


def _results(
    graphs: Sequence[tf.GraphDef], batches: Iterable[Batch], nodes: Sequence[str]
) -> Iterator[tuple[Batch, list[list[np.ndarray]]]]:
    """Frames, with the values of ``nodes`` in each graph."""
    runners = [_Runner(graph, nodes) for graph in graphs]
    try:
        for batch in batches:
            yield batch, [runner.run(batch) for runner in runners]
    finally:
        for runner in runners:
            runner.close()


class _Runner:
    """A frozen graph in a session, of which ``nodes`` are wanted."""

    def __init__(self, graph: tf.GraphDef, nodes: Sequence[str]) -> None:
        library.stock()
        self._nodes = nodes
        with tf.Graph().as_default() as imported:
            tf.import_graph_def(graph, name="")
        self._graph = imported
        self._session = open_session(graph=imported, config=session_config())
        self._parameters = {
            names.placeholder(key): key
            for key in ("fparam", "aparam")
            if any(node.name == names.placeholder(key) for node in graph.node)
        }

    def run(self, batch: Batch) -> list[np.ndarray]:
        arrays = batch.arrays
        feed = {
            names.T_COORD: arrays["coord"].ravel(),
            names.T_TYPE: arrays["type"].ravel(),
            names.T_NATOMS: batch.natoms,
            names.T_BOX: arrays["box"].ravel(),
            names.T_MESH: batch.mesh,
        } | {name: arrays[key].ravel() for name, key in self._parameters.items()}
        try:
            return self._session.run(
                [f"{name}:0" for name in self._nodes],
                {f"{name}:0": value for name, value in feed.items()},
            )
        except tf.errors.InvalidArgumentError as error:
            raise DataError(f"{batch.set_name}: {plain_message(error)}") from None

    def close(self) -> None:
        self._session.close()


def some_frames(model: SavedModel, systems: Sequence[str]) -> list[Batch]:
    """Some frames of each of some systems, the same each time.

    Parameters
    ----------
    model
        What they are for: its types, its frame and atomic parameters.
    systems
        Their directories.

    Raises
    ------
    DataError
        When a system cannot be read, or has other types than the model.
    """
    wanted = model.model.data_items
    found: list[Batch] = []
    chosen = np.unique(np.linspace(0, len(systems) - 1, MAX_SYSTEMS).round().astype(int))
    for index in chosen:
        data = DataSystem(
            systems[index],
            names_of_types(model.type_map, model.ntypes) or None,
            fields=wanted,
            ntypes=model.ntypes,
        )
        limit = max(1, min(MAX_FRAMES, MAX_ATOMS // (len(chosen) * data.natoms)))
        for batch in data.batches(limit=limit, rng=make_random(1)):
            found.extend(part for part, _ in batch.uniform())
    return found


def training_systems(script: Mapping[str, Any], folder: str | Path) -> list[str]:
    """Directories of the training systems of an input script.

    Parameters
    ----------
    script
        In the present layout.
    folder
        What the directories are relative to, if they are not there from the current directory.

    Raises
    ------
    DataError
        When they are not there, or the script names none.
    """
    training = script.get("training")
    section = training.get("training_data") if isinstance(training, Mapping) else None
    section = section if isinstance(section, Mapping) else {}
    systems = section.get("systems")
    if not systems:
        raise DataError("the input script names no training data")
    patterns = section.get("rglob_patterns")
    try:
        return expand_systems(systems, patterns)
    except DataError:
        return expand_systems(systems, patterns, base=folder)


def random_frames(model: SavedModel) -> Iterator[Batch]:
    """Frames without a meaning: atoms at random, about as dense as ``sel`` says, no two much closer
    than the smallest distance of the training data. The same each time.
    """
    rng = np.random.default_rng(1)
    parts = [part.config for part in model.model.parts()]
    descriptor = max(parts, key=lambda part: part.largest_rcut)
    sel = np.array(descriptor.sel)
    nearest = model.min_nbor_dist or 1.0
    density = FILLED_SLOTS * sel.sum() / (4 / 3 * np.pi * descriptor.largest_rcut**3)
    side = round(RANDOM_ATOMS ** (1 / 3))
    spacing = max(density ** (-1 / 3), 1.1 * nearest)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    n = len(grid)
    # one selection for all types together says nothing about their shares; a type without slots is
    # no neighbour, but may be a centre
    others = np.where(sel > 0, sel, 0.05 * sel.sum())
    real = model.ntypes - model.virtual_types
    shares = np.ones(real) if descriptor.one_selection else others
    types = np.sort(rng.choice(real, n, p=shares / shares.sum())).astype(np.int32)
    with_spin = np.flatnonzero(types < model.virtual_types)
    types = np.concatenate([types, real + types[with_spin]], dtype=np.int32)
    counts = np.bincount(types, minlength=model.ntypes)
    fitting = model.model.main.fitting_net
    parameters = {
        key: np.tile(model.weights.get(name, np.zeros(dim)), (1, repeat))
        for key, name, dim, repeat in (
            ("fparam", names.FPARAM_AVG, fitting.numb_fparam, 1),
            ("aparam", names.APARAM_AVG, fitting.numb_aparam, len(types)),
        )
        if dim
    }
    if model.model.fragmented:  # a region and two fragments
        parameters["aparam"] = np.arange(len(types), dtype=np.float64)[None] % 3
    for frame in range(RANDOM_FRAMES):
        places = rng.permutation(grid) * spacing
        places += rng.uniform(-0.5, 0.5, (n, 3)) * (spacing - nearest)
        # Every fourth atom has another one as near as any two were in the training data.
        near, moved = rng.permutation(n)[: n // 4 * 2].reshape(2, -1)
        direction = rng.normal(size=(len(near), 3))
        direction *= nearest / np.linalg.norm(direction, axis=1, keepdims=True)
        places[moved] = places[near] + direction * rng.uniform(1, 2, (len(near), 1))
        if len(with_spin):
            spins = rng.normal(size=(len(with_spin), 3))
            spins *= nearest / np.linalg.norm(spins, axis=1, keepdims=True)
            places = np.concatenate([places, places[with_spin] + spins])
        yield Batch(
            arrays={
                "coord": places.reshape(1, -1),
                "box": side * spacing * np.eye(3).reshape(1, 9),
                "type": types[None],
                **parameters,
            },
            natoms=np.array([len(types), len(types), *counts], np.int32),
            mesh=PERIODIC_MESH,
            system=0,
            set_name="random frames",
            frames=np.array([frame]),
        )
