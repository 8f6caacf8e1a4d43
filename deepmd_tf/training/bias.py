# SPDX-License-Identifier: BSD-3-Clause
"""Adjusts the energy bias of a model in training to its data."""

from __future__ import annotations

import numpy as np

from deepmd_tf.data import DataSystems
from deepmd_tf.model.bias import adjusted_bias
from deepmd_tf.training.faults import NamedFaults
from deepmd_tf.training.graph import TrainingGraph

ATOMS_AT_ONCE = 10_000
"""Atoms in one evaluation: bounds memory."""


def adjust_bias(graph: TrainingGraph, data: DataSystems) -> None:
    """Adjust the energy bias to the first ``data_bias_nsample`` frames of each system."""
    ranks = graph.sharing.ranks
    graph.state.set_bias(ranks.first(lambda: _adjusted(graph, data)))


def _adjusted(graph: TrainingGraph, data: DataSystems) -> np.ndarray:
    limit = graph.config.model.data_bias_nsample
    with NamedFaults(data) as faults:
        return adjusted_bias(
            graph.state.get_bias(),
            faults.watch(
                batch
                for index, system in enumerate(data.systems)
                for batch in system.batches(max_atoms=ATOMS_AT_ONCE, limit=limit, system=index)
            ),
            lambda batch: graph.evaluation.predict(batch)["energy"],
            type_map=graph.type_map,
        )
