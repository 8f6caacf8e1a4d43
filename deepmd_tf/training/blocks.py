# SPDX-License-Identifier: BSD-3-Clause
"""Whole Hessians in bounded memory: frame by frame, and in a frame some atoms at a time.

The Hessian is a sum over atoms, of the second derivatives of their energies by all coordinates
(:func:`~deepmd_tf.model.hessian.full_hessian`). A loss L on it needs the sum; its gradient in the
weights θ is the same sum again,

.. math:: \\frac{dL}{dθ} = \\sum_i \\Big\\langle \\frac{∂L}{∂H}, \\frac{∂H_i}{∂θ} \\Big\\rangle ,

so blocks of atoms are evaluated twice, first for the matrices, then for the gradient; both are
those of all atoms at once, up to rounding.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.environment import AtomRange
from deepmd_tf.fields import HESSIAN
from deepmd_tf.losses import Term
from deepmd_tf.losses.term import Labels
from deepmd_tf.model.energy import EnergyModel, ModelOutputs
from deepmd_tf.model.hessian import full_hessian
from deepmd_tf.nn.parameters import VariableParameters

PAIRS_AT_ONCE = 4_000
"""Atoms whose second derivatives are computed at once, times the atoms that they are taken by;
about 0.25 MB for each in a step, with a descriptor of 1600 numbers in float64."""

Run = Callable[[str, Any, list[tf.Tensor], list[Any]], Any]
"""(name, fetches, placeholders, values) → what was fetched; the name stands for the fetches."""


def fits_at_once(n_frames: int, natoms: int) -> bool:
    """Whether whole Hessians of so many frames need no blocks."""
    return n_frames * natoms**2 <= PAIRS_AT_ONCE


def atom_ranges(natoms: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the blocks of a frame, equal but for one atom."""
    number = -(-natoms // max(1, PAIRS_AT_ONCE // natoms))
    bounds = [natoms * k // number for k in range(number + 1)]
    return itertools.pairwise(bounds)


class HessianBlocks:
    """The part of a training graph that is run in blocks.

    Parameters
    ----------
    model, outputs, parameters
        As for :func:`~deepmd_tf.model.hessian.full_hessian`.
    term
        The term of the loss.
    labels
        Tensors of the labels.
    run
        Runs the graph.
    with_gradient
        Whether :meth:`gradients` is wanted.
    """

    def __init__(
        self,
        model: EnergyModel,
        outputs: ModelOutputs,
        parameters: VariableParameters,
        term: Term,
        labels: Labels,
        run: Run,
        *,
        with_gradient: bool,
    ) -> None:
        dtype = outputs.inputs.dtype
        self._run = run
        self._inputs = list(outputs.inputs.placeholders.values())
        self._label = labels[HESSIAN.name]
        self._atoms = AtomRange(
            *(tf.placeholder(tf.int32, [], f"t_{end}") for end in ("begin", "end"))
        )
        self._matrices = tf.placeholder(dtype, [None, None, None], name="t_matrices")
        self._part = full_hessian(model, outputs, parameters, self._atoms)
        measured = dataclasses.replace(outputs, hessian=self._matrices)
        objective, metric = term.build(measured, labels)
        self._measured = [tf.stack([objective, metric])]
        if not with_gradient:
            return
        self._measured += tf.gradients(objective, [self._matrices])
        self._gradients = tf.gradients(
            self._part,
            parameters.trainable,
            grad_ys=[self._matrices],
            # in pairs, see session_config
            aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE,
        )

    def measure(
        self, frames: Sequence[list[Any]], natoms: int, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Objective and metric of the Hessians of some frames, and the derivative of the objective
        by them, [n_frames, 3 n, 3 n], where the gradient is wanted.

        Parameters
        ----------
        frames
            Values of the inputs of each frame.
        natoms
            Atoms of a frame.
        label
            [n_frames, (3 n)²], eV/Å².
        """
        fed = [*self._inputs, *self._atoms]
        matrices = np.concatenate(
            [
                sum(self._run("part", self._part, fed, [*frame, *e]) for e in atom_ranges(natoms))
                for frame in frames
            ]
        )
        fed, values = [self._matrices, self._label], [matrices, label.reshape(-1)]
        found = self._run("measured", self._measured, fed, values)
        return found[0], found[1] if len(found) > 1 else None

    def gradients(
        self, frames: Sequence[list[Any]], natoms: int, adjoint: np.ndarray
    ) -> Iterator[list[np.ndarray | None]]:
        """Derivatives of Σ adjoint · H in each trained variable, of one block after the other;
        their sum is that of the frames. None for a variable that H does not depend on.

        ``adjoint`` is [n_frames, 3 n, 3 n]; the rest as in :meth:`measure`.
        """
        fed = [*self._inputs, *self._atoms, self._matrices]
        depends = [g for g in self._gradients if g is not None]
        for k, values in enumerate(frames):
            for ends in atom_ranges(natoms):
                found = iter(
                    self._run("pulled", depends, fed, [*values, *ends, adjoint[k : k + 1]])
                )
                yield [None if g is None else next(found) for g in self._gradients]
