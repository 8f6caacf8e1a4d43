# SPDX-License-Identifier: BSD-3-Clause
"""The kinds of models: what each is made of, what it predicts, and how that is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepmd_tf import names
from deepmd_tf.config import ModelConfig
from deepmd_tf.fields import FIELDS
from deepmd_tf.metrics import ENERGY_QUANTITIES, Quantity
from deepmd_tf.model.energy import EnergyModel

ATOMS = -1
"""Stands for the number of atoms in :attr:`Output.shape`."""


@dataclass(frozen=True)
class Output:
    """An array that a model predicts.

    Attributes
    ----------
    name
        Member of the outputs of the built model.
    shape
        Of one frame, with :data:`ATOMS` for its number of atoms.
    node
        Name in frozen files; empty for what not every file has.
    double
        Whether it is float64 whatever the type of the interface.
    """

    name: str
    shape: tuple[int, ...]
    node: str = ""
    double: bool = False

    def of_frame(self, n_atoms: int) -> tuple[int, ...]:
        """The shape for a frame of ``n_atoms`` atoms."""
        return tuple(n_atoms if n == ATOMS else n for n in self.shape)

    def store(
        self, values: np.ndarray, array: np.ndarray, frames: np.ndarray, atoms: np.ndarray
    ) -> None:
        """Write the values of ``atoms`` of ``frames`` into an array for all of them.

        Parameters
        ----------
        values
            len(frames) × :meth:`of_frame` of len(atoms) numbers.
        array
            [n_frames, ...], changed.
        frames, atoms
            Positions in ``array``.
        """
        values = values.reshape(len(frames), *self.of_frame(len(atoms)))
        if ATOMS not in self.shape:
            array[frames] = values
            return
        axis = 1 + self.shape.index(ATOMS)
        np.moveaxis(array, axis, 1)[frames[:, None], atoms] = np.moveaxis(values, axis, 1)


@dataclass(frozen=True)
class Kind:
    """A kind of model, which is the ``type`` of its ``fitting_net``.

    Attributes
    ----------
    words
        Name in messages, with its article.
    model
        Class that builds the graph.
    loss
        ``type`` of the ``loss`` section that trains it.
    outputs
        What it predicts, the contributions of the atoms last.
    quantities
        What is compared with labels, in the order of reports.
    evaluator
        Class that evaluates model files, for messages.
    """

    words: str
    model: type
    loss: str
    outputs: Sequence[Output]
    quantities: Sequence[Quantity]
    evaluator: str

    @property
    def labelled(self) -> tuple[str, ...]:
        """Names of the outputs that can be compared with data items of the same name."""
        return tuple(output.name for output in self.outputs if output.name in FIELDS)

    def output(self, name: str) -> Output:
        """The output called ``name``."""
        return next(output for output in self.outputs if output.name == name)


MODEL_KINDS = {
    "ener": Kind(
        words="an energy model",
        model=EnergyModel,
        loss="ener",
        outputs=(
            Output("energy", (1,), names.O_ENERGY, double=True),
            Output("force", (ATOMS, 3), names.O_FORCE),
            Output("virial", (9,), names.O_VIRIAL),
            Output("atom_energy", (ATOMS, 1), names.O_ATOM_ENERGY),
            Output("atom_virial", (ATOMS, 9), names.O_ATOM_VIRIAL),
        ),
        quantities=ENERGY_QUANTITIES,
        evaluator="DeepPot",
    ),
}
"""By :data:`deepmd_tf.names.MODEL_TYPE`."""


def kind_of(config: ModelConfig) -> Kind:
    """The kind of the model of an input script."""
    return MODEL_KINDS[config.fitting_net.type]
