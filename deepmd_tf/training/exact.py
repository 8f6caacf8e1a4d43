# SPDX-License-Identifier: BSD-3-Clause
"""Evaluation where atoms are closer than the embedding table of a training reaches."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING

from deepmd_tf.training.evaluation import Evaluation

if TYPE_CHECKING:
    from deepmd_tf.training.graph import TrainingGraph


class ExactEvaluation:
    """The same evaluation by a graph without tables, which is built when it is first needed.

    Parameters
    ----------
    graph
        The graph that is trained.
    occurring
        As for :meth:`TrainingGraph.build <deepmd_tf.training.graph.TrainingGraph.build>`.
    """

    def __init__(self, graph: TrainingGraph, occurring: Collection[int] | None) -> None:
        self._graph = graph
        self._occurring = occurring
        self._copy: TrainingGraph | None = None

    def __call__(self) -> Evaluation:
        """Evaluates batches with the present weights of the training."""
        trained = self._graph
        weights = trained.state.get_variables()
        if self._copy is None:
            model = copy.copy(trained.model)
            model.use_table = False
            self._copy = type(trained)(
                trained.config,
                model,
                trained.loss,
                type_map=trained.type_map,
                hessians=trained.hessians,
                mixed=trained.mixed,
            )
            self._copy.build(None, weights, self._occurring)
            self._copy.open()
        self._copy.state.set_variables(weights)
        return self._copy.evaluation
