# SPDX-License-Identifier: BSD-3-Clause
"""Errors and predictions of a model that is being trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.data import Batch
from deepmd_tf.training.diagnostics import Diagnostics
from deepmd_tf.training.feeds import BatchFeeds
from deepmd_tf.training.hessian_training import HessianTraining
from deepmd_tf.training.runner import Feed, GraphRunner
from deepmd_tf.training.shares import UNSHARED, Sharing


class Evaluation:
    """Evaluates batches with the present weights, and changes nothing.

    Parameters
    ----------
    runner
        Runs the graph.
    feeds
        What is fed.
    values
        :attr:`LossTensors.values` of the loss without Hessians.
    outputs
        What is predicted, by name.
    diagnostics
        Packed :class:`Diagnostics`, fetched with everything else.
    hessian
        Evaluates Hessians; None if the loss has none.
    exact
        The same without embedding tables, for batches with atoms closer than these reach; None:
        the tables are continued by straight lines.
    sharing
        How ranks share the batches of :meth:`evaluate`.
    """

    def __init__(
        self,
        runner: GraphRunner,
        feeds: BatchFeeds,
        values: tf.Tensor,
        outputs: Mapping[str, tf.Tensor],
        diagnostics: tf.Tensor,
        hessian: HessianTraining | None = None,
        exact: Callable[[], Evaluation] | None = None,
        sharing: Sharing = UNSHARED,
    ) -> None:
        self._sharing = sharing
        self._runner = runner
        self._feeds = feeds
        self._values = values
        self._outputs = dict(outputs)
        self._diagnostics = diagnostics
        self._hessian = hessian
        self._exact = exact
        self._recorded: Diagnostics | None = None

    def evaluate(self, batch: Batch, lr: np.float32) -> dict[str, float]:
        """Errors on a batch, by column; the loss is that at learning rate ``lr``.

        That of the Hessian is over all elements, whatever training looks at.
        """
        weights = self._feeds.loss_weights(batch, lr)
        place, part = self._sharing.place(self._feeds.loss, batch), self._sharing.part(batch)
        own = self._measure(part) if part.nframes else None
        return self._feeds.loss.displayed(self._sharing.values(place, own), weights, batch)

    def predict(self, batch: Batch) -> dict[str, np.ndarray]:
        """Energies [nf], forces [nf, 3 nat] and virials [nf, 9].

        With ``enable_atom_ener_coeff`` energies of atoms, ``atom_ener`` [nf, nat], too.
        """
        feed = self._feeds.evaluation(batch)
        found, extrapolates = self._run_and_record("predict", self._outputs, feed)
        return self._without_tables().predict(batch) if extrapolates else found

    def pop_diagnostics(self) -> Diagnostics | None:
        """Diagnostics of all batches since the last call; None if there were none."""
        found, self._recorded = self._recorded, None
        return found

    def _without_tables(self) -> Evaluation:
        if self._exact is None:
            raise ValueError("the graph has no tables to do without")
        return self._exact()

    def _measure(self, batch: Batch) -> np.ndarray:
        """:attr:`LossTensors.values` of a batch."""
        feed, hessian = self._feeds.evaluation(batch), self._hessian
        if hessian is not None and hessian.whole_at_once(batch):
            feed = feed.extended(self._feeds.hessian(batch))
            fetches = hessian.step.loss.values
            values, extrapolates = self._run_and_record("values with hessian", fetches, feed)
            return self._without_tables()._measure(batch) if extrapolates else values
        values, extrapolates = self._run_and_record("values", self._values, feed)
        if extrapolates:
            return self._without_tables()._measure(batch)
        if hessian is not None and hessian.labelled(batch):
            values[:, self._feeds.loss.hessian], _ = hessian.blocks.measure(batch)
        return values

    def _run_and_record(self, name: str, fetches: Any, feed: Feed) -> tuple[Any, bool]:
        """Run, and keep the diagnostics for :meth:`pop_diagnostics`; values, and whether they are
        to be evaluated without tables.
        """
        found, packed = self._runner.run(name, [fetches, self._diagnostics], feed)
        diagnostics = Diagnostics.unpack(packed)
        before = self._recorded
        self._recorded = diagnostics if before is None else diagnostics.join(before)
        return found, bool(diagnostics.outside) and self._exact is not None
