# SPDX-License-Identifier: BSD-3-Clause
"""Running groups of frames with a model, and what is said about frames that it does not suit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from deepmd_tf.data.checks.closeness import close_pairs
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.refusals import FrameError
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.inference.evaluator import Evaluator, NativeEvaluator
from deepmd_tf.inference.frames import Frames, Group
from deepmd_tf.inference.imported import ImportedEvaluator
from deepmd_tf.inference.missing import MissingNeighbors
from deepmd_tf.model.atomic import TABLE_REACH, UNKNOWN_DISTANCE

log = logging.getLogger(__name__)


def make_evaluator(model: SavedModel | ImportedModel, use_table: bool = True) -> Evaluator:
    """The evaluator of a file, not built; tables are of this package's graphs only."""
    if isinstance(model, ImportedModel):
        return ImportedEvaluator(model)
    return NativeEvaluator(model, use_table)


class FrameRunner:
    """Evaluates frames of a group with tables where these reach, and without them elsewhere.

    A copy, or what was sent to another process, has the model as it was read, whatever became of
    its file, and opens sessions of its own when it is used.

    Parameters
    ----------
    model
        The opened file.
    missing_rule
        What to do where an atom has more neighbours than the model sees: one of
        :data:`~deepmd_tf.inference.missing.RULES`.

    Attributes
    ----------
    missing
        Neighbours that were left out so far.
    """

    def __init__(self, model: SavedModel | ImportedModel, missing_rule: str) -> None:
        self.model = model
        self.missing = MissingNeighbors(model.neighbor_limits, model.type_map)
        self._evaluator: Evaluator | None = None
        self._exact: Evaluator | None = None
        self._missing_rule = missing_rule

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_evaluator": None, "_exact": None}

    @property
    def evaluator(self) -> Evaluator:
        """The graph of the model and its session, opened by the first call.

        Raises
        ------
        DeepmdError
            As :meth:`Evaluator.build <deepmd_tf.inference.evaluator.Evaluator.build>`.
        """
        if self._evaluator is None:
            evaluator = make_evaluator(self.model)
            evaluator.build()
            self._evaluator = evaluator
        return self._evaluator

    def close(self) -> None:
        """Free the sessions."""
        for evaluator in (self._evaluator, self._exact):
            if evaluator is not None:
                evaluator.close()

    def run(
        self,
        frames: Frames,
        group: Group,
        chosen: np.ndarray,
        call: Callable[..., dict[str, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """``call(evaluator, ...)`` on frames of a group.

        Parameters
        ----------
        frames, group
            The frames, and which of them are evaluated together.
        chosen
            Frames of the group.
        call
            Calls a method of the evaluator with the arguments of
            :meth:`~deepmd_tf.inference.evaluator.Evaluator.run`, and gives what that returns.

        Raises
        ------
        FrameError
            For a frame that cannot be evaluated, or has missing neighbours where that is an error;
            it is counted among ``frames``.
        """
        order = group.order
        arguments = (
            frames.coords[chosen[:, None], order],
            None if frames.cells is None else frames.cells[chosen],
            group.types,
            group.natoms(self.model.ntypes),
            frames.parameters(chosen, order),
        )
        try:
            values = call(self.evaluator, *arguments)
            if "outside" in values and values["outside"].any():
                self._warn_of_close_atoms(frames, chosen)
                values = call(self._without_tables(), *arguments)
        except FrameError as error:
            raise error.renumber(chosen, order) from None
        if values["dropped"].any():
            self._report_missing(values, arguments, chosen)
        return values

    def _without_tables(self) -> Evaluator:
        """For frames in which atoms are closer than the embedding tables reach."""
        if self._exact is None:
            self._exact = make_evaluator(self.model, use_table=False)
            self._exact.build()
        return self._exact

    def _warn_of_close_atoms(self, frames: Frames, chosen: np.ndarray) -> None:
        # a table of pair potentials is for close atoms
        if self._exact is not None or self.model.pair_tables:
            return
        log.warning(
            "%s: some atoms are much closer than any in the training data%s, where the model "
            "extrapolates; such frames are evaluated without embedding tables, which is slower "
            "(said once)",
            self.model.path,
            _closest(frames, chosen, self.model),
        )

    def _report_missing(
        self, values: dict[str, np.ndarray], arguments: tuple[Any, ...], chosen: np.ndarray
    ) -> None:
        """Warn of neighbours beyond ``sel``, or refuse the first frame that has them."""
        worse = self.missing.found(values["dropped"], values["max_found"])
        if self._missing_rule == "error":
            raise self._frame_with_missing(arguments, chosen)
        if worse and self._missing_rule == "warn":
            log.warning(
                "%s: some atoms have more neighbours within the cutoff than the model was made for "
                "(%s); the farthest are left out, so the energy is not smooth there (said again "
                "when it gets worse)",
                self.model.path,
                self.missing.describe(),
            )

    def _frame_with_missing(self, arguments: tuple[Any, ...], chosen: np.ndarray) -> FrameError:
        coords, cells, types, natoms, parameters = arguments

        def count(i: int) -> dict[str, np.ndarray]:
            one = slice(i, i + 1)
            cell = None if cells is None else cells[one]
            given = [values[one] for values in parameters]
            return self.evaluator.run((), coords[one], cell, types, natoms, given)

        frames = ((i, count(i)) for i in range(len(chosen)))
        i, counts = next((i, counts) for i, counts in frames if np.any(counts["dropped"]))
        return FrameError(
            int(chosen[i]),
            "has an atom with more neighbours within the cutoff than the model was made for "
            f"({self.missing.describe(counts['max_found'])})",
            'train with a larger sel, or choose "warn" for missing neighbours',
        )


def _closest(frames: Frames, chosen: np.ndarray, model: SavedModel | ImportedModel) -> str:
    """The two closest atoms of the chosen frames that the model sees, in words. Nothing where that
    takes more than the atoms of one cell.
    """
    smallest = model.min_nbor_dist
    masked = model.parameter_inputs.masked_atoms is not None
    limit = TABLE_REACH * (smallest or UNKNOWN_DISTANCE)
    coords = np.asarray(frames.coords[chosen], np.float64)
    cells = None
    if frames.cells is not None and not masked:
        cells = np.asarray(frames.cells[chosen], np.float64).reshape(-1, 3, 3)
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cells), axis=1)
        if heights.min() <= 2.0 * limit:  # an atom may be close to its own image
            return ""
    present = frames.types[chosen] >= 0
    if masked and frames.aparam is not None:
        present = present & (frames.aparam[chosen, :, 0] != 0)
    found = close_pairs(coords, cells, limit, present)
    if not len(found[0]):
        return ""
    frame, i, j, distance = (values[found[3].argmin()] for values in found)
    known = f"; the smallest distance there is {smallest:.3g} Å" if smallest else ""
    return (
        f" (frame {chosen[frame]}: atoms {min(i, j)} and {max(i, j)}, counted from 0, are "
        f"{distance:.3g} Å apart{known})"
    )
