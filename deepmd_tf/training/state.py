# SPDX-License-Identifier: BSD-3-Clause
"""State of a training graph: variables, the step counter, the embedding table."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.graph.session import assign
from deepmd_tf.nn.table import TableReport
from deepmd_tf.nn.variables import VariableParameters
from deepmd_tf.parallel import Ranks
from deepmd_tf.training.runner import GraphRunner

log = logging.getLogger(__name__)


class TrainingState:
    """Reads and sets variables of a training graph.

    Parameters
    ----------
    runner
        Holds the values.
    parameters
        Of the model.
    counter
        Counts the steps of the optimizer.
    local
        Variables that are not in checkpoints, by name.
    table
        The embedding table; None if the nets are evaluated at each pair.
    """

    def __init__(
        self,
        runner: GraphRunner,
        parameters: VariableParameters,
        counter: tf.Variable,
        local: Mapping[str, tf.Variable],
        table: Any = None,
    ) -> None:
        self._runner = runner
        self._variables = dict(parameters.variables)
        self._trainable = set(parameters.trainable_names)
        self._stacks = parameters.stacks
        self._resting = parameters.resting
        self._counter = counter
        self._local = dict(local)
        self._table = table
        self._reported: tuple[int, bool] | None = None

    def get_step(self) -> int:
        """Steps done, as in the checkpoint."""
        return int(self._runner.session.run(self._counter))

    def set_step(self, step: int) -> None:
        """Set the step counter that checkpoints carry."""
        assign(self._runner.session, [(self._counter, np.int64(step))])

    def get_variables(self) -> dict[str, np.ndarray]:
        """Values of all variables of the model, by name."""
        return self._runner.session.run(self._variables)

    def set_variables(self, values: Mapping[str, np.ndarray]) -> None:
        """Set variables of the model, by name."""
        left, pairs = dict(values), []
        for stack in self._stacks:
            given = {name: left.pop(name) for name in stack.names if name in left}
            if given:
                if len(given) < len(stack.names):
                    present = self._runner.session.run(stack.variable)
                    given = dict(zip(stack.names, present, strict=True)) | given
                pairs.append((stack.variable, np.stack([given[name] for name in stack.names])))
        pairs += [(self._variables[name], value) for name, value in left.items()]
        assign(self._runner.session, pairs)

    def get_local(self) -> dict[str, np.ndarray]:
        """Values of the variables that are not in checkpoints, by name."""
        return self._runner.session.run(self._local)

    def set_local(self, state: Mapping[str, Any]) -> bool:
        """Set what :meth:`get_local` returned; False, and nothing is set, if it does not fit."""
        if set(state) != set(self._local):
            return False
        arrays = {name: np.asarray(state[name]) for name in self._local}
        if any(arrays[name].shape != tuple(v.shape.as_list()) for name, v in self._local.items()):
            return False
        assign(self._runner.session, [(v, arrays[name]) for name, v in self._local.items()])
        return True

    def share(self, ranks: Ranks) -> None:
        """Give all variables, the optimizer's and the tables among them, the values of rank 0."""
        if ranks.size == 1:
            return
        graph, session = self._runner.graph, self._runner.session
        keys = tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.LOCAL_VARIABLES
        variables = [variable for key in keys for variable in graph.get_collection(key)]
        values = ranks.first(lambda: session.run(variables))
        if not ranks.leads:
            assign(session, zip(variables, values, strict=True))

    def differs(self, ranks: Ranks) -> list[int]:
        """The ranks whose weights are not those of rank 0."""
        if ranks.size == 1:
            return []
        own = 0
        for value in self.get_variables().values():
            own = zlib.crc32(np.ascontiguousarray(value).data, own)
        found = ranks.objects(own)
        return [rank for rank, other in enumerate(found) if other != found[0]]

    def get_bias(self) -> np.ndarray:
        """Energy bias of each type, eV, float64 [ntypes]."""
        variable = self._variables[names.BIAS_ATOM_E]
        return self._runner.session.run(variable).astype(np.float64)

    def set_bias(self, bias: np.ndarray) -> None:
        """Set the energy bias of each type, eV."""
        assign(self._runner.session, [(self._variables[names.BIAS_ATOM_E], bias)])

    def refresh_table(self) -> TableReport | None:
        """Fit the embedding table to the present weights, and log its error if it changed.

        None if there is no table.
        """
        report = None if self._table is None else self._table.refresh(self._runner.session)
        if report is None or (report.nodes, report.accurate) == self._reported:
            return report
        self._reported = report.nodes, report.accurate
        log.info(
            "embedding table: %d nodes, largest relative error %.1e", report.nodes, report.error
        )
        if not report.accurate:
            log.warning("this error is more than the tolerance, %.0e", report.tolerance)
        return report

    def parameter_count(self) -> tuple[int, int]:
        """Numbers that are trained, and all numbers of the model; also those of nets at rest."""
        counts = [(v, name in self._trainable) for name, v in self._variables.items()]
        counts += [(s, n in self._resting.trainable) for n, s in self._resting.specs.items()]
        sizes = [(int(np.prod(v.shape.as_list())), trainable) for v, trainable in counts]
        return sum(n for n, trainable in sizes if trainable), sum(n for n, _ in sizes)
